"""clients_schemathesis.py - schemathesis against /openapi.json: no 5xx, no status or shape that is not documented.

One check is left out: that all that a schema allows is accepted.  A schema can't say which models are loaded, what
they can do, or how long a text may be; such requests are refused by name, as documented, and that is checked.
"""
import os
import re
import subprocess
import sys
import tempfile
import unittest

from clients_case import have
from harness import ROOT, SMALL, Server

FAMILIES = ROOT / "tests/golden/families/models"
SECONDS = 40


@unittest.skipIf(have("schemathesis") is None, "the schemathesis package is not installed here")
class Schemathesis(unittest.TestCase):
    def test_the_document_is_true(self):
        others = [x for name in ("bert-embeddings", "bert-classifier", "bert-regression")
                  for x in ("--model", f"{name}={FAMILIES / name}")]
        program = os.path.join(os.path.dirname(sys.executable), "schemathesis")
        with Server(*others, model=SMALL) as server, tempfile.TemporaryDirectory() as folder:
            url = f"http://127.0.0.1:{server.port}"
            done = subprocess.run(
                [program, "run", url + "/openapi.json", "--checks", "all", "--exclude-checks",
                 "positive_data_acceptance", "--phases", "examples,coverage,fuzzing", "--max-examples", "5",
                 "--max-time", str(SECONDS), "--seed", "1", "--no-color", "--generation-database", "none",
                 "--request-timeout", "30"],
                capture_output=True, text=True, timeout=4 * SECONDS, cwd=folder)
            self.assertEqual(done.returncode, 0, done.stdout[-6000:] + done.stderr[-1000:])
            tested = re.search(r"Tested: (\d+)", done.stdout)
            self.assertGreater(int(tested.group(1)), 40, done.stdout[-2000:])
            self.assertEqual(server.get("/health")[0], 200)


if __name__ == "__main__":
    unittest.main()
