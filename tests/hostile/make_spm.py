"""make_spm.py - makes broken and malicious SentencePiece models, and what reading each must say.

usage: make_spm.py OUT_DIR               (Python's standard library only; the same bytes on every run)

Writes OUT_DIR/NAME.model and OUT_DIR/expect: one line a file, `NAME accept` or `NAME refuse WORDS`, where
WORDS must stand in the one-line error.  To add a case: one line in cases().
"""
import pathlib
import struct
import sys

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)
UNIGRAM, BPE, WORD, CHARACTER = range(1, 5)


def varint(value):
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes(out) + bytes([value])


def key(number, wire):
    return varint(number << 3 | wire)


def number(field, value):
    return key(field, 0) + varint(value)


def data(field, value, length=None):
    value = value if isinstance(value, bytes) else value.encode()
    return key(field, 2) + varint(len(value) if length is None else length) + value


def piece(text, score=0.0, kind=NORMAL):
    return data(1, data(1, text) + key(2, 5) + struct.pack("<f", score) + number(3, kind))


BASE = piece("<unk>", 0, UNKNOWN) + piece("<s>", 0, CONTROL) + piece("</s>", 0, CONTROL) + piece("a", -1)
BYTES = b"".join(piece(f"<0x{i:02X}>", 0, BYTE) for i in range(256))


def trainer(kind=UNIGRAM, *more):
    return data(2, number(3, kind) + b"".join(more))


def normalizer(*parts):
    return data(3, b"".join(parts))


def cases():
    """name, bytes, words of the error or None"""
    yield "good", BASE, None
    yield "good-bpe", BASE + trainer(BPE) + normalizer(data(1, "identity"), number(3, 0)), None
    yield "good-characters", BASE + trainer(CHARACTER), None
    yield "good-bytes", BASE + BYTES + trainer(UNIGRAM, number(35, 1)), None
    yield "good-unknown-fields", number(77, 2**64 - 1) + BASE + data(500, b"x" * 300) + key(9, 5) + b"1234", None
    yield "empty", b"", "is empty"
    yield "cut-key", BASE + b"\x80", "the file ends within a number"
    yield "cut-length", BASE + b"\x0a", "the file ends within a number"
    yield "cut-fixed", BASE + key(9, 5) + b"12", "the file ends within a number"
    yield "varint-long", b"\xff" * 11, "more than ten bytes"
    yield "field-0", b"\x00\x01", "number 0"
    yield "group", BASE + key(9, 3), "groups are not supported"
    yield "group-end", BASE + key(9, 4), "groups are not supported"
    yield "wire-7", BASE + key(9, 7), "wire type 7"
    yield "length-claimed", BASE + data(1, b"\x0a\x01b", 2**31), "claims 2147483648 bytes"
    yield "length-wraps", BASE + data(1, b"", 2**64 - 1), "claims 18446744073709551615 bytes"
    yield "inner-length", BASE + data(1, data(1, b"b", 2**40)), "claims 1099511627776 bytes"
    yield "pieces-none", trainer(), "the file has 0 pieces"
    yield "piece-empty", BASE + data(1, b""), "piece 4 has no text"
    yield "piece-no-text", BASE + data(1, key(2, 5) + b"\0\0\0\0"), "piece 4 has no text"
    yield "piece-long", BASE + piece("b" * 65537), "piece 4 has 65537 bytes"
    yield "piece-twice", BASE + piece("a", -2), 'piece 4 ("a") is there twice'
    yield "piece-number", BASE + number(1, 5), "a part of the model has the wire type 0"
    yield "text-number", BASE + data(1, number(1, 5)), "the text of a piece has the wire type 0"
    yield "score-nan", BASE + piece("b", float("nan")), "the score of piece 4 is not a number"
    yield "score-infinite", BASE + piece("b", float("-inf")), "the score of piece 4 is not a number"
    yield "score-varint", BASE + data(1, data(1, "b") + number(2, 1)), "the score of a piece has the wire type 0"
    yield "type-0", BASE + piece("b", 0, 0), "piece 4 has the unknown type 0"
    yield "type-7", BASE + piece("b", 0, 7), "piece 4 has the unknown type 7"
    yield "unknown-none", piece("a"), "no piece is the unknown one"
    yield "unknown-twice", BASE + piece("?", 0, UNKNOWN), "the pieces 0 and 4 are both the unknown one"
    yield "byte-alone", BASE + piece("<0x00>", 0, BYTE), "piece 4 is a byte, but the model does not fall back"
    yield "byte-form", BASE + piece("<0x0>", 0, BYTE) + trainer(UNIGRAM, number(35, 1)), "not of the form <0x00>"
    yield ("bytes-some",
           BASE + piece("<0x00>", 0, BYTE) + trainer(UNIGRAM, number(35, 1)), "to bytes but has 1 of the 256")
    yield "model-word", BASE + trainer(WORD), "model type 3 is not supported"
    yield "model-unknown", BASE + trainer(99), "model type 99 is not supported"
    yield "model-text", BASE + data(2, data(3, "x")), "trainer_spec.model_type has the wire type 2"
    yield "trainer-number", BASE + number(2, 1), "a part of the model has the wire type 0"
    yield "map-number", BASE + normalizer(number(2, 1)), "precompiled_charsmap has the wire type 0"
    yield "prefix-text", BASE + normalizer(data(3, "x")), "add_dummy_prefix has the wire type 2"


def main():
    out = pathlib.Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    lines = []
    for name, content, words in cases():
        (out / f"{name}.model").write_bytes(content)
        lines.append(f"{name}.model " + ("accept" if words is None else f"refuse {words}"))
    (out / "expect").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
