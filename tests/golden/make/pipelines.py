"""pipelines.py - makes tests/golden/tokenizers/pipelines.json: small tokenizers of every component, and what the
tokenizers library makes of hard texts with them.

usage: pipelines.py OUT_FILE             (needs: pip install tokenizers==0.23.3)

{"models": ["model" of a tokenizer.json, …],
 "pipelines": [{"model": index, "parts": the other members of the tokenizer.json,
                "texts": [[text, pair or null, special, ids, offsets, types, words], …],
                "decoded": [[ids, with special tokens, text], …]}, …]}
Offsets are in code points.  The trainer breaks ties as it likes, so that another run gives another file of the same
kind.  Characters that the versions of Unicode in use could disagree on are left out.
"""
import json
import pathlib
import random
import sys

from tokenizers import (AddedToken, Regex, Tokenizer, decoders as D, models as M, normalizers as N,
                        pre_tokenizers as P, processors as PP, trainers)

TEXTS = ["", " ", "  The king is dead  ", "hello World\n\n it's 3.14", "Grüße aus Zürich!\t",
         "今天天气很好，我们",
         "テキスト ｱｲｳ", "안녕 각 한글", "😀🚀👨‍👩‍👧", "é é ̂̀ ạ̈",
         "ﬁ ① ½ ㌀ ﷺ", "İSTANBUL ẞ ǅ", "a\r\nb", "x+=1; {}[]()", "<mask> The<mask>.",
         " <mask>  <mask> ", "I'll DON'T don't", "▁▁a ▁", "\u200b\u00a0\u3000\u2028x", "aaaa 1234567 Ⅻ²",
         "Ω K ſ \u00ad\ufeff", "_a__b",
         "<0x0A> <unk>", "The King THE\u0085the", "नमस्ते العربية ไทย"]
LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|"
          r"\s*[\r\n]+|\s+(?!\S)|\s+")
BEHAVIORS = ["removed", "isolated", "merged_with_previous", "merged_with_next", "contiguous"]

NORMALIZERS = [
    N.NFC(), N.NFD(), N.NFKC(), N.NFKD(), N.Lowercase(), N.Strip(), N.Strip(left=True, right=False), N.StripAccents(),
    N.Nmt(), N.ByteLevel(), N.BertNormalizer(), N.BertNormalizer(False, True, False, True), N.Prepend("▁"),
    N.Replace(" ", "▁"), N.Replace(Regex(r"\s+"), " "), N.Replace(Regex("x*"), "-"), N.Replace("a", ""),
    N.Sequence([N.Prepend("▁"), N.Replace(" ", "▁")]),
    N.Sequence([N.NFKD(), N.StripAccents(), N.Lowercase(), N.Strip()]),
]
PRE_TOKENIZERS = [
    P.ByteLevel(), P.ByteLevel(add_prefix_space=False, use_regex=False), P.Metaspace(),
    P.Metaspace("_", "first", False), P.Metaspace("▁", "never"), P.Whitespace(), P.WhitespaceSplit(),
    P.BertPreTokenizer(), P.Punctuation("contiguous"),
    P.Punctuation(), P.Digits(), P.Digits(True), P.CharDelimiterSplit("a"), P.FixedLength(3),
    P.Split(Regex(r"\p{N}{1,2}+"), "isolated"), P.Split(Regex("^."), "removed"),
    P.Split(Regex(".$"), "merged_with_next"), P.Split(Regex("(?m:a.b)"), "isolated"), P.Split(Regex("a?"),
    "merged_with_previous"),
    P.Split(Regex(r"\h+"), "removed"), P.Split(Regex(r"[[:punct:]]+|\p{Han}"), "isolated"),
    P.Split(Regex(r"(?<=\p{L})\p{P}"), "isolated", True),
    P.Sequence([P.Split(Regex(LLAMA3), "isolated"), P.ByteLevel(add_prefix_space=False, use_regex=False)]),
    P.Sequence([P.WhitespaceSplit(), P.Metaspace()]), P.Sequence([P.Digits(True),
    P.Punctuation("merged_with_previous")]),
] + [P.Split(" ", b) for b in BEHAVIORS] + [P.Split(Regex(r"\w+"), b, True) for b in BEHAVIORS]
DECODERS = [
    None, D.ByteLevel(), D.Metaspace(), D.Metaspace("_", "never"), D.WordPiece(), D.WordPiece("a", False),
    D.BPEDecoder(),
    D.CTC(), D.Fuse(), D.Replace("a", "xy"), D.Strip("T", 1, 0),
    D.Sequence([D.Replace("▁", " "), D.ByteFallback(), D.Fuse(), D.Strip(" ", 1, 0)]),
    D.Sequence([D.ByteFallback(), D.Metaspace()]), D.Sequence([D.Fuse(), D.Replace("aa", "-"), D.Strip(" ", 2, 1)]),
    D.Sequence([D.CTC("<pad>", "|", False), D.WordPiece("##", True)]), D.Sequence([D.ByteLevel(), D.Strip(" ", 1,
    0)]),
]


def bpe(corpus, **kw):
    t = Tokenizer(M.BPE(unk_token="<unk>", **kw))
    t.pre_tokenizer = P.Whitespace()
    names = {k: kw[k] for k in ("end_of_word_suffix", "continuing_subword_prefix") if k in kw}
    t.train_from_iterator(corpus, trainers.BpeTrainer(vocab_size=90, limit_alphabet=48, show_progress=False,
                                                      special_tokens=["<unk>", "<pad>"], **names))
    j = json.loads(t.to_str())
    j["pre_tokenizer"] = None
    if kw.get("byte_fallback"):
        for i in range(256):
            j["model"]["vocab"].setdefault(f"<0x{i:02X}>", len(j["model"]["vocab"]))
    return json.dumps(j)


def models(corpus):
    yield json.dumps({"version": "1.0", "added_tokens": [], "model": {
        "type": "WordLevel", "vocab": {t: i for i, t in enumerate(
            ["<unk>", "<pad>", "The", "Ġ", "▁", "a", "##a", "<0x0A>", "<0xE4>", "<0xBB>", "<0x8A>", "T", "it",
            "|", " .",
             "king</w>"])},
        "unk_token": "<unk>"}})
    yield bpe(corpus)
    yield bpe(corpus, byte_fallback=True, fuse_unk=True)
    yield bpe(corpus, end_of_word_suffix="</w>", continuing_subword_prefix="##", ignore_merges=True)


def decorate(t, rng):
    ids = t.get_vocab()
    kind = rng.randrange(6)
    unk, pad = ("<unk>", ids["<unk>"]), ("<pad>", ids["<pad>"])
    if kind == 0:
        t.post_processor = PP.TemplateProcessing(single="<pad>:2 $A <unk>", pair="$B:3 <pad> $A:1",
                                                special_tokens=[pad, unk])
    elif kind == 1:
        t.post_processor = PP.RobertaProcessing(unk, pad, rng.random() < 0.5, rng.random() < 0.5)
    elif kind == 2:
        t.post_processor = PP.BertProcessing(unk, pad)
    elif kind == 3:
        t.post_processor = PP.ByteLevel(trim_offsets=True)
    elif kind == 4:
        t.post_processor = PP.Sequence([PP.ByteLevel(trim_offsets=False), PP.TemplateProcessing(
            single="<pad> $A", pair="$A $B:1", special_tokens=[pad])])
    for content in ("<mask>", "king", "The"):
        special = content == "<mask>"
        token = AddedToken(content, lstrip=rng.random() < 0.4, rstrip=rng.random() < 0.4,
                           single_word=rng.random() < 0.4, normalized=not special and rng.random() < 0.5,
                               special=special)
        (t.add_special_tokens if special else t.add_tokens)([token])
    t.add_special_tokens(["<pad>"])


def record(t, model, rng):
    parts = json.loads(t.to_str())
    del parts["model"]
    out = {"model": model, "parts": parts, "texts": [], "decoded": []}
    size = t.get_vocab_size()
    lists = [[rng.randrange(size) for _ in range(rng.randint(1, 9))] for _ in range(4)]
    for text in rng.sample(TEXTS, 7):
        pair, special = (rng.choice(TEXTS) if rng.random() < 0.3 else None), rng.random() < 0.5
        try:
            e = t.encode(text, pair, add_special_tokens=special)
        except BaseException:  # the library's own limits end in a panic
            continue
        out["texts"].append([text, pair, special, e.ids, e.offsets, e.type_ids, e.word_ids])
        lists.append(e.ids[:12])
    for ids in lists:
        for show in (False, True):
            try:
                out["decoded"].append([ids, show, t.decode(ids, skip_special_tokens=not show)])
            except BaseException:
                pass
    return out


def main():
    rng = random.Random(7)
    sources = list(models(TEXTS * 4))
    out = []
    rounds = max(len(NORMALIZERS), len(PRE_TOKENIZERS), len(DECODERS)) * 2
    for i in range(rounds):
        t = Tokenizer.from_str(sources[i % len(sources)])
        if i % 3:
            t.normalizer = NORMALIZERS[i % len(NORMALIZERS)]
        if i % 4 != 1:
            t.pre_tokenizer = PRE_TOKENIZERS[i % len(PRE_TOKENIZERS)]
        if DECODERS[i % len(DECODERS)]:
            t.decoder = DECODERS[i % len(DECODERS)]
        decorate(t, rng)
        out.append(record(t, i % len(sources), rng))
    lines = [json.dumps(x, ensure_ascii=False, separators=(",", ":")) for x in out]
    models_line = json.dumps([json.loads(s)["model"] for s in sources], ensure_ascii=False, separators=(",", ":"))
    text = '{"models":' + models_line + ',\n"pipelines":[\n' + ",\n".join(lines) + "\n]}\n"
    pathlib.Path(sys.argv[1]).write_text(text)


if __name__ == "__main__":
    main()
