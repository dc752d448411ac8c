"""make_safetensors.py - makes broken and malicious safetensors files, and what reading each must say.

usage: make_safetensors.py OUT_DIR       (Python's standard library only; the same bytes on every run)

Writes OUT_DIR/NAME.safetensors and OUT_DIR/expect: one line a file, `NAME accept` or `NAME refuse WORDS`, where
WORDS must stand in the one-line error.  To add a case: one line in cases().
"""
import json
import pathlib
import struct
import sys


def tensor(dtype, shape, begin, end, **more):
    return dict({"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}, **more)


def raw(header, data=b"", length=None):
    header = header if isinstance(header, bytes) else header.encode()
    return struct.pack("<Q", len(header) if length is None else length) + header + data


def file(tensors, data=b"", pad=0):
    return raw(json.dumps(tensors) + " " * pad, data)


ONE = {"w": tensor("F32", [2, 3], 0, 24)}
DATA = struct.pack("<6f", *range(6))
SIZES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}


def every_dtype():
    out, at = {}, 0
    for name, size in SIZES.items():
        out[name.lower()] = tensor(name, [2], at, at + 2 * size)
        at += 2 * size
    return file(out, bytes(at))


def refuse_one(**fields):
    return file({"w": dict(ONE["w"], **fields)}, DATA)


def cases():
    yield "good", file(ONE, DATA), None
    yield "good-padded", file(ONE, DATA, pad=5), None
    yield "good-metadata", file({"__metadata__": {"format": "pt"}, **ONE}, DATA), None
    yield "good-metadata-odd", file({"__metadata__": [1, None], **ONE}, DATA), None
    yield "good-nothing", file({}), None
    yield "good-scalar", file({"s": tensor("F32", [], 0, 4)}, DATA[:4]), None
    yield "good-empty-tensor", file({"e": tensor("F32", [0, 3], 24, 24), **ONE}, DATA), None
    yield "good-order", file({"b": tensor("F32", [4], 8, 24), "a": tensor("F32", [2], 0, 8)}, DATA), None
    yield "good-more-fields", file({"w": tensor("F32", [6], 0, 24, note="x")}, DATA), None
    yield "good-dtypes", every_dtype(), None
    yield "good-name", file({"größe.weight": tensor("F32", [6], 0, 24)}, DATA), None
    yield "empty", b"", "the file is empty"
    yield "short", b"\x08\0\0", "the length of the header needs 8 bytes"
    yield "length-0", raw(b"", length=0), "the header has 0 bytes"
    yield "length-1", raw(b"{"), "the header has 1 bytes"
    yield "length-beyond", raw("{}", length=3), "the header needs 3 bytes"
    yield "length-2-63", raw("{}", length=2**63 - 1), "the header needs 9223372036854775807 bytes"
    yield "length-2-64", raw("{}", length=2**64 - 1), "the header needs 18446744073709551615 bytes"
    yield "not-json", raw('{"a":'), "the header: invalid JSON at line 1"
    yield "not-object", raw("[1, 2]"), "the header is not an object"
    yield "not-utf8", raw(b'{"\xff": 1}'), "the header: JSON is not valid UTF-8"
    yield "nested", raw('{"a":' + "[" * 200 + "]" * 200 + "}"), "nested more than"
    yield "name-twice", raw('{"w": %s, "w": %s}' % ((json.dumps(ONE["w"]),) * 2), DATA), "duplicate object key"
    yield "name-nul", raw('{"a\\u0000b": %s}' % json.dumps(ONE["w"]), DATA), "NUL byte"
    yield "name-long", file({"w" * 257: ONE["w"]}, DATA), "longer than 256 bytes"
    yield "name-control", file({"w\n": ONE["w"]}, DATA), "not printable"
    yield "entry-list", file({"w": [1]}), "tensor w is not described by an object"
    yield "dtype-missing", file({"w": {"shape": [6], "data_offsets": [0, 24]}}, DATA), "no text as its dtype"
    yield "dtype-number", refuse_one(dtype=4), "tensor w has no text as its dtype"
    yield "dtype-unknown", refuse_one(dtype="Q77"), "tensor w is of unknown type Q77"
    yield "dtype-block", refuse_one(dtype="Q4_0"), "tensor w is of unknown type Q4_0"
    for name in ("F8_E4M3", "F8_E5M2", "U16", "U32", "U64"):
        yield f"dtype-{name.lower()}", refuse_one(dtype=name), f"tensor w is of type {name}, which is not supported"
    yield "shape-missing", file({"w": {"dtype": "F32", "data_offsets": [0, 24]}}, DATA), "no array as its shape"
    yield "shape-number", refuse_one(shape=6), "tensor w has no array as its shape"
    yield "shape-negative", refuse_one(shape=[-2, -3]), "not a whole number of at least 0"
    yield "shape-real", refuse_one(shape=[2.0, 3]), "not a whole number of at least 0"
    yield "shape-text", refuse_one(shape=["2", 3]), "not a whole number of at least 0"
    yield "shape-big", refuse_one(shape=[2**64, 3]), "not a whole number of at least 0"
    yield "shape-5", refuse_one(shape=[1, 1, 1, 2, 3]), "tensor w has 5 dimensions; at most 4"
    yield "shape-wraps", refuse_one(shape=[2**32, 2**32]), "tensor w has too many elements"
    yield "shape-wraps-bytes", refuse_one(shape=[2**62]), "tensor w has too many elements"
    yield "shape-other", refuse_one(shape=[2, 2]), "tensor w has 16 bytes by its shape but 24 by its data_offsets"
    yield "offsets-missing", file({"w": {"dtype": "F32", "shape": [6]}}, DATA), "data_offsets must be two"
    yield "offsets-three", refuse_one(data_offsets=[0, 12, 24]), "data_offsets must be two"
    yield "offsets-real", refuse_one(data_offsets=[0, 24.5]), "data_offsets must be two"
    yield "offsets-2-63", refuse_one(data_offsets=[2**63, 2**63 + 24]), "data_offsets must be two"
    yield "offsets-negative", refuse_one(data_offsets=[-24, 0]), "from -24 to 0 are no range"
    yield "offsets-backwards", refuse_one(data_offsets=[24, 0]), "from 24 to 0 are no range"
    yield "offsets-beyond", refuse_one(data_offsets=[8, 32]), "w ends at byte 32 of the data, of which there are 24"
    yield "data-short", file(ONE, DATA[:-1]), "of which there are 23"
    yield "data-more", file(ONE, DATA + b"\0"), "there are holes"
    yield "hole", file({"a": tensor("F32", [2], 0, 8), "b": tensor("F32", [2], 16, 24)}, DATA), "there are holes"
    yield "overlap", file({"a": tensor("F32", [4], 0, 16), "b": tensor("F32", [4], 8, 24)}, DATA), "a and b overlap"
    yield "same", file({"a": tensor("F32", [6], 0, 24), "b": tensor("F32", [6], 0, 24)}, DATA), "overlap"


def main():
    out = pathlib.Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    lines = []
    for name, data, words in cases():
        (out / f"{name}.safetensors").write_bytes(data)
        lines.append(f"{name}.safetensors " + ("accept" if words is None else f"refuse {words}"))
    (out / "expect").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
