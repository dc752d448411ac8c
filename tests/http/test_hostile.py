"""test_hostile.py - the program on broken and malicious files: tests/hostile, and models/hostile of LOQUAT_CONFORMANCE.

Every file ends as its folder's `expect` says (see tests/hostile/README.md): accepted, or refused with status 1 and one
line that names the file, the place and the reason.  Nobody waits long, memory stays near the file's size, and nothing
that a file holds is run: no HOSTILE_WAS_HERE appears.
"""
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import tempfile
import threading
import unittest
from pathlib import Path

from harness import PROGRAM, ROOT, SANITIZED, environment

OURS = ROOT / "tests/hostile"
PUBLISHED = Path(os.environ.get("LOQUAT_CONFORMANCE") or "/nonexistent") / "models/hostile"
FAMILIES = ROOT / "tests/golden/families/models"
needs_published = unittest.skipUnless(PUBLISHED.is_dir(), "needs LOQUAT_CONFORMANCE")

PATIENCE = 300 if SANITIZED else 60  # seconds before a run counts as one without end
ADDRESS_SPACE = 2 << 30              # bytes of one run; a sanitizer reserves terabytes
SPARE_MEMORY = 48 << 20              # resident bytes above a run without a file
TIMES_SIZE = 8                       # and above that many bytes per byte of the file

# A place: a byte, a line, a part of the file by its kind or a key by its name.
PLACE = re.compile(r"byte \d|line \d|\w+[._]\w+|\"|\b(tensors?|token|tokenizer|pieces?|merge|storage|-gram|header|"
                   r"pickle|vocabulary|map|model|template|architecture|zip|file|folder)\b")

# What the reference data's README wants to be said of some of its files.
SAID = {
    "pt/os_system.pt": "posix.system", "pt/os_system_legacy.pt": "posix.system", "pt/eval_builtin.pt": ".eval",
    "pt/global_outside_torch.pt": "some.package.Thing", "pt/not_a_dict.pt": "no tensors",
    "gguf/no_architecture.gguf": "general.architecture is missing", "gguf/version_big_endian.gguf": "big-endian",
    "tokenizer/merges_unknown.json": "not in the vocabulary",
    "tokenizer/post_missing_token.json": "[CLS]", "template/unclosed.jinja": "line 1",
    "config/layers_more.json": "(model.layers.1.input_layernorm.weight) is missing",
    "config/activation_unknown.json": "hidden_act",
    "config/rope_unknown.json": "rope", "config/arch_unknown.json": "architecture",
}
# Files of the reference data that may be accepted, and why.
FINE = {
    "pt/path_traversal.pt": "names of zip entries are never used as paths, so they do no harm",
    "tokenizer/added_empty.json": "the added token without text is never searched for",
    "tokenizer/merges_same.json": "one merge many times is odd but means one merge",
    "template/dunder.jinja": "internals may be undefined",
    "template/self_list.jinja": "a list that holds itself may be printed in short",
    "config/context_2_40.json": "a long context costs nothing until it is used",
}


class Run:
    """One subcommand under limits: status (negative: the signal), out, err, peak resident bytes."""

    def __init__(self, folder, *arguments, stdin=b""):
        with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            given.write(stdin)
            given.seek(0)
            process = subprocess.Popen([PROGRAM, *map(str, arguments)], cwd=folder, env=environment(), stdin=given,
                                       stdout=out, stderr=err, preexec_fn=self.limit)
            timer = threading.Timer(PATIENCE, process.send_signal, [signal.SIGKILL])
            timer.start()
            _, status, usage = os.wait4(process.pid, 0)
            timer.cancel()
            self.status = process.returncode = os.waitstatus_to_exitcode(status)
            self.peak = usage.ru_maxrss * 1024
            out.seek(0)
            err.seek(0)
            self.out, self.err = out.read(), err.read().decode("utf-8", "replace")

    @staticmethod
    def limit():
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if not SANITIZED:
            resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))


class Case(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = Path(tempfile.mkdtemp(prefix="hostile-"))
        cls.addClassCleanup(shutil.rmtree, cls.folder, ignore_errors=True)
        cls.least = Run(cls.folder, "--version").peak

    def run_on(self, path, size, *arguments, stdin=b""):
        """Runs, and checks what holds for every file."""
        run = Run(self.folder, *arguments, stdin=stdin)
        self.assertGreaterEqual(run.status, 0, f"{path}: signal {-run.status}\n{run.err[-3000:]}")
        self.assertNotRegex(run.err, "Sanitizer|runtime error", str(path))
        if not SANITIZED:
            self.assertLess(run.peak, self.least + SPARE_MEMORY + TIMES_SIZE * size, f"{path}: memory")
        self.assertEqual([p for p in self.folder.rglob("HOSTILE_WAS_HERE*")], [], f"{path} was executed")
        return run

    def assert_refused(self, run, path, words=""):
        """One line with the file's name, a place and the words."""
        self.assertEqual(run.status, 1, f"{path} was accepted or ended with {run.status}: {run.out[:500]} {run.err}")
        lines = [s for s in run.err.splitlines() if not re.match(r"\S+Z (info|warning) ", s)]
        self.assertEqual(len(lines), 1, f"{path}: {run.err}")
        before, _, what = lines[0].partition(Path(path).name)
        self.assertRegex(before, r"^(loquat \w+: |\S+Z error )", f"{path}: {lines[0]}")
        self.assertRegex(what, PLACE, f"{path}: {lines[0]}")
        self.assertIn(words, what, str(path))

    def assert_inspected(self, run, path):
        """Read without objection; whether it can be served is another matter, for one line."""
        if run.status != 0:
            self.assert_refused(run, path, " cannot be served: ")


def table(kind):
    """Rows of tests/hostile/KIND/expect: path, None for what must be accepted or the words of the refusal."""
    for line in (OURS / kind / "expect").read_text().splitlines():
        name, _, rest = line.partition(" ")
        yield OURS / kind / name, None if rest == "accept" else rest.removeprefix("refuse ")


def published(kind, pattern="*"):
    """Files of the reference data: path, name in SAID and FINE."""
    for path in sorted((PUBLISHED / kind).glob(pattern)):
        if path.is_file():
            yield path, f"{kind}/{path.name}"


class Files(Case):
    """`inspect` of single files."""

    def inspect(self, path, words, fine=False):
        run = self.run_on(path, path.stat().st_size, "inspect", path)
        if words is None or fine:
            self.assert_inspected(run, path)
        else:
            self.assert_refused(run, path, words)

    def test_tables(self):
        n = 0
        for kind in ("gguf", "safetensors", "pt", "arpa", "spm"):
            for path, words in table(kind):
                words = "is empty" if path.stat().st_size == 0 else words
                with self.subTest(f"{kind}/{path.name}"):
                    self.inspect(path, words)
                n += 1
        self.assertGreater(n, 300)

    def test_marian(self):
        """Each model alone, each shortlist beside a good model: elsewhere they would be taken for each other."""
        for path, words in table("marian"):
            words = "is empty" if path.stat().st_size == 0 else words
            with self.subTest(path.name):
                shortlist = path.name.startswith("lex-")
                folder = self.folder / path.stem
                folder.mkdir()
                name = folder / (path.stem + (".s2t.bin" if shortlist else ".intgemm.alphas.bin"))
                name.symlink_to(path)
                if shortlist:
                    (folder / "model.intgemm.alphas.bin").symlink_to(OURS / "marian/good.bin")
                run = self.run_on(path, path.stat().st_size, "inspect", folder)
                if words is None:
                    self.assert_inspected(run, folder)
                else:
                    self.assert_refused(run, name, words)

    @needs_published
    def test_published(self):
        n = 0
        for kind in ("gguf", "safetensors", "pt", "spm", "marian"):
            for path, key in published(kind):
                with self.subTest(key):
                    self.inspect(path, SAID.get(key, ""), key in FINE)
                n += 1
        self.assertGreater(n, 90)


class Tokenizers(Case):
    """`tokenize` and `inspect` with a tokenizer alone."""
    TEXTS = (b"", b"a", b"aaaa ab", b"a" * 100000 + b"b", "\u00e9\u4e2d\U0001f600 x".encode(), b"ab " * 30000)

    def tokenize(self, path, words, fine):
        for text in self.TEXTS:
            run = self.run_on(path, path.stat().st_size + 100 * len(text), "tokenize", "--model", path, stdin=text)
            if words == "" and run.status == 0:
                self.assertRegex(run.out, rb"^[\d ]*\n$")
            elif run.status != 0 or not fine:
                self.assert_refused(run, path, words or "")

    def test_sentencepiece(self):
        for path, words in table("spm"):
            with self.subTest(path.name):
                words = "is empty" if path.stat().st_size == 0 else words
                self.tokenize(path, words or "", words is None)

    def test_tables(self):
        """Refused when read, or at the latest when a text is cut that is hard for a bad expression."""
        text = b"ab" + b"a" * 2000 + b"b"
        for path, words in table("tokenizer"):
            with self.subTest(path.name):
                run = self.run_on(path, path.stat().st_size, "tokenize", "--model", path, stdin=text)
                if words is None:
                    self.assertEqual((run.status, run.err), (0, ""))
                else:
                    self.assert_refused(run, path, words)

    @needs_published
    def test_published(self):
        """Those that open must get through every text, by ids or by one line; the others are refused each time."""
        n = 0
        for path, key in published("tokenizer"):
            with self.subTest(key):
                opened = self.run_on(path, path.stat().st_size, "tokenize", "--model", path).status == 0
                self.tokenize(path, "" if opened else SAID.get(key, ""), opened)
                run = self.run_on(path, path.stat().st_size, "inspect", path)
                self.assert_refused(run, path)
            n += 1
        self.assertGreater(n, 20)


class Templates(Case):
    @needs_published
    def test_published(self):
        request = json.dumps({"messages": [{"role": "user", "content": "hi"}]}).encode()
        n = 0
        for path, key in published("template"):
            with self.subTest(key):
                # A template may use the memory that limits.h gives to one rendering.
                run = self.run_on(path, 256 << 20, "render", "--template", path, stdin=request)
                if run.status != 0 or key not in FINE:
                    self.assert_refused(run, path, SAID.get(key, ""))
                self.assertLess(len(run.out), 1 << 20)
            n += 1
        self.assertGreater(n, 8)


class Folders(Case):
    """A checkpoint folder whose config.json or weights are wrong: at `inspect`, and when it is loaded to be used."""

    def put(self, good, **other):
        """self.folder/model: the files of a good folder, some replaced."""
        folder = self.folder / "model"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        for path in Path(good).iterdir():
            (folder / path.name).symlink_to(path)
        for name, content in other.items():
            path = folder / name.replace("__", ".")
            path.unlink(missing_ok=True)
            path.write_bytes(content)
        return folder

    def check(self, folder, words, load=True):
        """words None: must be served; "": refused."""
        size = sum(p.stat().st_size for p in folder.iterdir())
        runs = [self.run_on(folder, size, "inspect", folder)]
        if load:
            runs.append(self.run_on(folder, size, "generate", "--model", folder, "--prompt", "a", "--max-tokens", "3"))
        for run in runs:
            if words is None:
                self.assertEqual(run.status, 0, run.err)
            else:
                self.assert_refused(run, folder, words)

    def test_configs(self):
        for path, words in table("config"):
            with self.subTest(path.name):
                self.check(self.put(OURS / "config/good", config__json=path.read_bytes()), words)

    @needs_published
    def test_published_configs(self):
        good = self.folder / "with-tokenizer"
        shutil.copytree(PUBLISHED / "config/good", good)
        shutil.copy(OURS / "config/good/tokenizer.json", good)
        self.check(self.put(good), None)
        n = 0
        for path, key in published("config", "*.json"):
            with self.subTest(key):
                folder = self.put(good, config__json=path.read_bytes())
                run = self.run_on(folder, 1 << 20, "inspect", folder)
                self.check(folder, None if key in FINE and run.status == 0 else SAID.get(key, ""))
            n += 1
        self.assertGreater(n, 15)

    def test_cut_weights(self):
        """Weights that end early, of every container, with a model of every kind of memory around them."""
        for family, name in (("llama", "model.safetensors"), ("t5", "model.safetensors"), ("torch-lstm", "model.pt"),
                             ("gpt2-sharded", "model-00002-of-00004.safetensors"),
                             ("bert-classifier", "model.safetensors")):
            data = (FAMILIES / family / name).read_bytes()
            for part in (0, 7, len(data) // 3, len(data) - 4):
                with self.subTest(family=family, part=part):
                    self.check(self.put(FAMILIES / family, **{name.replace(".", "__"): data[:part]}), "")

    def test_cut_gguf(self):
        data = (ROOT / "tests/golden/models/tiny-llama.gguf").read_bytes()
        path = self.folder / "cut.gguf"
        for part in (0, 3, 100, 4000, len(data) // 2, len(data) - 1):
            path.write_bytes(data[:part])
            with self.subTest(part):
                for arguments in (("inspect", path), ("generate", "--model", path, "--prompt", "a"),
                                  ("tokenize", "--model", path), ("convert", path, self.folder / "out.gguf")):
                    self.assert_refused(self.run_on(path, part, *arguments, stdin=b"a"), path)
        self.assertFalse((self.folder / "out.gguf").exists())

    def test_shards_that_are_missing(self):
        folder = self.put(FAMILIES / "gpt2-sharded")
        (folder / "model-00003-of-00004.safetensors").unlink()
        self.check(folder, "model-00003-of-00004.safetensors")

    def test_index_that_leaves_the_folder(self):
        for name in ("../model-00001-of-00004.safetensors", "/etc/hostname", "", "a\u0000b", 7):
            index = json.loads((FAMILIES / "gpt2-sharded/model.safetensors.index.json").read_text())
            key = next(iter(index["weight_map"]))
            index["weight_map"][key] = name
            with self.subTest(name):
                self.check(self.put(FAMILIES / "gpt2-sharded",
                                    model__safetensors__index__json=json.dumps(index).encode()), "")

    def test_serve_ends_when_its_model_cannot_be_loaded(self):
        folder = self.put(OURS / "config/good", config__json=(OURS / "config/heads-0.json").read_bytes())
        run = self.run_on(folder, 1 << 20, "serve", "--port", "0", "--model", f"broken={folder}")
        self.assert_refused(run, folder, "num_attention_heads")
        self.assertNotIn(b"listening", run.out)


def load_tests(_loader, tests, _pattern):
    """A file is read by one thread: nothing here is for the thread sanitizer to see."""
    return unittest.TestSuite() if SANITIZED == "tsan" else tests


if __name__ == "__main__":
    unittest.main()
