"""embed.py BACKEND FOLDER TEXTS.json WORK THREADS - sentence embeddings of a BERT folder: texts and tokens a second.

BACKEND: torch-f32, torch-bf16, openvino-f32, openvino-bf16, onnxruntime-f32, onnxruntime-int8, ctranslate2-f32,
ctranslate2-int8.  Texts are sorted by length and batched by BATCH, which is what each does best with; mean pooling and
normalisation are part of the work, tokenising is too.  Converted models are kept in WORK.
"""
import json
import subprocess
import sys
from pathlib import Path

from common import answer, best_of, needed

with needed():
    import numpy as np
    from tokenizers import Tokenizer

BATCHES = (4, 8, 16, 32)


def pool(hidden, mask):
    summed = (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdims=True)
    return summed / np.linalg.norm(summed, axis=1, keepdims=True)


class Bert:
    """A backend's forward: (ids, mask) of a padded batch to (rows, tokens, width) floats."""

    def __init__(self, folder, work, threads, precision):
        self.folder, self.work, self.threads, self.precision = folder, work, threads, precision
        self.open()

    def torch_model(self):
        with needed():
            import torch
            import transformers
        torch.set_num_threads(self.threads)
        return torch, transformers.AutoModel.from_pretrained(self.folder).eval()


class Torch(Bert):
    def open(self):
        self.torch, model = self.torch_model()
        self.model = model.to(self.torch.bfloat16) if self.precision == "bf16" else model

    def forward(self, ids, mask):
        with self.torch.inference_mode():
            out = self.model(self.torch.from_numpy(ids), self.torch.from_numpy(mask)).last_hidden_state
        return out.float().numpy()


def export_onnx(bert):
    target = bert.work / "bert.onnx"
    if target.exists():
        return target
    torch, model = bert.torch_model()
    with needed():
        import onnxscript  # noqa: F401  (the exporter wants it)

    class Hidden(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.bert = model

        def forward(self, input_ids, attention_mask):
            return self.bert(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state

    ids, rows, tokens = torch.ones(2, 16, dtype=torch.int64), torch.export.Dim("rows"), torch.export.Dim("tokens")
    torch.onnx.export(Hidden(), (ids, ids), target, input_names=["input_ids", "attention_mask"],
                      output_names=["last_hidden_state"], dynamo=True, external_data=False,
                      dynamic_shapes={"input_ids": {0: rows, 1: tokens}, "attention_mask": {0: rows, 1: tokens}})
    return target


class Openvino(Bert):
    def open(self):
        with needed():
            import openvino as ov
        core = ov.Core()
        self.model = core.compile_model(core.read_model(export_onnx(self)), "CPU", {
            "INFERENCE_NUM_THREADS": self.threads, "INFERENCE_PRECISION_HINT": self.precision,
            "PERFORMANCE_HINT": "LATENCY"})

    def forward(self, ids, mask):
        return self.model({"input_ids": ids, "attention_mask": mask})[0]


class Onnxruntime(Bert):
    def open(self):
        with needed():
            import onnxruntime
        path = export_onnx(self)
        if self.precision == "int8":
            from onnxruntime.quantization import QuantType, quantize_dynamic
            path = self.work / "bert-int8.onnx"
            if not path.exists():
                quantize_dynamic(self.work / "bert.onnx", path, weight_type=QuantType.QInt8)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.threads
        self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def forward(self, ids, mask):
        return self.session.run(["last_hidden_state"], {"input_ids": ids, "attention_mask": mask})[0]


class Ctranslate2(Bert):
    def open(self):
        with needed():
            import ctranslate2
        target = self.work / "bert-ct2"
        if not target.exists():
            converter = Path(sys.executable).parent / "ct2-transformers-converter"
            subprocess.run([converter, "--model", self.folder, "--output_dir", target], check=True,
                           stdout=subprocess.DEVNULL)
        kind = {"f32": "float32", "int8": "int8"}[self.precision]
        self.encoder = ctranslate2.Encoder(str(target), compute_type=kind, intra_threads=self.threads)

    def forward(self, ids, mask):
        rows = [row[:n].tolist() for row, n in zip(ids, mask.sum(1))]
        return np.array(self.encoder.forward_batch(rows).last_hidden_state)


BACKENDS = {"torch": Torch, "openvino": Openvino, "onnxruntime": Onnxruntime, "ctranslate2": Ctranslate2}


def embed(tokenizer, bert, texts, batch):
    rows = sorted((e.ids for e in tokenizer.encode_batch(texts)), key=len)
    for first in range(0, len(rows), batch):
        part = rows[first:first + batch]
        ids = np.zeros((len(part), max(map(len, part))), dtype=np.int64)
        mask = np.zeros_like(ids)
        for i, row in enumerate(part):
            ids[i, :len(row)], mask[i, :len(row)] = row, 1
        pool(bert.forward(ids, mask), mask)


def main(backend, folder, texts, work, threads):
    texts = json.loads(Path(texts).read_text(encoding="utf-8"))
    name, precision = backend.split("-")
    tokenizer = Tokenizer.from_file(str(Path(folder) / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    bert = BACKENDS[name](folder, Path(work), int(threads), precision)
    seconds = min(best_of(1.5, lambda size=size: embed(tokenizer, bert, texts, size)) for size in BATCHES)
    answer(**{"texts per second": len(texts) / seconds})


main(*sys.argv[1:])
