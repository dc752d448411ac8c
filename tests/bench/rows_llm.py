"""rows_llm.py - what is measured of a language model: each function fills one Group.

To add a measurement: a function with @measures that returns a Group, and its figures as Rows (rows.py prints them).
A contestant is a function without arguments that measures once; contest.Group.run() takes the turns.
"""
import functools
import http.client
import json
import time
from pathlib import Path

import clients
from contest import Absent, Group, Server, busy, peer, run

MEASUREMENTS = {}
OURS, LLAMA, OPENVINO = "loquat", "llama.cpp", "OpenVINO GenAI"


def measures(function):
    MEASUREMENTS[function.__name__.replace("_", "-")] = function
    return function


# ---- who ----------------------------------------------------------------------------------------

def serve(o, *more):
    return Server([o.program, "serve", "--model", o.model, "--threads", o.threads, "--log-level", "error", *more])


def llama_server(o, slots, context=None):
    """llama-server as its documentation says for this many clients: slots, one shared cache, all threads."""
    if not o.llama_server:
        raise Absent("no --llama-server")
    return Server([o.llama_server, "-m", o.model, "-t", o.threads, "-tb", o.threads, "-np", slots,
                   "-c", context or max(8192, 512 * slots), "-kvu", "--no-webui"])


def bench(o, *more):
    return json.loads(run([o.program, "bench", "--model", o.model, "--threads", o.threads, "--json",
                           "--log-level", "error", *more]))


def llama_bench(o, *more):
    if not o.llama_bench:
        raise Absent("no --llama-bench")
    told = json.loads(run([o.llama_bench, "-m", o.model, "-t", o.threads, "-r", 3, "-o", "json", *more]))
    return {("prefill" if row["n_prompt"] else "decode"): row["avg_ts"] for row in told}


@functools.lru_cache
def openvino_once(python, model, threads):
    """OpenVINO loads for seconds and warms up: measured once a run, in both precisions, the better one counts."""
    told = [peer(python, "openvino_llm.py", model, precision, threads) for precision in ("bf16", "f32")]
    return {key: max(t[key] for t in told) for key in told[0]}


def openvino(o, *keys):
    told = openvino_once(o.python, o.model, o.threads)
    return {key: told[key] for key in keys}


# ---- one stream ---------------------------------------------------------------------------------

@measures
def single(o):
    """Tokens a second: reading a prompt of 512, and generating 64 after it, one stream."""
    def ours():
        told = bench(o, "--prompt-tokens", 512)
        return {"prefill": told["prefill_tokens_per_second"], "decode": told["decode_tokens_per_second"]}

    def llama():
        return llama_bench(o, "-p", 512, "-n", 0) | llama_bench(o, "-p", 0, "-n", 64, "-d", 512)

    group = Group("one stream, in process, tokens/s")
    group.run({OURS: ours, LLAMA: llama,
               OPENVINO: lambda: openvino(o, "prefill", "decode")}, o.rounds)
    return group


@measures
def neighbours(o):
    """Share of the quiet decode speed that is left beside processes that only compute."""
    def share(decode):
        quiet = decode()
        figures = {}
        for n in (1, 2):
            with busy(n):
                figures[f"beside {n}"] = decode() / quiet
        return figures

    group = Group("share of quiet decode speed kept")
    group.run({OURS: lambda: share(lambda: bench(o, "--prompt-tokens", 16, "--generate-tokens", 256)
                                   ["decode_tokens_per_second"]),
               LLAMA: lambda: share(lambda: llama_bench(o, "-p", 0, "-n", 128)["decode"])}, o.rounds)
    return group


@measures
def context(o):
    """Decode speed of one stream as its context grows."""
    def at(n):
        return bench(o, "--prompt-tokens", n, "--generate-tokens", 32, "--rounds", 1)["decode_tokens_per_second"]

    group = Group("decode tokens/s after a context of")
    lengths = (128, 1024, 4096, 8000)
    group.run({OURS: lambda: {str(n): at(n) for n in lengths},
               LLAMA: lambda: {str(n): llama_bench(o, "-p", 0, "-n", 32, "-d", n)["decode"] for n in lengths[:2]}},
              max(1, o.rounds // 3))
    return group


# ---- through HTTP -------------------------------------------------------------------------------

def with_server(server, measure):
    def turn():
        with server() as s:
            clients.load(s.port, 1, 1, max_tokens=4, seed=9)  # the first request pays for pages and threads
            return measure(s)
    return turn


def http_group(o, n):
    requests = n if n > 16 else 4 * n
    slots = n

    def measure(s):
        return clients.load(s.port, n, requests).figures()

    group = Group(f"{n} streaming client{'s' if n > 1 else ''}, 100 words in, 64 tokens out")
    contestants = {OURS: with_server(lambda: serve(o), measure),
                   LLAMA: with_server(lambda: llama_server(o, slots), measure)}
    if n == 32:
        contestants[OPENVINO] = lambda: {"tokens per second": openvino(o, "32 at once")["32 at once"]}
    group.run(contestants, o.rounds)
    return group


@measures
def clients_1(o):
    """Through HTTP: one client."""
    return http_group(o, 1)


@measures
def clients_8(o):
    """Through HTTP: 8 clients."""
    return http_group(o, 8)


@measures
def clients_32(o):
    """Through HTTP: 32 clients; OpenVINO GenAI gets 32 requests of 130 tokens in one process."""
    return http_group(o, 32)


@measures
def clients_128(o):
    """Through HTTP: 128 clients."""
    return http_group(o, 128)


@measures
def shared_prefix(o):
    """8 clients whose prompts begin with the same 500 words."""
    def measure(s):
        return clients.load(s.port, 8, 8, prompt_words=20, max_tokens=16, prefix_words=500).figures()

    group = Group("8 clients, 500 words shared")
    group.run({OURS: with_server(lambda: serve(o), measure),
               LLAMA: with_server(lambda: llama_server(o, 8, 16384), measure)}, o.rounds)
    return group


@measures
def long_prompt(o):
    """8 short streams run while a prompt of 2,000 words comes."""
    def measure(s):
        short, late = clients.long_beside_short(s.port)
        return {"short streams' gap p99": clients.quantile(short.gaps, 0.99),
                "long prompt's first token": late.first[0]}

    group = Group("a long prompt beside 8 short streams")
    group.run({OURS: with_server(lambda: serve(o), measure),
               LLAMA: with_server(lambda: llama_server(o, 9, 16384), measure)}, o.rounds)
    return group


@measures
def start(o):
    """From the start of the process to the first token through HTTP, the file in the page cache."""
    Path(o.model).read_bytes()

    def first_token(server):
        with server() as s:
            seen = clients.load(s.port, 1, 1, prompt_words=1, max_tokens=1)
            return {"seconds": time.perf_counter() - s.started, "of these, the request": seen.whole[0]}

    group = Group("start to first token")
    group.run({OURS: lambda: first_token(lambda: serve(o)),
               LLAMA: lambda: first_token(lambda: llama_server(o, 1))}, o.rounds)
    return group


# ---- memory and growth --------------------------------------------------------------------------

@measures
def memory(o):
    """Resident memory after 32 clients, and what is neither packed weights nor keys and values in use."""
    def ours():
        with serve(o) as s:
            clients.load(s.port, 32, 32)
            weights = json.loads(s.get("/v1/models"))["data"][0]["meta"]["size"]
            pages = s.metric("loquat_kv_bytes_used") + s.metric("loquat_kv_bytes_cached")
            resident = s.resident()
            return {"resident MB": resident / 1e6, "over weights and pages MB": (resident - weights - pages) / 1e6}

    def llama():
        with llama_server(o, 32) as s:
            clients.load(s.port, 32, 32)
            return {"resident MB": s.resident() / 1e6}

    group = Group("memory after 32 clients")
    group.run({OURS: ours, LLAMA: llama}, max(1, o.rounds // 3))
    return group


@measures
def growth(o):
    """Tokens a second and first-token times as clients become more; bytes of an idle connection."""
    group = Group("growth")

    def ours():
        figures = {}
        with serve(o) as s:
            for n in (1, 2, 4, 8, 16, 32, 64, 128, 256):
                told = clients.load(s.port, n, max(n, 8), max_tokens=32, seed=n).figures()  # nobody asked that before
                figures[f"{n} clients, tokens/s"] = told["tokens per second"]
                figures[f"{n} clients, first token p99 s"] = told["first token p99"]
            figures["idle connection, kB"] = idle_connection(s) / 1e3
        return figures

    group.run({OURS: ours}, max(1, o.rounds // 3))
    return group


def idle_connection(s, n=500):
    open_ones = []
    before = s.resident()
    for _ in range(n):
        connection = http.client.HTTPConnection("127.0.0.1", s.port)
        connection.request("GET", "/health")
        connection.getresponse().read()
        open_ones.append(connection)
    grown = s.resident() - before
    for connection in open_ones:
        connection.close()
    return grown / n
