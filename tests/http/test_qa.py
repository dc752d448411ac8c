"""test_qa.py - /v1/qa with the default checkpoint: answers, exact evidence, what is not in a text, long documents."""
import json
import random
import unittest

from harness import MODEL, Server, heavy, needs_model

LIGHTHOUSE = (
    "The Amber Lighthouse was built in 1874 by the engineer Tomas Varga. It stands on the northern cliff of Port "
    "Selwyn and is 41 metres tall. Visitors may climb it in summer.")
BAKERY = ("Maria Chen founded the bakery in 1998 after leaving her job at a bank in Toronto. 🥐 Her brother Leo joined "
          "her two years later.\r\nThe bakery now employs 35 people and sells bread in 12 towns.")
RECIPE = (
    "To make the pancakes, mix two cups of flour with three eggs and half a litre of milk. Let the batter rest for "
    "20 minutes. Heat butter in a pan and fry each pancake for two minutes on each side. Serve with maple syrup.")
WORDS = ("harbour market winter letter garden engine window report village captain teacher school library morning "
         "carpet weather silver machine bottle forest").split()


def pages(n, seed=1):
    """About 500 words each, with emoji, combining marks, and line ends of two kinds."""
    pick = random.Random(seed)
    form = "The {} of the {} was seen 🌊 near the {} in the {}, cafe\u0301 and all."
    sentence = lambda: form.format(*pick.sample(WORDS, 4))
    paragraph = lambda: " ".join(sentence() for _ in range(6))
    return "".join(paragraph() + pick.choice(["\n\n", "\r\n\r\n"]) for _ in range(5 * n))


@needs_model
class QaTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server(model=MODEL)
        cls.addClassCleanup(cls.server.__exit__, None, None, None)

    def ask(self, documents, *questions, **fields):
        status, _, answer = self.server.post("/v1/qa", {"documents": documents, "questions": list(questions), **fields},
                                             timeout=600)
        self.assertEqual(status, 200, answer)
        self.assertEqual(answer["object"], "answer")
        self.assertEqual([r["index"] for r in answer["results"]], list(range(len(questions))))
        for result in answer["results"]:
            self.check(documents, result)
        return answer["results"]

    def check(self, documents, result):
        self.assertEqual(set(result), {"index", "answer", "score", "evidence", "answerable"})
        self.assertTrue(0 <= result["score"] <= 1)
        if not result["answerable"]:
            self.assertEqual((result["answer"], result["evidence"]), ("", None))
            return
        evidence = result["evidence"]
        self.assertTrue(result["answer"])
        self.assertEqual(evidence["text"], documents[evidence["document"]][evidence["start"]:evidence["end"]])
        self.assertEqual(evidence["text"], evidence["text"].strip())

    def test_facts(self):
        facts = {"Who built the Amber Lighthouse?": "Varga", "When was the lighthouse built?": "1874",
                 "How tall is the lighthouse?": "41", "Where does the lighthouse stand?": "Selwyn"}
        results = self.ask([LIGHTHOUSE], *facts)
        for (question, fact), result in zip(facts.items(), results):
            self.assertTrue(result["answerable"], (question, result))
            self.assertIn(fact, result["answer"], question)
            self.assertIn(fact, result["evidence"]["text"], question)

    def test_an_unrelated_text_holds_no_answer(self):
        questions = ["What is the capital of France?", "Who wrote Hamlet?", "When was the lighthouse built?",
                     "Who is the president of the United States?", "How many people live in Tokyo?"]
        for result in self.ask([RECIPE], *questions):
            self.assertFalse(result["answerable"], result)

    def test_questions_and_documents_in_one_request(self):
        results = self.ask([RECIPE, LIGHTHOUSE, BAKERY], "Who founded the bakery?", "Who built the Amber Lighthouse?",
                           "What is the capital of Australia?", "When was the bakery founded?")
        self.assertEqual([r["answerable"] for r in results], [True, True, False, True])
        self.assertEqual([r["evidence"] and r["evidence"]["document"] for r in results], [2, 1, None, 2])
        self.assertIn("Maria", results[0]["answer"])
        self.assertIn("1998", results[3]["answer"])

    def test_question_and_context(self):
        status, _, answer = self.server.post("/v1/qa", {"question": "Who founded the bakery?", "context": BAKERY})
        self.assertEqual(status, 200, answer)
        self.assertEqual(answer["results"][0]["evidence"]["document"], 0)
        self.assertIn("Maria", answer["results"][0]["answer"])
        self.assertGreater(answer["usage"]["prompt_tokens"], 100)

    @heavy
    def test_twenty_pages_with_the_answer_at_the_end(self):
        fact = "🎉 The observatory on Mount Kelda was opened in 1931 by the astronomer Lucia Ferrant. 👩‍🚀"
        document = pages(20) + fact
        self.assertGreater(len(document.split()), 9000)
        question = "Who opened the observatory on Mount Kelda?"
        result, other = self.ask([document], question, "Who wrote Hamlet?")
        self.assertTrue(result["answerable"], result)
        self.assertIn("Lucia Ferrant", result["answer"])
        self.assertIn("Lucia Ferrant", result["evidence"]["text"])
        self.assertFalse(other["answerable"], other)

    def test_stream_ends_with_the_same_result(self):
        documents, questions = [LIGHTHOUSE, RECIPE], ["Who built the Amber Lighthouse?", "Who wrote Hamlet?"]
        expected = self.ask(documents, *questions)
        status, _, body = self.server.request(
            "POST", "/v1/qa", {"documents": documents, "questions": questions, "stream": True,
                               "stream_options": {"include_usage": True}})
        self.assertEqual(status, 200)
        events = body.decode().split("\n\n")
        self.assertEqual(events[-2:], ["data: [DONE]", ""])
        events = [json.loads(e[6:]) for e in events[:-2] if e.startswith("data: ")]
        text = "".join(c["text"] for e in events for c in e["choices"] if c["index"] == 0)
        self.assertEqual(text.strip(), expected[0]["answer"])
        self.assertEqual([r for e in events for r in e.get("results", [])], expected)
        self.assertGreater(len(events), 4)
        self.assertGreater(events[-1]["usage"]["completion_tokens"], 0)

    def test_errors(self):
        for fields, param in (({}, "question"), ({"question": "a"}, "context"),
                              ({"question": "a", "context": "b", "documents": ["c"]}, "context"),
                              ({"question": "a", "context": "b", "max_tokens": 0}, "max_tokens"),
                              ({"question": "a", "context": "b", "n": 2}, "n")):
            status, _, answer = self.server.post("/v1/qa", fields)
            self.assertEqual((status, answer["error"]["param"]), (400, param), answer)
        status, _, answer = self.server.post("/v1/qa", {"question": "why " * 9000, "context": "b"})
        self.assertEqual((status, answer["error"]["code"]), (400, "context_length_exceeded"))
        self.assertEqual(self.server.post("/v1/qa", {"question": "a", "context": "b", "model": "none"})[0], 404)


if __name__ == "__main__":
    unittest.main()
