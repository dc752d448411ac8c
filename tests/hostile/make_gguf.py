"""make_gguf.py - makes broken and malicious GGUF files, and what reading each must say.

usage: make_gguf.py OUT_DIR              (Python's standard library only; the same bytes on every run)

Writes OUT_DIR/NAME.gguf and OUT_DIR/expect: one line a file, `NAME accept` or `NAME refuse WORDS`, where
WORDS must stand in the one-line error.  To add a case: one line in cases().
"""
import pathlib
import struct
import sys

U8, I8, U16, I16, U32, I32, F32, BOOL, STRING, ARRAY, U64, I64, F64 = range(13)


def string(data, length=None):
    data = data if isinstance(data, bytes) else data.encode()
    return struct.pack("<Q", len(data) if length is None else length) + data


def pair(key, value_type, data):
    return string(key) + struct.pack("<I", value_type) + data


def u32(key, value):
    return pair(key, U32, struct.pack("<I", value))


def text(key, value):
    return pair(key, STRING, string(value))


def array(key, value_type, items, count=None):
    return pair(key, ARRAY, struct.pack("<IQ", value_type, len(items) if count is None else count) + b"".join(items))


def tensor(name, dims, kind=0, offset=0, n_dims=None):
    head = string(name) + struct.pack("<I", len(dims) if n_dims is None else n_dims)
    return head + b"".join(struct.pack("<Q", d) for d in dims) + struct.pack("<IQ", kind, offset)


def gguf(pairs=(), tensors=(), data=b"", version=3, n_pairs=None, n_tensors=None, magic=b"GGUF", alignment=32):
    out = magic + struct.pack("<IQQ", version, len(tensors) if n_tensors is None else n_tensors,
                              len(pairs) if n_pairs is None else n_pairs)
    out += b"".join(pairs) + b"".join(tensors)
    return out + b"\0" * (-len(out) % alignment) + data


ARCH = text("general.architecture", "llama")
ONE = [tensor("w", [16])]
DATA = bytes(64)


def vocabulary(*more, tokens=("a", "b"), types=None):
    out = [ARCH, text("tokenizer.ggml.model", "gpt2"), text("tokenizer.ggml.pre", "gpt-2"),
           array("tokenizer.ggml.tokens", STRING, [string(t) for t in tokens])]
    if types:
        out.append(array("tokenizer.ggml.token_type", I32, [struct.pack("<i", t) for t in types]))
    return gguf(out + list(more))


def nested(depth):
    return struct.pack("<IQ", ARRAY, 1) * depth + struct.pack("<IQ", U8, 0)


def cases():
    yield "good", gguf([ARCH], ONE, DATA), None
    yield "good-version-2", gguf([ARCH], ONE, DATA, version=2), None
    yield "good-vocabulary", vocabulary(u32("tokenizer.ggml.bos_token_id", 1)), None
    yield "good-token-bytes", vocabulary(tokens=(b"\xff\x00", "b")), None
    yield "good-nested-4", gguf([ARCH, pair("x", ARRAY, nested(3))]), None
    yield "good-long-array", gguf([ARCH, array("x", U8, [bytes(70000)], 70000)]), None
    yield ("good-unknown-keys",
           gguf([ARCH, pair("x", F64, struct.pack("<d", 1.5)), pair("y", I8, b"\xfe")]), None)
    yield "version-0", gguf([ARCH], version=0), "version 0"
    yield "version-1", gguf([ARCH], version=1), "version 1"
    yield "big-endian", gguf([ARCH], version=0x03000000), "big-endian"
    yield "magic", gguf([ARCH], magic=b"GGML"), "does not start with GGUF"
    yield "keys-claimed", gguf([ARCH], n_pairs=1000), "the metadata"
    yield "keys-limit", gguf([ARCH], n_pairs=2**63), "metadata keys; at most"
    yield "tensors-claimed", gguf([ARCH], ONE, n_tensors=60000), "the tensor directory"
    yield "key-not-utf8", gguf([ARCH, text(b"a\xff", "x")]), "a metadata key is not valid UTF-8"
    yield "key-zero", gguf([ARCH, text(b"a\0b", "x")]), "zero byte"
    yield "key-long", gguf([ARCH, text("k" * 300, "x")]), "at most 256"
    yield "key-twice", gguf([ARCH, u32("k", 1), text("k", "x")]), "the metadata key k appears twice"
    yield ("tokens-twice",
           gguf([ARCH] + [array("tokenizer.ggml.tokens", STRING, [string("a")])] * 2), "appears twice")
    yield "value-not-utf8", gguf([ARCH, text("general.name", b"\xc0\x80")]), "general.name is not valid UTF-8"
    yield "value-surrogate", gguf([ARCH, text("s", b"\xed\xa0\x80")]), "s is not valid UTF-8"
    yield "value-zero", gguf([ARCH, text("s", b"a\0")]), "s holds a zero byte"
    yield "value-string-wraps", gguf([ARCH, pair("s", STRING, string("x", 2**64 - 8))]), "s needs"
    yield "value-nan", gguf([ARCH, pair("f", F32, struct.pack("<I", 0x7FC00000))]), "f is not a finite number"
    yield ("value-infinite",
           gguf([ARCH, pair("f", F64, struct.pack("<d", float("inf")))]), "f is not a finite number")
    yield "value-u64", gguf([ARCH, pair("n", U64, b"\xff" * 8)]), "n is 18446744073709551615"
    yield "value-bool", gguf([ARCH, pair("b", BOOL, b"\x02")]), "b is a truth value of 2"
    yield "value-type", gguf([ARCH, pair("v", 13, bytes(8))]), "v is of unknown type 13"
    yield "array-type", gguf([ARCH, array("v", 99, [], 1)]), "v is an array of unknown type 99"
    yield "array-count", gguf([ARCH, array("v", U8, [], 2**40)]), "v: 1099511627776"
    yield "array-nested", gguf([ARCH, pair("v", ARRAY, nested(5))]), "nested more than"
    yield "architecture-missing", gguf([text("general.name", "x")]), "general.architecture is missing"
    yield ("architecture-array",
           gguf([array("general.architecture", STRING, [string("llama")])]), "not a string")
    yield ("template-number",
           gguf([ARCH, u32("tokenizer.chat_template", 1)]), "tokenizer.chat_template is not a string")
    for value in (0, 3, 48, 2**21):
        yield f"alignment-{value}", gguf([ARCH, u32("general.alignment", value)], ONE, DATA), f"alignment is {value};"
    yield "alignment-text", gguf([ARCH, text("general.alignment", "32")], ONE, DATA), "alignment is 0;"
    yield ("name-twice",
           gguf([ARCH], [tensor("w", [16]), tensor("w", [16], 0, 64)], DATA * 2), "the tensor w appears twice")
    yield "name-control", gguf([ARCH], [tensor("w\n", [16])], DATA), "printable"
    yield "name-long", gguf([ARCH], [tensor("w" * 257, [16])], DATA), "at most 256"
    yield "dims-none", gguf([ARCH], [tensor("w", [])], DATA), "w has 0 dimensions"
    yield "dims-five", gguf([ARCH], [tensor("w", [1] * 5)], DATA), "w has 5 dimensions"
    yield "dims-zero", gguf([ARCH], [tensor("w", [16, 0])], DATA), "w has a dimension of 0"
    yield "dims-wrap", gguf([ARCH], [tensor("w", [2**32, 2**32])], DATA), "w has too many elements"
    yield "dims-wrap-bytes", gguf([ARCH], [tensor("w", [2**62])], DATA), "w has too many elements"
    yield ("type-iq1-s",
           gguf([ARCH], [tensor("w", [256], 19)], DATA), "tensor w is of type IQ1_S, which is not supported")
    yield "type-removed", gguf([ARCH], [tensor("w", [16], 4)], DATA), "tensor w is of unknown type 4"
    yield "type-unknown", gguf([ARCH], [tensor("w", [16], 1000)], DATA), "tensor w is of unknown type 1000"
    yield "row-part", gguf([ARCH], [tensor("w", [48, 2], 8)], DATA * 2), "w has rows of 48 values"
    yield "offset-odd", gguf([ARCH], [tensor("w", [8], 0, 4)], DATA), "is not a multiple of 32"
    yield "offset-behind", gguf([ARCH], [tensor("w", [16], 0, 64)], DATA), "w: 64 bytes at offset 64"
    yield "offset-wraps", gguf([ARCH], [tensor("w", [16], 0, 2**64 - 32)], DATA), "do not fit"
    yield "data-missing", gguf([ARCH], ONE, DATA[:-1]), "w: 64 bytes at offset 0"
    yield "overlap", gguf([ARCH], [tensor("w", [16]), tensor("v", [16], 0, 32)], DATA * 2), "w and v overlap"
    yield "bos-range", vocabulary(u32("tokenizer.ggml.bos_token_id", 2)), "bos_token_id is 2"
    yield "eos-range", vocabulary(u32("tokenizer.ggml.eos_token_id", 2**32 - 1)), "eos_token_id is 4294967295"
    yield ("pad-negative",
           vocabulary(pair("tokenizer.ggml.padding_token_id", I32, b"\xff" * 4)), "padding_token_id is -1")
    yield ("unk-text",
           vocabulary(text("tokenizer.ggml.unknown_token_id", "a")), "unknown_token_id must be an integer")
    yield ("add-bos-number",
           vocabulary(u32("tokenizer.ggml.add_bos_token", 1)), "add_bos_token must be true or false")
    yield "types-short", vocabulary(types=(1,)), "token_type has 1 entries for 2 tokens"
    yield "types-unknown", vocabulary(types=(1, 7)), "token_type is 7 for token 1"
    yield ("types-strings",
           vocabulary(array("tokenizer.ggml.token_type", STRING, [string("1")])), "32-bit integers")
    yield "scores-bytes", vocabulary(array("tokenizer.ggml.scores", U8, [b"\1"])), "32-bit numbers"
    yield ("merges-numbers",
           vocabulary(array("tokenizer.ggml.merges", U8, [b"\1"])), "merges is not an array of strings")
    yield ("tokens-text",
           gguf([ARCH, text("tokenizer.ggml.tokens", "a")]), "tokenizer.ggml.tokens is not an array")
    yield "tokens-none", vocabulary(tokens=()), "tokenizer.ggml.tokens is empty"
    yield "tokens-long", vocabulary(tokens=("a" * 65537,)), "at most 65536"
    yield ("tokens-claimed",
           gguf([ARCH, array("tokenizer.ggml.tokens", STRING, [], 2**30)]), "tokenizer.ggml.tokens")
    yield ("tokens-no-model",
           gguf([ARCH, array("tokenizer.ggml.tokens", STRING, [string("a")])]), "tokenizer.ggml.model is missing")
    yield "empty", b"", "the file is empty"


def main():
    out = pathlib.Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    lines = []
    for name, data, words in cases():
        (out / f"{name}.gguf").write_bytes(data)
        lines.append(f"{name}.gguf " + ("accept" if words is None else f"refuse {words}"))
    (out / "expect").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
