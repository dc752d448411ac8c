#!/usr/bin/env python3
"""check_style.py - holds the house rules that a machine can read: arrows, lengths, calls, heads, layout.

usage: check_style.py [--root DIR] [--only RULE]      called by tests/run; status 1 when a rule is broken

A rule is a function with @rule that yields "path:line: what is wrong".  To add one, write it; to let a room include
another, edit ARROWS.  The last line counts the rules that hold and those that do not.
"""
import argparse
import re
import shutil
import subprocess
import sys
from pathlib import Path

ARROWS = {  # room: what its files may include besides their own room; engine/base is open to all
    "server": ["api", "engine/engine.h"],
    "api": ["engine/engine.h"],
    "engine/base": [],
    "engine/schedule": ["engine/models", "engine/cache", "engine/decode"],
    "engine/models": ["engine/cache", "engine/kernels"],
    "engine/decode": ["engine/kernels", "engine/tokenizers"],
    "engine/formats": [],
    "engine/tokenizers": [],
    "engine/kernels": [],
    "engine/cache": [],
}
JOINTS = ["engine/engine.c", "engine/loader.c", "engine/convert.c"]  # may include every room of the engine
LIBRARIES = {  # header: the one room that knows it
    "uv.h": "server", "microhttpd.h": "server", "cblas.h": "engine/kernels",
}
FORBIDDEN = ("strcpy strcat stpcpy sprintf vsprintf gets strtok strtok_r atoi atol atoll atof alloca "
             "tmpnam mktemp tempnam setjmp longjmp").split()
WORDS_OF_FORMATS = {"ngram"}  # architectures whose name a file format has as a keyword: "ngram 1=" in ARPA
ENDS_PROCESS = "exit _exit _Exit quick_exit abort".split()
FUNCTION_LINES, FILE_LINES, HEAD_LINES, LINE_LENGTH = 70, 1000, 15, 120
C_SUFFIXES = {".c", ".h", ".inc", ".def"}
SKIPPED_FOLDERS = re.compile(r"^(build.*|\.git|__pycache__|\.venv)$")

RULES = {}


def rule(f):
    RULES[f.__name__.replace("_", "-")] = f
    return f


class Source:
    """One file: text as written, and for C the code alone (comments and literals blanked, lines kept)."""

    def __init__(self, root, path):
        self.path = path.relative_to(root).as_posix()
        self.text = path.read_text(encoding="utf-8", errors="replace")
        self.lines = self.text.splitlines()
        self.is_c = path.suffix in C_SUFFIXES
        self.code = blank_literals(self.text) if self.is_c else ""

    def room(self):
        parts = self.path.split("/")
        return "/".join(parts[:2]) if parts[0] == "engine" and len(parts) > 2 else parts[0]

    def is_test(self):
        return self.path.startswith("tests/")

    def line_of(self, offset):
        return self.text.count("\n", 0, offset) + 1


LITERALS = re.compile(r"""//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'""", re.S)


def blank_literals(text):
    def blank(m):
        s = m.group()
        if s[0] in "\"'":
            return s[0] + " " * (len(s) - 2) + s[0]
        return re.sub(r"[^\n]", " ", s)
    return LITERALS.sub(blank, text)


def blank_preprocessor(code):
    return re.sub(r"^[ \t]*#(?:[^\n]*\\\n)*[^\n]*", lambda m: re.sub(r"[^\n]", " ", m.group()), code, flags=re.M)


def functions(source):
    """Yields (name, first line, lines) of every function of a C file; (None, line, 0) when braces do not balance."""
    code, depth, head, opened = blank_preprocessor(source.code), 0, 0, None
    for m in re.finditer(r"[{};]", code):
        at, c = m.start(), m.group()
        if c == "{":
            if depth == 0:
                before = code[head:at]
                signature = re.sub(r"__attribute__\s*\(\(.*?\)\)", "", before, flags=re.S)
                name = re.search(r"(\w+)\s*\(", signature)
                opened = None
                if name and signature.rstrip().endswith(")") and "=" not in signature:
                    opened = (name.group(1), source.line_of(head + len(before) - len(before.lstrip())))
            depth += 1
        elif c == "}":
            depth -= 1
            if depth < 0:
                yield None, source.line_of(at), 0
                return
            if depth == 0:
                head = m.end()
                if opened:
                    yield opened[0], opened[1], source.line_of(at) - opened[1] + 1
                opened = None
        elif depth == 0:
            head = m.end()
    if depth:
        yield None, len(source.lines), 0


def read_tree(root):
    sources = []
    for path in sorted(root.rglob("*")):
        if any(SKIPPED_FOLDERS.match(p) for p in path.relative_to(root).parts[:-1]) or not path.is_file():
            continue
        script = path.suffix == "" and path.open("rb").read(2) == b"#!"
        if path.suffix in C_SUFFIXES | {".py", ".sh", ".build", ".yml", ".service"} or script:
            sources.append(Source(root, path))
    return sources


def calls(source, names):
    for m in re.finditer(r"(?<![\w.>])(%s)\s*\(" % "|".join(names), source.code):
        yield source.line_of(m.start()), m.group(1)


# ---- the rules ------------------------------------------------------------------------------------------------------

def joins_rooms(source):
    private_header = re.fullmatch(r"engine/\w+\.h", source.path) and source.path != "engine/engine.h"
    return source.path in JOINTS or private_header


def may_include(source, target):
    room = source.room()
    if target.startswith("engine/base/") or target.startswith(room + "/") and room != "engine":
        return True
    if room == "engine":  # the top of the engine
        return target == "engine/engine.h" or bool(joins_rooms(source)) and target.startswith("engine/")
    return any(target == a or target.startswith(a + "/") for a in ARROWS.get(room, []))


@rule
def include_arrows(tree):
    for s in tree:
        if not s.is_c or s.is_test():
            continue
        for n, line in enumerate(s.lines, 1):
            m = re.match(r'\s*#\s*include\s+(?:"([^"]+)"|<([^>]+)>)', line)
            if m and m.group(1):
                target = m.group(1) if "/" in m.group(1) else s.path.rsplit("/", 1)[0] + "/" + m.group(1)
                if not may_include(s, target):
                    yield f"{s.path}:{n}: {s.room()} may not include {target}"
            elif m and s.room() != LIBRARIES.get(m.group(2), s.room()):
                yield f"{s.path}:{n}: only {LIBRARIES[m.group(2)]} knows <{m.group(2)}>"


@rule
def rooms_are_known(tree):
    for s in tree:
        if s.is_c and not s.is_test() and s.room() not in ARROWS and s.room() != "engine":
            yield f"{s.path}:1: no room of the house; add it to ARROWS when it is one"


@rule
def function_length(tree):
    for s in tree:
        if not s.path.endswith(".c") or s.room() == "engine/kernels":
            continue
        for name, line, length in functions(s):
            if name is None:
                yield f"{s.path}:{line}: braces do not balance without the preprocessor"
            elif length > FUNCTION_LINES:
                yield f"{s.path}:{line}: {name} has {length} lines; {FUNCTION_LINES} at most"


@rule
def file_length(tree):
    for s in tree:
        if len(s.lines) > FILE_LINES and s.room() != "engine/kernels":
            yield f"{s.path}:{len(s.lines)}: {len(s.lines)} lines; {FILE_LINES} at most"


@rule
def line_length(tree):
    for s in tree:
        if s.is_c or s.path.endswith((".py", ".build")):
            table = False  # laid out by hand: a row a line
            for n, line in enumerate(s.lines, 1):
                table = "clang-format off" in line or table and "clang-format on" not in line
                if len(line) > LINE_LENGTH and not table:
                    yield f"{s.path}:{n}: {len(line)} columns; {LINE_LENGTH} at most"


@rule
def forbidden_calls(tree):
    for s in tree:
        for n, name in calls(s, FORBIDDEN):
            yield f"{s.path}:{n}: {name}() is not used here"


@rule
def process_ends_in_main_alone(tree):
    for s in tree:
        if not s.is_test() and not re.fullmatch(r"server/(main|cmd_\w+)\.c", s.path):
            for n, name in calls(s, ENDS_PROCESS):
                yield f"{s.path}:{n}: {name}() outside main"


@rule
def file_heads(tree):
    for s in tree:
        if not s.is_c:
            continue
        name = s.path.rsplit("/", 1)[-1]
        head = s.text[:s.text.find("*/") + 2]
        if not s.text.startswith(f"/* {name} - "):
            yield f"{s.path}:1: begins with '/* {name} - ' and what it is for"
        elif head.count("\n") >= HEAD_LINES and s.room() != "engine/kernels":
            yield f"{s.path}:1: a head of {head.count(chr(10)) + 1} lines; {HEAD_LINES} at most"


@rule
def no_leftovers(tree):
    words = re.compile(r"\b(TO" r"DO|FIX" r"ME|XX" r"X|HA" r"CK)\b")
    for s in tree:
        for n, line in enumerate(s.lines, 1):
            m = words.search(line)
            if m:
                yield f"{s.path}:{n}: {m.group()}: do it or drop it"


@rule
def no_machine_paths(tree):
    anywhere = re.compile(r"(?<![\w.$}])/(work|root|home/\w+)/|(?<!\w)\.\./sha" r"red\b")
    in_c = re.compile(r'"/(tmp|var|usr/local|home|root|mnt)/')
    for s in tree:
        if s.path == ".ci/run":
            continue
        for n, line in enumerate(s.lines, 1):
            m = anywhere.search(line) or s.is_c and not s.is_test() and in_c.search(line)
            if m:
                yield f"{s.path}:{n}: '{m.group()}' is a place on one machine"


# GGUF calls its tokenizers after the models that had them first: words of tokenizer_spec.model and .pre.
TOKENIZER_WORDS = {"llama", "bert", "t5", "gpt2", "qwen2"}
TOKENIZER_FILES = re.compile(r"engine/(tokenizers/|formats/(gguf_vocabulary|tokenizer_\w+|sentencepiece)\.c)")


@rule
def only_models_name_an_architecture(tree):
    names = set()
    for s in tree:
        if s.path.startswith("engine/models/"):
            names |= set(re.findall(r'\bstruct arch \w+ = \{\s*\.name = "([\w-]+)"', s.text))
    names -= WORDS_OF_FORMATS
    if not names:
        return
    literal = re.compile(r'"(%s)[".]' % "|".join(map(re.escape, sorted(names))))
    for s in tree:
        if s.is_c and s.room() != "engine/models" and not s.is_test():
            for m in literal.finditer(s.text):
                if m.group(1) in TOKENIZER_WORDS and TOKENIZER_FILES.match(s.path):
                    continue
                if s.code[m.start()] == '"':  # not in a comment
                    yield f"{s.path}:{s.line_of(m.start())}: names the architecture {m.group(1)}"


@rule
def headers_explain_their_declarations(tree):
    elsewhere = re.compile(r"\bis\s+(?:\*\s+)?said\s+(?:\*\s+)?in\s+(?:\*\s+)?\w+\.h\b")  # a head that sends the reader on
    prototype = re.compile(r"^(?!typedef|struct \w+ \{|static|#|\s)[\w *]+\b\w+\([^{}]*\);", re.M)
    for s in tree:
        if not s.path.endswith(".h") or s.is_test() or elsewhere.search(s.text[:s.text.find("*/")]):
            continue
        before, at = "", 0
        for paragraph in re.split(r"\n[ \t]*\n", s.text):
            m = prototype.search(paragraph)
            at = s.text.index(paragraph, at)
            if m and "/*" not in paragraph and "//" not in paragraph and not before.rstrip().endswith("*/"):
                yield f"{s.path}:{s.line_of(at + m.start())}: a public function without a comment"
            at += len(paragraph)
            before = paragraph


@rule
def layout(tree):
    """Yields None when clang-format is not here: the rule is skipped."""
    if not shutil.which("clang-format"):
        yield None
        return
    files = [s.path for s in tree if s.path.endswith((".c", ".h"))]
    if not files:
        return
    out = subprocess.run(["clang-format", "--style=file", "--dry-run", "--ferror-limit=1", *files], cwd=tree.root,
                         capture_output=True, text=True, check=False).stderr
    seen = set()
    for m in re.finditer(r"^(\S+?):(\d+):\d+: (?:warning|error): code should be clang-formatted", out, re.M):
        if m.group(1) not in seen:
            seen.add(m.group(1))
            yield f"{m.group(1)}:{m.group(2)}: not as clang-format lays it out"


class Tree(list):
    def __init__(self, root):
        super().__init__(read_tree(root))
        self.root = root


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--root", type=Path, default=Path(__file__).resolve().parent.parent)
    p.add_argument("--only", choices=sorted(RULES))
    args = p.parse_args()
    tree = Tree(args.root.resolve())
    passed = failed = skipped = 0
    for name, check in RULES.items():
        if args.only not in (None, name):
            continue
        broken = list(check(tree))
        if broken == [None]:
            print(f"{name}: skipped, its tool is not installed")
            skipped += 1
        elif broken:
            print("\n".join(broken))
            print(f"{name}: broken in {len(broken)} places")
            failed += 1
        else:
            passed += 1
    print(f"style: {passed} passed, {failed} failed, {skipped} skipped ({len(tree)} files)")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
