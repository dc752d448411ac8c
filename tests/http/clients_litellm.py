"""clients_litellm.py - litellm, unchanged but for api_base, through every dialect that it speaks."""
import os
import unittest

from clients_case import ClientCase, have

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # else it fetches its list of prices
litellm = have("litellm")
MESSAGES = [{"role": "user", "content": "Say hello."}]


@unittest.skipIf(litellm is None, "the litellm package is not installed here")
class LiteLlm(ClientCase):
    def routes(self):
        for provider, base in (("openai", "/v1"), ("ollama_chat", ""), ("anthropic", "")):
            yield {"model": f"{provider}/{self.model}", "api_base": self.url + base, "api_key": "none",
                   "messages": MESSAGES, "max_tokens": 8, "temperature": 0, "num_retries": 0}

    def test_every_dialect_says_the_same(self):
        answers = set()
        for options in self.routes():
            whole = litellm.completion(**options)
            parts = [c.choices[0].delta.content or "" for c in litellm.completion(**options, stream=True)]
            self.assertEqual("".join(parts), whole.choices[0].message.content, options["model"])
            self.assertEqual(whole.choices[0].finish_reason, "length")
            self.assertEqual(whole.usage.completion_tokens, 8)
            answers.add((whole.choices[0].message.content, whole.usage.prompt_tokens))
        self.assertEqual(len(answers), 1, answers)

    def test_embeddings(self):
        a = litellm.embedding(model="openai/" + self.model, api_base=self.url + "/v1", api_key="none", input=["a", "b"])
        b = litellm.embedding(model="ollama/" + self.model, api_base=self.url, input=["a", "b"])
        for x, y in zip(a.data, b.data):
            self.assertAlmostEqual(x["embedding"][0], y["embedding"][0], places=5)

    def test_a_prompt_that_is_too_long_is_known_as_one(self):
        for options in list(self.routes())[:1]:
            options["messages"] = [{"role": "user", "content": "word " * 9000}]
            with self.assertRaises(litellm.ContextWindowExceededError):
                litellm.completion(**options)


if __name__ == "__main__":
    unittest.main()
