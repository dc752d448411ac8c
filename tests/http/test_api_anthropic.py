"""test_api_anthropic.py - Anthropic's messages: blocks, streams of events, tools, counting, errors."""
import json
import unittest

from api_case import ApiCase

MESSAGES = [{"role": "user", "content": "Hello"}]
TOOL = {"name": "weather", "description": "Weather of a city.", "input_schema": {
    "type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}


class Messages(ApiCase):
    def body(self, **more):
        return {"model": self.model, "max_tokens": 6, "messages": MESSAGES, "temperature": 0, **more}

    def count(self, **more):
        body = self.body(**more)
        fields = {name: body[name] for name in body if name not in ("max_tokens", "temperature")}
        return self.ok("/v1/messages/count_tokens", fields)

    def error(self, status, kind, message, path="/v1/messages", body=None, **more):
        got, headers, data = self.server.request("POST", path, body or self.body(**more))
        answer = json.loads(data)
        self.assertEqual((got, set(answer)), (status, {"type", "error", "request_id"}), answer)
        self.assertEqual(answer["type"], "error")
        self.assertEqual(answer["error"]["type"], kind)
        self.assertIn(message, answer["error"]["message"])
        self.assertEqual(headers["request-id"], answer["request_id"])

    def test_message(self):
        known = self.ok("/v1/chat/completions", {"messages": MESSAGES, "max_tokens": 6, "temperature": 0})
        a = self.ok("/v1/messages", self.body(metadata={"user_id": "7"}))
        self.assertEqual((a["type"], a["role"], a["model"]), ("message", "assistant", self.model))
        self.assertEqual(a["content"], [{"type": "text", "text": known["choices"][0]["message"]["content"]}])
        self.assertEqual((a["stop_reason"], a["stop_sequence"]), ("max_tokens", None))
        usage = a["usage"]
        self.assertEqual(usage["input_tokens"] + usage["cache_read_input_tokens"], known["usage"]["prompt_tokens"])
        self.assertEqual(usage["output_tokens"], 6)
        self.assertEqual(self.count(), {"input_tokens": known["usage"]["prompt_tokens"]})

    def test_system_and_blocks(self):
        """A text and blocks of it are the same; neighbours of one role are one turn."""
        system = self.count(system="Be brief.")["input_tokens"]
        block = {"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}
        self.assertEqual(self.count(system=[block]), {"input_tokens": system})
        self.assertGreater(system, self.count()["input_tokens"])
        two = [{"role": "user", "content": "a"}, {"role": "user", "content": [{"type": "text", "text": "b"}]}]
        self.assertEqual(self.count(messages=two), self.count(messages=[{"role": "user", "content": "a\nb"}]))

    def test_an_assistants_last_words_go_on(self):
        said = {"role": "assistant", "content": "Once upon"}
        a = self.ok("/v1/messages", self.body(messages=[*MESSAGES, said]))
        known = self.ok("/v1/chat/completions", {"messages": [*MESSAGES, said], "max_tokens": 6, "temperature": 0,
                                                 "continue_final_message": True, "add_generation_prompt": False})
        self.assertEqual(a["content"][0]["text"], known["choices"][0]["message"]["content"])

    def test_stop_sequence(self):
        text = self.ok("/v1/messages", self.body(max_tokens=12))["content"][0]["text"]
        stop = text[len(text) // 2:len(text) // 2 + 3]
        a = self.ok("/v1/messages", self.body(max_tokens=12, stop_sequences=["\u0001", stop]))
        self.assertEqual((a["stop_reason"], a["stop_sequence"]), ("stop_sequence", stop))
        self.assertEqual("".join(b["text"] for b in a["content"]), text[:text.index(stop)])

    def test_stream(self):
        whole = self.ok("/v1/messages", self.body())
        status, headers, data = self.server.request("POST", "/v1/messages", self.body(stream=True))
        self.assertEqual((status, headers["content-type"][:17]), (200, "text/event-stream"))
        events = []
        for event in data.decode().split("\n\n")[:-1]:
            name, body = event.split("\n")
            events.append(json.loads(body.removeprefix("data: ")))
            self.assertEqual(name, "event: " + events[-1]["type"])
        kinds = [e["type"] for e in events]
        self.assertEqual(kinds[:4], ["message_start", "content_block_start", "ping", "content_block_delta"])
        self.assertEqual(kinds[-3:], ["content_block_stop", "message_delta", "message_stop"])
        self.assertEqual(set(kinds[3:-3]), {"content_block_delta"})
        self.assertEqual("".join(e["delta"]["text"] for e in events[3:-3]), whole["content"][0]["text"])
        self.assertEqual(events[0]["message"]["content"], [])
        self.assertEqual(events[-2]["delta"], {"stop_reason": "max_tokens", "stop_sequence": None})
        self.assertEqual(events[-2]["usage"]["output_tokens"], 6)

    def test_an_answers_form(self):
        schema = {"type": "object", "properties": {"a": {"enum": ["x", "y"]}}, "required": ["a"],
                  "additionalProperties": False}
        body = self.body(max_tokens=40, output_config={"format": {"type": "json_schema", "schema": schema}})
        answer = self.ok("/v1/messages", {**body, "temperature": 1})
        self.assertIn(json.loads(answer["content"][0]["text"])["a"], ("x", "y"))
        self.assertEqual(answer["stop_reason"], "end_turn")

    def test_tools_are_told(self):
        bare, told = self.count()["input_tokens"], self.count(tools=[TOOL])["input_tokens"]
        self.assertGreater(told, bare + 20)
        self.assertEqual(self.count(tools=[TOOL], tool_choice={"type": "none"})["input_tokens"], bare)
        turns = [*MESSAGES, {"role": "assistant", "content": [
            {"type": "text", "text": "Let me look."},
            {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Rome"}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": "sunny"},
                                         {"type": "text", "text": "So?"}]}]
        self.assertGreater(self.count(tools=[TOOL], messages=turns)["input_tokens"], told + 10)
        self.assertTrue(self.ok("/v1/messages", self.body(tools=[TOOL], messages=turns))["content"])

    def test_refusals(self):
        bad = "invalid_request_error"
        self.error(400, bad, "max_tokens is required", body={"model": self.model, "messages": MESSAGES})
        self.error(404, "not_found_error", 'no model named "claude"', model="claude")
        self.error(400, bad, 'unknown field "max_token"', max_token=5)
        self.error(400, bad, "at least one message", messages=[])
        self.error(400, bad, "messages[0].role", messages=[{"role": "system", "content": "a"}])
        image = {"type": "image", "source": {"type": "url", "url": "http://x/y.png"}}
        self.error(400, bad, 'messages[0].content[0].type: "image"', messages=[{"role": "user", "content": [image]}])
        self.error(400, bad, "budget", thinking={"type": "enabled", "budget_tokens": 1024})
        self.error(400, bad, "does not think", thinking={"type": "adaptive"})
        self.error(400, bad, "tools[0].type", tools=[{"type": "web_search_20250305", "name": "web_search"}])
        self.error(400, bad, "tool_choice", tool_choice={"type": "any"})
        self.error(400, bad, "tool_choice.name", tools=[TOOL], tool_choice={"type": "tool"})
        self.error(400, bad, "maximum context length", messages=[{"role": "user", "content": "word " * 2000}])
        self.error(400, bad, "nothing is run here", container="c")
        self.assertEqual(self.ok("/v1/messages", self.body(thinking={"type": "disabled"}))["type"], "message")
        long = self.count(messages=[{"role": "user", "content": "word " * 2000}])["input_tokens"]
        self.assertGreater(long, 2000)  # counting needs no room


if __name__ == "__main__":
    unittest.main()
