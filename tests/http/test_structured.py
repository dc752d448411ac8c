"""test_structured.py - the corpus of JSON schemas at temperature 1: every answer that ends is valid, nearly all end,
impossible schemas are refused with the reason; and what cuts an answer says so.

A part of the corpus; all of it with LOQUAT_TEST_LONG=1.  jsonschema, another's validator, is the judge where it is
installed (tests/run does that); without it answers must at least be JSON.
"""

import json
import os
import threading
import unittest
from concurrent.futures import ThreadPoolExecutor

from api_case import ApiCase
from harness import MODEL, ROOT, Server, heavy, needs_model

try:
    import jsonschema
except ImportError:
    jsonschema = None

LONG = os.environ.get("LOQUAT_TEST_LONG", "")
MOST_TOKENS = 512


def corpus(name):
    return json.loads((ROOT / "tests/golden/schemas" / f"{name}.json").read_text(encoding="utf-8"))


def check(schema, text):
    value = json.loads(text)
    if jsonschema:
        validator = jsonschema.Draft202012Validator
        validator(schema, format_checker=validator.FORMAT_CHECKER).validate(value)


def request(row, **fields):
    wish = {"type": "json_schema", "json_schema": {"name": "x", "schema": row["schema"], "strict": True}}
    if not isinstance(row["schema"], (dict, bool)):
        raise AssertionError(row)
    prompt = f"Here is a JSON document, {row['name'].split('/')[-1]}:\n\n"
    return {"prompt": prompt, "temperature": 1, "max_tokens": MOST_TOKENS, "response_format": wish, **fields}


@needs_model
@heavy
class Corpus(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server(model=MODEL)
        cls.addClassCleanup(cls.server.__exit__, None, None, None)

    def answers(self, rows, **fields):
        def ask(i):
            status, _, answer = self.server.post("/v1/completions", request(rows[i], seed=i, **fields), timeout=300)
            return status, answer

        with ThreadPoolExecutor(16) as pool:
            return list(pool.map(ask, range(len(rows))))

    def run_rows(self, rows, **fields):
        """How many of the answers ended; all of those are valid."""
        ended = 0
        for row, (status, answer) in zip(rows, self.answers(rows, **fields)):
            with self.subTest(row["name"]):
                self.assertEqual(status, 200, answer)
                for choice in answer["choices"]:
                    self.assertIn(choice["finish_reason"], ("stop", "length"))
                    if choice["finish_reason"] == "stop":
                        ended += 1
                        check(row["schema"], choice["text"])
        return ended

    def test_bounded_schemas_give_valid_answers_that_end(self):
        rows = corpus("bounded")
        rows = rows if LONG else rows[::7]
        ended = self.run_rows(rows)
        print(f"corpus: {ended} of {len(rows)} answers ended within {MOST_TOKENS} tokens")
        self.assertGreaterEqual(ended, 0.95 * len(rows))

    def test_open_schemas_give_valid_answers_or_say_length(self):
        rows = corpus("open")
        self.run_rows(rows if LONG else rows[::4], **({} if LONG else {"max_tokens": 96}))

    def test_choices_of_one_request_follow_the_grammar_each(self):
        row = next(r for r in corpus("bounded") if r["name"] == "object/weather")
        self.assertGreaterEqual(self.run_rows([row], n=4), 3)


class Refused(ApiCase):
    def refuse(self, rows):
        for row in rows:
            with self.subTest(row["name"]):
                error = self.refused(400, "/v1/completions", request(row, max_tokens=8))
                self.assertEqual(error["param"], "response_format")
                self.assertIn(row["reason"], error["message"])

    def test_impossible_schemas_are_refused_with_the_reason(self):
        self.refuse(corpus("impossible"))

    def test_what_cannot_be_enforced_is_refused_by_name(self):
        self.refuse(corpus("unsupported"))


class Answers(ApiCase):
    """On the small checkpoint, whose words are noise: the grammar alone makes them valid."""

    def ask(self, **fields):
        return self.ok("/v1/completions", {"prompt": "x", "temperature": 1, "seed": 5, **fields})["choices"][0]

    def test_an_answer_cut_by_max_tokens_says_length(self):
        choice = self.ask(
            max_tokens=5, json_schema={"type": "array", "items": {"type": "string", "minLength": 9}, "minItems": 9}
        )
        self.assertEqual(choice["finish_reason"], "length")

    def test_an_answer_that_is_whole_at_the_last_token_says_stop(self):
        whole = self.ask(max_tokens=64, choice=["abcdef"])
        self.assertEqual((whole["text"], whole["finish_reason"]), ("abcdef", "stop"))
        n = self.ok("/v1/completions", {"prompt": "x", "choice": ["abcdef"], "max_tokens": 64})["usage"][
            "completion_tokens"
        ]
        self.assertEqual(self.ask(max_tokens=n, choice=["abcdef"])["finish_reason"], "stop")

    def test_greedy_and_sampled_follow_the_grammar(self):
        for temperature in (0, 0.3, 2):
            for seed in range(4):
                fields = {
                    "temperature": temperature,
                    "seed": seed,
                    "max_tokens": 200,
                    "top_p": 0.9,
                    "repetition_penalty": 1.2,
                }
                choice = self.ask(regex=r"[a-f]{3,6}-\d{2}", **fields)
                self.assertRegex(choice["text"], r"^[a-f]{3,6}-\d{2}$")
                self.assertEqual(choice["finish_reason"], "stop")

    def test_what_is_biased_away_may_still_be_all_that_is_left(self):
        ids = self.tokenize("a")
        choice = self.ask(choice=["a"], logit_bias={str(i): -100 for i in ids})
        self.assertEqual(choice["text"], "a")

    def test_ignore_eos_ends_where_the_grammar_does(self):
        choice = self.ask(choice=["yes"], ignore_eos=True, max_tokens=50)
        self.assertEqual((choice["text"], choice["finish_reason"]), ("yes", "stop"))

    def test_beams_are_refused_by_name(self):
        error = self.refused(400, "/v1/completions", {"prompt": "x", "choice": ["a"], "beams": 2, "temperature": 0})
        self.assertEqual(error["param"], "beams")

    def test_streams_end_like_answers(self):
        body = {
            "prompt": "x",
            "json_schema": {"type": "array", "items": {"type": "integer"}, "maxItems": 3},
            "max_tokens": 200,
            "seed": 1,
        }
        events, _ = self.stream("/v1/completions", body)
        text = "".join(e["choices"][0]["text"] for e in events if e["choices"])
        self.assertIsInstance(json.loads(text), list)
        self.assertEqual(events[-1]["choices"][0]["finish_reason"], "stop")

    def test_15_a_bad_schema_is_never_an_unconstrained_answer(self):
        for schema in ({"type": "nonsense"}, {"$ref": "#/nowhere"}, {"pattern": "("}):
            self.refused(400, "/v1/completions", {"prompt": "x", "json_schema": schema})

    def test_16_classes_like_digits_are_known(self):
        text = self.ask(json_schema={"type": "string", "pattern": r"^\d{3}-\w{2}$"}, max_tokens=60)["text"]
        self.assertRegex(json.loads(text), r"^\d{3}-\w{2}$")

    def test_17_a_bad_schema_ends_its_request_alone(self):
        deep = {"type": "null"}
        for _ in range(30):
            deep = {"anyOf": [{"type": "array", "items": deep}, {"type": "array", "maxItems": 2}]}

        def hostile():
            self.server.post("/v1/completions", {"prompt": "x", "max_tokens": 4, "json_schema": deep})

        threads = [threading.Thread(target=hostile) for _ in range(2)]
        for t in threads:
            t.start()
        self.assertEqual(self.ask(choice=["fine"])["text"], "fine")
        for t in threads:
            t.join()

    def test_33_34_huge_numbers_and_patterns_are_bounded(self):
        bodies = [
            {"regex": "(((a{9999}){9999}){9999}){9999}"},
            {"regex": "((a*)*)*b" * 50},
            {"grammar": "root ::= " + "(" * 5000},
            {"grammar": 'root ::= "a"{1000000}'},
            {"json_schema": {"type": "string", "maxLength": 10**9}},
            {"json_schema": {"type": "array", "items": {"type": "string", "pattern": "^(.*a.{40})$"}}},
            {"json_schema": {"enum": list(range(9000))}},
            {"choice": ["x" * 900] * 900},
        ]
        for body in bodies:
            status, _, _ = self.server.post("/v1/completions", {"prompt": "x", "max_tokens": 3, **body})
            self.assertIn(status, (200, 400))
        self.assertEqual(self.server.get("/health")[0], 200)


if __name__ == "__main__":
    unittest.main()
