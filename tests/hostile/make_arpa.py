"""make_arpa.py - makes broken ARPA n-gram files and a few odd but good ones, and what reading each must say.

usage: make_arpa.py OUT_DIR              (Python's standard library only; the same bytes on every run)

Writes OUT_DIR/NAME and OUT_DIR/expect: one line a file, `NAME accept` or `NAME refuse WORDS`, where WORDS must
stand in the one-line error.  To add a case: one line in cases().
"""
import gzip
import pathlib
import sys

GOOD = """
\\data\\
ngram 1=5
ngram 2=4
ngram 3=1

\\1-grams:
-1.2\t<unk>\t0
-99\t<s>\t-0.3
-0.5\t</s>
-0.7\thello\t-0.1
-0.9\tw\u00f6rld\t-0.2

\\2-grams:
-0.4\thello w\u00f6rld\t-0.05
-0.2\t<s> hello
-0.3 <s> w\u00f6rld -0.5
-0.1\tw\u00f6rld </s>\t0

\\3-grams:
-0.11\t<s> hello w\u00f6rld

\\end\\
"""


def changed(*pairs):
    text = GOOD
    for before, after in pairs:
        if before not in text:
            raise ValueError(before)
        text = text.replace(before, after, 1)
    return text.encode()


def packed(data):
    return gzip.compress(data, mtime=0)


def cases():
    yield "good.arpa", changed(), None
    yield "good.arpa.gz", packed(changed()), None
    yield "good-parts.arpa.gz", packed(changed()[:90]) + packed(changed()[90:]), None
    yield "good-crlf.arpa", changed().replace(b"\n", b"\r\n"), None
    yield "good-spaces.arpa", changed(("ngram 2=4", "ngram  2 = 4 "), ("\\2-grams:", "\\2-grams: ")), None
    yield "good-no-end-of-line.arpa", changed().rstrip(b"\n"), None
    yield "good-empty-order.arpa", changed(("3=1", "3=0"), ("-0.11\t<s> hello w\u00f6rld\n", "")), None
    yield "good-no-unknown.arpa", changed(("1=5", "1=4"), ("-1.2\t<unk>\t0\n", "")), None
    yield "good-sri-unknown.arpa", changed(("<unk>", "<UNK>")), None
    yield "good-no-suffix.arpa", changed(("2=4", "2=3"), ("-0.4\thello w\u00f6rld\t-0.05\n", "")), None
    yield "good-infinite.arpa", changed(("-99", "-inf")), None
    yield "good-latin1.arpa", changed().decode().encode("latin-1"), None
    yield "data.arpa", b"once upon a time\n", "does not begin with \\data\\"
    yield "data-only.arpa", b"\\data\\\n", "no count of n-grams"
    yield "count-none.arpa", changed(("ngram 1=5\nngram 2=4\nngram 3=1\n", "")), "no count of n-grams"
    yield "count-gap.arpa", changed(("ngram 2=4\n", "")), "line 4: the count of 3-grams"
    yield "count-twice.arpa", changed(("ngram 2=4", "ngram 1=4")), "line 4: the count of 1-grams"
    yield "count-zero.arpa", changed(("ngram 1=5", "ngram 0=5")), "the count of 0-grams"
    yield "count-huge.arpa", changed(("2=4", "2=99999999999999999999")), "line 4: \"ngram ORDER=COUNT\""
    yield "count-large.arpa", changed(("2=4", "2=268435456")), "says 268435456"
    yield "count-negative.arpa", changed(("2=4", "2=-4")), "line 4: \"ngram ORDER=COUNT\""
    yield "count-text.arpa", changed(("2=4", "2=4x")), "line 4: \"ngram ORDER=COUNT\""
    yield "order-17.arpa", changed(("ngram 3=1\n", "".join(f"ngram {n}=1\n" for n in range(3, 18)))), "at most 16"
    yield "count-low.arpa", changed(("2=4", "2=3")), "line 18: there are more than the 3 2-grams"
    yield "count-high.arpa", changed(("2=4", "2=5")), "\\2-grams: has 4 lines but \\data\\ says 5"
    yield "section-missing.arpa", changed(("\\2-grams:", "\\4-grams:")), "line 14: \\2-grams: is expected: \\4-grams:"
    yield "section-twice.arpa", changed(("\\end\\", "\\3-grams:\n\\end\\")), "\\end\\ is expected: \\3-grams:"
    yield "end-missing.arpa", changed(("\\end\\", "")), "\\end\\ is expected: the file ends"
    yield "cut.arpa", changed()[:120], "line"
    yield "more.arpa", changed() + b"and more\n", "something follows \\end\\"
    yield ("context.arpa", changed(("2=4", "2=3"), ("-0.2\t<s> hello\n", "")),
           "line 20: the context \"<s> hello\" is not among the 2-grams")
    yield ("word-unknown.arpa", changed(("w\u00f6rld </s>", "moon </s>")),
           "line 18: the word \"moon\" is not among the unigrams")
    yield "word-twice.arpa", changed(("hello\t-0.1", "</s>\t-0.1")), "the word \"</s>\" is twice among the unigrams"
    yield "words-few.arpa", changed(("<s> hello w\u00f6rld", "<s> hello")), "line 21: a log probability, 3 words"
    yield "words-many.arpa", changed(("<s> hello w\u00f6rld", "<s> hello w\u00f6rld w\u00f6rld </s>")), "or more fields"
    yield "ngram-twice.arpa", changed(("<s> w\u00f6rld -0.5", "<s> hello")), "the 2-gram \"<s> hello\" is there twice"
    yield "number.arpa", changed(("-0.11", "-0.1.1")), "line 21: the log probability is no number: -0.1.1"
    yield "number-nan.arpa", changed(("-0.11", "nan")), "is no number: nan"
    yield "number-hex.arpa", changed(("-0.11", "-0x1p1")), "is no number: -0x1p1"
    yield "positive.arpa", changed(("-0.11", "0.11")), "line 21: the log probability 0.11"
    yield "backoff-nan.arpa", changed(("\t-0.05", "\tnan")), "line 15: the back-off is no number"
    yield ("backoff-infinite.arpa", changed(("\t-0.05", "\tinf")),
           "line 15: the log probability -0.4 with the back-off inf")
    yield ("backoff-highest.arpa", changed(("<s> hello w\u00f6rld", "<s> hello w\u00f6rld\t-1")),
           "line 21: an n-gram of the highest")
    longer = b"\n\\3-grams:\n-0.11\t<s> hello </s>\n\n\\end\\\n"
    yield ("middle-empty.arpa", changed(("2=4", "2=0")).split(b"-0.4\t")[0] + longer,
           "the context \"<s> hello\" is not")
    yield "nothing.arpa", b"\\data\\\nngram 1=0\n\n\\1-grams:\n\n\\end\\\n", "no n-grams"
    yield "zero-byte.arpa", changed(("hello", "hel\0lo")), "line 11: the line is no text"
    yield "line-long.arpa.gz", packed(changed(("hello", "h" * 70000))), "longer than 65536 bytes"
    yield "bomb.arpa.gz", packed(b"\n" * (66 << 20)), "inflates to more than 100 times its size"
    yield "cut.arpa.gz", packed(changed())[:-20], "the compressed text is cut off"
    yield "broken.arpa.gz", packed(changed())[:40] + bytes(40), "the compressed text is"
    yield "checksum.arpa.gz", packed(changed())[:-8] + bytes(8), "incorrect data check"
    yield "trailing.arpa.gz", packed(changed()) + b"xxxx", "incorrect header check"
    yield "head.arpa.gz", b"\x1f\x8b", "cut off"


def main():
    out = pathlib.Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    lines = []
    for name, data, words in cases():
        (out / name).write_bytes(data)
        lines.append(f"{name} " + ("accept" if words is None else f"refuse {words}"))
    (out / "expect").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
