"""make_tokenizer.py - makes broken and malicious tokenizer.json files, and what reading each must say.

usage: make_tokenizer.py OUT_DIR         (Python's standard library only; the same bytes on every run)

Writes OUT_DIR/NAME.json and OUT_DIR/expect: one line a file, `NAME accept` or `NAME refuse WORDS`, where
WORDS must stand in the one-line error of reading it, building it, or cutting a text of 2000 letters a and a b.
To add a case: one line in cases().
"""
import json
import pathlib
import sys

VOCAB = {"a": 0, "b": 1, "ab": 2, "aa": 3, "<unk>": 4}


def spec(model=None, **parts):
    base = {"version": "1.0", "added_tokens": [], "normalizer": None, "pre_tokenizer": None, "post_processor": None,
            "decoder": None, "model": model or {"type": "BPE", "vocab": VOCAB, "merges": []}}
    return json.dumps({**base, **parts}).encode()


def bpe(**members):
    return spec({"type": "BPE", "vocab": VOCAB, "merges": [], **members})


def added(**members):
    return spec(added_tokens=[{"id": 5, "content": "x", "special": True, **members}])


def replace(old, new, times=1):
    step = {"type": "Replace", "pattern": {"String": old}, "content": new}
    return spec(normalizer={"type": "Sequence", "normalizers": [step] * times})


def charsmap(text):
    return spec(normalizer={"type": "Precompiled", "precompiled_charsmap": text})


def split(pattern, behavior="Isolated"):
    return spec(pre_tokenizer={"type": "Split", "pattern": {"Regex": pattern}, "behavior": behavior, "invert": False})


def template(single, specials=None):
    return spec(post_processor={"type": "TemplateProcessing", "single": single, "pair": [],
                                "special_tokens": specials or {}})


def decoder(*steps):
    return spec(decoder={"type": "Sequence", "decoders": list(steps)})


def cases():
    yield "empty", b"", "the file is empty"
    yield "a-list", b"[]", "root is not an object"
    yield "not-json", b"{", "invalid JSON"
    yield "nested", b"[" * 5000, "nested"
    yield "lone-surrogates", b'{"model":{"type":"BPE","vocab":{"\\ud800":0},"merges":[]}}', "invalid JSON"
    yield "duplicate-keys", b'{"model":{"type":"BPE","vocab":{"a":0,"a":1},"merges":[]}}', "duplicate"
    yield "version-2", spec(version="2.0"), "version"
    yield "no-model", b'{"version":"1.0"}', "model"
    yield "model-unknown", spec({"type": "Nothing", "vocab": {}}), "\"Nothing\" is not supported"
    yield "vocab-empty", bpe(vocab={}), "no tokens"
    yield "vocab-a-list", bpe(vocab=["a"]), "vocab is not an object"
    yield "ids-huge", bpe(vocab={"a": 2**40, "b": 2**62}), "id of the token"
    yield "ids-sparse", bpe(vocab={"a": 0, "b": 3999999}), "ids up to 3999999"
    yield "ids-negative", bpe(vocab={"a": -1}), "id of the token"
    yield "ids-fraction", bpe(vocab={"a": 0.5}), "id of the token"
    yield "ids-same", bpe(vocab={"a": 0, "b": 0}), "same id 0"
    yield "merges-unknown", bpe(merges=["x y"]), "not in the vocabulary"
    yield "merges-no-result", bpe(merges=["b a"]), "makes a token"
    yield "merges-empty-token", bpe(merges=[["a", ""], ["", "a"]]), "not two tokens"
    yield "merges-three", bpe(merges=["a b a"]), "not two tokens"
    yield "merges-numbers", bpe(merges=[7, None]), "not two tokens"
    yield "merges-an-object", bpe(merges={}), "merges is not a list"
    yield "merges-again", bpe(merges=["a a"] * 3000), None
    yield "dropout", bpe(dropout=0.5), "dropout"
    yield "byte-fallback-text", bpe(byte_fallback="yes"), "byte_fallback"
    yield "unigram-pair", spec({"type": "Unigram", "vocab": [["a"]], "unk_id": 0}), "entry 0"
    yield "unigram-unk", spec({"type": "Unigram", "vocab": [["a", 0.0]], "unk_id": 9}), "unk_id"
    yield "added-empty", added(content=""), None
    yield "added-no-id", spec(added_tokens=[{"content": "x"}]), "has no id"
    yield "added-id-taken", added(id=0, content="x"), "same id 0"
    yield "added-not-a-list", spec(added_tokens={"a": 1}), "added_tokens is not a list"
    yield "added-long", added(content="x" * 600), "at most 512"
    yield "normalizer-unknown", spec(normalizer={"type": "Nothing"}), "normalizer \"Nothing\" is not supported"
    yield "normalizer-number", spec(normalizer=7), "normalizer is not an object"
    yield "normalizer-many", replace("x", "y", 100), "more than 64 steps"
    yield "replace-grows", replace("a", "a" * 100, 10), "the tokenizer's normaliser makes more than"
    yield "replace-no-content", spec(normalizer={"type": "Replace", "pattern": {"String": "a"}}), "no text \"content\""
    yield "replace-no-pattern", spec(normalizer={"type": "Replace", "content": "a"}), "no pattern"
    yield "charsmap-length", charsmap("//////////8="), "character map"
    yield "charsmap-not-base64", charsmap("a b"), "base64"
    yield "regex-invalid", split("([a-"), "does not compile"
    yield "regex-explodes", split("(a+)+$"), "too hard"
    yield "regex-class-in-class", split("[a[bc]]"), "class inside a class"
    yield "behavior-unknown", split("a", "Lost"), "\"Lost\""
    yield "metaspace-two", spec(pre_tokenizer={"type": "Metaspace", "replacement": "__"}), "not one character"
    yield "length-0", spec(pre_tokenizer={"type": "FixedLength", "length": 0}), "length 0"
    yield "post-missing", template([{"SpecialToken": {"id": "[CLS]", "type_id": 0}}]), "does not define it"
    beyond = {"x": {"id": "x", "ids": [99], "tokens": ["x"]}}
    yield "post-id", template([{"SpecialToken": {"id": "x", "type_id": 0}}], beyond), "not in the vocabulary"
    yield "post-type", template([{"Sequence": {"id": "A", "type_id": 300}}]), "token type 300"
    yield "post-pair-in-single", template([{"Sequence": {"id": "B", "type_id": 0}}]), "sequence \"B\""
    yield "decoder-unknown", decoder({"type": "Nothing"}), "decoder \"Nothing\" is not supported"
    yield "decoder-order", decoder({"type": "Fuse"}, {"type": "WordPiece", "prefix": "##"}), "WordPiece behind"
    yield "good", bpe(merges=["a b"]), None


def main():
    out = pathlib.Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    lines = []
    for name, data, words in cases():
        (out / f"{name}.json").write_bytes(data)
        lines.append(f"{name}.json " + ("accept" if words is None else f"refuse {words}"))
    (out / "expect").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
