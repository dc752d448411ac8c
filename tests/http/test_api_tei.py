"""test_api_tei.py - the paths of Text Embeddings Inference, as its clients send and read them.

Numbers are compared with what the /v1 paths say of the same texts.
"""
import json
import math
import unittest

from test_tasks import Served

TEXTS = ["A cat sat.", "The dog runs over the hill.", "Seven."]


class Tei(Served):
    names = ["bert-embeddings", "bert-classifier", "bert-regression", "llama"]

    def error(self, status, path, body, kind, message=""):
        got, headers, data = self.server.request("POST", path, body)
        answer = json.loads(data)
        self.assertEqual((got, set(answer)), (status, {"error", "error_type"}), answer)
        self.assertEqual(answer["error_type"], kind)
        self.assertIn(message, answer["error"])
        self.assertEqual(headers["content-type"], "application/json")

    def near_all(self, a, b):
        self.assertEqual(len(a), len(b))
        for x, y in zip(a, b):
            self.assertAlmostEqual(x, y, places=6)

    def test_embed(self):
        known = [d["embedding"] for d in
                 self.ok("/v1/embeddings", {"model": "bert-embeddings", "input": TEXTS, "normalize": True})["data"]]
        many = self.ok("/embed", {"inputs": TEXTS})
        for a, b in zip(many, known):
            self.near_all(a, b)
        self.assertEqual(len(self.ok("/embed", {"inputs": TEXTS[0]})), 1)
        raw = self.ok("/embed", {"inputs": TEXTS[0], "normalize": False})[0]
        self.assertNotAlmostEqual(math.hypot(*raw), 1, places=3)
        short = self.ok("/embed", {"inputs": TEXTS, "dimensions": 4, "truncation_direction": "Right"})
        self.assertEqual([len(v) for v in short], [4] * 3)
        self.assertAlmostEqual(math.hypot(*short[0]), 1, places=5)
        ids = self.ok("/tokenize", {"model": "bert-embeddings", "content": TEXTS[1], "add_special": True})["tokens"]
        self.near_all(self.ok("/embed", {"inputs": [ids]})[0], known[1])

    def test_similarity(self):
        vectors = self.ok("/embed", {"inputs": TEXTS})
        scores = self.ok("/similarity", {"inputs": {"source_sentence": TEXTS[0], "sentences": TEXTS},
                                         "parameters": {"truncate": False}})
        self.near_all(scores, [sum(x * y for x, y in zip(vectors[0], v)) for v in vectors])
        self.error(422, "/similarity", {"inputs": {"source_sentence": "a", "sentences": []}}, "Validation", "sentences")
        self.error(422, "/similarity", {"inputs": {"source_sentence": "a"}}, "Validation", "inputs.sentences")

    def test_rerank(self):
        body = {"query": "Where is the cat?", "texts": TEXTS, "model": "bert-regression"}
        known = self.ok("/v1/rerank", {"model": "bert-regression", "query": body["query"], "documents": TEXTS})
        known = {r["index"]: r["relevance_score"] for r in known["results"]}
        ranked = self.ok("/rerank", {**body, "return_text": True})
        self.assertEqual([r["score"] for r in ranked], sorted((r["score"] for r in ranked), reverse=True))
        for r in ranked:
            self.assertAlmostEqual(r["score"], known[r["index"]], places=6)
            self.assertEqual(r["text"], TEXTS[r["index"]])
        for r in self.ok("/rerank", {**body, "raw_scores": True}):
            self.assertEqual(set(r), {"index", "score"})
            self.assertAlmostEqual(1 / (1 + math.exp(-r["score"])), known[r["index"]], places=6)
        self.assertEqual(len(self.ok("/rerank", {"query": "q", "texts": TEXTS})), 3)  # the model that can is found
        self.error(424, "/rerank", {**body, "model": "bert-embeddings"}, "Backend", "bert-embeddings can't do rerank")

    def test_predict(self):
        known = self.ok("/v1/classify", {"model": "bert-classifier", "texts": TEXTS})["results"]
        one = self.ok("/predict", {"inputs": TEXTS[0]})
        self.assertEqual([p["label"] for p in one], [x["label"] for x in known[0]["labels"]])
        self.near_all([p["score"] for p in one], [x["score"] for x in known[0]["labels"]])
        many = self.ok("/predict", {"inputs": [[t] for t in TEXTS]})
        self.assertEqual([m[0]["label"] for m in many], [k["label"] for k in known])
        pair = self.ok("/v1/classify", {"model": "bert-classifier", "pairs": [TEXTS[:2]]})["results"][0]
        of_pair = self.ok("/predict", {"inputs": TEXTS[:2]})
        self.near_all([p["score"] for p in of_pair], [x["score"] for x in pair["labels"]])
        raw = self.ok("/predict", {"inputs": TEXTS[0], "raw_scores": True})
        weights = [math.exp(p["score"]) for p in raw]
        self.near_all([w / sum(weights) for w in weights], [p["score"] for p in one])
        for bad in ([], [1], ["a", "b", "c"], [["a"], 1], [[]]):
            self.error(422, "/predict", {"inputs": bad}, "Validation", "inputs must be")

    def test_nothing_is_cut_unasked(self):
        """TEI cuts by default (auto_truncate); complaint 2."""
        for path, body in (("/embed", {"inputs": "word " * 5000}), ("/predict", {"inputs": "word " * 5000}),
                           ("/rerank", {"query": "q", "texts": ["word " * 5000]})):
            self.error(413, path, body, "Validation", "maximum context length is")
            self.ok(path, {**body, "truncate": True})

    def test_refusals(self):
        self.error(424, "/embed_sparse", {"inputs": "a"}, "Backend", "sparse")
        self.error(424, "/embed_all", {"inputs": "a"}, "Backend", "each token")
        self.error(424, "/predict", {"inputs": "a", "model": "llama"}, "Backend", "can do:")
        self.error(404, "/embed", {"inputs": "a", "model": "none"}, "Validation", "no model named")
        self.error(422, "/embed", {"inputs": "a", "truncation_direction": "Left"}, "Validation", "truncation_direction")
        self.error(422, "/embed", {"inputs": "a", "prompt_name": "query"}, "Validation", "prompt_name")
        self.error(422, "/embed", {"inputs": []}, "Validation", "inputs")
        self.error(422, "/embed", {"input": "a"}, "Validation", "unknown field")
        self.error(422, "/embed", b"{", "Validation")
        self.error(405, "/info", {}, "Validation", "GET")

    def test_info(self):
        status, _, data = self.server.get("/info")
        info = json.loads(data)
        self.assertEqual(status, 200)
        self.assertFalse(info["auto_truncate"])
        self.assertIn("embedding", info["model_type"])
        self.assertGreater(info["max_input_length"], 10)
        self.assertEqual(info["model_id"], "bert-embeddings")


if __name__ == "__main__":
    unittest.main()
