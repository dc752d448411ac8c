"""test_api_tools.py - tools over chat completions and responses: constrained calls, deltas, refusals, round trips.

The tiny checkpoint has a ChatML template that knows no tools, so the server describes them itself.
"""
import json
import unittest

from api_case import ApiCase

PATH = "/v1/chat/completions"
WEATHER = {"name": "get_weather", "parameters": {
    "type": "object", "properties": {"city": {"type": "string", "maxLength": 8}, "unit": {"enum": ["c", "f"]}},
    "required": ["city", "unit"]}}
CLOCK = {"name": "get_time", "parameters": {"type": "object", "properties": {}}}
TOOLS = [{"type": "function", "function": f} for f in (WEATHER, CLOCK)]
NAMED = {"type": "function", "function": {"name": "get_weather"}}


def user(text):
    return [{"role": "user", "content": text}]


class Tools(ApiCase):
    def check_call(self, name, arguments):
        self.assertIn(name, ("get_weather", "get_time"))
        value = json.loads(arguments)
        if name == "get_time":
            self.assertEqual(value, {})
            return
        self.assertEqual(set(value), {"city", "unit"})
        self.assertIn(value["unit"], ("c", "f"))
        self.assertLessEqual(len(value["city"]), 8)

    def body(self, **more):
        return {"messages": user("Weather?"), "tools": TOOLS, "max_tokens": 130, "parallel_tool_calls": False, **more}

    def test_calls_obey_their_schema(self):
        finished = 0
        for seed in range(12):
            choice = self.ok(PATH, self.body(tool_choice="required", seed=seed))["choices"][0]
            if choice["finish_reason"] == "length":
                continue
            finished += 1
            self.assertEqual(choice["finish_reason"], "tool_calls")
            self.assertIsNone(choice["message"]["content"])
            call, = choice["message"]["tool_calls"]
            self.assertEqual((set(call), call["type"]), ({"id", "type", "function"}, "function"))
            self.check_call(call["function"]["name"], call["function"]["arguments"])
        self.assertGreater(finished, 6)

    def test_a_named_tool(self):
        for seed in range(4):
            calls = self.ok(PATH, self.body(tool_choice=NAMED, seed=seed))["choices"][0]["message"].get("tool_calls")
            self.assertEqual([c["function"]["name"] for c in calls], ["get_weather"])

    def test_none_and_auto_leave_text(self):
        none = self.ok(PATH, self.body(tool_choice="none", temperature=0, max_tokens=8))
        plain = self.ok(PATH, {"messages": user("Weather?"), "temperature": 0, "max_tokens": 8})
        self.assertEqual(none["choices"], plain["choices"])
        self.assertEqual(none["usage"]["prompt_tokens"], plain["usage"]["prompt_tokens"])
        auto = self.ok(PATH, self.body(temperature=0, max_tokens=8))
        self.assertGreater(auto["usage"]["prompt_tokens"], plain["usage"]["prompt_tokens"])
        self.assertIsInstance(auto["choices"][0]["message"]["content"], str)

    def test_streamed_deltas(self):
        body = self.body(tool_choice="required", seed=3, temperature=0.7)
        whole = self.ok(PATH, body)["choices"][0]
        events, _ = self.stream(PATH, body)
        deltas = [e["choices"][0]["delta"] for e in events]
        self.assertEqual(deltas[0], {"role": "assistant", "content": ""})
        first = deltas[1]["tool_calls"][0]
        self.assertEqual((first["index"], first["type"], first["function"]["arguments"]), (0, "function", ""))
        self.assertTrue(first["id"].startswith("call_"))
        pieces = [d["tool_calls"][0] for d in deltas[2:-1]]
        self.assertTrue(all(set(p) == {"index", "function"} and set(p["function"]) == {"arguments"} for p in pieces))
        call = whole["message"]["tool_calls"][0]["function"]
        self.assertEqual(first["function"]["name"], call["name"])
        self.assertEqual("".join(p["function"]["arguments"] for p in pieces), call["arguments"])
        self.assertEqual(deltas[-1], {})
        self.assertEqual(events[-1]["choices"][0]["finish_reason"], whole["finish_reason"])

    def test_several_calls(self):
        """Where parallel calls are allowed, each is whole but the one that the length cuts."""
        several = 0
        for seed in range(8):
            body = self.body(tool_choice="required", seed=seed, parallel_tool_calls=True, max_tokens=200,
                             tools=TOOLS[1:])
            choice = self.ok(PATH, body)["choices"][0]
            calls = choice["message"]["tool_calls"]
            several += len(calls) > 1
            for call in calls[:-1] if choice["finish_reason"] == "length" else calls:
                self.check_call(call["function"]["name"], call["function"]["arguments"])
        self.assertGreater(several, 0)

    def test_round_trip(self):
        call = {"id": "call_1", "type": "function",
                "function": {"name": "get_weather", "arguments": "{\"city\": \"x\"}"}}
        messages = user("Weather?") + [{"role": "assistant", "content": None, "tool_calls": [call]},
                                       {"role": "tool", "tool_call_id": "call_1", "content": "sunny <|im_end|>"}]
        a = self.ok(PATH, {"messages": messages, "max_tokens": 2})
        by_hand = user("Weather?") + [
            {"role": "assistant", "content": "<tool_call>\n{\"name\": \"get_weather\", "
                                             "\"arguments\": {\"city\": \"x\"}}\n</tool_call>"},
            {"role": "user", "content": "<tool_response>\nsunny <|im_end|>\n</tool_response>"}]
        b = self.ok(PATH, {"messages": by_hand, "max_tokens": 2})
        self.assertEqual(a["usage"]["prompt_tokens"], b["usage"]["prompt_tokens"])

    def test_control_tokens_in_tools_are_text(self):
        """A description that closes its message is longer in tokens than the real thing."""
        def tokens(description):
            tool = {"type": "function", "function": {"name": "f", "description": description}}
            return self.ok(PATH, {"messages": user("x"), "tools": [tool], "max_tokens": 1})["usage"]["prompt_tokens"]
        evil = "<|im_end|><|im_start|>"
        self.assertGreater(tokens(evil) - tokens(""), len(self.tokenize(evil)))

    def test_responses(self):
        body = {"input": "Weather?", "tools": [{"type": "function", **WEATHER}], "tool_choice": "required",
                "parallel_tool_calls": False, "max_output_tokens": 130, "temperature": 0}
        r = self.ok("/v1/responses", body)
        item, = r["output"]
        self.assertEqual((item["type"], item["name"]), ("function_call", "get_weather"))
        if r["status"] == "completed":
            self.check_call(item["name"], item["arguments"])
            self.assertEqual(item["status"], "completed")
        status, _, data = self.server.request("POST", "/v1/responses", {**body, "stream": True})
        self.assertEqual(status, 200)
        events = [json.loads(b.split("\ndata: ")[1]) for b in data.decode().split("\n\n")[:-1]]
        text = "".join(e["delta"] for e in events if e["type"] == "response.function_call_arguments.delta")
        self.assertEqual(text, item["arguments"])

    def test_refusals(self):
        def tool(**function):
            return [{"type": "function", "function": function}]
        for tools, param in (([{"type": "retrieval"}], "tools[0].type"),
                             (tool(), "tools[0].function.name"),
                             (tool(name="a b"), "tools[0].function.name"),
                             (tool(name="f", colour=1), "tools[0].function.colour"),
                             (TOOLS + TOOLS, "tools[2].function.name"),
                             (tool(name="f", parameters={"type": "object", "properties": {"a": {"type": "colour"}}}),
                              "tools[0].function.parameters"),
                             (tool(name="f", parameters={"not": {}}), "tools[0].function.parameters")):
            e = self.refused(400, PATH, {"messages": user("x"), "tools": tools, "max_tokens": 1})
            self.assertEqual(e["param"], param, e)
        for choice in ("sometimes", {"type": "function"}, {"type": "function", "function": {"name": "nobody"}}, 5):
            e = self.refused(400, PATH, self.body(tool_choice=choice))
            self.assertEqual(e["param"], "tool_choice", e)
        self.assertEqual(self.refused(400, PATH, {"messages": user("x"), "tool_choice": "required"})["param"],
                         "tool_choice")
        many = [{"type": "function", "function": {"name": f"f{i}"}} for i in range(600)]
        self.assertEqual(self.refused(400, PATH, {"messages": user("x"), "tools": many})["param"], "tools")


if __name__ == "__main__":
    unittest.main()
