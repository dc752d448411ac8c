#!/usr/bin/env python3
"""soak.py - mixed load for minutes, then: no wrong answer, nothing left running, resident memory flat.

usage: soak.py --program PATH --model PATH [--minutes M] [--clients N]      called by tests/run --long
Each client does one thing after another, drawn by a seeded generator: streams, chats, long prompts, clients that leave
in the middle, bad requests.  Memory is read every 2 seconds; the first 30 % of the time are warming up.
"""
import argparse
import http.client
import json
import random
import re
import socket
import statistics
import subprocess
import sys
import threading
import time

WORDS = "the sea light harbour stone iron bread window river evening letter captain mill coal engine street".split()
GROWTH_SHARE, GROWTH_BYTES = 1.03, 8 << 20  # what the last third may hold more than the middle third


class Soak:
    def __init__(self, port, end):
        self.port, self.end = port, end
        self.lock = threading.Lock()
        self.done, self.errors = {}, []

    def post(self, path, body, timeout=300):
        c = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        c.request("POST", path, data, {"Content-Type": "application/json"})
        return c, c.getresponse()

    def expect(self, path, body, statuses):
        c, r = self.post(path, body)
        text = r.read()
        c.close()
        if r.status not in statuses:
            raise AssertionError(f"{path}: {r.status} {text[:200]!r}")
        return r.status, json.loads(text)

    def words(self, rng, n):
        return " ".join(rng.choice(WORDS) for _ in range(n))

    def stream(self, rng):
        c, r = self.post("/v1/completions", {"prompt": self.words(rng, rng.randint(1, 60)), "stream": True,
                                             "max_tokens": rng.randint(1, 64), "temperature": rng.choice([0, 1])})
        text = r.read()
        c.close()
        if r.status == 429:
            return
        if r.status != 200 or not text.endswith(b"data: [DONE]\n\n") or b'"error"' in text:
            raise AssertionError(f"stream: {r.status} {text[-200:]!r}")

    def chat(self, rng):
        status, answer = self.expect("/v1/chat/completions", {
            "messages": [{"role": "user", "content": self.words(rng, rng.randint(1, 30))}], "n": rng.randint(1, 3),
            "max_tokens": rng.randint(1, 40), "temperature": 0.8, "seed": rng.randint(0, 1 << 30)}, {200, 429})
        if status == 200 and not all(c["finish_reason"] in ("stop", "length") for c in answer["choices"]):
            raise AssertionError("chat: a choice without an end")

    def long_prompt(self, rng):
        prompt = self.words(rng, rng.randint(100, 300))
        self.expect("/v1/completions", {"prompt": prompt, "max_tokens": 8}, {200, 429})

    def leave(self, rng):
        body = json.dumps({"prompt": self.words(rng, 40), "stream": True, "max_tokens": 300, "ignore_eos": True})
        s = socket.create_connection(("127.0.0.1", self.port), 30)
        s.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                  b"Content-Length: %d\r\n\r\n%s" % (len(body), body.encode()))
        if rng.random() < 0.7:
            s.recv(4096)
        time.sleep(rng.random() * 0.3)
        s.close()

    def bad(self, rng):
        path, body = rng.choice([
            ("/v1/completions", b"{"), ("/v1/completions", {"prompt": 5}),
            ("/v1/completions", {"prompt": "a", "n": -1}),
            ("/v1/completions", {"prompt": "a", "no_such_field": 1}), ("/v1/chat/completions", {"messages": []}),
            ("/v1/completions", {"prompt": "word " * 40000}), ("/v1/completions", b'{"prompt": "\xff"}'),
            ("/v1/completions", {"prompt": "a", "model": "none"})])
        self.expect(path, body, {400, 404, 413, 422})

    def look(self, rng):
        for path in ("/health", "/metrics", "/v1/models"):
            c = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
            c.request("GET", path)
            r = c.getresponse()
            r.read()
            c.close()
            if r.status != 200:
                raise AssertionError(f"{path}: {r.status}")

    def client(self, seed):
        rng = random.Random(seed)
        while time.time() < self.end and len(self.errors) < 20:
            kind = rng.choices(["stream", "chat", "long_prompt", "leave", "bad", "look"], [40, 20, 5, 15, 15, 5])[0]
            try:
                getattr(self, kind)(rng)
            except Exception as e:  # whatever it is, it is what the soak looks for
                with self.lock:
                    self.errors.append(f"{kind}: {type(e).__name__} {e}")
            with self.lock:
                self.done[kind] = self.done.get(kind, 0) + 1


def resident(pid):
    with open(f"/proc/{pid}/status") as f:
        return int(re.search(r"VmRSS:\s+(\d+) kB", f.read()).group(1)) * 1024


def metric(port, name):
    c = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    c.request("GET", "/metrics")
    text = c.getresponse().read().decode()
    c.close()
    found = re.findall(r"^%s(?:\{[^}]*\})? ([-+.\de]+)$" % re.escape(name), text, re.M)
    return sum(map(float, found)) if found else None


def start(program, model):
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    # Pages for few sequences: they are all touched while warming up, and sequences are preempted.
    server = subprocess.Popen([program, "serve", "--model", model, "--port", str(port), "--ctx", "1024",
                               "--kv-memory", "64M"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until = time.time() + 120
    while time.time() < until and server.poll() is None:
        try:
            c = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
            c.request("GET", "/health")
            if c.getresponse().status == 200:
                return server, port
        except OSError:
            pass
        time.sleep(0.1)
    server.kill()
    sys.exit("the server did not start")


def settled(port):
    """Everything that was cancelled or finished must have let go."""
    for _ in range(100):
        if metric(port, "loquat_running_sequences") == 0 and metric(port, "loquat_queued_jobs") == 0:
            return metric(port, "loquat_kv_bytes_used") in (0, None)
        time.sleep(0.1)
    return False


def verdict(soak, samples, quiet, status):
    third = len(samples) * 35 // 100
    middle, last = statistics.median(samples[-2 * third:-third]), statistics.median(samples[-third:])
    print(f"requests: {soak.done}; resident memory: {middle / 2**20:.1f} MiB, then {last / 2**20:.1f} MiB")
    broken = list(soak.errors)
    if last > middle * GROWTH_SHARE + GROWTH_BYTES:
        broken.append("resident memory grows")
    if not quiet:
        broken.append("sequences or pages are left after the last request")
    if status != 0:
        broken.append(f"the server ended with status {status}")
    print("\n".join(broken) or "soak: good")
    return 1 if broken else 0


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--program", required=True)
    p.add_argument("--model", required=True)
    p.add_argument("--minutes", type=float, default=10)
    p.add_argument("--clients", type=int, default=16)
    args = p.parse_args()
    server, port = start(args.program, args.model)
    soak = Soak(port, time.time() + 60 * args.minutes)
    clients = [threading.Thread(target=soak.client, args=(i,)) for i in range(args.clients)]
    for c in clients:
        c.start()
    samples = []
    while time.time() < soak.end and server.poll() is None:
        time.sleep(2)
        samples.append(resident(server.pid))
    for c in clients:
        c.join()
    quiet = server.poll() is None and settled(port)
    server.terminate()
    return verdict(soak, samples, quiet, server.wait(timeout=60))


if __name__ == "__main__":
    sys.exit(main())
