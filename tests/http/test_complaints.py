"""test_complaints.py - what users of other servers complain of, one test for each: it must not happen here.

Complaints about how the server runs (overload, cancelling, shutdown, health, memory) have their tests in
test_server_*.py and test_concurrency.py; about files in test_hostile.py.
"""
import json
import time
import unittest

from api_case import ApiCase
from harness import ROOT, SMALL, Server

FAMILIES = ROOT / "tests/golden/families/models"
CHAT, COMPLETIONS, RESPONSES = "/v1/chat/completions", "/v1/completions", "/v1/responses"


def user(text):
    return [{"role": "user", "content": text}]


class Complaints(ApiCase):
    def quickly_refused(self, path, body, param=None):
        start = time.monotonic()
        e = self.refused(400, path, body)
        self.assertLess(time.monotonic() - start, 30)  # a limit for hangs, not a measurement
        if param:
            self.assertEqual(e["param"], param, e)
        return e

    def test_01_nothing_is_truncated_unasked(self):
        long = "word " * (2 * self.context)
        for path, body in ((CHAT, {"messages": user(long)}), (COMPLETIONS, {"prompt": long}),
                           (RESPONSES, {"input": long}),
                           ("/v1/messages", {"model": "default", "max_tokens": 4, "messages": user(long)}),
                           ("/api/chat", {"model": self.model, "messages": user(long), "stream": False})):
            status, _, answer = self.server.post(path, body)
            self.assertEqual(status, 400, (path, answer))
            self.assertIn(str(self.context), json.dumps(answer), path)

    def test_03_one_validator_for_every_route(self):
        """An option that is out of range is refused by each route that has it, in its own words."""
        for path, body in ((CHAT, {"messages": user("x")}), (COMPLETIONS, {"prompt": "x"}), (RESPONSES, {"input": "x"}),
                           ("/v1/messages", {"model": "default", "max_tokens": 1, "messages": user("x")}),
                           ("/api/chat", {"model": self.model, "messages": user("x"), "stream": False})):
            for name, value in (("temperature", 77), ("top_p", -1), ("no_such_option", 1)):
                inside = {"options": {name: value}} if path == "/api/chat" else {name: value}
                status, _, answer = self.server.post(path, {**body, **inside})
                self.assertEqual(status, 400, (path, name))
                self.assertIn(name, json.dumps(answer), path)

    def test_15_a_bad_schema_is_refused_and_never_ignored(self):
        bad = {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "colour"}}}
        for path, body in ((CHAT, {"messages": user("x"), "response_format": bad}),
                           (COMPLETIONS, {"prompt": "x", "response_format": bad})):
            self.assertTrue(self.quickly_refused(path, body)["param"].startswith("response_format"))
        self.quickly_refused(RESPONSES, {"input": "x", "text": {"format": {
            "type": "json_schema", "name": "n", "schema": {"type": "colour"}}}}, "text.format")
        tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "colour"}}}
        self.quickly_refused(CHAT, {"messages": user("x"), "tools": [tool]}, "tools[0].function.parameters")

    def test_16_classes_of_regular_expressions_in_tool_schemas(self):
        schema = {"type": "object", "properties": {"day": {"type": "string", "pattern": r"^\d{2}-\w\s?$"}},
                  "required": ["day"]}
        body = {"messages": user("x"), "max_tokens": 100, "temperature": 0, "parallel_tool_calls": False,
                "tools": [{"type": "function", "function": {"name": "f", "parameters": schema}}],
                "tool_choice": "required"}
        choice = self.ok(CHAT, body)["choices"][0]
        self.assertEqual(choice["finish_reason"], "tool_calls")
        call, = choice["message"]["tool_calls"]
        self.assertRegex(json.loads(call["function"]["arguments"])["day"], r"^\d{2}-\w\s?$")

    def test_17_a_bad_schema_costs_one_request(self):
        for schema in ({"$ref": "#/nowhere"}, {"allOf": [{"type": "string"}, {"type": "integer"}]}, {"pattern": "("},
                       {"type": "string", "pattern": "(a*)*" * 50}):
            self.server.post(CHAT, {"messages": user("x"), "max_tokens": 4, "response_format": {
                "type": "json_schema", "json_schema": {"name": "n", "schema": schema}}})
            self.ok(CHAT, {"messages": user("x"), "max_tokens": 1})

    def test_21_no_other_template_in_silence(self):
        """The checkpoint has its own template; test_prompt.c: one that fails disables chat, and says why."""
        model = self.get("/v1/capabilities")["data"][0]
        self.assertIsNotNone(model["chat"])
        self.refused(400, CHAT, {"messages": user("x"), "chat_template": "{{ messages }}"})

    def test_26_echo_and_logprobs(self):
        a = self.ok(COMPLETIONS, {"prompt": "Once upon", "echo": True, "logprobs": 1, "max_tokens": 1})
        logprobs = a["choices"][0]["logprobs"]
        self.assertEqual(len(logprobs["tokens"]), a["usage"]["total_tokens"])
        self.assertIsNone(logprobs["token_logprobs"][0])
        self.assertTrue(all(x is not None for x in logprobs["token_logprobs"][1:]))
        self.assertEqual(self.refused(400, CHAT, {"messages": user("x"), "echo": True})["param"], "echo")

    def test_33_every_number_has_a_range(self):
        for name, value in (("n", 10 ** 9), ("n", -1), ("max_tokens", -1), ("max_tokens", 10 ** 18), ("n", 1e300),
                            ("top_logprobs", 10 ** 6), ("seed", 1e30), ("temperature", -0.1), ("top_k", -2)):
            self.quickly_refused(CHAT, {"messages": user("x"), "max_tokens": 1, name: value}, name)
        self.quickly_refused(COMPLETIONS, {"prompt": ["x"] * 2000, "n": 100})

    def test_34_arguments_of_templates_are_bounded(self):
        body = {"messages": user("x"), "max_tokens": 1}
        for more in ({"messages": []}, {"bos_token": "x"}, {"nobody_uses_this": 1}, {f"a{i}": 1 for i in range(1000)}):
            e = self.refused(400, CHAT, {**body, "chat_template_kwargs": more})
            self.assertTrue(e["param"].startswith("chat_template_kwargs"), e)

    def test_34_a_hostile_pattern_in_a_tool(self):
        for pattern in ("(a+)+$", "(" * 5000, "(a|a)*" * 200, "a{1000}{1000}{1000}"):
            tool = {"type": "function", "function": {"name": "f", "parameters": {
                "type": "object", "properties": {"a": {"type": "string", "pattern": pattern}}}}}
            status, _, _ = self.server.post(CHAT, {"messages": user("x"), "tools": [tool], "max_tokens": 1})
            self.assertIn(status, (200, 400), pattern[:40])
        self.ok(CHAT, {"messages": user("x"), "max_tokens": 1})

    def test_35_depth_and_size_have_limits(self):
        deep = "[" * 100000 + "]" * 100000
        for path in (CHAT, COMPLETIONS, RESPONSES, "/v1/messages", "/api/chat"):
            status, _, body = self.server.request("POST", path, deep)
            self.assertEqual(status, 400, path)
            json.loads(body)
        nested = {}
        for _ in range(300):
            nested = {"type": "object", "properties": {"a": nested}}
        self.quickly_refused(CHAT, {"messages": user("x"), "tools": [
            {"type": "function", "function": {"name": "f", "parameters": nested}}]})

    def test_35_a_megabyte_of_tools(self):
        tools = [{"type": "function", "function": {"name": f"f{i}", "description": "d" * 2000}} for i in range(500)]
        self.quickly_refused(CHAT, {"messages": user("x"), "tools": tools})

    def test_35_lone_surrogates(self):
        for text in ('"\\ud800"', '"\\udc00x"', '"\\ud800\\u0041"'):
            body = '{"messages": [{"role": "user", "content": %s}]}' % text
            status, _, body = self.server.request("POST", CHAT, body)
            self.assertEqual(status, 400)
            self.assertIn("JSON", json.loads(body)["error"]["message"])

    def test_37_whole_characters_in_streams(self):
        events, _ = self.stream(CHAT, {"messages": user("é"), "max_tokens": 60, "seed": 5, "temperature": 2,
                                       "ignore_eos": True})
        for e in events:
            e["choices"][0]["delta"].get("content", "").encode("utf-8")

    def test_39_the_status_comes_before_the_first_byte(self):
        status, headers, body = self.server.request("POST", CHAT, {"messages": user("x"), "stream": True, "n": 0})
        self.assertEqual(status, 400)
        self.assertTrue(headers["content-type"].startswith("application/json"))
        json.loads(body)


class ComplaintsOfOtherFamilies(ApiCase):
    """Encoders and encoder-decoders beside the chat model."""

    @classmethod
    def setUpClass(cls):
        names = ("bert-embeddings", "bert-tags", "bert-masks", "t5", "bart")
        others = [x for name in names for x in ("--model", f"{name}={FAMILIES / name}")]
        cls.server = Server(*others, model=SMALL)
        cls.addClassCleanup(cls.server.__exit__, None, None, None)

    def test_02_truncation_is_asked_for_and_told_item_by_item(self):
        long = "word " * 400
        for path, body in (("/v1/embeddings", {"input": ["a", long]}), ("/api/embed", {"input": ["a", long]}),
                           ("/embed", {"inputs": ["a", long]})):
            status, _, answer = self.server.post(path, {"model": "bert-embeddings", **body})
            self.assertIn(status, (400, 413), (path, answer))
        answer = self.ok("/v1/embeddings", {"model": "bert-embeddings", "truncate": True, "input": ["a", long]})
        self.assertEqual([item.get("truncated") for item in answer["data"]], [None, True])

    def test_05_a_text_too_long_to_embed_is_the_clients_fault(self):
        e = self.refused(400, "/v1/embeddings", {"model": "bert-embeddings", "input": "word " * 1000})
        self.assertEqual(e["code"], "context_length_exceeded")
        self.ok("/v1/embeddings", {"model": "bert-embeddings", "input": "a word " * 20})

    def test_22_an_encoder_decoder_runs_its_encoder(self):
        """What it says depends on the source."""
        first, second = (
            self.ok("/v1/completions", {"model": "t5", "prompt": prompt, "max_tokens": 4, "temperature": 0,
                                        "logprobs": 1})["choices"][0]["logprobs"]["token_logprobs"]
            for prompt in ("The old king walked", "Three ships lay in the harbour"))
        self.assertEqual(len(first), 4)
        self.assertNotEqual(first, second)

    def test_23_bart_and_t5_stay(self):
        for model in ("bart", "t5"):
            answer = self.ok("/v1/completions", {"model": model, "prompt": "a garden", "beams": 2, "max_tokens": 4})
            self.assertGreater(answer["usage"]["completion_tokens"], 0)

    def test_24_masks_and_entities_have_routes(self):
        masks = self.ok("/v1/fill-mask", {"model": "bert-masks", "text": "The [MASK] king", "top_k": 2})
        self.assertEqual(len(masks["results"]), 1)
        self.assertIn("results", self.ok("/v1/entities", {"model": "bert-tags", "text": "The old king"}))

    def test_25_rerank_has_a_route(self):
        answer = self.ok("/v1/rerank", {"model": "bert-embeddings", "query": "a king",
                                        "documents": ["a dog", "a king"]})
        scores = [r["relevance_score"] for r in answer["results"]]
        self.assertEqual(scores, sorted(scores, reverse=True))
        self.assertEqual(answer["results"][0]["index"], 1)


if __name__ == "__main__":
    unittest.main()
