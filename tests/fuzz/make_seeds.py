"""make_seeds.py - seeds for the harnesses whose input is not a file of some folder.

usage: make_seeds.py GOLDEN_JSON OUT_DIR         for fuzz_tokenizer: one byte of choices, then a golden text
       make_seeds.py --pickles PT_DIR OUT_DIR    for fuzz_pickle: what lies in the files of torch.save
       make_seeds.py --pipelines GOLDEN OUT_DIR  for fuzz_tokenizer_json: every pipeline over its smallest model
       make_seeds.py --requests OUT_DIR          for fuzz_request: one byte for the path, then a body
       make_seeds.py --changes OUT_DIR           for fuzz_load: choices at random, the same ones on every run
       make_seeds.py --constraints SCHEMAS DIR   for fuzz_schema, fuzz_regex, fuzz_grammar: folders corpus-NAME in DIR
"""

import json
import pathlib
import random
import struct
import sys


def texts(golden, out):
    for i, case in enumerate(json.loads(pathlib.Path(golden).read_text())):
        (out / f"text-{i:02}").write_bytes(bytes([case["flags"] & 2 | (i * 37 & 0xFC)]) + case["text"].encode())


def pickles(folder, out):
    """The first entry of zip files; of older ones what follows the third pickle, which says little_endian."""
    for path in sorted(pathlib.Path(folder).glob("*.pt")):
        data = path.read_bytes()
        head = data.find(b"little_endian")
        if data[:4] == b"PK\3\4" and len(data) > 30:
            size, name, extra = struct.unpack_from("<IHH", data, 22)
            data = data[30 + name + extra :][:size]
        elif head >= 0:
            data = data[data.index(b".", head) + 1 :]
        (out / path.stem).write_bytes(data)


def pipelines(golden, out):
    golden = json.loads(pathlib.Path(golden).read_text())
    for i, case in enumerate(golden["pipelines"]):
        whole = {**case["parts"], "model": golden["models"][0], "added_tokens": []}
        (out / f"pipeline-{i:02}").write_text(json.dumps(whole))


def changes(_, out):
    dice = random.Random(1)
    for i in range(128):
        (out / f"changes-{i:03}").write_bytes(dice.randbytes(96))


GRAMMARS = [
    'root ::= ("a" | [b-d])+ x{2,3}\nx ::= "(" root ")" | "\\n"',
    'root ::= %free("call" "(" [a-z]* ")" | <e> "!" | ^"{" "}")',
    'root ::= %until("x" y) .\ny ::= [^\\x00-\\x1F"]{,9} # a comment',
    'root ::= "a" root "b" | ""',
    'root ::= <[65]>* "\\u00e9"{1000}',
]


def patterns(value):
    """Every pattern in a schema."""
    for key, inner in (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    ):
        if key == "pattern" and isinstance(inner, str):
            yield inner
        yield from patterns(inner)


def constraints(folder, out):
    rows = [row for path in sorted(pathlib.Path(folder).glob("*.json")) for row in json.loads(path.read_text())]
    found = sorted({p for row in rows for p in patterns(row["schema"])})
    seeds = {"schema": [json.dumps(row["schema"]) for row in rows], "regex": found, "grammar": GRAMMARS}
    for name, texts_of_name in seeds.items():
        (out / f"corpus-{name}").mkdir(exist_ok=True)
        for i, text in enumerate(texts_of_name):
            (out / f"corpus-{name}" / f"seed-{i:03}").write_bytes(text.encode())


BODIES = [
    {"prompt": "x", "max_tokens": 4, "logprobs": 1, "echo": True, "stop": ["a"], "logit_bias": {"65": 1}},
    {"prompt": [[65, 66], [67]], "n": 2, "stream": True, "regex": "a+"},
    {"messages": [{"role": "user", "content": [{"type": "text", "text": "x"}]}], "max_tokens": 9, "tools": [
        {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {
            "x": {"type": "integer"}}}}}], "tool_choice": "required"},
    {"messages": [{"role": "assistant", "content": None, "tool_calls": [
        {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
        {"role": "tool", "tool_call_id": "1", "content": "r"}], "chat_template_kwargs": {"enable_thinking": True},
     "response_format": {"type": "json_object"}, "stream": True},
    {"input": [{"role": "user", "content": "x"},
               {"type": "function_call", "call_id": "1", "name": "f", "arguments": "{}"},
               {"type": "function_call_output", "call_id": "1", "output": "r"}], "max_output_tokens": 5,
     "stream": True},
    {"model": "toy", "max_tokens": 5, "system": "s", "messages": [{"role": "user", "content": "x"}]},
    {"model": "toy", "prompt": "x", "options": {"temperature": 0, "num_predict": 3}, "format": "json"},
    {"text": "a b", "texts": None, "labels": ["a", "b"]},
    {"inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data": ["x"]}]},
    {"query": "q", "documents": ["a", "b"]}, {"content": "x"}, {"tokens": [65, 66]},
    {"question": "q", "context": "c d."}]


def requests(_, out):
    """Each body for each of 64 paths: those that a path does not know are refused by a name of theirs."""
    for i, body in enumerate(BODIES):
        for path in range(64):
            (out / f"body-{i:02}-{path:02}").write_bytes(bytes([path]) + json.dumps(body).encode())


def main():
    make = {"--pickles": pickles, "--pipelines": pipelines, "--changes": changes,
            "--constraints": constraints, "--requests": requests}.get(sys.argv[1], texts)
    out = pathlib.Path(sys.argv[-1])
    out.mkdir(parents=True, exist_ok=True)
    make(sys.argv[-2], out)


if __name__ == "__main__":
    main()
