"""make_models.py WORK - checkpoints of a usual size with random weights, for speed only: an LSTM and a Marian.

WORK/lstm: 2 x nn.LSTM(512), 96 characters.  WORK/marian: 6 + 6 layers of 512, 8,000 pieces, as opus-mt has them.
"""
import json
import sys
from pathlib import Path

from common import answer, needed

with needed():
    import sentencepiece
    import torch
    import transformers


def make_lstm(folder):
    shape = {"vocab_size": 96, "embedding_size": 256, "hidden_size": 512, "num_layers": 2}
    weights = {}
    for name, part in (("embedding", torch.nn.Embedding(96, 256)), ("rnn", torch.nn.LSTM(256, 512, 2)),
                       ("fc", torch.nn.Linear(512, 96))):
        weights |= {f"{name}.{k}": v for k, v in part.state_dict().items()}
    torch.save(weights, folder / "model.pt")
    (folder / "vocab.json").write_text(json.dumps({chr(32 + i): i for i in range(96)}), encoding="utf-8")
    (folder / "config.json").write_text(json.dumps({
        "format": "torch-state-dict", "architecture": "rnn-lm", "cell": "lstm",
        "tokenizer": {"type": "char", "vocab": "vocab.json"}, **shape}), encoding="utf-8")


def make_marian(folder):
    pieces = {"</s>": 0, "<unk>": 1, **{f"\u2581w{i}": i for i in range(2, 7999)}, "<pad>": 7999}
    config = transformers.MarianConfig(
        vocab_size=8000, d_model=512, encoder_layers=6, decoder_layers=6, encoder_attention_heads=8,
        decoder_attention_heads=8, encoder_ffn_dim=2048, decoder_ffn_dim=2048, max_position_embeddings=512,
        activation_function="swish", scale_embedding=True, pad_token_id=7999, eos_token_id=0,
        decoder_start_token_id=7999, static_position_embeddings=True)
    transformers.MarianMTModel(config).eval().save_pretrained(folder)
    (folder / "vocab.json").write_text(json.dumps(pieces), encoding="utf-8")
    (folder / "tokenizer_config.json").write_text(json.dumps({
        "tokenizer_class": "MarianTokenizer", "source_lang": "en", "target_lang": "xx"}), encoding="utf-8")
    (folder / "words.txt").write_text("\n".join(f"w{i} w{i + 1}" for i in range(2, 400)), encoding="utf-8")
    for side in ("source", "target"):  # converters want them; rows of tokens do not go through them
        sentencepiece.SentencePieceTrainer.train(input=str(folder / "words.txt"), model_prefix=str(folder / side),
                                                 vocab_size=64, hard_vocab_limit=False, minloglevel=2)
        (folder / f"{side}.model").rename(folder / f"{side}.spm")
        (folder / f"{side}.vocab").unlink()
    (folder / "words.txt").unlink()


def main(work):
    torch.manual_seed(1)
    for name, make in (("lstm", make_lstm), ("marian", make_marian)):
        folder = Path(work) / name
        if not folder.exists():
            folder.mkdir(parents=True)
            make(folder)
    answer()


main(*sys.argv[1:])
