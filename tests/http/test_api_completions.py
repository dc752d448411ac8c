"""test_api_completions.py - /v1/completions against the running server: shapes, streams, stops, scores, refusals."""
import math
import unittest

from api_case import ApiCase

PATH = "/v1/completions"
PROMPT = "The little boat left the harbour and"


class Shapes(ApiCase):
    def test_answer(self):
        a = self.ok(PATH, {"prompt": PROMPT, "max_tokens": 5, "temperature": 0, "ignore_eos": True,
                           "return_token_ids": True})
        self.assertEqual(a["object"], "text_completion")
        self.assertTrue(a["id"].startswith("cmpl-"))
        self.assertTrue(a["system_fingerprint"].startswith("loquat-"))
        self.assertEqual(a["model"], self.model)
        self.assertAlmostEqual(a["created"], self.now(), delta=60)
        choice, = a["choices"]
        self.assertEqual(set(choice), {"text", "index", "logprobs", "finish_reason", "token_ids"})
        self.assertEqual((choice["index"], choice["logprobs"], choice["finish_reason"]), (0, None, "length"))
        self.assertEqual(len(choice["token_ids"]), 5)
        self.assertEqual(self.detokenize(choice["token_ids"]), choice["text"])
        prompt_tokens = len(self.tokenize(PROMPT, add_special=True))
        self.assertEqual(a["usage"]["prompt_tokens"], prompt_tokens)
        self.assertEqual(a["usage"]["completion_tokens"], 5)
        self.assertEqual(a["usage"]["total_tokens"], prompt_tokens + 5)

    def test_default_is_sixteen_tokens(self):
        a = self.ok(PATH, {"prompt": PROMPT, "ignore_eos": True})
        self.assertEqual(a["usage"]["completion_tokens"], 16)

    def test_names_of_max_tokens(self):
        for name in ("max_tokens", "max_completion_tokens", "n_predict"):
            a = self.ok(PATH, {"prompt": PROMPT, name: 2, "ignore_eos": True})
            self.assertEqual(a["usage"]["completion_tokens"], 2, name)

    def test_text_and_ids_are_the_same_prompt(self):
        ids = self.tokenize(PROMPT, add_special=True)
        options = {"max_tokens": 8, "temperature": 0}
        by_text = self.ok(PATH, {"prompt": PROMPT, **options})
        by_ids = self.ok(PATH, {"prompt": ids, **options})
        self.assertEqual(by_text["choices"], by_ids["choices"])

    def test_several_prompts_and_choices(self):
        prompts = [PROMPT, "Once", "A sailor said that"]
        options = {"max_tokens": 6, "seed": 11, "temperature": 0.9, "ignore_eos": True}
        a = self.ok(PATH, {"prompt": prompts, "n": 2, **options})
        self.assertEqual([c["index"] for c in a["choices"]], list(range(6)))
        self.assertEqual(a["usage"]["completion_tokens"], 36)
        for i, prompt in enumerate(prompts):
            alone = self.ok(PATH, {"prompt": prompt, "n": 2, **options})
            self.assertEqual([c["text"] for c in alone["choices"]],
                             [c["text"] for c in a["choices"][2 * i:2 * i + 2]], prompt)

    def test_seed(self):
        body = {"prompt": PROMPT, "max_tokens": 12, "temperature": 1.5, "ignore_eos": True}
        texts = [self.text(PATH, {**body, "seed": seed}) for seed in (5, 5, 6, -9223372036854775808)]
        self.assertEqual(texts[0], texts[1])
        self.assertGreater(len(set(texts)), 1)

    def test_logit_bias_bans_and_forces(self):
        first = self.ok(PATH, {"prompt": PROMPT, "max_tokens": 1, "temperature": 0, "return_token_ids": True})
        best = first["choices"][0]["token_ids"][0]
        other = self.tokenize("z")[0]
        for bias, wanted in (({best: -100}, lambda i: i != best), ({other: 100}, lambda i: i == other)):
            a = self.ok(PATH, {"prompt": PROMPT, "max_tokens": 1, "temperature": 0, "return_token_ids": True,
                               "logit_bias": bias})
            self.assertTrue(wanted(a["choices"][0]["token_ids"][0]), bias)


class Stops(ApiCase):
    def greedy(self, **more):
        return self.ok(PATH, {"prompt": PROMPT, "max_tokens": 24, "temperature": 0, "ignore_eos": True, **more})

    def test_stop_across_tokens(self):
        """A stop text that begins in one token and ends in another is found, in the answer and in the stream."""
        whole = self.greedy(return_token_ids=True)["choices"][0]
        pieces = [self.detokenize([i]) for i in whole["token_ids"]]
        at = next(i for i in range(8, 20) if pieces[i] and pieces[i + 1].strip())
        stop = pieces[at][-1] + pieces[at + 1][:2]
        expected = whole["text"][:whole["text"].index(stop)]
        for stops in (stop, [stop], ["never in it \u0001", stop]):
            choice = self.greedy(stop=stops)["choices"][0]
            self.assertEqual((choice["text"], choice["finish_reason"]), (expected, "stop"))
        streamed, _ = self.stream(PATH, {"prompt": PROMPT, "max_tokens": 24, "temperature": 0, "ignore_eos": True,
                                         "stop": stop})
        self.assertEqual("".join(e["choices"][0]["text"] for e in streamed), expected)

    def test_stop_token(self):
        ids = self.greedy(return_token_ids=True)["choices"][0]["token_ids"]
        wanted = ids[6]
        choice = self.greedy(stop_token_ids=[wanted], return_token_ids=True)["choices"][0]
        self.assertEqual(choice["token_ids"], ids[:ids.index(wanted) + 1])
        self.assertEqual(choice["finish_reason"], "stop")

    def test_half_a_stop_is_sent_in_the_end(self):
        text = self.greedy()["choices"][0]["text"]
        self.assertEqual(self.greedy(stop=text[-1] + "\u0001")["choices"][0]["text"], text)

    def test_ignore_eos(self):
        """With the end token forced the answer ends at once; with ignore_eos it does not."""
        end = self.tokenize("<|im_end|>")
        self.assertEqual(len(end), 1)
        body = {"prompt": PROMPT, "max_tokens": 4, "temperature": 0, "logit_bias": {end[0]: 100}}
        a = self.ok(PATH, body)
        self.assertEqual((a["choices"][0]["finish_reason"], a["choices"][0]["text"]), ("stop", ""))
        a = self.ok(PATH, {**body, "ignore_eos": True})
        self.assertEqual((a["choices"][0]["finish_reason"], a["usage"]["completion_tokens"]), ("length", 4))


class Streams(ApiCase):
    def test_order_and_usage(self):
        body = {"prompt": PROMPT, "max_tokens": 6, "temperature": 0, "ignore_eos": True, "stream": True}
        events, headers = self.stream(PATH, {**body, "stream_options": {"include_usage": True},
                                             "return_token_ids": True})
        self.assertTrue(headers["content-type"].startswith("text/event-stream"))
        self.assertIn("no-cache", headers["cache-control"])
        self.assertEqual(len({(e["id"], e["created"], e["model"], e["system_fingerprint"]) for e in events}), 1)
        self.assertEqual({e["object"] for e in events}, {"text_completion"})
        self.assertEqual(events[-1]["choices"], [])
        self.assertEqual(events[-1]["usage"]["completion_tokens"], 6)
        self.assertTrue(all(e["usage"] is None for e in events[:-1]))
        reasons = [e["choices"][0]["finish_reason"] for e in events[:-1]]
        self.assertEqual(reasons, [None] * (len(reasons) - 1) + ["length"])
        whole = self.ok(PATH, {**body, "stream": False, "return_token_ids": True})["choices"][0]
        self.assertEqual("".join(e["choices"][0]["text"] for e in events[:-1]), whole["text"])
        self.assertEqual([i for e in events[:-1] for i in e["choices"][0]["token_ids"]], whole["token_ids"])

    def test_no_usage_unasked(self):
        events, _ = self.stream(PATH, {"prompt": PROMPT, "max_tokens": 2})
        self.assertTrue(all("usage" not in e for e in events))

    def test_many_choices_are_told_apart(self):
        body = {"prompt": [PROMPT, "Once"], "n": 2, "max_tokens": 8, "seed": 3, "ignore_eos": True}
        events, _ = self.stream(PATH, body)
        whole = self.ok(PATH, body)
        for c in whole["choices"]:
            mine = [e["choices"][0] for e in events if e["choices"][0]["index"] == c["index"]]
            self.assertEqual("".join(m["text"] for m in mine), c["text"])
            self.assertEqual([m["finish_reason"] for m in mine if m["finish_reason"]], [c["finish_reason"]])

    def test_whole_code_points(self):
        """Bytes of a character that come as several tokens are sent together, or not at all."""
        pieces = self.tokenize("🙂")
        self.assertGreater(len(pieces), 1)
        for k, piece in enumerate(pieces):
            text = "".join(e["choices"][0]["text"] for e in self.stream(PATH, {
                "prompt": PROMPT, "max_tokens": 3, "temperature": 0, "ignore_eos": True,
                "logit_bias": {piece: 100}})[0])
            text.encode()
            self.assertNotIn("\udc00", text, k)

    def test_stream_with_echo_and_logprobs(self):
        body = {"prompt": PROMPT, "max_tokens": 5, "temperature": 0, "echo": True, "logprobs": 2, "ignore_eos": True}
        whole = self.ok(PATH, body)["choices"][0]
        events, _ = self.stream(PATH, body)
        choices = [e["choices"][0] for e in events]
        self.assertEqual("".join(c["text"] for c in choices), whole["text"])
        for key in ("tokens", "text_offset", "token_logprobs", "top_logprobs"):
            self.assertEqual([x for c in choices for x in c["logprobs"][key]], whole["logprobs"][key], key)


class Scores(ApiCase):
    def test_echo_and_logprobs(self):
        a = self.ok(PATH, {"prompt": PROMPT, "max_tokens": 1, "temperature": 0, "echo": True, "logprobs": 5})
        choice = a["choices"][0]
        lp = choice["logprobs"]
        n = a["usage"]["prompt_tokens"]
        self.assertEqual({len(lp[k]) for k in ("tokens", "token_logprobs", "top_logprobs", "text_offset")}, {n + 1})
        self.assertTrue(choice["text"].startswith(PROMPT))
        self.assertIsNone(lp["token_logprobs"][0])
        self.assertIsNone(lp["top_logprobs"][0])
        for token, value, top in zip(lp["tokens"][1:], lp["token_logprobs"][1:], lp["top_logprobs"][1:]):
            self.assertLessEqual(value, 0)
            self.assertEqual(top[token], value)
            self.assertIn(len(top), (5, 6))
            self.assertLessEqual(sum(map(math.exp, top.values())), 1.0001)
        for token, offset in zip(lp["tokens"][:n], lp["text_offset"][:n]):
            if not token.startswith("bytes:"):
                self.assertTrue(choice["text"][offset:].startswith(token), (token, offset))
        self.assertEqual(lp["token_logprobs"][-1], max(lp["top_logprobs"][-1].values()))

    def test_a_prompt_scores_as_its_generation_did(self):
        """What was generated greedily scores the same when it comes back as a prompt."""
        first = self.ok(PATH, {"prompt": PROMPT, "max_tokens": 6, "temperature": 0, "logprobs": 1, "ignore_eos": True,
                               "return_token_ids": True})
        ids = self.tokenize(PROMPT, add_special=True)
        generated = first["choices"][0]["token_ids"]
        again = self.ok(PATH, {"prompt": ids + generated, "max_tokens": 0, "echo": True, "logprobs": 1})
        self.assertEqual(again["usage"]["completion_tokens"], 0)
        self.assertEqual(again["choices"][0]["finish_reason"], "length")
        scores = again["choices"][0]["logprobs"]["token_logprobs"][len(ids):]
        for a, b in zip(first["choices"][0]["logprobs"]["token_logprobs"], scores):
            self.assertAlmostEqual(a, b, delta=0.15)

    def test_offsets_count_code_points(self):
        text = "naïve 🙂 café 日本"
        a = self.ok(PATH, {"prompt": text, "max_tokens": 0, "echo": True, "logprobs": 0})
        lp = a["choices"][0]["logprobs"]
        self.assertEqual(a["choices"][0]["text"], text)
        self.assertEqual(lp["text_offset"], sorted(lp["text_offset"]))
        for token, offset in zip(lp["tokens"], lp["text_offset"]):
            if not token.startswith("bytes:"):
                self.assertTrue(text[offset:].startswith(token), (token, offset))

    def test_echo_alone(self):
        a = self.ok(PATH, {"prompt": PROMPT, "max_tokens": 2, "temperature": 0, "echo": True})
        b = self.ok(PATH, {"prompt": PROMPT, "max_tokens": 2, "temperature": 0})
        self.assertEqual(a["choices"][0]["text"], PROMPT + b["choices"][0]["text"])


class Refusals(ApiCase):
    def test_bad_fields_are_named(self):
        base = {"prompt": "x", "max_tokens": 1}
        for field, value in (("temperature", -1), ("temperature", "hot"), ("top_p", 1.1), ("n", 0), ("n", 10**6),
                             ("max_tokens", -1), ("max_tokens", 1.5), ("logprobs", 21), ("seed", 1e300),
                             ("stop", [""]), ("stop", ["x"] * 17), ("stop", 5), ("echo", "yes"), ("prompt", {}),
                             ("prompt", [[1], 2]), ("prompt", [10**7]), ("logit_bias", {"x": 1}),
                             ("logit_bias", {"1": 1000}), ("best_of", 3), ("suffix", "tail"), ("wat", 1),
                             ("stream_options", {"include_usage": True}), ("store", True)):
            e = self.refused(400, PATH, {**base, field: value})
            self.assertEqual(e["param"], field, (field, value, e))
            self.assertIn(field, e["message"])
            self.assertEqual(e["type"], "invalid_request_error")
        self.assertEqual(self.refused(400, PATH, {**base, "suffix": "x"})["code"], "unsupported")

    def test_null_is_absent(self):
        self.ok(PATH, {"prompt": "x", "max_tokens": 1, "stop": None, "seed": None, "logprobs": None, "suffix": None,
                       "user": None, "stream_options": None})

    def test_over_long_prompt_tells_both_counts(self):
        prompt = "word " * 700
        n = len(self.tokenize(prompt, add_special=True))
        e = self.refused(400, PATH, {"prompt": prompt, "max_tokens": 3})
        self.assertEqual(e["code"], "context_length_exceeded")
        self.assertIn(f"maximum context length is {self.context} tokens", e["message"])
        self.assertIn(f"{n} in the prompt", e["message"])
        self.assertIn(str(n + 3), e["message"])
        e = self.refused(400, PATH, {"prompt": "x", "max_tokens": self.context})
        self.assertEqual(e["code"], "context_length_exceeded")

    def test_unknown_model(self):
        e = self.refused(404, PATH, {"prompt": "x", "model": "gpt-9"})
        self.assertEqual((e["code"], e["param"]), ("model_not_found", "model"))
        self.assertIn("gpt-9", e["message"])

    def test_bodies_that_are_no_requests(self):
        for body in (b"", b"{", b"[]", b"\"x\"", b"{\"prompt\":\"a\",\"prompt\":\"b\"}", b"{\"prompt\":\"\xff\"}",
                     b"{\"prompt\":\"\\ud800\"}", b"[" * 100000, b"{\"prompt\":" + b"[" * 5000 + b"]" * 5000 + b"}",
                     b"{\"prompt\":\"a\"} trailing", b"{\"prompt\":NaN}", b"{\"prompt\":1" + b"0" * 400 + b"}"):
            self.refused(400, PATH, body)
        self.ok(PATH, {"prompt": "x", "max_tokens": 1})


if __name__ == "__main__":
    unittest.main()
