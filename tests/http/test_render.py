"""test_render.py - `loquat render` against renderings of the reference implementation, and what it refuses."""
import json
import os
import tempfile
import unittest
from pathlib import Path

from harness import ROOT, SMALL, run

GOLDEN = ROOT / "tests/golden/templates"
REFERENCE = os.environ.get("LOQUAT_CONFORMANCE", "")


def render(request, *options):
    body = request if isinstance(request, bytes) else json.dumps(request).encode()
    return run("render", *options, stdin=body)


class Render(unittest.TestCase):
    def check(self, template, case):
        request = {"messages": case["messages"], "tools": case.get("tools"),
                   "add_generation_prompt": case["add_generation_prompt"], "bos_token": case["bos_token"],
                   "eos_token": case["eos_token"], **(case.get("extra") or {})}
        status, out, errors = render(request, "--template", str(template), "--now", "2026-01-02T03:04:05")
        if "expected" in case:
            self.assertEqual((status, out.decode()), (0, case["expected"]), f"{template.name} {errors}")
        else:
            self.assertEqual((status, out), (1, b""), template.name)
            self.assertIn("loquat render: ", errors)

    def test_our_templates(self):
        for file in sorted(GOLDEN.glob("*.json")):
            template = file.with_suffix(".jinja")
            if template.exists():
                for case in json.loads(file.read_text()):
                    self.check(template, case)

    @unittest.skipUnless(REFERENCE, "needs LOQUAT_CONFORMANCE")
    def test_published_templates(self):
        files = sorted(Path(REFERENCE, "templates").glob("*.expected.json"))
        self.assertTrue(files)
        for file in files:
            template = file.with_name(file.name.replace(".expected.json", ".jinja"))
            for case in json.loads(file.read_text()):
                self.check(template, case)

    def test_a_checkpoints_own_template(self):
        status, out, _ = render({"messages": [{"role": "user", "content": "Good morrow."}]}, "--model", SMALL)
        self.assertEqual(status, 0)
        self.assertEqual(out, b"<|im_start|>user\nGood morrow.<|im_end|>\n<|im_start|>assistant\n")

    def test_the_clock(self):
        with tempfile.NamedTemporaryFile("w", suffix=".jinja") as f:
            f.write("{{ strftime_now('%d %b %Y %H:%M') }}|{{ extra }}")
            f.flush()
            for now in ("2026-01-02T03:04:05", "1767323045"):
                self.assertEqual(render({"messages": [], "extra": 7}, "--template", f.name, "--now", now)[1],
                                 b"02 Jan 2026 03:04|7")

    def test_what_it_refuses_and_where(self):
        with tempfile.NamedTemporaryFile("w", suffix=".jinja") as f:
            f.write("line one\n{% if %}")
            f.flush()
            self.assertRegex(render({"messages": []}, "--template", f.name)[2], "line 2, column")
        self.assertEqual(render({"messages": []})[0], 2)
        self.assertEqual(render({"messages": []}, "--model", SMALL, "--template", "x")[0], 2)
        self.assertEqual(render({"messages": []}, "--model", SMALL, "--now", "soon")[0], 2)
        self.assertEqual(render({"messages": []}, "--template", "/no/such/file")[0], 1)
        self.assertIn("object", render(b"[1]", "--model", SMALL)[2])
        self.assertEqual(render(b"{", "--model", SMALL)[0], 1)


if __name__ == "__main__":
    unittest.main()
