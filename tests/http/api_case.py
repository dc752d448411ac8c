"""api_case.py - what the API's tests share: one server with the small checkpoint per class, and ways to ask it.

The small checkpoint has a ChatML template, byte-level BPE and a context of 512 tokens, so every answer is quick.
"""
import json
import time
import unittest

from harness import SMALL, Server


class ApiCase(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server(model=SMALL)
        cls.addClassCleanup(cls.server.__exit__, None, None, None)
        cls.url = f"http://127.0.0.1:{cls.server.port}"
        model = json.loads(cls.server.get("/v1/models")[2])["data"][0]
        cls.model, cls.context = model["id"], model["meta"]["n_ctx"]

    def now(self):
        return time.time()

    def get(self, path):
        status, _, body = self.server.get(path)
        self.assertEqual(status, 200, body)
        return json.loads(body)

    def ok(self, path, body):
        status, _, answer = self.server.post(path, body)
        self.assertEqual(status, 200, answer)
        return answer

    def text(self, path, body):
        return self.ok(path, body)["choices"][0]["text"]

    def refused(self, status, path, body):
        """The error object of a POST, or of a GET where body is None; its shape is checked."""
        answer = self.server.request("GET" if body is None else "POST", path, body)
        self.assertEqual(answer[0], status, answer[2][:500])
        parsed = json.loads(answer[2])
        self.assertEqual(set(parsed), {"error"})
        error = parsed["error"]
        self.assertEqual(set(error), {"message", "type", "param", "code"})
        self.assertIsInstance(error["message"], str)
        self.assertTrue(error["code"] is None or isinstance(error["code"], str))
        return error

    def stream(self, path, body):
        """Every event of a stream but the last, [DONE], parsed; and the headers."""
        status, headers, data = self.server.request("POST", path, {**body, "stream": True})
        self.assertEqual(status, 200, data)
        text = data.decode("utf-8")
        self.assertTrue(text.endswith("data: [DONE]\n\n"), text[-300:])
        events = [e for e in text.split("\n\n")[:-2] if not e.startswith(":")]
        self.assertTrue(all(e.startswith("data: ") for e in events), events)
        return [json.loads(e[len("data: "):]) for e in events], headers

    def tokenize(self, text, **options):
        return self.ok("/tokenize", {"content": text, **options})["tokens"]

    def detokenize(self, ids):
        return self.ok("/detokenize", {"tokens": ids})["content"]
