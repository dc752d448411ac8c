"""test_api_models.py - /v1/models, /tokenize and /detokenize against the running server."""
import unittest

from api_case import ApiCase

TEXTS = ["", "Hello, world!", " two  spaces ", "tab\tnewline\n\n", "naïve café 日本語 🙂👩‍👩‍👧",
         "<|im_start|>user\nhi<|im_end|>",
         "it's 12345 o'clock", "\u0001\u007f", "a" * 3000, "é" * 100]


class Models(ApiCase):
    def test_list_and_one(self):
        a = self.get("/v1/models")
        self.assertEqual(a["object"], "list")
        m = a["data"][0]
        self.assertEqual(m["object"], "model")
        self.assertEqual(m["id"], self.model)
        self.assertEqual(m["owned_by"], "loquat")
        self.assertIsInstance(m["created"], int)
        self.assertIn("chat", m["meta"]["abilities"])
        self.assertIsNone(m["meta"]["chat_disabled"])
        for key in ("n_ctx", "n_ctx_train", "n_vocab", "n_params", "size"):
            self.assertGreater(m["meta"][key], 0, key)
        self.assertEqual(self.get(f"/v1/models/{m['id']}"), m)
        self.assertEqual(self.get("/v1/models/default"), m)
        encoded = "".join(f"%{ord(c):02x}" for c in m["id"])
        self.assertEqual(self.get("/v1/models/" + encoded), m)

    def test_unknown(self):
        for path in ("/v1/models/nope", "/v1/models/a%2Fb"):
            e = self.refused(404, path, None)
            self.assertEqual(e["code"], "model_not_found")
        self.refused(400, "/v1/models/%00", None)
        self.refused(400, "/v1/models/%ff", None)


class Tokens(ApiCase):
    def test_there_and_back(self):
        for text in TEXTS:
            for parse in (True, False):
                ids = self.tokenize(text, parse_special=parse)
                self.assertEqual(self.detokenize(ids), text)

    def test_special_tokens_only_when_parsed(self):
        self.assertEqual(len(self.tokenize("<|im_end|>")), 1)
        self.assertGreater(len(self.tokenize("<|im_end|>", parse_special=False)), 1)

    def test_pieces(self):
        a = self.ok("/tokenize", {"content": "Hi 🙂", "with_pieces": True})["tokens"]
        self.assertEqual([t["id"] for t in a], self.tokenize("Hi 🙂"))
        raw = b"".join(t["piece"].encode() if isinstance(t["piece"], str) else bytes(t["piece"]) for t in a)
        self.assertEqual(raw.decode(), "Hi 🙂")

    def test_tokenizer_info(self):
        """What lm-eval asks before it tokenises through the server."""
        info = self.get("/tokenizer_info")
        self.assertEqual(len(self.tokenize(info["eos_token"])), 1)
        self.assertIn("im_start", info["chat_template"])
        self.assertEqual(self.ok("/detokenize", {"tokens": self.tokenize("a b")})["prompt"], "a b")

    def test_refusals(self):
        self.assertEqual(self.refused(400, "/tokenize", {})["param"], "content")
        self.assertEqual(self.refused(400, "/tokenize", {"content": 1})["param"], "content")
        self.assertEqual(self.refused(400, "/detokenize", {"tokens": "x"})["param"], "tokens")
        self.assertEqual(self.refused(400, "/detokenize", {"tokens": [10**7]})["param"], "tokens")
        self.assertEqual(self.refused(400, "/detokenize", {"tokens": [-1]})["param"], "tokens")
        self.assertEqual(self.refused(404, "/tokenize", {"content": "", "model": "x"})["param"], "model")


if __name__ == "__main__":
    unittest.main()
