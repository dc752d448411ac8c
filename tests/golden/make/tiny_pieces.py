"""tiny_pieces.py - makes tiny-pieces.json for tests/golden/tokenizers: random Unigram and WordPiece tokenizers and ids.

usage: tiny_pieces.py OUT_DIR            (needs: pip install tokenizers==0.23.3)

[[tokenizer.json as an object, [[text, ids or null when the library refuses the text], …]], …]

The vocabularies have a few random pieces over small alphabets, so that ties, unknown runs, bytes to fall back to and
pieces that look like continuations meet.
"""
import json
import pathlib
import random
import sys

from tokenizers import Tokenizer


def unigram(rng, word):
    vocabulary = [["<unk>", 0.0]]
    falls_back = rng.random() < 0.2
    if falls_back:
        vocabulary += [[f"<0x{i:02X}>", 0.0] for i in range(256) if i != 0xA9 or rng.random() < 0.5]
    for text in sorted({word() for _ in range(rng.choice([3, 8, 20]))}):
        vocabulary.append([text, rng.choice([-1.0, -2.0, -1.5, -rng.random() * 12, -round(rng.random() * 3, 2)])])
    return {"type": "Unigram", "unk_id": rng.choice([0, 0, 0, None]), "vocab": vocabulary, "byte_fallback": falls_back}


def wordpiece(rng, word):
    prefix = rng.choice(["##", "##", "#", "@", ""])
    vocabulary = {"[UNK]": 0}
    for _ in range(rng.choice([3, 8, 20, 40])):
        vocabulary.setdefault((prefix if rng.random() < 0.5 else "") + word(), len(vocabulary))
    return {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": prefix,
            "max_input_chars_per_word": rng.choice([100, 100, 5, 0]), "vocab": vocabulary}


def ids(tokenizer, text):
    try:
        return tokenizer.encode(text, add_special_tokens=False).ids
    except Exception:  # the library raises nothing more precise
        return None


def case(rng):
    alphabet = rng.choice(["ab", "abc", "aé日", "abcdefg#", "ab#é"])
    model = rng.choice([unigram, wordpiece])(
        rng, lambda: "".join(rng.choice(alphabet) for _ in range(rng.choice([1, 1, 2, 2, 3, 4, 6]))))
    whole = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": None,
             "pre_tokenizer": rng.choice([None, {"type": "Whitespace"}, {"type": "WhitespaceSplit"}]),
             "post_processor": None, "decoder": None, "model": model}
    texts = ["".join(rng.choice(alphabet + "  x") for _ in range(rng.choice([1, 3, 10, 40]))) for _ in range(8)]
    tokenizer = Tokenizer.from_str(json.dumps(whole))
    return [whole, [[text, ids(tokenizer, text)] for text in texts]]


def main():
    rng = random.Random(2)
    cases = [json.dumps(case(rng), ensure_ascii=False) for _ in range(80)]
    (pathlib.Path(sys.argv[1]) / "tiny-pieces.json").write_text("[\n" + ",\n".join(cases) + "\n]\n")


if __name__ == "__main__":
    main()
