"""test_scripts.py - who checks the checks: each style rule must see its breach, counting must not lose a failure."""
import json
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

TESTS = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(TESTS))
import check_style  # noqa: E402
import count  # noqa: E402

HEAD = "/* {} - a file of the test. */\n"
GOOD = {
    "engine/base/a.h": "/* Doubles x. */\nint a_double(int x);\n",
    "engine/base/a.c": '#include "engine/base/a.h"\n\nint a_double(int x)\n{\n    return 2 * x;\n}\n',
    "engine/models/llama.c": 'const struct arch arch_llama = {\n    .name = "llama",\n};\n',
    "api/b.c": '#include "engine/engine.h"\n#include "engine/base/a.h"\n',
    "engine/engine.h": "/* Opens. */\nint engine_open(void);\n",
}
BAD = {  # rule: (path, text)
    "include-arrows": ("api/bad.c", '#include "engine/models/arch.h"\n'),
    "rooms-are-known": ("extra/bad.c", "int x;\n"),
    "function-length": ("api/bad.c", "static int f(void)\n{\n" + "    g();\n" * 70 + "}\n"),
    "file-length": ("api/bad.c", "int x;\n" * 1001),
    "line-length": ("api/bad.c", "int x; /* " + "x" * 120 + " */\n"),
    "forbidden-calls": ("tests/unit/bad.c", "void f(char *s)\n{\n    strcpy(s, s);\n}\n"),
    "process-ends-in-main-alone": ("server/http.c", "void f(void)\n{\n    exit(1);\n}\n"),
    "no-leftovers": ("api/bad.c", "/* TO" "DO later */\n"),
    "no-machine-paths": ("api/bad.c", 'const char *p = "/tmp/x";\n'),
    "only-models-name-an-architecture": ("engine/loader.c", 'const char *n = "llama.block_count";\n'),
    "headers-explain-their-declarations": ("api/bad.h", "int f(void);\n\nint g(void);\n"),
}


def seed(root, files):
    for path, text in files.items():
        at = Path(root) / path
        at.parent.mkdir(parents=True, exist_ok=True)
        at.write_text(HEAD.format(at.name) + text)


class Style(unittest.TestCase):
    def broken(self, files, rule):
        with tempfile.TemporaryDirectory() as root:
            seed(root, files)
            return list(check_style.RULES[rule](check_style.Tree(Path(root).resolve())))

    def test_a_good_tree_passes_every_rule(self):
        for rule in set(check_style.RULES) - {"layout"}:
            self.assertEqual(self.broken(GOOD, rule), [], rule)

    def test_every_rule_sees_its_breach(self):
        for rule, (path, text) in BAD.items():
            with self.subTest(rule):
                found = self.broken(GOOD | {path: text}, rule)
                self.assertTrue(found and all(line.startswith(path + ":") for line in found), found)

    def test_every_rule_has_a_breach_here(self):
        self.assertEqual(set(check_style.RULES) - set(BAD), {"file-heads", "layout"})

    def test_a_file_without_a_head_is_seen(self):
        with tempfile.TemporaryDirectory() as root:
            (Path(root) / "api").mkdir()
            (Path(root) / "api/x.c").write_text("int x;\n")
            self.assertEqual(len(list(check_style.RULES["file-heads"](check_style.Tree(Path(root))))), 1)

    def test_more_arrows(self):
        wrong = {
            "engine/base/x.c": "engine/cache/kv_pages.h", "engine/schedule/x.c": "engine/kernels/kernels.h",
            "engine/formats/x.c": "engine/tokenizers/tokenizer.h", "api/x.c": "server/http.h",
            "engine/other.c": "engine/models/arch.h", "engine/engine.h": "engine/cache/kv_pages.h",
            "engine/decode/x.c": "engine/engine.h", "server/x.c": "engine/decode/sampler.h",
        }
        right = {
            "engine/loader.c": "engine/formats/checkpoint.h", "server/x.c": "api/api.h",
            "engine/decode/x.c": "engine/tokenizers/tokenizer.h", "tests/unit/x.c": "engine/cache/kv_pages.h",
        }
        for path, text in wrong.items():
            self.assertEqual(len(self.broken({path: f'#include "{text}"\n'}, "include-arrows")), 1, path)
        for path, text in right.items():
            self.assertEqual(self.broken({path: f'#include "{text}"\n'}, "include-arrows"), [], path)
        for room, breaches in (("engine/models", 1), ("server", 0)):
            found = self.broken({f"{room}/x.c": "#include <uv.h>\n"}, "include-arrows")
            self.assertEqual(len(found), breaches, room)

    def test_comments_and_strings_are_no_code(self):
        text = '/* strcpy(a, b) */\nconst char *s = "strcpy(a) { \\" exit(1)"; // atoi(x)\nint brace = \'{\';\n'
        for rule in ("forbidden-calls", "process-ends-in-main-alone", "function-length"):
            self.assertEqual(self.broken({"api/x.c": text}, rule), [], rule)

    def test_status_tells(self):
        with tempfile.TemporaryDirectory() as root:
            for files, status in ((GOOD, 0), (dict([BAD["file-length"]]), 1)):
                seed(root, files)
                command = [sys.executable, TESTS / "check_style.py", "--root", root, "--only", "file-length"]
                run = subprocess.run(command, capture_output=True, check=False)
                self.assertEqual(run.returncode, status, run.stdout)

    def test_the_layout_rule_sees_bad_layout(self):
        if not check_style.shutil.which("clang-format"):
            self.skipTest("clang-format is not installed")
        self.assertTrue(self.broken({"api/x.c": "int   x  ;\n"}, "layout"))


class Counting(unittest.TestCase):
    def meson(self, *tests):
        return count.meson("\n".join(json.dumps({"name": "t", "stdout": o, "result": r}) for o, r in tests))

    def test_checks_are_counted(self):
        self.assertEqual(self.meson(("100%: Checks: 7, Failures: 0, Errors: 0\n", "OK")), (7, 0, 0))
        self.assertEqual(self.meson(("71%: Checks: 7, Failures: 1, Errors: 1\n", "FAIL")), (5, 2, 0))

    def test_a_crash_and_a_late_failure_count(self):
        self.assertEqual(self.meson(("Segmentation fault", "FAIL")), (0, 1, 0))
        self.assertEqual(self.meson(("100%: Checks: 7, Failures: 0, Errors: 0\nLeakSanitizer", "FAIL")), (7, 1, 0))
        self.assertEqual(self.meson(("", "TIMEOUT")), (0, 1, 0))

    def test_skips_count(self):
        self.assertEqual(self.meson(("skipped: no data\n100%: Checks: 2, Failures: 0, Errors: 0\n", "OK")), (2, 0, 1))
        self.assertEqual(self.meson(("why", "SKIP")), (0, 0, 1))

    def test_unittest_output(self):
        self.assertEqual(count.unittest("Ran 9 tests in 1s\n\nOK\n"), (9, 0, 0))
        self.assertEqual(count.unittest("Ran 9 tests in 1s\n\nOK (skipped=2)\n"), (7, 0, 2))
        self.assertEqual(count.unittest("Ran 9 tests in 1s\n\nFAILED (failures=1, errors=2, skipped=1)\n"), (5, 3, 1))
        self.assertEqual(count.unittest("Traceback"), (0, 1, 0))

    def test_style_output(self):
        self.assertEqual(count.style("style: 12 passed, 1 failed, 0 skipped (3 files)\n"), (12, 1, 0))
        self.assertEqual(count.style(""), (0, 1, 0))


if __name__ == "__main__":
    unittest.main()
