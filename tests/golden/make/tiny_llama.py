"""tiny_llama.py - makes the small checkpoints that the repository carries, and what they must answer.

usage: tiny_llama.py OUT_DIR TEXT_FILE [--minutes M]      (needs numpy and torch; any recent CPU build)

TEXT_FILE is plain ASCII text of a play ("SPEAKER:" lines, blank lines between speeches); the stored
checkpoint was trained on the collected plays of Shakespeare (public domain, 1.1 MB).  Written:

  tiny-llama.gguf         trained; Q8_0, tied head, GQA, ChatML template        tiny-llama.json
  tiny-llama-linear.gguf  random; GGUF v2, F16/BF16/F32, linear rope scaling,   tiny-llama-linear.json
                          untied head, head size that is not width / heads
  tiny-llama-factors.gguf random; Q4_0/Q4_1/F16/Q8_0/F32, rope_freqs.weight,    tiny-llama-factors.json
                          64-byte alignment, llama3 frequencies

The .json files hold float32 results on the weights as stored (quantised, then widened again), in the
format of tests/golden.  The random models come out the same on every run; the trained one depends on
the machine's speed, so keep a checkpoint and its reference together.
"""
import argparse
import json
import math
import re
import struct
import time
from collections import Counter

import numpy as np
import torch
import torch.nn.functional as F

SPECIALS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
END_OF_TEXT, IM_START, IM_END = range(3)
MERGES = 256
TEMPLATE = ("{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + "
            "'<|im_end|>' + '\n' }}{% endfor %}"
            "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}")
# GPT-2's split, in the terms of Python's re.
WORDS = re.compile(r"'s|'t|'re|'ve|'m|'ll|'d| ?[^\W\d_]+| ?\d+| ?(?:[^\s\w]|_)+|\s+(?!\S)|\s+")


def byte_symbols():
    """GPT-2's printable stand-ins for the 256 bytes, in the order in which they become ids."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [b for b in range(256) if b not in plain]
    return {b: chr(b) for b in plain} | {b: chr(256 + i) for i, b in enumerate(rest)}


class Tokenizer:
    """Byte-level BPE: learns MERGES pairs from a text, then encodes as every GPT-2 style tokenizer does."""

    def __init__(self, text):
        self.symbol = byte_symbols()
        words = Counter(WORDS.findall(text))
        split = {w: tuple(self.symbol[b] for b in w.encode()) for w in words}
        self.merges = []
        for _ in range(MERGES):
            pairs = Counter()
            for w, n in words.items():
                for pair in zip(split[w], split[w][1:]):
                    pairs[pair] += n
            best = min(pairs.items(), key=lambda kv: (-kv[1], kv[0]))[0]
            self.merges.append(best)
            split = {w: self.join(parts, best) for w, parts in split.items()}
        self.tokens = SPECIALS + list(self.symbol.values()) + [a + b for a, b in self.merges]
        self.ids = {t: i for i, t in enumerate(self.tokens)}
        self.rank = {p: i for i, p in enumerate(self.merges)}
        self.cache = {}

    @staticmethod
    def join(parts, pair):
        out = []
        for p in parts:
            if out and (out[-1], p) == pair:
                out[-1] += p
            else:
                out.append(p)
        return tuple(out)

    def word(self, w):
        if w not in self.cache:
            parts = tuple(self.symbol[b] for b in w.encode())
            while len(parts) > 1:
                best = min(zip(parts, parts[1:]), key=lambda p: self.rank.get(p, MERGES))
                if best not in self.rank:
                    break
                parts = self.join(parts, best)
            self.cache[w] = [self.ids[p] for p in parts]
        return self.cache[w]

    def encode(self, text):
        """Special tokens in the text are parsed."""
        ids = []
        for piece in re.split("(" + "|".join(map(re.escape, SPECIALS)) + ")", text):
            special = piece in SPECIALS
            ids += [self.ids[piece]] if special else [i for w in WORDS.findall(piece) for i in self.word(w)]
        return ids

    def decode(self, ids):
        byte = {s: b for b, s in self.symbol.items()}
        return bytes(byte[c] for i in ids if i >= len(SPECIALS) for c in self.tokens[i]).decode(errors="replace")


# ---- the model, in plain PyTorch ------------------------------------------------------------------------------------

def config(**changes):
    c = dict(name="tiny", vocabulary=len(SPECIALS) + 256 + MERGES, width=128, layers=4, heads=4, kv_heads=2, head=32,
             ffn=384, context=512, theta=10000.0, eps=1e-5, linear=1.0, factors=None, tied=True)
    return c | changes


def shapes(c):
    """Tensor name to (rows, columns), as GGUF names them."""
    q, kv = c["heads"] * c["head"], c["kv_heads"] * c["head"]
    out = {"token_embd.weight": (c["vocabulary"], c["width"]), "output_norm.weight": (c["width"],)}
    if not c["tied"]:
        out["output.weight"] = (c["vocabulary"], c["width"])
    for i in range(c["layers"]):
        for name, shape in (("attn_norm", (c["width"],)), ("attn_q", (q, c["width"])), ("attn_k", (kv, c["width"])),
                            ("attn_v", (kv, c["width"])), ("attn_output", (c["width"], q)), ("ffn_norm", (c["width"],)),
                            ("ffn_gate", (c["ffn"], c["width"])), ("ffn_up", (c["ffn"], c["width"])),
                            ("ffn_down", (c["width"], c["ffn"]))):
            out[f"blk.{i}.{name}.weight"] = shape
    return out


def rotation(c, n):
    """cos, sin: (n, head / 2).  Pairs are neighbours: GGUF's layout of Q and K for this architecture."""
    freq = 1.0 / c["theta"] ** (torch.arange(0, c["head"], 2, dtype=torch.float64) / c["head"]) / c["linear"]
    if c["factors"] is not None:
        freq = freq / torch.tensor(c["factors"], dtype=torch.float64)
    angle = torch.arange(n, dtype=torch.float64)[:, None] * freq
    return angle.cos().float(), angle.sin().float()


def rotate(x, cos, sin):
    a, b = x[..., 0::2], x[..., 1::2]
    return torch.stack((a * cos - b * sin, a * sin + b * cos), -1).flatten(-2)


def norm(x, weight, eps):
    return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + eps) * weight


def forward(c, w, ids):
    """Logits (batch, n, vocabulary) of ids (batch, n)."""
    b, n = ids.shape
    cos, sin = rotation(c, n)
    x = w["token_embd.weight"][ids]
    for i in range(c["layers"]):
        t = {k.split(".")[2]: v for k, v in w.items() if k.startswith(f"blk.{i}.")}
        h = norm(x, t["attn_norm"], c["eps"])
        q = rotate((h @ t["attn_q"].T).view(b, n, c["heads"], c["head"]).transpose(1, 2), cos, sin)
        k = rotate((h @ t["attn_k"].T).view(b, n, c["kv_heads"], c["head"]).transpose(1, 2), cos, sin)
        v = (h @ t["attn_v"].T).view(b, n, c["kv_heads"], c["head"]).transpose(1, 2)
        group = c["heads"] // c["kv_heads"]
        k, v = k.repeat_interleave(group, 1), v.repeat_interleave(group, 1)
        a = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + a.transpose(1, 2).reshape(b, n, -1) @ t["attn_output"].T
        h = norm(x, t["ffn_norm"], c["eps"])
        x = x + (F.silu(h @ t["ffn_gate"].T) * (h @ t["ffn_up"].T)) @ t["ffn_down"].T
    head = w["token_embd.weight"] if c["tied"] else w["output.weight"]
    return norm(x, w["output_norm.weight"], c["eps"]) @ head.T


def random_weights(c, seed, spread):
    g = torch.Generator().manual_seed(seed)
    w = {}
    for name, shape in shapes(c).items():
        if len(shape) == 1:
            w[name] = 1 + 0.2 * torch.randn(shape, generator=g)
        else:
            std = {"token_embd.weight": 1.0, "output.weight": 1.5 * spread / math.sqrt(c["width"])}
            w[name] = torch.randn(shape, generator=g) * std.get(name, spread / math.sqrt(shape[1]))
    return w


# ---- training -------------------------------------------------------------------------------------------------------

def chat_ids(tok, text):
    """The play as talks: a speech is what the user says, the next one the answer."""
    speeches = [s.split(":\n", 1)[1].strip() for s in text.split("\n\n") if ":\n" in s]
    return [tok.encode(f"<|im_start|>user\n{a}<|im_end|>\n<|im_start|>assistant\n{b}<|im_end|>\n")
            for a, b in zip(speeches, speeches[1:])]


def train(c, tok, text, minutes):
    torch.manual_seed(1)
    w = random_weights(c, 1, 0.8)
    for name, v in w.items():
        w[name] = (torch.ones_like(v) if v.dim() == 1 else v * (0.03 if name == "token_embd.weight" else 1.0))
    for v in w.values():
        v.requires_grad_(True)
    plain = torch.tensor(tok.encode(text))
    talks = torch.tensor([i for t in chat_ids(tok, text) for i in t])
    opt = torch.optim.AdamW([{"params": [v for v in w.values() if v.dim() > 1], "weight_decay": 0.05},
                             {"params": [v for v in w.values() if v.dim() == 1], "weight_decay": 0.0}],
                            lr=3e-3, betas=(0.9, 0.98))
    n, rows, start, step, done = 256, 16, time.time(), 0, 0.0
    while done < 1:
        done = min(1.0, (time.time() - start) / (60 * minutes))
        lr = 3e-3 * min(1, (step + 1) / 50) * (0.5 + 0.5 * math.cos(math.pi * done)) + 1e-5
        for group in opt.param_groups:
            group["lr"] = lr
        batch = []
        for row in range(rows):
            source = talks if row % 4 == 0 else plain
            at = int(torch.randint(len(source) - n - 1, ()))
            batch.append(source[at:at + n + 1])
        batch = torch.stack(batch)
        loss = F.cross_entropy(forward(c, w, batch[:, :-1]).flatten(0, 1), batch[:, 1:].flatten())
        opt.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(list(w.values()), 1.0)
        opt.step()
        if step % 50 == 0:
            print(f"step {step}  {100 * done:.0f} %  loss {loss.item():.3f}", flush=True)
        step += 1
    return {k: v.detach() for k, v in w.items()}


# ---- stored forms: (bytes, float32 values as a reader gets them) ----------------------------------------------------

def f16(x):
    return x.astype("<f2").tobytes(), x.astype("<f2").astype("f4")


def f32(x):
    return x.astype("<f4").tobytes(), x.astype("f4")


def bf16(x):
    bits = x.astype("<f4").view("<u4")
    high = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2")
    return high.tobytes(), (high.astype("<u4") << 16).view("f4").reshape(x.shape)


def inverse(d):
    return np.where(d != 0, 1 / np.where(d != 0, d, 1), 0)


def q8_0(x):
    b = x.reshape(-1, 32).astype("f4")
    d = np.abs(b).max(1, keepdims=True) / 127
    q = np.rint(b * inverse(d)).astype("i1")
    d = d.astype("<f2")
    return np.concatenate((d.view("u1"), q.view("u1")), 1).tobytes(), (q * d.astype("f4")).astype("f4").reshape(x.shape)


def nibbles(q):
    return (q[:, :16] | (q[:, 16:] << 4)).astype("u1")


def q4_0(x):
    b = x.reshape(-1, 32).astype("f4")
    d = np.take_along_axis(b, np.abs(b).argmax(1)[:, None], 1) / -8
    q = np.minimum(15, (b * inverse(d) + 8.5).astype("i4"))
    d = d.astype("<f2")
    values = ((q - 8) * d.astype("f4")).astype("f4")
    return np.concatenate((d.view("u1"), nibbles(q)), 1).tobytes(), values.reshape(x.shape)


def q4_1(x):
    b = x.reshape(-1, 32).astype("f4")
    low = b.min(1, keepdims=True)
    d = (b.max(1, keepdims=True) - low) / 15
    q = np.minimum(15, ((b - low) * inverse(d) + 0.5).astype("i4"))
    d, low = d.astype("<f2"), low.astype("<f2")
    values = (q * d.astype("f4") + low.astype("f4")).astype("f4")
    return np.concatenate((d.view("u1"), low.view("u1"), nibbles(q)), 1).tobytes(), values.reshape(x.shape)


GGML = {"F32": (0, f32), "F16": (1, f16), "Q4_0": (2, q4_0), "Q4_1": (3, q4_1), "Q8_0": (8, q8_0), "BF16": (30, bf16)}


# ---- GGUF -----------------------------------------------------------------------------------------------------------

U32, I32, F32, BOOL, STRING, ARRAY = 4, 5, 6, 7, 8, 9


def text_bytes(s):
    b = s.encode()
    return struct.pack("<Q", len(b)) + b


def value(kind, v):
    if kind == STRING:
        return text_bytes(v)
    if kind == ARRAY:
        return struct.pack("<IQ", v[0], len(v[1])) + b"".join(value(v[0], e) for e in v[1])
    return struct.pack({U32: "<I", I32: "<i", F32: "<f", BOOL: "<?"}[kind], v)


def metadata(c, tok, alignment):
    scaling = [("llama.rope.scaling.type", STRING, "linear"), ("llama.rope.scaling.factor", F32, c["linear"])]
    return [
        ("general.architecture", STRING, "llama"), ("general.name", STRING, c["name"]),
        *([("general.alignment", U32, alignment)] if alignment != 32 else []),
        ("llama.block_count", U32, c["layers"]), ("llama.context_length", U32, c["context"]),
        ("llama.embedding_length", U32, c["width"]), ("llama.feed_forward_length", U32, c["ffn"]),
        ("llama.attention.head_count", U32, c["heads"]), ("llama.attention.head_count_kv", U32, c["kv_heads"]),
        ("llama.attention.layer_norm_rms_epsilon", F32, c["eps"]), ("llama.rope.freq_base", F32, c["theta"]),
        ("llama.attention.key_length", U32, c["head"]), ("llama.attention.value_length", U32, c["head"]),
        ("llama.rope.dimension_count", U32, c["head"]), ("llama.vocab_size", U32, c["vocabulary"]),
        *(scaling if c["linear"] != 1 else []),
        ("tokenizer.ggml.model", STRING, "gpt2"), ("tokenizer.ggml.pre", STRING, "gpt-2"),
        ("tokenizer.ggml.tokens", ARRAY, (STRING, tok.tokens)),
        ("tokenizer.ggml.token_type", ARRAY, (I32, [3] * len(SPECIALS) + [1] * (len(tok.tokens) - len(SPECIALS)))),
        ("tokenizer.ggml.merges", ARRAY, (STRING, [f"{a} {b}" for a, b in tok.merges])),
        ("tokenizer.ggml.bos_token_id", U32, END_OF_TEXT), ("tokenizer.ggml.eos_token_id", U32, IM_END),
        ("tokenizer.ggml.add_bos_token", BOOL, False), ("tokenizer.chat_template", STRING, TEMPLATE),
    ]


def write_gguf(path, c, tok, weights, kind_of, version=3, alignment=32):
    """Returns the weights as a reader will see them."""
    if c["factors"] is not None:
        weights = weights | {"rope_freqs.weight": torch.tensor(c["factors"])}
    infos, data, stored = b"", b"", {}
    for name, t in weights.items():
        ggml, pack = GGML[kind_of(name, t)]
        raw, values = pack(t.numpy())
        stored[name] = torch.from_numpy(np.ascontiguousarray(values))
        dims = list(reversed(t.shape))
        infos += text_bytes(name) + struct.pack(f"<I{len(dims)}QIQ", len(dims), *dims, ggml, len(data))
        data += raw + bytes(-len(raw) % alignment)
    pairs = metadata(c, tok, alignment)
    head = b"GGUF" + struct.pack("<IQQ", version, len(weights), len(pairs))
    head += b"".join(text_bytes(k) + struct.pack("<I", kind) + value(kind, v) for k, kind, v in pairs) + infos
    with open(path, "wb") as f:
        f.write(head + bytes(-len(head) % alignment) + data)
    print(path, len(head) + len(data), "bytes")
    return stored


# ---- references -----------------------------------------------------------------------------------------------------

def rounded(values, digits=5):
    return [round(float(v), digits) for v in values]


def causal_case(c, w, tok, prompt, steps=32):
    ids = tok.encode(prompt)
    seq, out, top10, gaps = list(ids), [], [], []
    for _ in range(steps):
        logits = forward(c, w, torch.tensor([seq]))[0, -1]
        best = torch.topk(torch.log_softmax(logits.double(), -1), 10)
        pair = torch.topk(logits, 2).values
        top10.append([[int(i), round(float(v), 5)] for v, i in zip(best.values, best.indices)])
        gaps.append(round(float(pair[0] - pair[1]), 4))
        out.append(int(best.indices[0]))
        seq.append(out[-1])
    return {"kind": "causal_lm", "prompt": prompt, "input_ids": ids, "greedy_ids": out, "greedy_text": tok.decode(out),
            "step_top10": top10, "greedy_gaps": gaps, "min_greedy_gap": min(gaps)}


def nll_case(c, w, tok, text, window=256):
    ids = tok.encode(text)
    ids = ids[:len(ids) // window * window]
    per_window = []
    for at in range(0, len(ids), window):
        x = torch.tensor([ids[at:at + window]])
        logits = forward(c, w, x)[0, :-1].double()
        per_window.append(float(F.cross_entropy(logits, x[0, 1:])))
    mean = sum(per_window) / len(per_window)
    return {"kind": "perplexity", "text": text, "input_ids": ids, "window": window, "window_nll": rounded(per_window),
            "tokens_scored": len(per_window) * (window - 1), "mean_nll": round(mean, 6),
            "perplexity": round(math.exp(mean), 4),
            "note": "windows of this many ids, no overlap, each run on its own; its first id is not scored"}


def write_reference(path, c, stored, tok, prompts, text):
    with torch.no_grad():
        cases = [causal_case(c, stored, tok, p) for p in prompts] + [nll_case(c, stored, tok, text)]
    for case in cases[:-1]:
        print(repr(case["prompt"][-30:]), "->", repr(case["greedy_text"]), "min gap", case["min_greedy_gap"])
    print("perplexity", cases[-1]["perplexity"])
    with open(path, "w") as f:
        json.dump({"model": c["name"], "file": path.rsplit("/", 1)[-1].replace(".json", ".gguf"),
                   "weights": "as stored, widened to float32", "cases": cases}, f, indent=None, separators=(",", ":"))
        f.write("\n")


def llama3_factors(c, factor=8.0, low=1.0, high=4.0, original=64):
    """Per-frequency divisors as converters write them to rope_freqs.weight for Llama 3.1 and later."""
    out = []
    for i in range(0, c["head"], 2):
        wave = 2 * math.pi * c["theta"] ** (i / c["head"])
        if wave < original / high:
            out.append(1.0)
        elif wave > original / low:
            out.append(factor)
        else:
            smooth = (original / wave - low) / (high - low)
            out.append(1 / ((1 - smooth) / factor + smooth))
    return out


PROMPTS = ["ROMEO:\n", "First Citizen:\nWe are accounted poor citizens, the patricians good.\n\n",
           "<|im_start|>user\nGood morrow, cousin. What news?<|im_end|>\n<|im_start|>assistant\n",
           "A king of 23 years, whose crown's worth 1,000 ducats; he'll say:\n\n   'tis \xe9t\xe9.\n"]


def main():
    p = argparse.ArgumentParser()
    p.add_argument("out")
    p.add_argument("text")
    p.add_argument("--minutes", type=float, default=8)
    p.add_argument("--only", choices=["trained", "random"])
    args = p.parse_args()
    with open(args.text, encoding="ascii") as f:
        text = f.read()
    tok = Tokenizer(text)
    held_out = text[-6000:]
    if args.only != "random":
        c = config(name="tiny-llama")
        w = train(c, tok, text[:-6000], args.minutes)
        stored = write_gguf(f"{args.out}/tiny-llama.gguf", c, tok, w, lambda n, t: "Q8_0" if t.dim() > 1 else "F32")
        write_reference(f"{args.out}/tiny-llama.json", c, stored, tok, PROMPTS, held_out)
    if args.only != "trained":  # 1.4 and 1.5: spread wide enough that most steps have a clear best token
        small = dict(width=64, heads=6, kv_heads=2, ffn=64, tied=False)
        c = config(name="tiny-llama-linear", layers=2, head=16, linear=4.0, theta=10000.0, eps=1e-6, **small)
        kinds, fixed = ["F16", "BF16", "F32"], {"token_embd.weight": "BF16", "output.weight": "F16"}
        stored = write_gguf(f"{args.out}/tiny-llama-linear.gguf", c, tok, random_weights(c, 2, 1.4),
                            lambda n, t: "F32" if t.dim() < 2 else fixed.get(n, kinds[sum(map(ord, n)) % 3]), version=2)
        write_reference(f"{args.out}/tiny-llama-linear.json", c, stored, tok, PROMPTS, held_out[:2000])
        c = config(name="tiny-llama-factors", layers=3, head=32, theta=500000.0, **small)
        c["factors"] = llama3_factors(c)
        fixed = {"token_embd.weight": "F16", "output.weight": "Q8_0"}
        mixed = ["Q4_0", "Q4_1", "Q8_0"]
        stored = write_gguf(f"{args.out}/tiny-llama-factors.gguf", c, tok, random_weights(c, 3, 1.4),
                            lambda n, t: "F32" if t.dim() < 2 else fixed.get(n, mixed[sum(map(ord, n)) % 3]),
                            alignment=64)
        write_reference(f"{args.out}/tiny-llama-factors.json", c, stored, tok, PROMPTS, held_out[:2000])


if __name__ == "__main__":
    main()
