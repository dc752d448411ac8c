"""test_tasks.py - every family and head through its endpoint, against stored references; errors; mixed load.

The checkpoints and numbers are those of tests/golden/families; with LOQUAT_CONFORMANCE=DIR those of DIR (models/ and
cases/) too.  All models of a folder are served by one process.  A kind of case is a method case_KIND of Cases.
"""
import json
import math
import os
import random
import threading
import time
import unittest
from collections import defaultdict
from pathlib import Path

from harness import MODEL, ROOT, SMALL, Server, heavy

GOLDEN = ROOT / "tests/golden/families"
CONFORMANCE = os.environ.get("LOQUAT_CONFORMANCE", "")
GAP = 0.005  # a greedy choice nearer than this may go either way
LABELS = 1e-4


def softmax(logits):
    most = max(logits)
    weights = [math.exp(x - most) for x in logits]
    return [w / sum(weights) for w in weights]


def tolerance(*values):
    """Of a log probability: absolute, or a share of large ones."""
    return max(2e-3, 5e-5 * max((abs(v) for v in values), default=0))


class Served(unittest.TestCase):
    """One server for the class, with the models of `folder` that `names` lists."""
    folder, names, options = GOLDEN, None, ()

    @classmethod
    def setUpClass(cls):
        if not (cls.folder / "models").is_dir():
            raise unittest.SkipTest(f"no {cls.folder}/models")
        names = cls.names or sorted(p.name for p in (cls.folder / "models").iterdir() if (p / "config.json").is_file())
        models = [f"{name}={cls.folder / 'models' / name}" for name in names]
        cls.server = Server(*[x for m in models[1:] for x in ("--model", m)], *cls.options, model=models[0])
        cls.addClassCleanup(cls.server.__exit__, None, None, None)

    def ok(self, path, body):
        status, _, answer = self.server.post(path, body)
        self.assertEqual(status, 200, (body, answer))
        return answer

    def refused(self, path, body, param=None, message=""):
        status, _, answer = self.server.post(path, body)
        self.assertEqual(status, 400, (body, answer))
        self.assertEqual(set(answer["error"]), {"message", "type", "param", "code"})
        self.assertIn(message, answer["error"]["message"])
        if param:
            self.assertEqual(answer["error"]["param"], param)

    def stream(self, path, body):
        status, _, data = self.server.request("POST", path, {**body, "stream": True})
        self.assertEqual(status, 200, data)
        events = [e for e in data.decode("utf-8").split("\n\n")[:-2] if not e.startswith(":")]
        return [json.loads(e[len("data: "):]) for e in events]

    def near(self, a, b, within, note):
        self.assertLessEqual(abs(a - b), within, f"{note}: {a} is not {b}")


def entities_by(how, labels, case):
    """transformers' token-classification pipeline over a case's logits; words are runs of letters, or one ideograph."""
    letter = lambda c: c.isalnum() and c < "\u2e80"
    tokens = [{"start": s, "end": e, "scores": softmax(row)}
              for (s, e), row in zip(case["offsets"], case["logits"]) if e > s]
    words = []
    for t in tokens:
        inside = words and t["start"] == words[-1][-1]["end"] and letter(case["text"][t["start"]]) \
            and letter(case["text"][t["start"] - 1])
        words[-1].append(t) if inside and how in ("first", "average", "max") else words.append([t])
    units = []
    for word in words:
        scores = word[0]["scores"]
        if how == "max":
            scores = max(word, key=lambda t: max(t["scores"]))["scores"]
        elif how == "average":
            scores = [sum(column) / len(word) for column in zip(*(t["scores"] for t in word))]
        best = scores.index(max(scores))
        units.append((labels[best], scores[best], word[0]["start"], word[-1]["end"]))
    groups = []
    for unit in units:
        kind = unit[0][2:] if unit[0][:2] in ("B-", "I-") else unit[0]
        last = groups[-1] if groups else None
        if how != "none" and last and last[0] == kind and not unit[0].startswith("B-"):
            last[1].append(unit)
        else:
            groups.append((kind, [unit]))
    return [(units[0][0] if how == "none" else kind.split("-", 1)[-1], sum(u[1] for u in units) / len(units),
             units[0][2], units[-1][3]) for kind, units in groups if kind != "O"]


class Cases(Served):
    """Each file of cases/ whose model is there."""

    def setUp(self):
        self.counts = defaultdict(int)

    def meta(self, model):
        return json.loads(self.server.get(f"/v1/models/{model}")[2])["meta"]

    def files(self):
        for path in sorted((self.folder / "cases").glob("*.json")):
            data = json.loads(path.read_text(encoding="utf-8"))
            model = data.get("model", path.stem)
            if (self.folder / "models" / model / "config.json").is_file():
                yield model, data["cases"]

    def run_kinds(self, *kinds):
        for model, cases in self.files():
            for i, case in enumerate(cases):
                if case["kind"] in kinds:
                    with self.subTest(model=model, case=i, kind=case["kind"], text=str(case.get("text"))[:40]):
                        getattr(self, "case_" + case["kind"])(model, case)
                        self.counts[case["kind"]] += 1
        for kind in kinds:
            self.assertGreater(self.counts[kind], 0, f"no case of {kind}")

    # ---- encoders ------------------------------------------------------------------------------

    def test_classify(self):
        self.run_kinds("text_classification", "text_classification_batch")

    def check_label(self, model, result, logits):
        meta = self.meta(model)
        if meta["problem"] == "regression":
            self.near(result["value"], logits[0], 1e-3, model)
            return
        expected = sorted(zip(meta["labels"], softmax(logits)), key=lambda pair: -pair[1])
        self.assertEqual([x["label"] for x in result["labels"]], [label for label, _ in expected])
        for got, (_, score) in zip(result["labels"], expected):
            self.near(got["score"], score, LABELS, model)
        self.assertEqual((result["label"], result["score"]), (expected[0][0], result["labels"][0]["score"]))

    def case_text_classification(self, model, case):
        pair = case.get("text_pair")
        given = {"text": case["text"]} if pair is None else {"pairs": [[case["text"], pair]]}
        answer = self.ok("/v1/classify", {"model": model, **given})
        self.check_label(model, answer["results"][0], case["logits"])
        self.assertEqual(answer["usage"]["prompt_tokens"], len(case["input_ids"]))

    def case_text_classification_batch(self, model, case):
        answer = self.ok("/v1/sentiment", {"model": model, "texts": case["texts"]})
        for i, (result, logits) in enumerate(zip(answer["results"], case["logits"])):
            self.assertEqual(result["index"], i)
            self.check_label(model, result, logits)

    def test_entities(self):
        self.run_kinds("token_classification")

    def case_token_classification(self, model, case):
        labels = self.meta(model)["labels"]
        simple = [(e["entity_group"], e["score"], e["start"], e["end"]) for e in case.get("entities_simple", [])]
        if "entities_simple" in case:
            self.assertEqual([e[0::2] for e in simple], [e[0::2] for e in entities_by("simple", labels, case)])
        for how in ("none", "simple", "first", "average", "max"):
            answer = self.ok("/v1/entities", {"model": model, "text": case["text"], "aggregation": how})
            expected = simple if how == "simple" and simple else entities_by(how, labels, case)
            got = answer["results"][0]["entities"]
            self.assertEqual([(e["label"], e["start"], e["end"]) for e in got],
                             [(e[0], e[2], e[3]) for e in expected], how)
            for e, (_, score, start, end) in zip(got, expected):
                self.near(e["score"], score, LABELS, how)
                self.assertEqual(e["text"], case["text"][start:end])

    def test_extractive_answers(self):
        self.run_kinds("question_answering")

    def best_scores(self, case, most=15):
        ids = case["input_ids"]
        first = ids.index(ids[-1]) + 1  # behind the separator, or two of them
        first += ids[first] == ids[-1]
        inside = range(first, len(ids) - 1)
        start, end = (softmax([case[key][0]] + [case[key][i] for i in inside])[1:]
                      for key in ("start_logits", "end_logits"))
        return sorted((start[i] * end[k] for i in range(len(start)) for k in range(i, min(i + most, len(end)))),
                      reverse=True)

    def case_question_answering(self, model, case):
        body = {"model": model, "question": case["question"], "context": case["context"], "top_k": 3}
        result = self.ok("/v1/qa", body)["results"][0]
        spans = [result, *result["alternatives"]]
        for span, score in zip(spans, self.best_scores(case)):
            self.near(span["score"], score, LABELS, "score")
            self.assertEqual(span["answer"], case["context"][span["start"]:span["end"]])
        for span, best in zip(spans, case.get("best", [])):
            self.assertEqual((span["answer"], span["start"], span["end"]), (best["answer"], best["start"], best["end"]))
            self.near(span["score"], best["score"], LABELS, "stored score")
        evidence = result["evidence"]
        self.assertEqual(evidence["text"], case["context"][evidence["start"]:evidence["end"]])
        self.assertLessEqual(evidence["start"], result["start"])

    def test_fill_mask(self):
        self.run_kinds("fill_mask")

    def case_fill_mask(self, model, case):
        own = "<mask>" if "<mask>" in case["text"] else "[MASK]"
        for written in ("[MASK]", "<mask>"):
            text = case["text"].replace(own, written)
            masks = self.ok("/v1/fill-mask", {"model": model, "text": text, "top_k": 10})["results"][0]["masks"]
            self.assertEqual(len(masks), len(case["masks"]))
            for got, expected in zip(masks, case["masks"]):
                self.assertEqual(text[got["start"]:got["end"]], written)
                for candidate, (token, logprob) in zip(got["candidates"], expected["top10"]):
                    self.assertEqual(candidate["id"], token)
                    self.near(candidate["score"], math.exp(logprob), LABELS, text)
                for candidate, best in zip(got["candidates"], expected.get("top5", [])):
                    self.assertEqual(candidate["token"], best["token"])

    def test_embeddings(self):
        self.run_kinds("embedding", "cosine_matrix")

    def case_embedding(self, model, case):
        for key, options in (("mean_normalized", {"pooling": "mean", "normalize": True}), ("mean_normalized", {}),
                             ("cls_normalized", {"pooling": "cls"}),
                             ("pooler_output", {"pooling": "pooler", "normalize": False})):
            if key in case:
                answer = self.ok("/v1/embeddings", {"model": model, "input": case["text"], **options})
                got = answer["data"][0]["embedding"]
                self.assertEqual(len(got), len(case[key]))
                for a, b in zip(got, case[key]):
                    self.near(a, b, 1e-4, key)
        ids, text = (self.ok("/v1/embeddings", {"model": model, "input": case[key]})["data"][0]["embedding"]
                     for key in ("input_ids", "text"))
        self.assertEqual(ids, text)

    def case_cosine_matrix(self, model, case):
        texts, n = case["texts"], len(case["texts"])
        data = self.ok("/v1/embeddings", {"model": model, "input": texts})["data"]
        vectors = [d["embedding"] for d in data]
        for i in range(n):
            for k in range(n):
                self.near(sum(a * b for a, b in zip(vectors[i], vectors[k])), case["cosine"][i][k], 1e-4, "cosine")
        body = {"model": model, "query": texts[0], "documents": texts, "return_documents": True}
        ranking = self.ok("/v1/rerank", body)
        self.assertEqual(ranking["method"], "cosine")
        scores = [r["relevance_score"] for r in ranking["results"]]
        self.assertEqual(scores, sorted(scores, reverse=True))
        for r in ranking["results"]:
            self.near(r["relevance_score"], case["cosine"][0][r["index"]], 1e-4, "rerank")
            self.assertEqual(r["document"]["text"], texts[r["index"]])

    # ---- generation ----------------------------------------------------------------------------

    def test_generate(self):
        self.run_kinds("causal_lm", "causal_lm_batch")

    def certain(self, case):
        """The greedy ids up to the first choice that could go either way."""
        ids, gaps = case["greedy_ids"], case.get("greedy_gaps")
        if gaps is None:
            gaps = [case.get("min_greedy_gap", 1)] * len(ids)
        sure = next((i for i, gap in enumerate(gaps) if gap <= GAP), len(ids))
        return ids[:sure]

    def check_greedy(self, case, got):
        expected = self.certain(case)
        if case.get("finish") == "stop" and len(expected) == len(case["greedy_ids"]) and len(got) == len(expected) - 1:
            expected = expected[:-1]  # the end token itself need not be told
        self.assertEqual(got[:len(expected)], expected)

    def case_causal_lm(self, model, case):
        if not case["input_ids"]:
            return
        body = {"model": model, "prompt": case["input_ids"], "max_tokens": len(case["greedy_ids"]), "temperature": 0,
                "return_token_ids": True}
        choice = self.ok("/v1/completions", {**body, "logprobs": 0})["choices"][0]
        self.check_greedy(case, choice["token_ids"])
        if "top10_last" in case:
            best = case["top10_last"][0][1]
            self.near(choice["logprobs"]["token_logprobs"][0], best, tolerance(best), "first token")
        chunks = [c["choices"][0] for c in self.stream("/v1/completions", body)]
        self.assertEqual([i for c in chunks for i in c["token_ids"]], choice["token_ids"])
        self.assertEqual("".join(c["text"] for c in chunks), choice["text"])

    def case_causal_lm_batch(self, model, case):
        body = {"model": model, "prompt": [row["input_ids"] for row in case["rows"]], "temperature": 0,
                "max_tokens": case.get("max_new_tokens", 16), "return_token_ids": True}
        for choice, row in zip(self.ok("/v1/completions", body)["choices"], case["rows"]):
            self.check_greedy(row, choice["token_ids"])

    def test_score(self):
        self.run_kinds("nll")

    def case_nll(self, model, case):
        result = self.ok("/v1/score", {"model": model, "token_ids": case["input_ids"]})["results"][0]
        self.assertIsNone(result["logprobs"][0])
        for a, b in zip(result["logprobs"][1:], case.get("token_logprobs", [])):
            self.near(a, b, tolerance(b), "logprob")
        self.near(result["total"], sum(result["logprobs"][1:]), 1e-3, "total")
        self.near(math.log(result["perplexity"]), case["mean_nll"], 1e-3 * case["mean_nll"], "perplexity")

    def test_encoder_decoders(self):
        self.run_kinds("seq2seq")

    def case_seq2seq(self, model, case):
        begun = "decoder_start_token_id" in case  # greedy_ids[0] is it
        n = case.get("max_new_tokens", len(case["greedy_ids"]) - begun)
        body = {"model": model, "prompt": case["text"], "max_tokens": n, "temperature": 0, "return_token_ids": True,
                "logprobs": 0, "no_repeat_ngram_size": 0}
        greedy = self.ok("/v1/completions", body)
        choice = greedy["choices"][0]
        self.assertEqual(greedy["usage"]["prompt_tokens"], len(case["input_ids"]))
        wanted = {**case, "greedy_ids": case["greedy_ids"][begun:]}
        expected = self.certain(wanted)
        self.assertEqual(choice["token_ids"][:len(expected)], expected[:len(choice["token_ids"])])
        if case["text"].strip() and "\n" not in case["text"]:
            t = self.ok("/v1/translate", {"model": model, "text": case["text"], "max_tokens": n, "beams": 1,
                                          "no_repeat_ngram_size": 0})["results"][0]
            self.assertEqual(t["translation"].strip(), choice["text"].strip())
            logprobs = choice["logprobs"]["token_logprobs"]
            self.near(t["score"], sum(logprobs) / len(logprobs), 1e-3, "score")
        if "beam4" in case:
            self.check_beams(case, body)

    def check_beams(self, case, body):
        choices = self.ok("/v1/completions", {**body, "beams": 4, "n": 4, "length_penalty": 1,
                                              "early_stopping": False})["choices"]
        scores = [c["score"] for c in choices]
        self.assertEqual(scores, sorted(scores, reverse=True))
        stored = [b["score"] for b in case["beam4"]]
        for choice, best, score in zip(choices, case["beam4"], scores):
            self.near(score, best["score"], 1e-3, "beam score")
            if min([abs(best["score"] - s) for s in stored if s != best["score"]], default=1) > 1e-3:
                self.assertEqual(choice["token_ids"], best["ids"][1:][:len(choice["token_ids"])])

    def test_chat(self):
        if any(case["kind"] == "chat" for _, cases in self.files() for case in cases):
            self.run_kinds("chat")

    def case_chat(self, model, case):
        answer = self.ok("/v1/chat/completions", {"model": model, "messages": case["messages"], "temperature": 0,
                                                  "max_tokens": len(case["greedy_ids"]), "return_token_ids": True})
        self.assertEqual(answer["usage"]["prompt_tokens"], len(case["input_ids"]))
        self.check_greedy(case, answer["choices"][0]["token_ids"])


@unittest.skipUnless(CONFORMANCE, "needs a folder of reference data in LOQUAT_CONFORMANCE")
class Conformance(Cases):
    folder = Path(CONFORMANCE or "/nowhere")


class Errors(Served):
    names = ["bert-tags", "bert-classifier", "bert-answers", "bert-masks", "bert-regression", "t5", "torch-gru",
             "llama"]

    def test_another_ability_is_refused_by_name(self):
        for path, body in (("/v1/completions", {"prompt": "a"}), ("/v1/chat/completions", {"messages": []}),
                           ("/v1/classify", {"text": "a"}), ("/v1/fill-mask", {"text": "[MASK]"}),
                           ("/v1/qa", {"question": "a", "context": "b"}), ("/v1/translate", {"text": "a"}),
                           ("/v1/summarize", {"text": "a"}), ("/v1/score", {"text": "a"})):
            self.refused(path, {"model": "bert-tags", **body}, "model", "it can do: embeddings, rerank, entities")
        self.refused("/v1/score", {"model": "t5", "text": "a"}, "model", "translate, summarize")
        self.refused("/v1/entities", {"model": "torch-gru", "text": "a"}, "model", "it can do: completions")

    def test_abilities_are_listed(self):
        for name, abilities in (("bert-tags", {"embeddings", "rerank", "entities"}),
                                ("bert-answers", {"embeddings", "rerank", "qa"}),
                                ("t5", {"completions", "embeddings", "rerank", "translate", "summarize"})):
            meta = json.loads(self.server.get(f"/v1/models/{name}")[2])["meta"]
            self.assertEqual(set(meta["abilities"]), abilities)

    def test_options_that_cannot_be_honoured(self):
        self.refused("/v1/classify", {"model": "bert-classifier", "text": "a", "labels": ["a", "b"]}, "labels")
        self.refused("/v1/classify", {"model": "bert-regression", "text": "a", "top_k": 2}, "top_k")
        self.refused("/v1/classify", {"model": "torch-gru", "text": "a"}, "labels", "give labels")
        self.refused("/v1/qa", {"model": "bert-answers", "question": "a", "context": "b", "stream": True}, "stream")
        self.refused("/v1/completions", {"model": "t5", "prompt": "a", "echo": True}, "echo")
        self.refused("/v1/completions", {"model": "t5", "prompt": "a", "beams": 2, "stream": True}, "beams")
        self.refused("/v1/completions", {"model": "t5", "prompt": "a", "beams": 2, "stop": "x"}, "stop")
        self.refused("/v1/completions", {"model": "t5", "prompt": "a", "length_penalty": 2}, "length_penalty")
        self.refused("/v1/embeddings", {"model": "bert-tags", "input": "a", "dimensions": 100000}, "dimensions")
        self.refused("/v1/embeddings", {"model": "torch-gru", "input": "a", "pooling": "pooler"}, "pooling")
        self.refused("/v1/fill-mask", {"model": "bert-masks", "text": "no mask"}, "text", "[MASK]")
        self.refused("/v1/rerank", {"model": "bert-tags", "query": "a", "documents": []}, "documents")
        self.refused("/v1/translate", {"model": "t5", "text": "a", "target": "de"}, "target")
        self.refused("/v1/entities", {"model": "bert-tags", "text": "a", "stream": True}, "stream", "unknown field")

    def test_long_texts(self):
        long = "word " * 3000
        for path, body in (("/v1/embeddings", {"input": long}), ("/v1/entities", {"text": long}),
                           ("/v1/rerank", {"query": "a", "documents": ["b", long]})):
            status, _, answer = self.server.post(path, {"model": "bert-tags", **body})
            self.assertEqual((status, answer["error"]["code"]), (400, "context_length_exceeded"))
            self.assertRegex(answer["error"]["message"], r"maximum context length is \d+ tokens")
            self.ok(path, {"model": "bert-tags", "truncate": True, **body})
        answer = self.ok("/v1/embeddings", {"model": "bert-tags", "truncate": True, "input": ["a", long]})
        self.assertEqual([d.get("truncated") for d in answer["data"]], [None, True])

    def test_long_documents_are_read_in_windows(self):
        filler = "The boats lay still. "
        document = filler * 60 + "The old king walked slowly. " + filler * 60
        answer = self.ok("/v1/qa", {"model": "bert-answers", "question": "Who walked?", "documents": ["no", document],
                                    "top_k": 5})
        result = answer["results"][0]
        spans = [(s["document"], s["start"], s["end"]) for s in [result, *result["alternatives"]]]
        self.assertEqual(len(set(spans)), 5)
        for s in [result, *result["alternatives"]]:
            self.assertEqual(["no", document][s["document"]][s["start"]:s["end"]], s["answer"])
        self.assertGreater(answer["usage"]["prompt_tokens"], 600)

    def test_a_whole_context_can_be_scored(self):
        n = json.loads(self.server.get("/v1/models/llama")[2])["meta"]["n_ctx"]
        self.ok("/v1/score", {"model": "llama", "token_ids": [5] * n})
        self.refused("/v1/score", {"model": "llama", "token_ids": [5] * (n + 1)}, None, f"is {n} tokens")

    def test_many_inputs_in_one_request(self):
        """More than the queue holds."""
        texts = [f"the {WORDS[i % len(WORDS)]} {i % 7}" for i in range(2048)]
        data = self.ok("/v1/embeddings", {"model": "bert-tags", "input": texts})["data"]
        self.assertEqual([d["index"] for d in data], list(range(2048)))
        for i in (0, 300, 1025, 2047):
            alone = self.ok("/v1/embeddings", {"model": "bert-tags", "input": texts[i]})["data"][0]["embedding"]
            self.assertTrue(same(data[i]["embedding"], alone), i)
        ranking = self.ok("/v1/rerank", {"model": "bert-tags", "query": "the king", "documents": texts, "top_n": 3})
        self.assertEqual(len(ranking["results"]), 3)
        choices = self.ok("/v1/completions", {"model": "torch-gru", "prompt": ["the", "a"] * 1024, "max_tokens": 2,
                                              "temperature": 0})["choices"]
        self.assertEqual([c["text"] for c in choices], [c["text"] for c in choices[:2]] * 1024)

    def test_given_labels(self):
        body = {"model": "llama", "text": "The old king", "labels": ["sun", "rain"]}
        result = self.ok("/v1/classify", body)["results"][0]
        self.near(sum(x["score"] for x in result["labels"]), 1, 1e-5, "sum")
        self.assertEqual(result["label"], result["labels"][0]["label"])


def same(a, b):
    """Equal, numbers nearly: the fastest float kernels of an encoder may round with the rows that travel along."""
    if isinstance(a, float) or isinstance(b, float):
        return abs(a - b) <= 1e-5
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


WORDS = "the old king walked slowly along a river and his dog ran before him barking at boats".split()


@heavy
class MixedLoad(unittest.TestCase):
    """A recurrent model, a llama, a classifier and an encoder-decoder in one process under 32 clients at once."""
    CLIENTS, ROUNDS = 32, 6

    @classmethod
    def setUpClass(cls):
        folder = GOLDEN / "models"
        if not folder.is_dir():
            raise unittest.SkipTest(f"no {folder}")
        models = [f"{n}={folder / n}" for n in ("torch-gru", "bert-classifier", "t5")] + [f"llama={MODEL or SMALL}"]
        cls.server = Server(*[x for m in models[1:] for x in ("--model", m)], model=models[0])
        cls.addClassCleanup(cls.server.__exit__, None, None, None)

    def requests(self):
        """Family -> (path, body) of its kind, different ones."""
        rng = random.Random(7)
        text = lambda n: " ".join(rng.choice(WORDS) for _ in range(n))
        generate = {"temperature": 0, "return_token_ids": True}
        return {
            "recurrent": [("/v1/completions", {"model": "torch-gru", "prompt": text(9), "max_tokens": 60, **generate})
                          for _ in range(6)],
            "llama": [("/v1/completions", {"model": "llama", "prompt": text(30), "max_tokens": 24, **generate})
                      for _ in range(6)],
            "classifier": [("/v1/classify", {"model": "bert-classifier", "texts": [text(n) for n in (3, 9, 6, 1)]})
                           for _ in range(6)],
            "encoder-decoder": [("/v1/completions", {"model": "t5", "prompt": text(8), "max_tokens": 24, **generate})
                                for _ in range(4)] +
                               [("/v1/completions", {"model": "t5", "prompt": text(8), "max_tokens": 16, "beams": 3,
                                                     "return_token_ids": True}) for _ in range(2)],
        }

    def answer(self, path, body):
        status, _, answer = self.server.post(path, body, timeout=600)
        self.assertEqual(status, 200, answer)
        return answer.get("choices") or answer["results"]

    def test_right_answers_for_everyone(self):
        requests = self.requests()
        alone = {name: [self.answer(*r) for r in list_] for name, list_ in requests.items()}
        times, wrong, barrier = defaultdict(list), [], threading.Barrier(self.CLIENTS)

        def client(number):
            name = list(requests)[number % len(requests)]
            barrier.wait()
            for k in range(self.ROUNDS):
                i = (number + k) % len(requests[name])
                begin = time.monotonic()
                try:
                    got = self.answer(*requests[name][i])
                except Exception as problem:  # of any kind: the test tells it below
                    got = repr(problem)
                times[name].append(time.monotonic() - begin)
                if not same(got, alone[name][i]):
                    wrong.append((name, i, got))

        threads = [threading.Thread(target=client, args=(n,)) for n in range(self.CLIENTS)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        self.assertEqual(wrong, [])
        for name, list_ in times.items():
            self.assertEqual(len(list_), self.CLIENTS // len(requests) * self.ROUNDS)
            list_.sort()
            print(f"\nmixed load: {name}: {len(list_)} requests, median {list_[len(list_) // 2] * 1000:.0f} ms, "
                  f"p99 {list_[min(len(list_) - 1, int(len(list_) * 0.99))] * 1000:.0f} ms", end="", flush=True)


if __name__ == "__main__":
    unittest.main()
