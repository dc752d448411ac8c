"""test_clients_ollama.py - Ollama's API, by hand and by its official Python client, unchanged but for host."""
import json
import math
import unittest

from api_case import ApiCase
from test_tasks import Served

try:
    import ollama
except ImportError:
    ollama = None

TEXTS = ["A cat sat.", "The dog runs over the hill."]


class Paths(Served):
    names = ["bert-embeddings", "llama"]

    def error(self, status, path, body, message):
        got, _, data = self.server.request("GET" if body is None else "POST", path, body)
        answer = json.loads(data)
        self.assertEqual((got, list(answer)), (status, ["error"]), answer)
        self.assertIn(message, answer["error"])

    def test_probes(self):
        for method in ("GET", "HEAD"):
            status, headers, body = self.server.request(method, "/")
            self.assertEqual((status, headers["content-type"]), (200, "text/plain; charset=utf-8"))
            self.assertEqual(body, b"Ollama is running" if method == "GET" else b"")
            self.assertEqual(headers["content-length"], "17")
        self.assertRegex(json.loads(self.server.get("/api/version")[2])["version"], r"^\d+\.\d+\.\d+$")
        self.assertEqual(self.server.request("HEAD", "/api/version")[0], 200)

    def test_lists(self):
        for path in ("/api/tags", "/api/ps"):
            models = json.loads(self.server.get(path)[2])["models"]
            self.assertEqual([m["name"] for m in models], ["bert-embeddings:latest", "llama:latest"])
            self.assertRegex(models[0]["digest"], "^[0-9a-f]{64}$")
            self.assertNotEqual(models[0]["digest"], models[1]["digest"])
            self.assertEqual(models[1]["details"]["family"], "llama")
            self.assertGreater(models[0]["size"], 1000)

    def test_embed(self):
        known = self.ok("/v1/embeddings", {"model": "bert-embeddings", "input": TEXTS, "normalize": True})["data"]
        body = {"model": "bert-embeddings:latest", "input": TEXTS, "keep_alive": "5m", "options": {}}
        answer = self.ok("/api/embed", body)
        self.assertEqual(answer["model"], "bert-embeddings:latest")
        for vector, data in zip(answer["embeddings"], known):
            for x, y in zip(vector, data["embedding"]):
                self.assertAlmostEqual(x, y, places=6)
        self.assertGreater(answer["total_duration"], 0)
        self.assertGreater(answer["prompt_eval_count"], 8)
        self.assertEqual(self.ok("/api/embed", {"model": "bert-embeddings", "input": []})["embeddings"], [])
        short = self.ok("/api/embed", {"model": "bert-embeddings", "input": TEXTS[0], "dimensions": 4})["embeddings"][0]
        self.assertAlmostEqual(math.hypot(*short), 1, places=5)
        self.assertEqual(self.ok("/api/embeddings", {"model": "bert-embeddings", "prompt": ""}), {"embedding": []})
        self.assertEqual(len(self.ok("/api/embeddings", {"prompt": "a"})["embedding"]), len(known[0]["embedding"]))

    def test_nothing_is_cut_unasked(self):
        """Ollama cuts by default; complaint 2."""
        body = {"model": "bert-embeddings", "input": "word " * 5000}
        self.error(400, "/api/embed", body, "maximum context length is")
        self.ok("/api/embed", {**body, "truncate": True})

    def test_errors_are_texts(self):
        self.error(404, "/api/embed", {"model": "none", "input": "a"}, 'no model named "none"')
        self.error(404, "/api/show", {"model": "none:latest"}, 'no model named "none:latest"')
        self.error(404, "/api/pull", {"model": "none"}, "no model named")
        self.error(400, "/api/embed", {"input": "a", "options": {"num_ctx": 5}}, "options")
        self.error(400, "/api/embed", {"input": "a", "inputs": "a"}, 'unknown field "inputs"')
        self.error(400, "/api/show", b"{", "line 1")
        self.error(405, "/api/tags", {}, "GET")

    def test_pull_finds_what_is_loaded(self):
        status, headers, data = self.server.request("POST", "/api/pull", {"model": "llama"})
        self.assertEqual((status, headers["content-type"]), (200, "application/x-ndjson"))
        self.assertEqual(data, b'{"status":"success"}\n')
        self.assertEqual(self.ok("/api/pull", {"name": "llama:latest", "stream": False}), {"status": "success"})


@unittest.skipIf(ollama is None, "the ollama package is not installed here")


class Client(ApiCase):
    def setUp(self):
        self.client = ollama.Client(host=self.url)
        self.addCleanup(self.client._client.close)

    def test_models(self):
        self.assertEqual([m.model for m in self.client.list().models], [self.model + ":latest"])
        self.assertEqual(self.client.ps().models[0].context_length, self.context)
        shown = self.client.show(self.model)
        self.assertIn("completion", shown.capabilities)
        self.assertEqual(shown.modelinfo["llama.context_length"], self.context)
        self.assertIn("im_start", shown.template)
        self.assertEqual(self.client.pull(self.model).status, "success")

    def test_embed(self):
        a = self.client.embed(model=self.model, input=TEXTS)
        self.assertEqual(len(a.embeddings), 2)
        self.assertAlmostEqual(math.hypot(*a.embeddings[0]), 1, places=5)
        self.assertTrue(self.client.embeddings(model=self.model, prompt=TEXTS[0]).embedding)

    def test_errors(self):
        with self.assertRaises(ollama.ResponseError) as missing:
            self.client.show("none")
        self.assertEqual(missing.exception.status_code, 404)
        self.assertIn("no model named", missing.exception.error)

if __name__ == "__main__":
    unittest.main()
