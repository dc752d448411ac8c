"""test_speculation.py - guessing tokens ahead shows in the counters and in nothing that a client reads.

Every request is asked of a server that guesses and of one that does not; the answers are compared field by field.
"""
import json
import unittest

from harness import MODEL, SMALL, Server, heavy, needs_model
from test_concurrency import read_stream

LINE = "the lamp, the stone and the river; the lamp, the stone and the bridge; the lamp, the stone and the "
REQUESTS = {
    "greedy": {},
    "long": {"max_tokens": 300},
    "sampled": {"temperature": 0.8, "seed": 7, "top_p": 0.9},
    "logprobs": {"logprobs": 3},
    "choices": {"n": 4, "temperature": 1, "seed": 3},
    "penalties": {"repetition_penalty": 1.1, "presence_penalty": 0.3, "frequency_penalty": 0.2},
    "bias": {"logit_bias": {"20": 1.5}, "temperature": 0.5, "seed": 1},
    "one": {"max_tokens": 1},
    "two": {"max_tokens": 2},
    "ends": {"ignore_eos": False},
    "ngrams": {"no_repeat_ngram_size": 4},
    "pattern": {"regex": "(the lamp, the stone and the (river|bridge); ){3}"},
    "schema": {"json_schema": {"type": "array", "minItems": 6, "maxItems": 6,
                               "items": {"enum": ["the lamp", "the stone"]}}},
}


class Guessing(unittest.TestCase):
    model, prompt = SMALL, LINE * 4

    @classmethod
    def setUpClass(cls):
        cls.plain = Server("--speculation", "0", model=cls.model)
        cls.guessing = Server("--speculation", "12", model=cls.model)

    @classmethod
    def tearDownClass(cls):
        for server in (cls.plain, cls.guessing):
            server.__exit__(None, None, None)

    def both(self, fields):
        body = {"prompt": self.prompt, "max_tokens": 80, "temperature": 0, "ignore_eos": True, **fields}
        answers = []
        for server in (self.plain, self.guessing):
            status, _, answer = server.post("/v1/completions", body)
            self.assertEqual(status, 200, answer)
            usage = {k: v for k, v in answer["usage"].items() if k.endswith("_tokens")}
            answers.append((answer["choices"], usage))
        return answers

    def accepted(self):
        return self.guessing.metrics()["loquat_accepted_tokens_total"]

    def test_answers_are_equal_whatever_is_asked(self):
        for name, fields in REQUESTS.items():
            with self.subTest(name):
                plain, guessed = self.both(fields)
                self.assertEqual(plain, guessed)

    def test_a_stop_string_inside_a_guess_ends_the_text_there(self):
        (choices, _), _ = self.both({})
        text = choices[0]["text"]
        for cut in (len(text) // 3, len(text) // 2):
            plain, guessed = self.both({"stop": [text[cut:cut + 4]]})
            self.assertEqual(plain, guessed)
            self.assertEqual(plain[0][0]["finish_reason"], "stop")

    def test_streams_are_equal(self):
        body = {"prompt": self.prompt, "max_tokens": 60, "temperature": 0, "stream": True, "ignore_eos": True, "n": 2}
        self.assertEqual(read_stream(self.plain, body), read_stream(self.guessing, body))

    def test_it_is_used_and_can_be_turned_off(self):
        before, ticks = self.accepted(), self.guessing.metrics()["loquat_ticks_total"]
        self.both({"max_tokens": 200})
        gained = self.accepted() - before
        self.assertGreater(gained, 0)
        self.assertLessEqual(self.guessing.metrics()["loquat_ticks_total"] - ticks, 210 - gained)
        values = self.guessing.metrics()
        self.assertGreaterEqual(values["loquat_drafted_tokens_total"], values["loquat_accepted_tokens_total"])
        name = json.loads(self.guessing.get("/v1/models")[2])["data"][0]["id"]
        self.assertEqual(values[f'vllm:spec_decode_num_accepted_tokens_total{{model_name="{name}"}}'],
                         values["loquat_accepted_tokens_total"])
        self.assertEqual(self.plain.metrics()["loquat_drafted_tokens_total"], 0)


@heavy
@needs_model
class DefaultCheckpoint(Guessing):
    model, prompt = MODEL, "Repeat: " + LINE * 2


if __name__ == "__main__":
    unittest.main()
