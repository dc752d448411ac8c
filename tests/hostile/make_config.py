"""make_config.py - makes a tiny checkpoint folder and config.json files that do not fit it, and what loading must say.

usage: make_config.py OUT_DIR            (Python's standard library only; the same bytes on every run)

Writes OUT_DIR/good/{config.json, model.safetensors, tokenizer.json}, OUT_DIR/NAME.json and OUT_DIR/expect: one line a
file, `NAME accept` or `NAME refuse WORDS`.  To add a case: one line in cases().
"""
import json
import pathlib
import struct
import sys

GOOD = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu", "hidden_size": 16,
    "intermediate_size": 16, "max_position_embeddings": 32, "num_attention_heads": 2, "num_hidden_layers": 1,
    "num_key_value_heads": 1, "head_dim": 8, "rms_norm_eps": 1e-6, "rope_theta": 10000.0, "tie_word_embeddings": True,
    "bos_token_id": 1, "eos_token_id": 2, "vocab_size": 32,
}
LAYER = "model.layers.0."
SHAPES = {
    "model.embed_tokens.weight": [32, 16], LAYER + "input_layernorm.weight": [16],
    LAYER + "mlp.down_proj.weight": [16, 16], LAYER + "mlp.gate_proj.weight": [16, 16],
    LAYER + "mlp.up_proj.weight": [16, 16], LAYER + "post_attention_layernorm.weight": [16],
    LAYER + "self_attn.k_proj.weight": [8, 16], LAYER + "self_attn.o_proj.weight": [16, 16],
    LAYER + "self_attn.q_proj.weight": [16, 16], LAYER + "self_attn.v_proj.weight": [8, 16], "model.norm.weight": [16],
}


def weights():
    header, at = {}, 0
    for name, shape in SHAPES.items():
        size = 4 * shape[0] * (shape[1] if len(shape) > 1 else 1)
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [at, at + size]}
        at += size
    head = json.dumps(header).encode()
    return struct.pack("<Q", len(head)) + head + b"".join(struct.pack("<f", (i % 7 - 3) / 8) for i in range(at // 4))


def tokenizer():
    vocab = {"<unk>": 0, "<s>": 1, "</s>": 2} | {chr(94 + i): i for i in range(3, 32)}
    special = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    added = [{"id": i, "content": text, **special} for text, i in vocab.items() if i < 3]
    return {"version": "1.0", "added_tokens": added, "normalizer": None,
            "pre_tokenizer": {"type": "WhitespaceSplit"}, "post_processor": None, "decoder": None,
            "model": {"type": "WordLevel", "vocab": vocab, "unk_token": "<unk>"}}


def but(**fields):
    return json.dumps(GOOD | fields)


def without(*names):
    return json.dumps({k: v for k, v in GOOD.items() if k not in names})


def cases():
    yield "good", but(), None
    yield "good-more", but(unknown=[1, {"a": None}], pad_token_id=None, model_max_length=10**30), None
    yield "good-rope", but(rope_parameters={"rope_type": "default", "rope_theta": 10000.0}), None
    yield "empty", "", "config.json: the file is empty"
    yield "list", "[]", "config.json: the root is not an object"
    yield "cut", but()[:-1], "config.json: invalid JSON at line 1"
    yield "nested", "[" * 1000, "config.json: JSON is nested"
    yield "twice", but()[:-1] + ', "hidden_size": 8}', "config.json: invalid JSON"
    yield "type-unknown", but(model_type="foo", architectures=["FooForBar"]), "architecture foo is not supported"
    yield "type-number", but(model_type=3), "model_type"
    yield "class-unknown", but(architectures=["LlamaForJuggling"]), "LlamaForJuggling"
    yield "heads-0", but(num_attention_heads=0), "num_attention_heads is 0"
    yield "heads-more", but(num_attention_heads=3, head_dim=None), "no multiple of num_attention_heads 3"
    yield "heads-kv-negative", but(num_key_value_heads=-1), "num_key_value_heads is -1"
    yield "heads-text", but(num_attention_heads="2"), "num_attention_heads must be an integer"
    yield "layers-0", but(num_hidden_layers=0), "num_hidden_layers is 0"
    yield "layers-2-31", but(num_hidden_layers=2**31), "num_hidden_layers is 2147483648"
    yield "layers-2-64", but(num_hidden_layers=2**64), "num_hidden_layers"
    yield "layers-more", but(num_hidden_layers=2), "blk.1."
    yield "hidden-text", but(hidden_size="sixteen"), "hidden_size must be an integer"
    yield "hidden-real", but(hidden_size=16.5), "hidden_size must be an integer"
    yield "hidden-missing", without("hidden_size"), "hidden_size is missing"
    yield "context-2-40", but(max_position_embeddings=2**40), "max_position_embeddings is 1099511627776"
    yield "eps-negative", but(rms_norm_eps=-1), "rms_norm_eps is -1"
    yield "theta-0", but(rope_theta=0), "rope_theta"
    yield "rope-unknown", but(rope_scaling={"rope_type": "spiral", "factor": 2}), "spiral"
    yield "activation-unknown", but(hidden_act="sinc"), "sinc"
    yield "vocab-more", but(vocab_size=33), "vocab_size is 33, but token_embd.weight has 32 rows"
    yield "vocab-10-18", but(vocab_size=10**18), "vocab_size is 1000000000000000000"


def main():
    out = pathlib.Path(sys.argv[1])
    (out / "good").mkdir(parents=True, exist_ok=True)
    (out / "good" / "config.json").write_text(but())
    (out / "good" / "model.safetensors").write_bytes(weights())
    (out / "good" / "tokenizer.json").write_text(json.dumps(tokenizer()))
    lines = []
    for name, text, words in cases():
        (out / f"{name}.json").write_text(text)
        lines.append(f"{name}.json " + ("accept" if words is None else f"refuse {words}"))
    (out / "expect").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
