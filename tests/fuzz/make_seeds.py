"""make_seeds.py - seeds for fuzz_tokenizer from the golden texts: one byte of choices, then the text.

usage: make_seeds.py GOLDEN_JSON OUT_DIR
"""
import json
import pathlib
import sys


def main():
    cases = json.loads(pathlib.Path(sys.argv[1]).read_text())
    out = pathlib.Path(sys.argv[2])
    out.mkdir(parents=True, exist_ok=True)
    for i, case in enumerate(cases):
        (out / f"text-{i:02}").write_bytes(bytes([case["flags"] & 2 | (i * 37 & 0xFC)]) + case["text"].encode())


if __name__ == "__main__":
    main()
