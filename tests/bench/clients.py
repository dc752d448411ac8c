"""clients.py - streaming clients of an OpenAI-compatible server on this machine, and what they saw.

Standard library only, so that the clients' own cost is small and the same for every server.  Times are seconds of
the wall clock: first token after sending, gaps between events of one stream, whole answers.
"""
import asyncio
import json
import random
import time

WORDS = ("river stone lamp paper winter signal garden copper window letter morning engine silver bridge forest market "
         "music harbor candle orange teacher village number shadow planet history machine people water light simple "
         "question answer travel summer building science language pattern").split()


def words(rng, n):
    return " ".join(rng.choice(WORDS) for _ in range(n))


def quantile(values, q):
    if not values:
        raise RuntimeError("nothing was measured")
    return sorted(values)[min(len(values) - 1, int(q * len(values)))]


class Seen:
    """What all clients of one load saw; one list entry an answer, of gaps one a token event."""

    def __init__(self):
        self.first, self.whole, self.gaps, self.tokens, self.seconds = [], [], [], 0, 0.0

    def figures(self):
        return {"tokens per second": self.tokens / self.seconds, "first token p50": quantile(self.first, 0.5),
                "first token p99": quantile(self.first, 0.99), "gap p99": quantile(self.gaps, 0.99) if self.gaps else 0}


def completion(prompt, max_tokens, seed=0):
    return {"model": "default", "prompt": prompt, "max_tokens": max_tokens, "temperature": 0, "seed": seed,
            "stream": True, "stream_options": {"include_usage": True}, "ignore_eos": True}


async def events(reader):
    while line := await reader.readline():
        if line.startswith(b"data:") and (data := line[5:].strip()) != b"[DONE]":
            yield json.loads(data)


async def ask(port, body, seen):
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 20)
    payload = json.dumps(body).encode()
    begin = last = time.perf_counter()
    writer.write(b"POST /v1/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
                 b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(payload) + payload)
    status = int((await reader.readline()).split()[1])
    if status != 200:
        raise RuntimeError(f"status {status}: {(await reader.read())[-300:].decode('utf-8', 'replace')}")
    started, counted, told = False, 0, None
    async for event in events(reader):
        if event.get("error"):
            raise RuntimeError(str(event["error"]))
        told = event["usage"]["completion_tokens"] if event.get("usage") else told
        if event.get("choices") and event["choices"][0].get("text"):
            now = time.perf_counter()
            (seen.gaps if started else seen.first).append(now - (last if started else begin))
            started, last, counted = True, now, counted + 1
    writer.close()
    seen.whole.append(time.perf_counter() - begin)
    seen.tokens += counted if told is None else told


async def run_clients(port, bodies, clients, seen):
    waiting = list(reversed(bodies))

    async def client():
        while waiting:
            await asyncio.wait_for(ask(port, waiting.pop(), seen), 600)

    begin = time.perf_counter()
    await asyncio.gather(*[client() for _ in range(clients)])
    seen.seconds = time.perf_counter() - begin


def load(port, clients, requests, prompt_words=100, max_tokens=64, prefix_words=0, seed=1):
    """Streams `requests` completions through `clients` connections at once."""
    rng = random.Random(seed)
    prefix = words(random.Random(seed + 7), prefix_words) + " " if prefix_words else ""
    bodies = [completion(prefix + words(rng, prompt_words), max_tokens, i) for i in range(requests)]
    seen = Seen()
    asyncio.run(run_clients(port, bodies, clients, seen))
    return seen


def long_beside_short(port, streams=8, long_words=2000, seed=1):
    """Short streams run; one long prompt comes: (what the short ones saw, what the long one saw)."""
    rng = random.Random(seed)
    short = [completion(words(rng, 20), 200, i) for i in range(streams)]
    seen, late = Seen(), Seen()

    async def both():
        running = asyncio.gather(*[ask(port, body, seen) for body in short])
        while len(seen.first) < streams:
            await asyncio.sleep(0.01)
        seen.gaps.clear()
        await ask(port, completion(words(rng, long_words), 8), late)
        await running

    asyncio.run(both())
    return seen, late
