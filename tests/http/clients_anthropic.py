"""clients_anthropic.py - Anthropic's official Python client, unchanged but for base_url."""
import unittest

from clients_case import ClientCase, have

anthropic = have("anthropic")
MESSAGES = [{"role": "user", "content": "Hello"}]
TOOL = {"name": "weather", "description": "Weather of a city.", "input_schema": {
    "type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}


@unittest.skipIf(anthropic is None, "the anthropic package is not installed here")
class Client(ClientCase):
    def setUp(self):
        self.client = anthropic.Anthropic(base_url=self.url, api_key="none", max_retries=0)
        self.addCleanup(self.client.close)
        self.options = {"model": self.model, "max_tokens": 8, "messages": MESSAGES, "extra_body": {"temperature": 0}}

    def test_message_and_stream(self):
        whole = self.client.messages.create(**self.options, system="Be brief.")
        self.assertEqual(whole.stop_reason, "max_tokens")
        with self.client.messages.stream(**self.options, system="Be brief.") as stream:
            text = "".join(stream.text_stream)
            final = stream.get_final_message()
        self.assertEqual(text, whole.content[0].text)
        self.assertEqual(final.content[0].text, text)
        self.assertEqual((final.stop_reason, final.usage.output_tokens), ("max_tokens", 8))
        self.assertEqual(final.usage.input_tokens + final.usage.cache_read_input_tokens,
                         whole.usage.input_tokens + whole.usage.cache_read_input_tokens)
        raw = [e.type for e in self.client.messages.create(**self.options, stream=True)]
        self.assertEqual((raw[0], raw[-1]), ("message_start", "message_stop"))

    def test_count_and_conversation(self):
        n = self.client.messages.count_tokens(model=self.model, messages=MESSAGES, tools=[TOOL]).input_tokens
        a = self.client.messages.create(**self.options, tools=[TOOL], tool_choice={"type": "auto"})
        self.assertEqual(a.usage.input_tokens + (a.usage.cache_read_input_tokens or 0), n)
        more = [*MESSAGES, {"role": "assistant", "content": a.content}, {"role": "user", "content": "More"}]
        after = self.client.messages.count_tokens(model=self.model, messages=more, tools=[TOOL])
        self.assertGreater(after.input_tokens, n)

    def test_a_call_that_must_come(self):
        choice = {"type": "any", "disable_parallel_tool_use": True}
        options = {**self.options, "max_tokens": 200, "tools": [TOOL], "tool_choice": choice}
        whole = self.client.messages.create(**options)
        self.assertEqual(whole.stop_reason, "tool_use")
        self.assertEqual((whole.content[-1].name, list(whole.content[-1].input)), ("weather", ["city"]))
        with self.client.messages.stream(**options) as stream:
            final = stream.get_final_message()
        self.assertEqual(final.content[-1].input, whole.content[-1].input)

    def test_errors_are_the_clients_own(self):
        with self.assertRaises(anthropic.NotFoundError) as missing:
            self.client.messages.create(**{**self.options, "model": "none"})
        self.assertEqual(missing.exception.type, "not_found_error")
        self.assertTrue(missing.exception.request_id)
        with self.assertRaises(anthropic.BadRequestError):
            long = [{"role": "user", "content": "word " * 4000}]
            self.client.messages.create(**{**self.options, "messages": long})


if __name__ == "__main__":
    unittest.main()
