"""make_marian.py - makes broken Marian binaries and shortlists, and what reading each must say.

usage: make_marian.py OUT_DIR            (Python's standard library only; the same bytes on every run)

Writes OUT_DIR/NAME and OUT_DIR/expect: one line a file, `NAME accept` or `NAME refuse WORDS`, where WORDS must
stand in the one-line error; shortlists are named lex-*.  To add a case: one line in cases().
"""
import pathlib
import struct
import sys

F32, F16, INT8, INT32, INTGEMM8, INTGEMM16 = 0x0404, 0x0402, 0x0101, 0x0104, 0x4101, 0x4102


def item(name, shape, kind, data, name_bytes=None, n_dims=None, n_data=None):
    name = name if isinstance(name, bytes) else name.encode() + b"\0"
    head = struct.pack("<QQQQ", len(name) if name_bytes is None else name_bytes, kind,
                       len(shape) if n_dims is None else n_dims, len(data) if n_data is None else n_data)
    return head, name, struct.pack(f"<{len(shape)}i", *shape), data


def floats(*values):
    return struct.pack(f"<{len(values)}f", *values)


def matrix(name="W", shape=(32, 2), values=None, multiplier=4.0, **more):
    values = range(shape[0] * shape[1]) if values is None else values
    return item(name, shape, INTGEMM8, bytes(v % 256 for v in values) + floats(multiplier), **more)


def yaml(text):
    return item("special:model.yml", (len(text) + 1,), INT8, text.encode() + b"\0")


def marian(*items, version=1, n=None, padding=b"", n_padding=None):
    out = struct.pack("<QQ", version, len(items) if n is None else n)
    for part in range(3):
        out += b"".join(i[part] for i in items)
    out += struct.pack("<Q", len(padding) if n_padding is None else n_padding) + padding
    return out + b"".join(i[3] for i in items)


BIAS = item("b", (1, 2), F32, floats(1, 2))
MAGIC = 0xF11A48D5013417F5


def shortlist(offsets=(0, 1, 3), entries=(5, 6, 7), magic=MAGIC, frequent=4, n_offsets=None, n_entries=None):
    head = struct.pack("<6Q", magic, 0, frequent, 50, len(offsets) if n_offsets is None else n_offsets,
                       len(entries) if n_entries is None else n_entries)
    return head + struct.pack(f"<{len(offsets)}Q", *offsets) + struct.pack(f"<{len(entries)}I", *entries)


def cases():
    yield "good", marian(BIAS, matrix(), yaml("a: b\n")), None
    yield "good-padding", marian(BIAS, padding=bytes(99)), None
    yield "good-kinds", marian(item("h", (2, 3), F16, bytes(12)), item("i", (4,), INT32, bytes(16)), BIAS), None
    yield "good-yaml", marian(BIAS, yaml("a: 1 # one\nb:\n  - x\n  - 'y z'\nc: [1, 2]\nd: \"\"\ne: a:b\n")), None
    yield "good-none", marian(), None
    yield "version", marian(BIAS, version=2), "version 2 is not supported"
    yield "items-claimed", marian(BIAS, n=2**60), "1152921504606846976 of at least 32 bytes"
    yield "items-more", marian(BIAS, n=2), "2 of at least 32 bytes"
    yield "name-claimed", marian(item("b", (1,), F32, bytes(4), name_bytes=2**40)), "a name of 1099511627776 bytes"
    yield "name-none", marian(item(b"", (1,), F32, bytes(4))), "a name of 0 bytes"
    yield "name-empty", marian(item("", (1,), F32, bytes(4))), "a name of 1 bytes"
    yield "name-open", marian(item(b"bb", (1,), F32, bytes(4))), "closed by a zero"
    yield "name-zero", marian(item(b"b\0b\0", (1,), F32, bytes(4))), "printable text"
    yield "name-twice", marian(BIAS, BIAS), "b appears twice"
    yield ("name-of-multiplier", marian(matrix(), item("W.multiplier", (1,), F32, bytes(4))),
           "W.multiplier appears twice")
    yield "shape-negative", marian(item("b", (-2, -2), F32, bytes(16))), "dimension of -2"
    yield "shape-zero", marian(item("b", (0, 2), F32, bytes(16))), "dimension of 0"
    yield "shape-none", marian(item("b", (), F32, bytes(16))), "has 0 dimensions"
    yield "shape-claimed", marian(item("b", (2,), F32, bytes(16), n_dims=2**40)), "has 1099511627776 dimensions"
    yield "shape-wraps", marian(item("b", (2**31 - 1,) * 4, F32, bytes(16))), "too many elements"
    yield "shape-large", marian(item("b", (2**31 - 1, 2), F32, bytes(16))), "needs 17179869176 bytes but has 16"
    yield "type", marian(item("b", (2,), 0x1404, bytes(8))), "type 0x1404"
    yield "type-intgemm16", marian(item("b", (2,), INTGEMM16, bytes(8))), "type 0x4102"
    yield "padding-claimed", marian(BIAS, n_padding=2**63), "the padding needs"
    yield "data-claimed", marian(item("b", (1, 2), F32, bytes(8), n_data=2**63)), "b needs 9223372036854775808 bytes"
    yield "data-short", marian(item("b", (1, 3), F32, bytes(8))), "needs 12 bytes but has 8"
    yield "data-missing", marian(BIAS)[:-1], "b needs 8 bytes"
    yield "quantised-short", marian(item("W", (32, 2), INTGEMM8, bytes(64))), "and a multiplier"
    yield "quantised-three", marian(matrix(shape=(32, 2, 2), values=range(128))), "is quantised but no matrix"
    for name, multiplier in (("zero", 0.0), ("negative", -1.0), ("infinite", float("inf")), ("nan", float("nan"))):
        yield f"multiplier-{name}", marian(matrix(multiplier=multiplier)), "has the multiplier"
    yield "yaml-nested", marian(yaml("a:\n  b: c\n")), "line 2 is indented"
    yield "yaml-text", marian(yaml("a: 1\nnothing\n")), "line 2 is neither"
    yield "yaml-twice", marian(yaml("a: 1\na: 2\n")), "line 2 sets a key a second time"
    yield "yaml-item", marian(yaml("- a\n")), "line 1 is an item of no list"
    yield "yaml-key-long", marian(yaml("a" * 200 + ": 1\n")), "line 1 has no key"
    yield "yaml-bytes", marian(item("special:model.yml", (5,), INT8, b"a: \xff\0")), "line 1 is not UTF-8"
    yield "yaml-key-bytes", marian(item("special:model.yml", (5,), INT8, b"\xff: 1\0")), "line 1 is not UTF-8"
    yield "empty", b"", "the version"
    yield "lex-good", shortlist(), None
    yield "lex-magic", shortlist(magic=MAGIC + 1), "does not begin as a Marian shortlist"
    yield "lex-offsets-claimed", shortlist(n_offsets=2**60), "offsets and 3 entries"
    yield "lex-offsets-more", shortlist(n_offsets=100000), "of at least 8 bytes each"
    yield "lex-entries-claimed", shortlist(n_entries=2**62), "of at least 4 bytes each"
    yield "lex-frequent", shortlist(frequent=2**33), "8589934592 frequent words"
    yield "lex-first", shortlist(offsets=(1, 1, 3)), "offset 0 of the shortlist is 1"
    yield "lex-descends", shortlist(offsets=(0, 2, 1)), "offset 2 of the shortlist is 1"
    yield "lex-behind", shortlist(offsets=(0, 1, 4)), "offset 2 of the shortlist is 4"
    yield "lex-word", shortlist(entries=(5, 6, 2**32 - 1)), "the word 4294967295"
    yield "lex-empty", shortlist(offsets=(0, 0), entries=()), "0 entries"
    yield "lex-short", shortlist()[:-1], "of at least 4 bytes each"


def main():
    out = pathlib.Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    lines = []
    for name, data, words in cases():
        (out / f"{name}.bin").write_bytes(data)
        lines.append(f"{name}.bin " + ("accept" if words is None else f"refuse {words}"))
    (out / "expect").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
