"""test_api_openapi.py - /openapi.json, /docs and /v1/capabilities: complete, resolvable and true of the answers."""
import json
import subprocess
import tempfile
import unittest

from api_case import ApiCase
from harness import ROOT


def references(value):
    if isinstance(value, dict):
        if "$ref" in value:
            yield value["$ref"]
        for v in value.values():
            yield from references(v)
    elif isinstance(value, list):
        for v in value:
            yield from references(v)


class Document(ApiCase):
    def setUp(self):
        self.document = self.get("/openapi.json")

    def check(self, schema, value, where="$"):
        """Enough of JSON Schema for the shapes of answers."""
        if "$ref" in schema:
            schema = self.document["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]]
        if "anyOf" in schema:
            problems = []
            for one in schema["anyOf"]:
                try:
                    return self.check(one, value, where)
                except AssertionError as e:
                    problems.append(str(e))
            self.fail(f"{where}: {problems}")
        kinds = {"string": str, "integer": int, "number": (int, float), "boolean": bool, "null": type(None),
                 "array": list, "object": dict}
        if "type" in schema:
            self.assertIsInstance(value, kinds[schema["type"]], where)
        if "const" in schema:
            self.assertEqual(value, schema["const"], where)
        if isinstance(value, list):
            for i, item in enumerate(value):
                self.check(schema.get("items", {}), item, f"{where}[{i}]")
        if isinstance(value, dict):
            self.assertLessEqual(set(schema.get("required", ())), set(value), where)
            more = schema.get("additionalProperties", True)
            for name, item in value.items():
                known = schema.get("properties", {})
                self.assertTrue(name in known or more is not False, f"{where}.{name}")
                self.check(known.get(name, more if isinstance(more, dict) else {}), item, f"{where}.{name}")

    def test_complete(self):
        self.assertEqual(self.document["openapi"], "3.1.0")
        names = {"#/components/schemas/" + n for n in self.document["components"]["schemas"]}
        self.assertLessEqual(set(references(self.document)), names)
        ids = []
        for path, item in self.document["paths"].items():
            for method, operation in item.items():
                self.assertTrue(operation["summary"], (method, path))
                ids.append(operation["operationId"])
                for status in ("200", "404", "405", "503"):
                    self.assertIn(status, operation["responses"], path)
                self.assertIsNotNone(operation["responses"]["200"]["content"], path)
                for answer in operation["responses"]["200"]["content"].values():
                    self.assertIsInstance(answer["schema"], dict, path)
        self.assertEqual(len(ids), len(set(ids)))

    def test_limits_are_those_of_the_declarations(self):
        operation = self.document["paths"]["/v1/chat/completions"]["post"]
        chat = operation["requestBody"]["content"]["application/json"]["schema"]
        self.assertEqual(chat["required"], ["messages"])
        self.assertFalse(chat["additionalProperties"])
        n = chat["properties"]["n"]
        limits, = (s for s in n["anyOf"] if s["type"] == "integer")
        body = {"messages": [{"role": "user", "content": "x"}], "max_tokens": 1}
        self.ok("/v1/chat/completions", {**body, "n": limits["minimum"]})
        for bad in (limits["minimum"] - 1, limits["maximum"] + 1):
            self.refused(400, "/v1/chat/completions", {**body, "n": bad})
        self.assertIn("role", chat["properties"]["messages"]["items"]["properties"])
        self.assertEqual(chat["properties"]["audio"]["enum"], [None])

    def test_answers_have_the_shapes(self):
        messages = [{"role": "user", "content": "x"}]
        for method, path, body in (
                ("post", "/v1/completions", {"prompt": "x", "max_tokens": 2, "logprobs": 2, "echo": True}),
                ("post", "/v1/chat/completions", {"messages": messages, "max_tokens": 2, "logprobs": True,
                                                  "top_logprobs": 2}),
                ("post", "/v1/responses", {"input": "x", "max_output_tokens": 2}),
                ("post", "/v1/score", {"text": "a b"}),
                ("post", "/v1/qa", {"question": "who?", "context": "Ann."}),
                ("post", "/v1/summarize", {"text": "a b c d e f", "max_tokens": 4}),
                ("post", "/v1/classify", {"text": "x", "labels": ["a", "b"]}),
                ("post", "/tokenize", {"content": "x"}), ("post", "/detokenize", {"tokens": [1]}),
                ("get", "/v1/models", None), ("get", "/v1/capabilities", None), ("get", "/api/tags", None),
                ("get", "/v2", None), ("get", "/info", None), ("get", "/health", None)):
            status, _, data = self.server.request(method.upper(), path, body)
            if status == 400 and path == "/v1/summarize":  # its wording may be longer than this tiny context
                continue
            self.assertEqual(status, 200, (path, data))
            schema = self.document["paths"][path][method]["responses"]["200"]["content"]["application/json"]["schema"]
            self.check(schema, json.loads(data), path)

    def test_docs_page(self):
        status, headers, page = self.server.request("GET", "/docs")
        self.assertEqual(status, 200)
        self.assertTrue(headers["content-type"].startswith("text/html"))
        self.assertIn(b"openapi.json", page)
        self.assertNotIn(b"http://", page)
        self.assertNotIn(b"https://", page)

    def test_readme_has_the_tables(self):
        with tempfile.NamedTemporaryFile("w", suffix=".json") as saved:
            json.dump(self.document, saved)
            saved.flush()
            tables = subprocess.run([ROOT / "deploy/api-table", "--print", saved.name], capture_output=True, check=True,
                                    encoding="utf-8").stdout
        readme = (ROOT / "README.md").read_text()
        self.assertIn(tables, readme, "README is out of date: run deploy/api-table against a running server")

    def test_capabilities(self):
        model, = self.get("/v1/capabilities")["data"]
        self.assertEqual(model["id"], self.model)
        chat = model["endpoints"]["/v1/chat/completions"]
        self.assertTrue(chat["supported"])
        self.assertFalse(model["endpoints"]["/v1/entities"]["supported"])
        self.assertEqual(model["chat"]["tools_described_by"], "server")
        body = {"messages": [{"role": "user", "content": "x"}], "max_tokens": 1}
        for option, value in (("documents", [{"text": "x"}]), ("reasoning_effort", "high"), ("audio", {"voice": "x"})):
            self.assertIsInstance(chat["options"][option], str)
            self.assertEqual(self.refused(400, "/v1/chat/completions", {**body, option: value})["param"], option)
        suffix = model["endpoints"]["/v1/completions"]["options"]["suffix"]
        self.assertIsInstance(suffix, str)
        self.assertEqual(self.refused(400, "/v1/completions", {"prompt": "x", "suffix": "y"})["param"], "suffix")
        self.assertIs(chat["options"]["temperature"], True)


if __name__ == "__main__":
    unittest.main()
