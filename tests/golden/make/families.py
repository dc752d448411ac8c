#!/usr/bin/env python3
"""families.py - makes tests/golden/families: a tiny checkpoint of every family and head, and what PyTorch and
transformers compute with it (float32), in the layout that test_families.c reads.

usage: families.py DIR [NAME...]      needs torch, transformers, tokenizers, safetensors, sentencepiece
Weights are random with a wide spread, so that the best token usually leads clearly.  Each run gives the same
checkpoints; the results are committed, so that tests need none of these packages.
"""
import json
import sys
from pathlib import Path

import torch
import transformers as tr
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from torch import nn

TEXT = """It was a bright cold day in the park, and the clocks of the town were striking twelve.
The old king walked slowly along the river; his dog ran before him, barking at the boats.
"Where are you going?" asked the miller. "To the sea," said the king, "where nobody knows me."
Three ships lay in the harbour: one was red, one was blue, and one was never painted at all.
What do people want from a garden? Shade in summer, apples in autumn, and a place to be quiet.
Na primavera as árvores têm flores; no inverno, só neve. Über allen Gipfeln ist Ruh. 今日は良い天気です。
"""
PROMPTS = ["The old king walked", "Where are you going?", "Three ships lay in the harbour: one was", "só neve. 今日"]
LONG = TEXT[:420]


def r(x, digits=5):
    if isinstance(x, torch.Tensor):
        x = x.tolist()
    return [r(v, digits) for v in x] if isinstance(x, list) else round(float(x), digits)


# ---- tokenizers -------------------------------------------------------------------------------------

def byte_bpe(size=330):
    t = Tokenizer(models.BPE())
    t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    t.decoder = decoders.ByteLevel()
    t.train_from_iterator(TEXT.splitlines(), trainers.BpeTrainer(
        vocab_size=size, special_tokens=["<|end|>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False))
    return t, {"eos_token": "<|end|>", "tokenizer_class": "PreTrainedTokenizerFast"}


def roberta_bpe(size=340):
    t, _ = byte_bpe(10)
    t.train_from_iterator(TEXT.splitlines(), trainers.BpeTrainer(
        vocab_size=size, special_tokens=["<s>", "<pad>", "</s>", "<unk>", "<mask>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False))
    t.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=False)
    return t, {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>", "cls_token": "<s>",
               "sep_token": "</s>", "mask_token": "<mask>", "tokenizer_class": "RobertaTokenizer"}


def sp_bpe(size=360):
    t = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    t.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    t.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(),
                                   decoders.Strip(" ", 1, 0)])
    special = ["<unk>", "<s>", "</s>"] + [f"<0x{i:02X}>" for i in range(256)]
    t.train_from_iterator(["▁" + w for line in TEXT.splitlines()[:5] for w in line.split()],
                          trainers.BpeTrainer(vocab_size=size, special_tokens=special, show_progress=False))
    data = json.loads(t.to_str())
    data["added_tokens"] = [a for a in data["added_tokens"] if not a["content"].startswith("<0x")]
    t = Tokenizer.from_str(json.dumps(data))
    t.post_processor = processors.TemplateProcessing("<s> $A", "<s> $A <s> $B", [("<s>", 1)])
    return t, {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "tokenizer_class": "LlamaTokenizer"}


def word_piece(size=360):
    t = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    t.normalizer = normalizers.BertNormalizer(lowercase=True)
    t.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    t.decoder = decoders.WordPiece()
    t.train_from_iterator(TEXT.splitlines(), trainers.WordPieceTrainer(
        vocab_size=size, special_tokens=["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"], show_progress=False))
    t.post_processor = processors.TemplateProcessing(
        "[CLS]:0 $A:0 [SEP]:0", "[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1", [("[CLS]", 2), ("[SEP]", 3)])
    return t, {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]",
               "mask_token": "[MASK]", "tokenizer_class": "BertTokenizer", "do_lower_case": True}


def unigram(size=300):
    t = Tokenizer(models.Unigram())
    t.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace("  ", " ")])
    t.pre_tokenizer = pre_tokenizers.Metaspace()
    t.decoder = decoders.Metaspace()
    t.train_from_iterator(TEXT.splitlines(), trainers.UnigramTrainer(
        vocab_size=size, special_tokens=["<pad>", "</s>", "<unk>"], unk_token="<unk>", show_progress=False))
    t.post_processor = processors.TemplateProcessing("$A </s>", "$A </s> $B </s>", [("</s>", 1)])
    return t, {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>", "tokenizer_class": "T5Tokenizer"}


# ---- checkpoints --------------------------------------------------------------------------------------

def spread(model, seed, scale=0.35):
    """Random weights wide enough that logits differ; norms stay near 1."""
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if "norm" in name.lower() and name.endswith("weight"):
                p.copy_(1 + 0.1 * torch.randn(p.shape, generator=g))
            elif p.dim() == 1:
                p.copy_(0.1 * torch.randn(p.shape, generator=g))
            else:
                p.copy_(scale * torch.randn(p.shape, generator=g) * (3 if "embed" in name or "wte" in name else 1))
    model.eval()
    return model


def save(folder, model, tokenizer, extra, dtype=None, shard=None):
    folder.mkdir(parents=True, exist_ok=True)
    if dtype is not None:
        model = model.to(dtype)
    model.save_pretrained(folder, **({"max_shard_size": shard} if shard else {}))
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps(extra, indent=1) + "\n")


def top(logits, n=10):
    v, i = torch.log_softmax(logits.double(), -1).topk(n)
    return [[int(a), round(float(b), 5)] for a, b in zip(i, v)]


@torch.no_grad()
def causal_case(step, ids, text, n, ends):
    """step(ids) -> logits of every position."""
    first = step(ids)[-1]
    case = {"kind": "causal_lm", "text": text, "input_ids": list(ids), "top10_last": top(first),
            "logits_last": r(first), "greedy_ids": [], "greedy_gaps": [], "finish": "length"}
    seq = list(ids)
    for _ in range(n):
        best, at = step(seq)[-1].topk(2)
        case["greedy_ids"].append(int(at[0]))
        case["greedy_gaps"].append(r(best[0] - best[1], 4))
        seq.append(int(at[0]))
        if int(at[0]) in ends:
            case["finish"] = "stop"
            break
    return case


@torch.no_grad()
def nll_case(step, ids):
    lp = torch.log_softmax(step(ids).double(), -1)
    each = [float(lp[i, ids[i + 1]]) for i in range(len(ids) - 1)]
    return {"kind": "nll", "input_ids": list(ids), "token_logprobs": r(each),
            "mean_nll": round(-sum(each) / len(each), 6)}


def causal_cases(model, tokenizer, n=16):
    step = lambda ids: model(input_ids=torch.tensor([ids])).logits[0].float()
    ends = model.generation_config.eos_token_id
    ends = ends if isinstance(ends, list) else [ends] if ends is not None else []
    cases = [causal_case(step, tokenizer.encode(p).ids, p, n, ends) for p in PROMPTS]
    for c in cases[1:]:
        del c["logits_last"]
    rows = [{k: c[k] for k in ("text", "input_ids", "greedy_ids", "greedy_gaps", "finish")} for c in cases]
    return cases + [nll_case(step, tokenizer.encode(LONG).ids[:90]),
                    {"kind": "causal_lm_batch", "max_new_tokens": n, "rows": rows}]


def build_causal(name, folder, seed, config, tokenizer, extra, **how):
    model = spread(tr.AutoModelForCausalLM.from_config(config), seed)
    model.generation_config.eos_token_id = config.eos_token_id
    save(folder, model, tokenizer, extra, **how)
    return causal_cases(tr.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval(), tokenizer)


SIZES = dict(hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
             max_position_embeddings=256)


def causal(name, folder, seed):
    sp, sp_extra = sp_bpe()
    bb, bb_extra = byte_bpe()
    v, w = sp.get_vocab_size(), bb.get_vocab_size()
    end = dict(bos_token_id=1, eos_token_id=2)
    zero = dict(bos_token_id=0, eos_token_id=0)
    rows = {
        "llama": (tr.LlamaConfig(vocab_size=v, num_key_value_heads=2, **SIZES, **end), sp, sp_extra, {}),
        "llama-bf16-tied": (tr.LlamaConfig(vocab_size=v, num_key_value_heads=2, head_dim=12, tie_word_embeddings=True,
                                           attention_bias=True, mlp_bias=True, **SIZES, **end), sp, sp_extra,
                            {"dtype": torch.bfloat16}),
        "llama3": (tr.LlamaConfig(vocab_size=w, num_key_value_heads=1, rope_parameters={
            "rope_type": "llama3", "rope_theta": 10000.0, "factor": 4.0, "low_freq_factor": 1.0,
            "high_freq_factor": 4.0, "original_max_position_embeddings": 64}, **SIZES, **zero), bb, bb_extra, {}),
        "mistral": (tr.MistralConfig(vocab_size=v, num_key_value_heads=2, sliding_window=40, **SIZES, **end), sp,
                    sp_extra, {}),
        "qwen2": (tr.Qwen2Config(vocab_size=w, num_key_value_heads=2, tie_word_embeddings=True, **SIZES, **zero), bb,
                  bb_extra, {"dtype": torch.float16}),
        "qwen3": (tr.Qwen3Config(vocab_size=w, num_key_value_heads=2, head_dim=16, **SIZES, **zero), bb, bb_extra, {}),
        "phi3": (tr.Phi3Config(vocab_size=v, num_key_value_heads=4, pad_token_id=0, **SIZES, **end), sp, sp_extra, {}),
        "gemma3": (tr.Gemma3TextConfig(vocab_size=v, num_key_value_heads=1, head_dim=16, sliding_window=20,
                                       layer_types=["sliding_attention", "full_attention"], query_pre_attn_scalar=12,
                                       **SIZES, **end), sp, sp_extra, {}),
        "gpt2-sharded": (tr.GPT2Config(vocab_size=w, n_embd=32, n_layer=2, n_head=4, n_positions=256, **zero), bb,
                         bb_extra, {"shard": "60KB"}),
        "gpt-neox": (tr.GPTNeoXConfig(vocab_size=w, rotary_pct=0.5, **SIZES, **zero), bb, bb_extra, {}),
    }
    return build_causal(name, folder, seed, *rows[name][:3], **rows[name][3])


# ---- encoders -----------------------------------------------------------------------------------------

ENCODER = dict(hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
               max_position_embeddings=128)
LABELS = {0: "NEG", 1: "NEUTRAL", 2: "POS"}
TAGS = {0: "O", 1: "B-PER", 2: "I-PER", 3: "B-LOC", 4: "I-LOC"}


def arrays(e):
    return {"input_ids": torch.tensor([e.ids]), "attention_mask": torch.ones(1, len(e.ids), dtype=torch.long)}


@torch.no_grad()
def run(model, e, types):
    x = arrays(e)
    if types:
        x["token_type_ids"] = torch.tensor([e.type_ids])
    return model(**x)


def classification(model, t, types):
    cases = []
    for text, pair in [(PROMPTS[0], None), (PROMPTS[1], None), (PROMPTS[1], PROMPTS[0])]:
        e = t.encode(text, pair) if pair else t.encode(text)
        logits = run(model, e, types).logits[0]
        c = {"kind": "text_classification", "text": text, "input_ids": e.ids, "token_type_ids": e.type_ids,
             "logits": r(logits)}
        if pair:
            c["text_pair"] = pair
        if len(logits) > 1:
            c["label"] = model.config.id2label[int(logits.argmax())]
        cases.append(c)
    batch = [r(run(model, t.encode(p), types).logits[0]) for p in PROMPTS]
    return cases + [{"kind": "text_classification_batch", "texts": PROMPTS, "logits": batch}]


def tagging(model, t, types):
    cases = []
    for text in PROMPTS[:3]:
        e = t.encode(text)
        logits = run(model, e, types).logits[0]
        cases.append({"kind": "token_classification", "text": text, "input_ids": e.ids,
                      "offsets": [list(o) for o in e.offsets], "logits": r(logits),
                      "labels": [model.config.id2label[int(i)] for i in logits.argmax(-1)]})
    return cases


def answering(model, t, types):
    cases = []
    for question, context in [("Who walked?", TEXT.splitlines()[1]), ("What was red?", TEXT.splitlines()[3])]:
        e = t.encode(question, context)
        y = run(model, e, types)
        cases.append({"kind": "question_answering", "question": question, "context": context, "input_ids": e.ids,
                      "start_logits": r(y.start_logits[0]), "end_logits": r(y.end_logits[0])})
    return cases


def masking(model, t, types, mask):
    cases = []
    for text in [f"The old {mask} walked slowly.", f"{mask} are you {mask}?"]:
        e = t.encode(text)
        logits = run(model, e, types).logits[0]
        masks = []
        for i, token in enumerate(e.tokens):
            if token == mask:
                p = torch.softmax(logits[i].double(), -1)
                masks.append({"position": i, "top10": top(logits[i]), "top5": [
                    {"id": int(k), "token": t.id_to_token(int(k)), "score": r(v, 6)} for v, k in zip(*p.topk(5))]})
        cases.append({"kind": "fill_mask", "text": text, "input_ids": e.ids, "masks": masks})
    return cases


def embedding(model, t, types):
    cases, rows = [], []
    for text in PROMPTS:
        e = t.encode(text)
        y = run(model, e, types)
        h = y.last_hidden_state[0]
        mean, cls = nn.functional.normalize(h.mean(0), dim=0), nn.functional.normalize(h[0], dim=0)
        rows.append(mean)
        c = {"kind": "embedding", "text": text, "input_ids": e.ids, "mean_normalized": r(mean, 6),
             "cls_normalized": r(cls, 6)}
        if getattr(y, "pooler_output", None) is not None:
            c["pooler_output"] = r(y.pooler_output[0], 6)
        cases.append(c)
    m = torch.stack(rows)
    return cases + [{"kind": "cosine_matrix", "texts": PROMPTS, "cosine": r(m @ m.T, 6)}]


def encoder(name, folder, seed):
    wp, wp_extra = word_piece()
    rb, rb_extra = roberta_bpe()
    v, w = wp.get_vocab_size(), rb.get_vocab_size()
    bert = lambda **k: tr.BertConfig(vocab_size=v, **ENCODER, **k)
    roberta = lambda **k: tr.RobertaConfig(vocab_size=w, pad_token_id=1, bos_token_id=0, eos_token_id=2,
                                           type_vocab_size=1, **ENCODER, **k)
    distil = lambda **k: tr.DistilBertConfig(vocab_size=v, dim=32, hidden_dim=64, n_layers=2, n_heads=4,
                                             max_position_embeddings=128, **k)
    rows = {
        "bert-classifier": (tr.BertForSequenceClassification, bert(id2label=LABELS), wp, wp_extra, classification,
                            True),
        "bert-regression": (tr.BertForSequenceClassification, bert(num_labels=1), wp, wp_extra, classification, True),
        "bert-tags": (tr.BertForTokenClassification, bert(id2label=TAGS), wp, wp_extra, tagging, True),
        "bert-answers": (tr.BertForQuestionAnswering, bert(), wp, wp_extra, answering, True),
        "bert-masks": (tr.BertForMaskedLM, bert(hidden_act="gelu_new"), wp, wp_extra, masking, True),
        "bert-embeddings": (tr.BertModel, bert(), wp, wp_extra, embedding, True),
        "roberta-classifier": (tr.RobertaForSequenceClassification, roberta(id2label=LABELS), rb, rb_extra,
                               classification, False),
        "roberta-masks": (tr.RobertaForMaskedLM, roberta(), rb, rb_extra, masking, False),
        "distilbert-classifier": (tr.DistilBertForSequenceClassification, distil(id2label=LABELS), wp, wp_extra,
                                  classification, False),
        "distilbert-answers": (tr.DistilBertForQuestionAnswering, distil(), wp, wp_extra, answering, False),
    }
    cls, config, t, extra, cases, types = rows[name]
    if config.num_labels > 1 and config.id2label.get(0) != "LABEL_0":
        config.label2id = {v: k for k, v in config.id2label.items()}
    model = spread(cls(config), seed, 0.2)
    save(folder, model, t, extra)
    return cases(model, t, types, extra["mask_token"]) if cases is masking else cases(model, t, types)


# ---- encoder-decoders ---------------------------------------------------------------------------------

@torch.no_grad()
def seq2seq_cases(model, t, n=12):
    cases, start = [], model.config.decoder_start_token_id
    step = lambda x, ids: model(input_ids=x, decoder_input_ids=torch.tensor([ids])).logits[0].float()
    for text in PROMPTS[:3]:
        e = t.encode(text)
        x = torch.tensor([e.ids])
        first = step(x, [start])[-1]
        y = model.generate(x, max_new_tokens=n, num_beams=1, do_sample=False)[0].tolist()
        gaps = []
        for i in range(1, len(y)):
            best = step(x, y[:i])[-1].topk(2).values
            gaps.append(r(best[0] - best[1], 4))
        beams = model.generate(x, max_new_tokens=n, num_beams=4, num_return_sequences=4, length_penalty=1.0,
                               early_stopping=False, do_sample=False, return_dict_in_generate=True, output_scores=True)
        ends = [model.config.eos_token_id]
        cut = lambda ids: ids[:1] + (ids[1:ids.index(ends[0], 1) + 1] if ends[0] in ids[1:] else ids[1:])
        forced = model.generation_config.forced_eos_token_id is not None
        cases.append({"kind": "seq2seq", "text": text, "input_ids": e.ids, "decoder_start_token_id": start,
                      "top10_first_step": top(first), "max_new_tokens": n, "greedy_ids": cut(y),
                      "greedy_gaps": [1.0 if forced and i == n - 1 else g for i, g in enumerate(gaps)],
                      "beam4": [{"ids": cut(s.tolist()), "score": r(v)}
                                for s, v in zip(beams.sequences, beams.sequences_scores)]})
    return cases


def seq2seq(name, folder, seed):
    un, un_extra = unigram()
    rb, rb_extra = roberta_bpe()
    bart = dict(d_model=32, encoder_layers=2, decoder_layers=2, encoder_attention_heads=4, decoder_attention_heads=2,
                encoder_ffn_dim=64, decoder_ffn_dim=48, max_position_embeddings=96)
    t5 = dict(vocab_size=un.get_vocab_size(), d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4, pad_token_id=0,
              eos_token_id=1, decoder_start_token_id=0, relative_attention_num_buckets=8,
              relative_attention_max_distance=20)
    rows = {
        "t5": (tr.T5ForConditionalGeneration, tr.T5Config(**t5), un, un_extra),
        "t5-gated": (tr.T5ForConditionalGeneration, tr.T5Config(feed_forward_proj="gated-gelu",
                                                                tie_word_embeddings=False, **t5), un, un_extra),
        "bart": (tr.BartForConditionalGeneration, tr.BartConfig(vocab_size=rb.get_vocab_size(), pad_token_id=1,
                 bos_token_id=0, eos_token_id=2, decoder_start_token_id=2, forced_eos_token_id=2, **bart), rb,
                 rb_extra),
        "marian-json": (tr.MarianMTModel, tr.MarianConfig(vocab_size=un.get_vocab_size(), pad_token_id=0,
                        eos_token_id=1, bos_token_id=1, decoder_start_token_id=0, forced_eos_token_id=1,
                        scale_embedding=True, **bart),
                        un, un_extra),
    }
    cls, config, t, extra = rows[name]
    model = cls(config)
    keep = {k: p.clone() for k, p in model.named_parameters() if "embed_positions" in k and name == "marian-json"}
    spread(model, seed, 0.3)
    with torch.no_grad():
        for k, p in model.named_parameters():
            if k in keep:
                p.copy_(keep[k])
    save(folder, model, t, extra)
    return seq2seq_cases(model, t)


# ---- PyTorch's own modules ----------------------------------------------------------------------------

class Recurrent(nn.Module):
    def __init__(self, cell, vocabulary, width, hidden, layers):
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width)
        kind = {"rnn": nn.RNN, "relu": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}[cell]
        more = {"nonlinearity": "relu"} if cell == "relu" else {}
        self.rnn = kind(width, hidden, layers, batch_first=True, **more)
        self.fc = nn.Linear(hidden, vocabulary)

    def forward(self, ids):
        return self.fc(self.rnn(self.embedding(torch.tensor([ids])))[0])[0]


class Causal(nn.Module):
    def __init__(self, vocabulary, width, heads, ff, layers, positions, first):
        super().__init__()
        self.token_embedding = nn.Embedding(vocabulary, width)
        self.position_embedding = nn.Embedding(positions, width)
        layer = nn.TransformerEncoderLayer(width, heads, ff, 0.0, "gelu" if first else "relu", batch_first=True,
                                           norm_first=first)
        self.transformer = nn.TransformerEncoder(layer, layers, nn.LayerNorm(width) if first else None,
                                                 enable_nested_tensor=False)
        self.fc = nn.Linear(width, vocabulary)

    def forward(self, ids):
        n = len(ids)
        x = self.token_embedding(torch.tensor([ids])) + self.position_embedding(torch.arange(n))
        return self.fc(self.transformer(x, mask=nn.Transformer.generate_square_subsequent_mask(n)))[0]


def plain(name, folder, seed):
    torch.manual_seed(seed)
    letters = sorted(set(TEXT))
    vocab = {c: i for i, c in enumerate(letters)}
    common = {"format": "torch-state-dict", "vocab_size": len(vocab),
              "tokenizer": {"type": "char", "vocab": "vocab.json"}}
    cells = {"torch-rnn": ("rnn", 1), "torch-rnn-relu": ("relu", 2), "torch-lstm": ("lstm", 2), "torch-gru": ("gru", 1)}
    if name in cells:
        cell, layers = cells[name]
        model = spread(Recurrent(cell, len(vocab), 12, 20, layers), seed, 0.1 if cell == "relu" else 0.4)
        config = {**common, "architecture": "rnn-lm", "cell": "rnn" if cell == "relu" else cell, "embedding_size": 12,
                  "hidden_size": 20, "num_layers": layers}
        if cell == "relu":
            config["nonlinearity"] = "relu"
    else:
        first = name.endswith("pre")
        model = spread(Causal(len(vocab), 32, 4, 64, 2, 96, first), seed, 0.3)
        config = {**common, "architecture": "transformer-lm", "hidden_size": 32, "num_heads": 4, "ffn_size": 64,
                  "num_layers": 2, "max_length": 96, "norm": "pre" if first else "post",
                  "activation": "gelu" if first else "relu"}
    folder.mkdir(parents=True, exist_ok=True)
    state = {"epoch": 3, "model_state_dict": model.state_dict()} if name == "torch-lstm" else model.state_dict()
    torch.save(state, folder / "model.pt", _use_new_zipfile_serialization=name != "torch-gru")
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    (folder / "vocab.json").write_text(json.dumps(vocab, ensure_ascii=False) + "\n")
    ids = lambda s: [vocab[c] for c in s]
    prompts = [PROMPTS[0], PROMPTS[1]]
    cases = [causal_case(model, ids(p), p, 20, []) for p in prompts]
    for c in cases:
        del c["finish"]
    return cases + [nll_case(model, ids(LONG[:80]))]


GROUPS = [
    (causal, ["llama", "llama-bf16-tied", "llama3", "mistral", "qwen2", "qwen3", "phi3", "gemma3", "gpt2-sharded",
              "gpt-neox"]),
    (encoder, ["bert-classifier", "bert-regression", "bert-tags", "bert-answers", "bert-masks", "bert-embeddings",
               "roberta-classifier", "roberta-masks", "distilbert-classifier", "distilbert-answers"]),
    (seq2seq, ["t5", "t5-gated", "bart", "marian-json"]),
    (plain, ["torch-rnn", "torch-rnn-relu", "torch-lstm", "torch-gru", "torch-transformer", "torch-transformer-pre"]),
]


def main():
    out, only = Path(sys.argv[1]), sys.argv[2:]
    torch.set_num_threads(1)
    (out / "cases").mkdir(parents=True, exist_ok=True)
    seed = 100
    for make, names in GROUPS:
        for name in names:
            seed += 1
            if only and name not in only:
                continue
            torch.manual_seed(seed)
            cases = make(name, out / "models" / name, seed)
            text = json.dumps({"model": name, "cases": cases}, ensure_ascii=False)
            (out / "cases" / f"{name}.json").write_text(text + "\n")
            print(name, len(cases), "cases")


if __name__ == "__main__":
    main()
