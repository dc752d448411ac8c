"""clients_ollama.py - Ollama's official Python client, unchanged but for host."""
import math
import unittest

from api_case import ApiCase
from clients_case import have

ollama = have("ollama")
TEXTS = ["A cat sat.", "The dog runs over the hill."]


@unittest.skipIf(ollama is None, "the ollama package is not installed here")


class Client(ApiCase):
    def setUp(self):
        self.client = ollama.Client(host=self.url)
        self.addCleanup(self.client._client.close)

    def test_models(self):
        self.assertEqual([m.model for m in self.client.list().models], [self.model + ":latest"])
        self.assertEqual(self.client.ps().models[0].context_length, self.context)
        shown = self.client.show(self.model)
        self.assertIn("completion", shown.capabilities)
        self.assertEqual(shown.modelinfo["llama.context_length"], self.context)
        self.assertIn("im_start", shown.template)
        self.assertEqual(self.client.pull(self.model).status, "success")

    def test_embed(self):
        a = self.client.embed(model=self.model, input=TEXTS)
        self.assertEqual(len(a.embeddings), 2)
        self.assertAlmostEqual(math.hypot(*a.embeddings[0]), 1, places=5)
        self.assertTrue(self.client.embeddings(model=self.model, prompt=TEXTS[0]).embedding)

    def test_generate(self):
        options = {"temperature": 0, "num_predict": 6}
        whole = self.client.generate(model=self.model, prompt="Hello", system="Be brief.", options=options)
        parts = list(self.client.generate(model=self.model, prompt="Hello", system="Be brief.", options=options,
                                          stream=True))
        self.assertEqual("".join(p.response for p in parts), whole.response)
        self.assertEqual([p.done for p in parts], [False] * (len(parts) - 1) + [True])
        self.assertEqual(parts[-1].done_reason, "length")
        self.assertEqual(parts[-1].eval_count, 6)
        self.assertEqual(list(parts[-1].context), list(whole.context))
        self.assertEqual(len(whole.context), whole.prompt_eval_count + 6)
        self.assertGreater(whole.total_duration, whole.eval_duration)
        more = self.client.generate(model=self.model, prompt="More", context=whole.context, options=options)
        self.assertEqual(list(more.context)[:len(whole.context)], list(whole.context))

    def test_raw_generate(self):
        known = self.text("/v1/completions", {"prompt": "Once upon", "max_tokens": 6, "temperature": 0})
        a = self.client.generate(model=self.model, prompt="Once upon", raw=True,
                                 options={"temperature": 0, "num_predict": 6})
        self.assertEqual(a.response, known)
        self.assertIsNone(a.context)

    def test_chat(self):
        messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}]
        options = {"temperature": 0, "num_predict": 6, "seed": 1, "top_k": 40, "stop": ["\u0001"]}
        known = self.ok("/v1/chat/completions", {"messages": messages, "temperature": 0, "max_tokens": 6})
        whole = self.client.chat(model=self.model, messages=messages, options=options)
        self.assertEqual(whole.message.content, known["choices"][0]["message"]["content"])
        self.assertEqual((whole.message.role, whole.done_reason), ("assistant", "length"))
        self.assertEqual(whole.prompt_eval_count, known["usage"]["prompt_tokens"])
        parts = list(self.client.chat(model=self.model, messages=messages, options=options, stream=True))
        self.assertEqual("".join(p.message.content for p in parts), whole.message.content)
        self.assertEqual(parts[-1].eval_count, 6)
        more = [*messages, whole.message, {"role": "user", "content": "More"}]
        self.assertTrue(self.client.chat(model=self.model, messages=more, options=options).done)

    def test_tools_are_offered(self):
        def weather(city: str) -> str:
            """Weather of a city.

            Args:
                city: its name
            """
        messages = [{"role": "user", "content": "Weather in Rome?"}]
        options = {"temperature": 0, "num_predict": 4}
        bare = self.client.chat(model=self.model, messages=messages, options=options)
        a = self.client.chat(model=self.model, messages=messages, options=options, tools=[weather])
        self.assertGreater(a.prompt_eval_count, bare.prompt_eval_count + 20)
        messages += [{"role": "assistant", "content": "",
                      "tool_calls": [{"function": {"name": "weather", "arguments": {"city": "Rome"}}}]},
                     {"role": "tool", "tool_name": "weather", "content": "sunny"}]
        b = self.client.chat(model=self.model, messages=messages, options=options, tools=[weather])
        self.assertGreater(b.prompt_eval_count, a.prompt_eval_count)

    def test_loading_and_unloading(self):
        self.assertEqual(self.client.generate(model=self.model).done_reason, "load")
        self.assertEqual(self.client.generate(model=self.model, keep_alive=0).done_reason, "unload")
        self.assertEqual(self.client.chat(model=self.model, messages=[]).done_reason, "load")

    def test_errors(self):
        with self.assertRaises(ollama.ResponseError) as missing:
            self.client.show("none")
        self.assertEqual(missing.exception.status_code, 404)
        self.assertIn("no model named", missing.exception.error)

if __name__ == "__main__":
    unittest.main()
