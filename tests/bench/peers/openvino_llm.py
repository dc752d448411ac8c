"""openvino_llm.py MODEL.gguf PRECISION THREADS - OpenVINO GenAI: one stream, and 32 requests in one process.

PRECISION: f32 or bf16.  Prompts differ from run to run, so that no cached prefix helps.
"""
import sys
import time

from common import answer, needed, token_rows

with needed():
    import numpy as np
    import openvino as ov
    import openvino_genai as genai


def inputs(rows):
    ids = np.array(rows, dtype=np.int64)
    return genai.TokenizedInputs(ov.Tensor(ids), ov.Tensor(np.ones_like(ids)))


def config(n):
    c = genai.GenerationConfig()
    c.max_new_tokens, c.ignore_eos, c.do_sample = n, True, False
    return c


def single(pipe):
    prefill, decode = [], []
    for seed in range(5):
        metrics = pipe.generate(inputs(token_rows(1, 512, seed=seed)), config(64)).perf_metrics
        prefill.append(512 / metrics.get_ttft().mean * 1000)
        decode.append(1000 / metrics.get_tpot().mean)
    return max(prefill), max(decode)


def batch(pipe, clients, length=130, tokens=64):
    """Completion tokens a second of `clients` requests given at once."""
    rates = []
    for seed in range(2):
        rows = [ov.Tensor(np.array([r], dtype=np.int64)) for r in token_rows(clients, length, seed=100 + seed)]
        begin = time.perf_counter()
        pipe.generate(rows, [config(tokens)] * clients)
        rates.append(clients * tokens / (time.perf_counter() - begin))
    return max(rates)


def main(model, precision, threads):
    properties = {"INFERENCE_NUM_THREADS": int(threads), "INFERENCE_PRECISION_HINT": precision}
    pipe = genai.LLMPipeline(model, "CPU", **properties)
    pipe.generate(inputs(token_rows(1, 512, seed=99)), config(8))
    prefill, decode = single(pipe)
    del pipe
    scheduler = genai.SchedulerConfig()
    scheduler.cache_size, scheduler.max_num_seqs, scheduler.max_num_batched_tokens = 2, 64, 2048
    many = genai.ContinuousBatchingPipeline(model, scheduler, "CPU", properties)
    answer(**{"prefill": prefill, "decode": decode, "32 at once": batch(many, 32)})


main(*sys.argv[1:])
