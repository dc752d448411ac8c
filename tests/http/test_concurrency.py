"""test_concurrency.py - 64 streaming clients at once get, to the letter, what each gets alone.

Alone means: one request at a time on a server without prefix reuse and with room for everything.  The crowd meets
prefix hits, split prompts, choices, clients that leave, and, on a server with little key-value memory, preemption.
"""
import json
import random
import socket
import threading
import unittest

from harness import MODEL, SMALL, Server, heavy, needs_model, post_bytes

CLIENTS = 64
WORDS = ("river stone lamp paper winter signal garden copper window letter morning engine silver bridge forest market "
         "music harbor candle orange teacher village number shadow planet history machine").split()
SHARED = " ".join(random.Random(3).choice(WORDS) for _ in range(30))


def prompts(most_words):
    """Different lengths; every third begins with the same 30 words."""
    rng = random.Random(11)
    for i in range(CLIENTS):
        words = [rng.choice(WORDS) for _ in range(rng.randint(3, most_words))]
        yield (SHARED + " " if i % 3 == 0 else "") + " ".join(words)


def body(prompt, i, stream):
    return {"prompt": prompt, "max_tokens": 16 + i % 40, "temperature": 0, "stream": stream, "ignore_eos": True,
            "n": 2 if i % 8 == 0 else 1}


def read_stream(server, request):
    """The choices' texts of a streamed answer."""
    with server.connect(timeout=300) as s:
        s.sendall(post_bytes("/v1/completions", json.dumps(request).encode(), "Connection: close\r\n"))
        lines = s.makefile("rb")
        status = lines.readline().split()[1]
        assert status == b"200", (status, lines.read())
        texts, done = {}, False
        for line in lines:
            if line.startswith(b"data: [DONE]"):
                done = True
            elif line.startswith(b"data: "):
                event = json.loads(line[6:])
                assert "error" not in event, event
                for choice in event["choices"]:
                    texts[choice["index"]] = texts.get(choice["index"], "") + choice["text"]
        assert done, "the stream did not end with [DONE]"
        return [texts[i] for i in sorted(texts)]


def leave(server, request, events):
    """A client that goes after some events."""
    s = server.connect(timeout=300)
    s.sendall(post_bytes("/v1/completions", json.dumps({**request, "max_tokens": 200}).encode()))
    seen = b""
    while seen.count(b"data: ") < events:
        seen += s.recv(4096)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    s.close()


class Crowd(unittest.TestCase):
    model, words, context = SMALL, 50, 512

    @classmethod
    def setUpClass(cls):
        cls.prompts = list(prompts(cls.words))
        with Server("--no-prefix-reuse", model=cls.model) as server:
            cls.alone = []
            meta = json.loads(server.get("/v1/models")[2])["data"][0]["meta"]
            cls.full_sequence = meta["kv_bytes_per_token"] * cls.context
            for i, prompt in enumerate(cls.prompts):
                status, _, answer = server.post("/v1/completions", body(prompt, i, False), timeout=300)
                assert status == 200, answer
                cls.alone.append([c["text"] for c in sorted(answer["choices"], key=lambda c: c["index"])])

    def crowd(self, server, leavers=0):
        answers, failures = [None] * CLIENTS, []

        def client(i):
            try:
                answers[i] = read_stream(server, body(self.prompts[i], i, True))
            except Exception as failure:  # told by the main thread
                failures.append((i, repr(failure)))

        threads = [threading.Thread(target=client, args=(i,)) for i in range(CLIENTS)]
        threads += [threading.Thread(target=leave, args=(server, body(self.prompts[i], i, True), i % 3))
                    for i in range(leavers)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(failures, [])
        for i in range(CLIENTS):
            self.assertEqual(answers[i], self.alone[i], f"client {i}")
        server.wait_metric("loquat_kv_bytes_used", lambda used: used == 0)

    def test_everyone_gets_the_answer_of_one_alone(self):
        with Server(model=self.model) as server:
            self.crowd(server)
            self.crowd(server)  # now with every prefix known
            self.assertGreater(server.metrics()["loquat_prefix_hits_total"], 0)

    def test_with_prompts_cut_small_and_clients_that_leave(self):
        with Server("--batch-tokens", "24", model=self.model) as server:
            self.crowd(server, leavers=12)
            server.wait_metric("loquat_jobs_cancelled_total", lambda v: v > 0)

    def test_with_little_memory_and_preemption(self):
        tight = str(int(1.5 * self.full_sequence))
        with Server("--ctx", str(self.context), "--kv-memory", tight, model=self.model) as server:
            self.crowd(server)
            metrics = server.metrics()
            self.assertGreater(metrics["loquat_preemptions_total"], 0)
            self.assertLessEqual(metrics["loquat_kv_bytes_used"] + metrics["loquat_kv_bytes_cached"],
                                 metrics["loquat_kv_bytes_total"])


@heavy
@needs_model
class DefaultCheckpoint(Crowd):
    model, words, context = MODEL, 60, 1024


if __name__ == "__main__":
    unittest.main()
