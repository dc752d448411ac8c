"""clients_openai.py - the official OpenAI Python client, unchanged but for base_url."""
import struct
import unittest

from api_case import ApiCase
from clients_case import have

openai = have("openai")
MESSAGES = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}]


def as_float32(numbers):
    return struct.pack(f"<{len(numbers)}f", *numbers)


@unittest.skipIf(openai is None, "the openai package is not installed here")
class OpenAI(ApiCase):
    def setUp(self):
        self.client = openai.OpenAI(base_url=self.url + "/v1", api_key="none", max_retries=0)
        self.addCleanup(self.client.close)

    def test_models(self):
        ids = [m.id for m in self.client.models.list()]
        self.assertEqual(ids, [self.model])
        self.assertEqual(self.client.models.retrieve(ids[0]).id, ids[0])

    def test_completion(self):
        a = self.client.completions.create(model="default", prompt="Once upon a time", max_tokens=6, temperature=0,
                                           logprobs=2, echo=True, stop=["\u0001"])
        self.assertTrue(a.choices[0].text.startswith("Once upon a time"))
        self.assertEqual(len(a.choices[0].logprobs.tokens), a.usage.total_tokens)
        self.assertIn(a.choices[0].finish_reason, ("stop", "length"))

    def test_completion_stream(self):
        whole = self.client.completions.create(model="default", prompt="Once", max_tokens=8, temperature=0)
        chunks = list(self.client.completions.create(model="default", prompt="Once", max_tokens=8, temperature=0,
                                                     stream=True, stream_options={"include_usage": True}))
        self.assertEqual("".join(c.choices[0].text for c in chunks if c.choices), whole.choices[0].text)
        self.assertEqual(chunks[-1].usage.completion_tokens, whole.usage.completion_tokens)

    def test_chat(self):
        a = self.client.chat.completions.create(model=self.model, messages=MESSAGES, max_tokens=6, n=2, seed=1,
                                                logprobs=True, top_logprobs=2)
        self.assertEqual([c.index for c in a.choices], [0, 1])
        self.assertEqual(a.choices[0].message.role, "assistant")
        self.assertEqual(len(a.choices[0].logprobs.content[0].top_logprobs), 2)
        self.assertEqual(a.usage.total_tokens, a.usage.prompt_tokens + a.usage.completion_tokens)

    def test_chat_stream(self):
        options = dict(model=self.model, messages=MESSAGES, max_tokens=8, temperature=0)
        whole = self.client.chat.completions.create(**options).choices[0]
        chunks = list(self.client.chat.completions.create(**options, stream=True,
                                                          stream_options={"include_usage": True}))
        self.assertEqual(chunks[0].choices[0].delta.role, "assistant")
        text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
        self.assertEqual(text, whole.message.content)
        self.assertEqual(chunks[-2].choices[0].finish_reason, whole.finish_reason)
        self.assertGreater(chunks[-1].usage.prompt_tokens, 0)

    def test_conversation_goes_on(self):
        a = self.client.chat.completions.create(model=self.model, messages=MESSAGES, max_tokens=6)
        more = MESSAGES + [a.choices[0].message.model_dump(), {"role": "user", "content": "More"}]
        b = self.client.chat.completions.create(model=self.model, messages=more, max_tokens=6)
        self.assertGreater(b.usage.prompt_tokens, a.usage.prompt_tokens)

    def test_embeddings(self):
        """The client asks for base64 unless told otherwise."""
        texts = ["Once upon a time", "two"]
        a = self.client.embeddings.create(model=self.model, input=texts)
        b = self.client.embeddings.create(model=self.model, input=texts, encoding_format="float")
        self.assertEqual([d.index for d in a.data], [0, 1])
        for x, y in zip(a.data, b.data):  # nine digits name a float32
            self.assertEqual(as_float32(x.embedding), as_float32(y.embedding))
        self.assertAlmostEqual(sum(x * x for x in a.data[0].embedding), 1, places=5)
        short = self.client.embeddings.create(model=self.model, input=texts[0], dimensions=8)
        self.assertEqual(len(short.data[0].embedding), 8)
        self.assertEqual(short.usage.prompt_tokens, len(self.tokenize(texts[0], add_special=True)))
        with self.assertRaises(openai.BadRequestError) as many:
            self.client.embeddings.create(model=self.model, input=texts, dimensions=10**6)
        self.assertEqual(many.exception.param, "dimensions")

    def test_errors_are_the_clients_own(self):
        with self.assertRaises(openai.NotFoundError) as missing:
            self.client.completions.create(model="gpt-9", prompt="x")
        self.assertEqual(missing.exception.code, "model_not_found")
        with self.assertRaises(openai.BadRequestError) as long:
            self.client.completions.create(model="default", prompt="word " * 5000)
        self.assertEqual(long.exception.code, "context_length_exceeded")
        with self.assertRaises(openai.BadRequestError) as bad:
            self.client.chat.completions.create(model="default", messages=MESSAGES, temperature=9)
        self.assertEqual(bad.exception.param, "temperature")


if __name__ == "__main__":
    unittest.main()
