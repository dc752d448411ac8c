"""test_api_oip.py - the Open Inference Protocol, version 2: probes, metadata, infer with texts, generate."""
import json
import math
import unittest

from harness import Server
from test_tasks import Served

TEXTS = ["A cat sat.", "The dog runs over the hill.", "Seven."]


def tensor(texts, **more):
    return {"name": "text", "datatype": "BYTES", "shape": [len(texts)], "data": texts, **more}


class Oip(Served):
    names = ["bert-classifier", "bert-embeddings", "bert-regression", "llama"]

    def fetch(self, path):
        status, _, data = self.server.get(path)
        self.assertEqual(status, 200, data)
        return json.loads(data)

    def infer(self, model, body, version=""):
        answer = self.ok(f"/v2/models/{model}{version}/infer", body)
        self.assertEqual((answer["model_name"], answer["model_version"]), (model, "1"))
        for output in answer["outputs"]:
            self.assertEqual(math.prod(output["shape"]), len(output["data"]))
        return {o["name"]: o for o in answer["outputs"]}

    def error(self, status, path, body, message):
        got, _, data = self.server.request("GET" if body is None else "POST", path, body)
        answer = json.loads(data)
        self.assertEqual((got, list(answer)), (status, ["error"]), answer)
        self.assertIn(message, answer["error"])

    def test_probes_and_metadata(self):
        self.assertEqual(self.fetch("/v2/health/live"), {"live": True})
        self.assertEqual(self.fetch("/v2/health/ready"), {"ready": True})
        self.assertEqual(set(self.fetch("/v2")), {"name", "version", "extensions"})
        for path in ("/v2/models/llama", "/v2/models/llama/versions/1"):
            model = self.fetch(path)
            self.assertEqual((model["name"], model["versions"]), ("llama", ["1"]))
            self.assertEqual(model["inputs"][0]["datatype"], "BYTES")
            self.assertEqual(self.fetch(path + "/ready"), {"name": "llama", "ready": True})
        self.error(404, "/v2/models/none/ready", None, "no model named")
        self.error(404, "/v2/models/llama/versions/2", None, "one version")
        self.error(405, "/v2/health/live", {}, "GET")

    def test_embeddings(self):
        known = self.ok("/v1/embeddings", {"model": "bert-embeddings", "input": TEXTS})["data"]
        output = self.infer("bert-embeddings", {"inputs": [tensor(TEXTS)]}, "/versions/1")["embedding"]
        self.assertEqual(output["datatype"], "FP32")
        self.assertEqual(output["shape"], self.shape_of("bert-embeddings", "embedding", 3))
        for x, y in zip(output["data"], [v for d in known for v in d["embedding"]]):
            self.assertAlmostEqual(x, y, places=6)
        raw = self.infer("bert-embeddings", {"inputs": [tensor(TEXTS)], "parameters": {"normalize": False}})
        self.assertNotEqual(raw["embedding"]["data"], output["data"])

    def shape_of(self, model, name, n):
        """As the metadata promises it."""
        outputs = {o["name"]: o["shape"] for o in self.fetch(f"/v2/models/{model}")["outputs"]}
        return [n, *outputs[name][1:]]

    def test_labels(self):
        known = self.ok("/v1/classify", {"model": "bert-classifier", "texts": TEXTS})["results"]
        outputs = self.infer("bert-classifier", {"inputs": [tensor(TEXTS, shape=[3, 1], data=[[t] for t in TEXTS])]})
        self.assertEqual(outputs["label"]["data"], [k["label"] for k in known])
        self.assertEqual(outputs["scores"]["shape"], self.shape_of("bert-classifier", "scores", 3))
        columns = outputs["scores"]["shape"][1]
        for i, k in enumerate(known):
            self.assertAlmostEqual(max(outputs["scores"]["data"][i * columns:(i + 1) * columns]), k["score"], places=6)
        pairs = {"inputs": [tensor(TEXTS[:1]), {**tensor(TEXTS[1:2]), "name": "pair"}], "outputs": [{"name": "label"}]}
        known = self.ok("/v1/classify", {"model": "bert-classifier", "pairs": [TEXTS[:2]]})["results"]
        self.assertEqual(self.infer("bert-classifier", pairs)["label"]["data"], [known[0]["label"]])
        self.assertEqual(list(self.infer("bert-classifier", pairs)), ["label"])
        self.assertEqual(list(self.infer("bert-regression", {"inputs": [tensor(TEXTS)]})), ["scores"])

    def test_texts(self):
        options = {"max_tokens": 6, "temperature": 0}
        known = self.ok("/v1/completions", {"model": "llama", "prompt": TEXTS, **options})["choices"]
        outputs = self.infer("llama", {"id": "a7", "inputs": [tensor(TEXTS)], "parameters": options})
        self.assertEqual(outputs["text"]["data"], [c["text"] for c in known])
        answer = self.ok("/v2/models/llama/infer", {"id": "a7", "inputs": [tensor(TEXTS)], "parameters": options})
        self.assertEqual(answer["id"], "a7")

    def test_generate(self):
        options = {"max_tokens": 6, "temperature": 0, "stop": ["\u0001"], "ignore_eos": True}
        known = self.ok("/v1/completions", {"model": "llama", "prompt": TEXTS[0], **options})["choices"][0]["text"]
        body = {"id": "b", "text_input": TEXTS[0], "parameters": options}
        for path in ("/v2/models/llama", "/v2/models/llama/versions/1"):
            self.assertEqual(self.ok(path + "/generate", body),
                             {"id": "b", "model_name": "llama", "model_version": "1", "text_output": known})
        status, headers, data = self.server.request("POST", "/v2/models/llama/generate_stream", body)
        self.assertEqual((status, headers["content-type"]), (200, "text/event-stream"))
        events = [json.loads(e[6:]) for e in data.decode().split("\n\n") if e.startswith("data: ")]
        self.assertEqual("".join(e["text_output"] for e in events), known)
        self.assertEqual({e["id"] for e in events}, {"b"})

    def test_refusals(self):
        def infer(body, message, model="bert-classifier", status=400):
            self.error(status, f"/v2/models/{model}/infer", body, message)
        good = tensor(TEXTS)
        infer({"inputs": []}, "a tensor of texts")
        infer({"inputs": [good, good]}, "one tensor of texts")
        infer({"inputs": [{**good, "datatype": "FP32"}]}, "inputs[0].datatype")
        infer({"inputs": [{**good, "shape": [4]}]}, "3 texts where shape says 4")
        infer({"inputs": [{**good, "shape": [2]}]}, "as many texts as shape says, 2")
        for shape in ([], [-1], [3, 3], [1 << 40], ["3"], [3, 1, 1]):
            infer({"inputs": [{**good, "shape": shape}]}, "inputs[0].shape must be [n]")
        infer({"inputs": [{**good, "parameters": {"binary_data_size": 12}}]}, "tensors are JSON")
        infer({"inputs": [good], "outputs": [{"name": "text"}]}, '"text" is none')
        infer({"inputs": [good], "parameters": {"task": "generate"}}, "can't do generate")
        infer({"inputs": [good], "parameters": {"model": "x"}}, "unknown field")
        infer({"inputs": [good, {**good, "name": "pair"}]}, "pairs can only be classified", "llama")
        infer({"inputs": [good], "parameters": {"truncate": True}}, "never cut", "llama")
        infer({"inputs": [tensor(["word " * 5000])]}, "maximum context length")
        infer({"inputs": [good]}, "no model named", "none", 404)
        body = {"text_input": "a", "parameters": {"stream": True}}
        self.error(400, "/v2/models/llama/generate", body, "unknown field")
        self.error(400, "/v2/models/bert-classifier/generate", {"text_input": "a"}, "can't do generate")


class Loading(unittest.TestCase):
    def test_alive_before_ready(self):
        with Server(wait=False) as server:
            server.wait_port()
            self.assertEqual(server.get("/v2/health/live")[0], 200)
            status, _, data = server.get("/v2/health/ready")
            if status != 200:  # it may have loaded meanwhile
                self.assertEqual((status, json.loads(data)), (503, {"error": "Loading model"}))
            server.wait_ready()
            self.assertEqual(server.get("/v2/health/ready")[2], b'{"ready":true}')


if __name__ == "__main__":
    unittest.main()
