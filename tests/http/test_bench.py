"""The benchmark runs without peers, says so, and brings figures of the server that it started."""
import json
import subprocess
import tempfile
import unittest
from pathlib import Path

import harness


class Bench(unittest.TestCase):
    def test_runs_without_peers(self):
        with tempfile.TemporaryDirectory() as folder:
            told = Path(folder) / "told.json"
            done = subprocess.run(
                [harness.ROOT / "tests/bench/run", "--program", harness.PROGRAM, "--model", harness.SMALL,
                 "--rounds", "1", "--work", folder, "--only", "start", "--only", "memory", "--json", told],
                capture_output=True, text=True, timeout=300, check=False)
            self.assertEqual(done.returncode, 0, done.stderr)
            figures = {g["name"]: g["figures"] for g in json.loads(told.read_text(encoding="utf-8"))["groups"]}
        self.assertIn("llama.cpp skipped: no --llama-server", done.stdout)
        self.assertGreater(figures["start to first token"]["seconds"]["loquat"], 0)
        self.assertGreater(figures["memory after 32 clients"]["resident MB"]["loquat"], 1)


if __name__ == "__main__":
    unittest.main()
