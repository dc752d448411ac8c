"""clients_node.py - official clients that run in Node, unchanged but for their URL: runs clients_node.mjs."""
import json
import os
import shutil
import subprocess
import tempfile
import unittest
from pathlib import Path

from clients_case import NODE, NPM, ClientCase

SCRIPT = Path(__file__).with_name("clients_node.mjs")


@unittest.skipUnless(NODE and NPM, "Node and its clients are not installed here")
class Node(ClientCase):
    def test_clients(self):
        """One process; a line of JSON for each thing that was tried: {name, error?}."""
        with tempfile.TemporaryDirectory() as folder:  # modules are looked for beside the script
            shutil.copy(SCRIPT, folder)
            os.symlink(os.path.join(NPM, "node_modules"), os.path.join(folder, "node_modules"))
            done = subprocess.run([NODE, os.path.join(folder, SCRIPT.name), self.url, self.model], capture_output=True,
                                  timeout=120, text=True, env={**os.environ, "AI_SDK_LOG_WARNINGS": "false"})
        self.assertEqual(done.returncode, 0, done.stderr[-3000:])
        tried = [json.loads(line) for line in done.stdout.splitlines()]
        self.assertGreater(len(tried), 8)
        for one in tried:
            with self.subTest(one["name"]):
                self.assertNotIn("error", one, one.get("error"))


if __name__ == "__main__":
    unittest.main()
