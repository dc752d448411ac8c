"""test_summarize.py - /v1/summarize with the default checkpoint: lengths, word limits, long texts, streams, errors."""
import json
import random
import tempfile
import unittest
from pathlib import Path

from harness import MODEL, Server, heavy, needs_model

TOWN = (
    "The town of Merrow lies on the west coast, between two low hills and a river that floods almost every spring. "
    "For three hundred years its people lived from fishing. In the 1960s the herring disappeared, and most of the "
    "boats were sold.\n\n"
    "In 1989 residents led by the teacher Hanna Lind began to restore the old smokehouse. The museum that they "
    "opened in it in 1992 has 60,000 visitors each year. House prices have tripled since 2005.\n\n"
    "The river remains a problem. After the flood of 2021, which damaged 85 houses, the government promised to "
    "build a wall. Mayor Per Aas says that it will be finished by 2027.")
WORDS = ("harbour market winter letter garden engine window report village captain teacher school library morning "
         "carpet weather silver machine bottle forest").split()


def article(tokens, seed=1):
    """Paragraphs without end; a sentence has about 15 tokens."""
    pick = random.Random(seed)
    sentence = lambda: "The {} of the {} was seen near the {} in the {}.".format(*pick.sample(WORDS, 4))
    return "\n\n".join(" ".join(sentence() for _ in range(8)) for _ in range(tokens // 112))


@needs_model
class SummarizeTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server(model=MODEL)
        cls.addClassCleanup(cls.server.__exit__, None, None, None)

    def ask(self, **fields):
        status, _, answer = self.server.post("/v1/summarize", fields, timeout=600)
        self.assertEqual(status, 200, answer)
        return answer

    def one(self, **fields):
        results = self.ask(**fields)["results"]
        self.assertEqual(len(results), 1)
        return results[0]

    def tokens(self, text):
        return len(self.server.post("/tokenize", {"content": text, "add_special": False})[2]["tokens"])

    def test_shape_and_the_same_again(self):
        answer = self.ask(text=TOWN)
        self.assertEqual(answer["object"], "summary")
        result = answer["results"][0]
        self.assertEqual(set(result), {"index", "summary", "passes", "input_tokens", "cut"})
        self.assertEqual((result["index"], result["passes"], result["cut"]), (0, 1, False))
        self.assertEqual(result["input_tokens"], self.tokens(TOWN))
        self.assertIn("Merrow", result["summary"])
        self.assertGreater(answer["usage"]["prompt_tokens"], result["input_tokens"])
        self.assertEqual(self.one(text=TOWN)["summary"], result["summary"])

    def test_lengths(self):
        short, long = (self.one(text=TOWN, length=name)["summary"] for name in ("short", "long"))
        self.assertLess(len(short.split()), 80)
        self.assertLess(len(short), len(long))

    def test_max_words(self):
        for style in ("paragraph", "bullets"):
            whole = self.one(text=TOWN, length="long", style=style)["summary"]
            for words in (3, 40, 5000):
                result = self.one(text=TOWN, length="long", style=style, max_words=words)
                summary = result["summary"]
                counted = [w for w in summary.split() if w != "-"]
                self.assertLessEqual(len(counted), words)
                self.assertTrue(summary)
                if words == 3:
                    self.assertTrue(result["cut"])
                    self.assertEqual(len(counted), 3)
                elif words == 40 and result["cut"] and len(counted) < 40:
                    self.assertRegex(summary, r"[.!?]['\")]?$", whole)
                elif words == 5000:
                    self.assertFalse(result["cut"])

    def test_bullets(self):
        for line in self.one(text=TOWN, style="bullets")["summary"].split("\n"):
            self.assertRegex(line, r"^- \S")

    def test_focus_changes_the_summary(self):
        self.assertNotEqual(self.one(text=TOWN, focus="house prices"), self.one(text=TOWN, focus="the flood"))

    def test_several_texts(self):
        other = "Tomatoes need six hours of sun. Water them in the morning. Straw keeps the soil moist in summer."
        results = self.ask(texts=[TOWN, other, " \n"], length="short")["results"]
        self.assertEqual([r["index"] for r in results], [0, 1, 2])
        self.assertIn("Merrow", results[0]["summary"])
        self.assertRegex(results[1]["summary"], "(?i)tomato|sun|water")
        self.assertEqual((results[2]["summary"], results[2]["passes"]), ("", 0))

    def test_special_tokens_are_text(self):
        result = self.one(text="<|im_end|> " + TOWN, length="short")
        self.assertGreater(result["input_tokens"], self.tokens(TOWN) + 4)

    def test_stream_says_the_same(self):
        fields = {"text": TOWN, "max_words": 60}
        whole = self.ask(**fields)
        status, head, body = self.server.request(
            "POST", "/v1/summarize", {**fields, "stream": True, "stream_options": {"include_usage": True}})
        self.assertEqual((status, head["content-type"]), (200, "text/event-stream"))
        events = body.decode().split("\n\n")
        self.assertEqual(events[-2:], ["data: [DONE]", ""])
        events = [json.loads(e[6:]) for e in events[:-2] if e.startswith("data: ")]
        text = "".join(c["text"] for e in events for c in e["choices"])
        self.assertEqual(text, whole["results"][0]["summary"])
        self.assertLessEqual(len(text.split()), 60)
        self.assertEqual(events[-2]["results"], whole["results"])
        self.assertEqual(events[-2]["choices"][0]["finish_reason"], "stop")
        self.assertEqual(events[-1]["usage"]["total_tokens"], whole["usage"]["total_tokens"])

    def test_errors(self):
        bad = (({}, "text"), ({"text": "a", "texts": ["b"]}, "text"), ({"text": "a", "style": 1}, "style"),
               ({"text": "a", "max_words": -1}, "max_words"), ({"text": "a", "top_k": 1}, "top_k"))
        for fields, param in bad:
            status, _, answer = self.server.post("/v1/summarize", fields)
            self.assertEqual((status, answer["error"]["param"]), (400, param), answer)
        self.assertEqual(self.server.post("/v1/summarize", {"text": "a", "model": "none"})[0], 404)


@heavy
@needs_model
class LongText(unittest.TestCase):
    """A text several times as long as the context, seen through --trace: which tokens the engine was asked to read."""

    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.trace = Path(folder.name, "trace.jsonl")
        cls.server = Server("--trace", str(cls.trace), model=MODEL)
        cls.addClassCleanup(cls.server.__exit__, None, None, None)

    def ask(self, text, name):
        """The result, usage, and the prompts of the request in order."""
        body = {"text": text, "length": "short"}
        status, _, answer = self.server.post("/v1/summarize", body, {"X-Request-Id": name}, timeout=900)
        self.assertEqual(status, 200, answer)
        lines = [json.loads(line) for line in self.trace.read_text().splitlines()]
        prompts = [line["prompt_token_ids"] for line in lines if line["request_id"] == name]
        self.assertEqual(len(prompts), answer["results"][0]["passes"])
        return answer["results"][0], answer["usage"], prompts

    def ids(self, text):
        return self.server.post("/tokenize", {"content": text, "add_special": False})[2]["tokens"]

    def first_level(self, ids, prompts):
        """How many prompts read the text; each goes on where the one before ended, so no token is lost or doubled."""
        at = 0
        for i, prompt in enumerate(prompts):
            if at == len(ids):
                return i
            head = ids[at:at + 12]
            begins = [k for k in range(len(prompt)) if prompt[k:k + len(head)] == head]
            self.assertEqual(len(begins), 1, f"prompt {i} does not go on at token {at}")
            k = begins[0]
            while k < len(prompt) and at < len(ids) and prompt[k] == ids[at]:
                k, at = k + 1, at + 1
        self.assertEqual(at, len(ids))
        return len(prompts)

    def test_every_token_is_read_once_and_the_last_paragraph_in_the_last_prompt(self):
        text = article(30000) + "\n\n" + TOWN
        ids = self.ids(text)
        self.assertGreater(len(ids), 28000)
        result, used, prompts = self.ask(text, "first")
        pieces = self.first_level(ids, prompts)
        self.assertEqual(result["input_tokens"], len(ids))
        self.assertGreater(pieces, len(ids) // 1500)
        self.assertLess(pieces, len(ids) // 750)
        self.assertEqual(used["prompt_tokens"], sum(map(len, prompts)))
        self.assertTrue(result["summary"])
        changed = text.replace("Mayor Per Aas", "Mayor Ida Holm")
        _, _, others = self.ask(changed, "second")
        self.assertEqual(self.first_level(self.ids(changed), others), pieces)
        self.assertEqual(others[:pieces - 1], prompts[:pieces - 1])
        self.assertNotEqual(others[pieces - 1], prompts[pieces - 1])


if __name__ == "__main__":
    unittest.main()
