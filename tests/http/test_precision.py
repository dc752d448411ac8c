"""test_precision.py - --precision: how near bf16 and q8 come to float weights, and who refuses them."""
import json
import math
import tempfile
import unittest

from harness import ROOT, SMALL, Server, run

GOLDEN = ROOT / "tests/golden/families"
TEXTS = ["the cat sat on the mat", "a dog", "one two three four five six seven eight nine"]
BOUNDS = {"f32": 0.9999999, "bf16": 0.9999, "q8": 0.998}
PERPLEXITY = {"f32": 1e-6, "bf16": 0.005, "q8": 0.02}


def cosine(a, b):
    return sum(x * y for x, y in zip(a, b)) / math.sqrt(sum(x * x for x in a) * sum(x * x for x in b))


class Precision(unittest.TestCase):
    def vectors(self, *options):
        with Server(*options, model=f"bert={GOLDEN / 'models/bert-embeddings'}") as server:
            status, _, answer = server.post("/v1/embeddings", {"input": TEXTS})
            self.assertEqual(status, 200, answer)
            return [x["embedding"] for x in answer["data"]]

    def test_embeddings_stay_near_and_are_not_the_same(self):
        want = self.vectors()
        for name, bound in BOUNDS.items():
            got = self.vectors("--precision", name)
            for a, b in zip(want, got):
                self.assertGreaterEqual(cosine(a, b), bound, name)
            self.assertEqual(got == want, name == "f32", name)

    def test_perplexity_stays_near(self):
        with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
            file.write("to be or not to be that is the old matter and none of them is near to an end so let it be " * 8)
            file.flush()
            for model in ("mistral", "torch-lstm"):
                words = ["perplexity", "--model", str(GOLDEN / "models" / model), "--file", file.name, "--window", "64",
                         "--json"]
                want = None
                for name, bound in PERPLEXITY.items():
                    if (model, name) == ("torch-lstm", "q8"):  # its rows are shorter than a block
                        continue
                    status, out, errors = run(*words, "--precision", name)
                    self.assertEqual(status, 0, errors)
                    got = json.loads(out)["mean_nll"]
                    want = got if want is None else want
                    self.assertLessEqual(abs(got - want), bound, (model, name))
                    self.assertEqual(got == want, name == "f32", (model, name))

    def test_who_cannot_honour_it_says_so(self):
        def refused(message, *words):
            status, _, errors = run(*words)
            self.assertEqual(status, 2, errors)
            self.assertIn(message, errors)
        generate = ["generate", "--prompt", "a", "--max-tokens", "2", "--model"]
        bert = str(GOLDEN / "models/bert-embeddings")
        refused("unknown precision int4: there are f32, bf16, q8", "bench", "--model", bert, "--precision", "int4",
                "--texts", __file__)
        refused("is quantised already (Q8_0); only float weights have a choice", *generate, SMALL,
                "--precision", "bf16")
        refused("the 12 columns of tensor token_embd.weight are not whole blocks of 32, as q8 needs", *generate,
                str(GOLDEN / "models/torch-lstm"), "--precision", "q8")
        with tempfile.NamedTemporaryFile("w", suffix=".arpa") as file:
            file.write("\\data\\\nngram 1=3\n\n\\1-grams:\n-1\t<unk>\n-1\t<s>\t0\n-1\t</s>\n\n\\end\\\n")
            file.flush()
            refused("precision: this model has no matrices to convert", *generate, file.name, "--precision", "q8")


if __name__ == "__main__":
    unittest.main()
