"""tiny_spm.py - makes SentencePiece models for tests/golden/tokenizers, and the ids of hard texts.

usage: tiny_spm.py OUT_DIR               (needs: pip install sentencepiece==0.2.3)

tiny-unigram.model  Unigram: a map of characters, user-defined pieces
tiny-bytes.model    Unigram that falls back to bytes and keeps spaces
tiny-spbpe.model    BPE that falls back to bytes, keeps spaces and has user-defined pieces
tiny-spm.json       {file: [[text, ids], …], "random": [[model in hex, [[text, ids], …]], …]}

The models are trained on the text of tiny_bpe.py; those under "random" have a few random pieces each, so that ties,
unused pieces and every flag of the normaliser meet.  All ids are those of the sentencepiece library.
"""
import contextlib
import json
import pathlib
import random
import struct
import sys
import tempfile

import sentencepiece

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent.parent / "hostile"))
from make_spm import BPE, BYTE, CONTROL, NORMAL, UNIGRAM, UNKNOWN, UNUSED, USER_DEFINED, data, number, piece, trainer
from tiny_bpe import TEXT

# What a character becomes; sequences of code points on both sides.
MAP = [("\u00a0", " "), ("\u3000", " "), ("\t", " "), ("\n", " "), ("\u00ad", ""), ("\ufb01", "fi"), ("\u2460", "1"),
       ("½", "1/2"), ("e\u0301", "é"), ("a\u0308", "ä"), ("\uff21", "A"), ("\uff22", "B"), ("\u304b\u3099", "\u304c"),
       ("e\u0301\u0302", "E")]
WORDS = ["the", "river", "comes", "down", "people", "of", "town", "hills", "for", "(int", "i", "=", "0;",
         "Fluß", "été", "e\u0301te\u0301", "город", "河水流过", "\ufb01nd", "½", "①②", "ＡＢＣ", "\u304b\u3099",
         "a\u0308", "👩‍👩‍👧", "🏳️‍🌈", "<sep>", "[MASK]", "<s>", "</s>", "<unk>", "<0x41>", "▁", "▁▁",
         "aaaaaaa", "ababab", "!!!!!", "1234567", "don't", "ingthe", "\x01", "\x7f", "\u200b", "\ufeff",
         "\U0010fffd", "क्षि", "각", "\u1100\u1161\u11a8"]
SPACES = [" ", " ", " ", "  ", "   ", "\n", "\t", "\u00a0", "\u3000", ""]


def train(**options):
    """The model names its files, so they lie in the working folder."""
    rules = ["\t".join(" ".join(f"{ord(c):X}" for c in side) for side in rule) + "\n" for rule in MAP]
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        pathlib.Path("text").write_text(TEXT)
        pathlib.Path("rules.tsv").write_text("".join(rules))
        sentencepiece.SentencePieceTrainer.train(input="text", model_prefix="m", normalization_rule_tsv="rules.tsv",
                                                 hard_vocab_limit=False, minloglevel=2, num_threads=1, **options)
        return pathlib.Path("m.model").read_bytes()


def texts(rng, n):
    yield from ["", " ", "   ", "a", " a ", "▁", "the river", "  the  river  ", "\n\n", "x" * 40]
    for _ in range(n):
        yield "".join(rng.choice(WORDS) + rng.choice(SPACES) for _ in range(rng.choice([1, 2, 4, 9, 20])))


def ids(model, given):
    sp = sentencepiece.SentencePieceProcessor()
    sp.LoadFromSerializedProto(model)
    return [[text, sp.encode(text)] for text in given]


def random_model(rng):
    alphabet = rng.choice(["ab", "abc", "ab▁", "aé▁日"])
    pieces = [piece("<unk>", 0, UNKNOWN), piece("<s>", 0, CONTROL), piece("z", -3)]
    seen = {"z"}
    for i in range(rng.choice([3, 8, 16])):
        text = "".join(rng.choice(alphabet) for _ in range(rng.choice([1, 1, 2, 2, 3, 4, 6])))
        kind = rng.choices([NORMAL, USER_DEFINED, UNUSED], [10, rng.choice([0, 2]), rng.choice([0, 3])])[0]
        if text not in seen:
            pieces.append(piece(text, 0 if kind == USER_DEFINED else rng.choice([-1, -2, -1.5, -0.1 * i]), kind))
        seen.add(text)
    flag = [int(rng.random() < p) for p in (0.5, 0.5, 0.8, 0.2)]
    kind = rng.choice([UNIGRAM, BPE])
    rules = b"".join(number(3 + i, flag[i]) for i in range(3))
    model = b"".join(pieces) + trainer(kind, number(24, flag[3])) + data(3, rules)
    given = ["".join(rng.choice(alphabet + "  x") for _ in range(rng.choice([1, 3, 10, 30]))) for _ in range(8)]
    return [model.hex(), ids(model, given)]


def main():
    out, rng = pathlib.Path(sys.argv[1]), random.Random(1)
    keeping = {"byte_fallback": True, "remove_extra_whitespaces": False, "character_coverage": 0.98}
    models = {
        "tiny-unigram.model": train(model_type="unigram", vocab_size=260, user_defined_symbols=["<sep>", "the", "ing"],
                                    control_symbols=["[MASK]"]),
        "tiny-bytes.model": train(model_type="unigram", vocab_size=480, **keeping),
        "tiny-spbpe.model": train(model_type="bpe", vocab_size=520, user_defined_symbols=["<sep>", "\n\n", "  "],
                                  **keeping),
    }
    golden = {}
    for name, model in models.items():
        (out / name).write_bytes(model)
        golden[name] = ids(model, texts(rng, 60))
    golden["random"] = [random_model(rng) for _ in range(60)]
    lines = [f'"{name}": [\n' + ",\n".join(map(json.dumps, cases)) + "\n]" for name, cases in golden.items()]
    (out / "tiny-spm.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
