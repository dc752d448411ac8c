"""tiny_bpe.py - makes tests/golden/tokenizers: a small byte-level BPE vocabulary and the ids of hard texts.

usage: tiny_bpe.py OUT_DIR                (Python's standard library only; the same bytes on every run)

tiny-bpe.gguf  GGUF v3 without tensors: 500 tokens learnt from the text below, pre-tokenizer "smollm"
tiny-bpe.json  [{text, flags, ids}]; flags: 1 = add BOS, 2 = parse special tokens

The ids come from the plainest implementation there is: words cut by hand with unicodedata, then the
best pair searched again from the start after every merge.
"""
import json
import pathlib
import struct
import sys
import unicodedata
from collections import Counter

# Written for this file.
TEXT = """
The river comes down from the hills in the early morning, and the people of the town come down to meet it.
They bring their baskets and their boats, their children and their songs; there is nothing that the river has not
heard before. In the spring it carries the snow of the mountains, in the summer it carries the dust of the roads,
and in the autumn it carries the leaves of every tree that stands along its banks. Nobody asks where the water goes.
"It goes where it goes," say the old ones, and they don't say more than that. The young ones want to know: they'll
follow it one day, they've said so since they were small, to the place where the river ends and the sea begins.
There was a bridge here once. It was built of stone, and it stood for three hundred years and then, in one night of
rain, it was gone. What remains of it are two towers, one on either side, that look at each other over the water
like two neighbours who have quarrelled and can't remember why. The ferry crosses between them 12 times a day.
for (int i = 0; i < 10; i++) {
    if (i == 7) { continue; }
    total += i * price[i];
}
Es war einmal ein Fluß, der über die Wiesen floß. Le fleuve était là, près de la forêt, où l'été ne finissait pas.
Река текла через город, и люди шли к реке. 河水流过城市，人们来到河边。
"""
SPECIALS = [("<|endoftext|>", 3), ("<|im_start|>", 3), ("<|im_end|>", 3), ("<|im_end|>s", 3), ("<tool>", 4)]
SIZE = 500
BOS, EOS = 1, 2
# Rust's and Python's White_Space.
SPACE = {*range(9, 14), 0x20, 0x85, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x2028, 0x2029, 0x202F, 0x205F, 0x3000}


def kind(c):
    if ord(c) in SPACE:
        return "space"
    major = unicodedata.category(c)[0]
    return {"L": "letter", "N": "number"}.get(major, "other")


def run_end(text, at, wanted):
    while at < len(text) and kind(text[at]) == wanted:
        at += 1
    return at


def gpt2_word_end(text, at):
    for suffix in ("'s", "'t", "'re", "'ve", "'m", "'ll", "'d"):
        if text.startswith(suffix, at):
            return at + len(suffix)
    start = at + 1 if text[at] == " " and at + 1 < len(text) else at
    if kind(text[start]) != "space":
        return run_end(text, start, kind(text[start]))
    end = run_end(text, at, "space")
    return end if end == len(text) or end == at + 1 else end - 1


def words(text):
    """smollm: every number on its own, then GPT-2's words within what lies between."""
    out, piece = [], ""

    def flush():
        at = 0
        while at < len(piece):
            end = gpt2_word_end(piece, at)
            out.append(piece[at:end])
            at = end

    for c in text:
        if kind(c) == "number":
            flush()
            piece = ""
            out.append(c)
        else:
            piece += c
    flush()
    return out


PLAIN = [*range(33, 127), *range(161, 173), *range(174, 256)]
REST = [b for b in range(256) if b not in PLAIN]
SYMBOL = {b: chr(b) for b in PLAIN} | {b: chr(256 + i) for i, b in enumerate(REST)}


def symbols(word):
    return [SYMBOL[b] for b in word.encode()]


def merge(parts, pair):
    out, i = [], 0
    while i < len(parts):
        if i + 1 < len(parts) and (parts[i], parts[i + 1]) == pair:
            out.append(parts[i] + parts[i + 1])
            i += 2
        else:
            out.append(parts[i])
            i += 1
    return out


def learn():
    counts = Counter(words(TEXT))
    split = {w: symbols(w) for w in counts}
    vocabulary = [text for text, _ in SPECIALS] + [SYMBOL[b] for b in PLAIN + REST]
    merges = []
    while len(vocabulary) < SIZE:
        pairs = Counter()
        for w, n in counts.items():
            for pair in zip(split[w], split[w][1:]):
                pairs[pair] += n
        best = min(pairs, key=lambda p: (-pairs[p], p))
        merges.append(best)
        if best[0] + best[1] not in vocabulary:
            vocabulary.append(best[0] + best[1])
        split = {w: merge(parts, best) for w, parts in split.items()}
    return vocabulary, merges


def encode_plain(text, ids, merges):
    out = []
    for word in words(text):
        parts = symbols(word)
        for pair in merges:  # one after the other: the rank decides, then the place
            if len(parts) > 1:
                parts = merge(parts, pair)
        out += [ids[p] for p in parts]
    return out


def encode(text, flags, ids, merges):
    out, plain, at = ([BOS] if flags & 1 else []), "", 0
    names = sorted((t for t, kind_ in SPECIALS if kind_ == 4 or flags & 2), key=len, reverse=True)
    while at < len(text):
        found = next((n for n in names if text.startswith(n, at)), None)
        if found:
            out += encode_plain(plain, ids, merges) + [ids[found]]
            plain = ""
            at += len(found)
        else:
            plain += text[at]
            at += 1
    return out + encode_plain(plain, ids, merges)


CASES = [
    ("", 0), ("", 1), (" ", 0), ("  ", 0), ("\n", 0), ("\n\n \n", 0), ("the river", 0), (" the river", 0),
    ("the river ", 0),
    ("The people don't; they'll, they've 'em, WE'LL, it's 's", 0), ("12345 6 7\n8 ½ ¾ ٣٤", 0), ("a  b   c    d", 0),
    ("\ta\t\tb \t c\r\n\r\nd", 0), ("Привет, река! über Fluß où été", 0), ("河水流过城市，人们来到河边。你好", 0),
    ("🦙🔥 llama\u200d🔥 e\u0301 \u0301x", 0), ("nbsp\u00a0nbsp nel\u0085nel ideographic\u3000space ogham\u1680x", 0),
    ("mongolian\u180evowel separator zero\u200bwidth", 0), ("x\u2028y\u2029z\u205f", 0), ("!!!??? ... ,,, (( ))", 0),
    ("for (int i = 0; i < 10; i++) {\n    total += i;\n}\n", 0), ("aaaaaaaaaaaaaaaaaaaaaaaa", 0), ("\x00\x01\x7f", 0),
    ("<|im_start|>user\nthe river<|im_end|>\n", 0), ("<|im_start|>user\nthe river<|im_end|>\n", 2),
    ("<|im_start|>user\nthe river<|im_end|>\n", 3), ("<|im_end|>s<|im_end|> s<|im_end|", 2), ("<|<|im_end|>|>", 2),
    ("a<tool>b <tool>", 0), ("a<tool>b <tool>", 2), ("in the the the there they're the\u00ad", 0),
    ("\ufeffbom \U0010ffff", 0),
]


def string(text):
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def pair(key, value_type, data):
    return string(key) + struct.pack("<I", value_type) + data


def array(value_type, items):
    return struct.pack("<IQ", value_type, len(items)) + b"".join(items)


def gguf(vocabulary, merges):
    types = dict(SPECIALS)
    pairs = [
        pair("general.architecture", 8, string("llama")),
        pair("general.name", 8, string("tiny-bpe")),
        pair("tokenizer.ggml.model", 8, string("gpt2")),
        pair("tokenizer.ggml.pre", 8, string("smollm")),
        pair("tokenizer.ggml.tokens", 9, array(8, [string(t) for t in vocabulary])),
        pair("tokenizer.ggml.token_type", 9, array(5, [struct.pack("<i", types.get(t, 1)) for t in vocabulary])),
        pair("tokenizer.ggml.merges", 9, array(8, [string(a + " " + b) for a, b in merges])),
        pair("tokenizer.ggml.bos_token_id", 4, struct.pack("<I", BOS)),
        pair("tokenizer.ggml.eos_token_id", 4, struct.pack("<I", EOS)),
        pair("tokenizer.ggml.add_bos_token", 7, b"\x01"),
    ]
    return b"GGUF" + struct.pack("<IQQ", 3, 0, len(pairs)) + b"".join(pairs)


def main():
    out = pathlib.Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    vocabulary, merges = learn()
    ids = {t: i for i, t in enumerate(vocabulary)}
    # A zero character cannot stand in our JSON; C tests cover it.
    cases = [{"text": t, "flags": f, "ids": encode(t, f, ids, merges)} for t, f in CASES if "\x00" not in t]
    (out / "tiny-bpe.gguf").write_bytes(gguf(vocabulary, merges))
    (out / "tiny-bpe.json").write_text(json.dumps(cases, ensure_ascii=False, indent=0) + "\n")


if __name__ == "__main__":
    main()
