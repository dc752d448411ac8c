"""test_api_ollama.py - Ollama's API: probes, lists, vectors, generation, what is refused."""
import json
import math
import unittest

from test_tasks import Served

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

    def test_options_are_honoured_or_refused(self):
        def refuse(message, path="/api/generate", **more):
            body = {"model": "llama", **({"prompt": "a"} if path == "/api/generate" else {}), **more}
            self.error(400, path, body, message)
        refuse("options.mirostat is not supported", options={"mirostat": 1})
        refuse('unknown field "options.temp"', options={"temp": 1})
        refuse("options.top_p must be", options={"top_p": 2})
        refuse("options.repeat_last_n must be -1", options={"repeat_penalty": 1.1, "repeat_last_n": 64})
        refuse("context is", options={"num_ctx": 1 << 20})
        refuse("maximum context length is 4 tokens", options={"num_ctx": 4}, prompt="one two three four five", raw=True)
        refuse("template is not supported", template="{{ .Prompt }}")
        refuse("images is not supported", images=["aGk="])
        refuse("suffix is not supported", suffix="b")
        refuse("does not think", path="/api/chat", messages=[{"role": "user", "content": "a"}], think=True)
        refuse("messages[0].role", path="/api/chat", messages=[{"role": "robot", "content": "a"}])
        refuse("no call for this result", path="/api/chat", messages=[{"role": "tool", "content": "a"}])
        refuse("can't do completions", model="bert-embeddings")
        quiet = {"mirostat": 0, "num_gpu": 1, "num_thread": 2, "repeat_last_n": 64, "seed": -1, "num_predict": 3,
                 "temperature": 0, "num_ctx": 32}
        a = self.ok("/api/generate", {"model": "llama", "prompt": "a", "raw": True, "options": quiet, "stream": False})
        self.assertEqual(a["eval_count"], 3)
        for raw in (True, False):  # a context alone goes on too
            refuse("no token id of this model", prompt=None, context=[2**31 - 2], raw=raw)
            b = self.ok("/api/generate", {"model": "llama", "context": [1, 2, 3], "raw": raw, "options": quiet,
                                          "stream": False})
            self.assertEqual(b["eval_count"], 3)
        filled = self.ok("/api/generate", {"model": "llama", "prompt": "a", "raw": True, "stream": False,
                                           "options": {**quiet, "num_predict": -1}})
        self.assertLessEqual(filled["prompt_eval_count"] + filled["eval_count"], 32)

    def test_format_holds_the_answer(self):
        schema = {"type": "object", "properties": {"a": {"type": "integer", "minimum": 0, "maximum": 9}},
                  "required": ["a"], "additionalProperties": False}
        options = {"temperature": 1, "seed": 3, "num_predict": 60}
        for raw in (True, False):
            body = {"model": "llama", "prompt": "a", "raw": raw, "stream": False, "options": options}
            answer = self.ok("/api/generate", {**body, "format": schema})
            self.assertEqual(list(json.loads(answer["response"])), ["a"])
        refused = {"model": "llama", "prompt": "a", "format": {"type": "nothing"}}
        self.error(400, "/api/generate", refused, "type")
        self.error(400, "/api/generate", {**refused, "format": "xml"}, "format must be")

    def test_a_stream_is_lines_of_json(self):
        status, headers, data = self.server.request("POST", "/api/generate", {
            "model": "llama", "prompt": "a", "raw": True, "options": {"num_predict": 4, "temperature": 0}})
        self.assertEqual((status, headers["content-type"]), (200, "application/x-ndjson"))
        lines = [json.loads(line) for line in data.decode().split("\n")[:-1]]
        self.assertTrue(all(line["model"] == "llama" and line["created_at"].endswith("Z") for line in lines))
        self.assertEqual(lines[-1]["done"], True)

    def test_pull_finds_what_is_loaded(self):
        status, headers, data = self.server.request("POST", "/api/pull", {"model": "llama"})
        self.assertEqual((status, headers["content-type"]), (200, "application/x-ndjson"))
        self.assertEqual(data, b'{"status":"success"}\n')
        self.assertEqual(self.ok("/api/pull", {"name": "llama:latest", "stream": False}), {"status": "success"})


if __name__ == "__main__":
    unittest.main()
