"""recurrent.py MODEL.pt CONFIG.json THREADS STREAMS TOKENS - PyTorch generating greedily from an LSTM model."""
import json
import sys
from pathlib import Path

from common import answer, best_of, needed

with needed():
    import torch


def main(model, config, threads, streams, tokens):
    torch.set_num_threads(int(threads))
    shape, weights = json.loads(Path(config).read_text(encoding="utf-8")), torch.load(model, weights_only=True)
    embedding = torch.nn.Embedding(shape["vocab_size"], shape["embedding_size"])
    lstm = torch.nn.LSTM(shape["embedding_size"], shape["hidden_size"], shape["num_layers"], batch_first=True)
    head = torch.nn.Linear(shape["hidden_size"], shape["vocab_size"])
    for part, name in ((embedding, "embedding."), (lstm, "rnn."), (head, "fc.")):
        part.load_state_dict({k[len(name):]: v for k, v in weights.items() if k.startswith(name)})

    @torch.inference_mode()
    def generate(rows):
        ids, state = torch.arange(rows)[:, None] % shape["vocab_size"], None
        for _ in range(int(tokens)):
            out, state = lstm(embedding(ids), state)
            ids = head(out[:, -1]).argmax(-1, keepdim=True)

    many = int(streams)
    answer(**{"one stream": int(tokens) / best_of(1.5, lambda: generate(1)),
              "many streams": many * int(tokens) / best_of(1.5, lambda: generate(many))})


main(*sys.argv[1:])
