"""test_server_streams.py - streams, clients that leave or do not read, many connections, metrics under load."""
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import unittest

from harness import SANITIZED, SMALL, Server, needs_model, parse_metrics, read_response, read_until

LONG = {"prompt": "Once upon a time", "max_tokens": 4000, "ignore_eos": True, "temperature": 0}


def events(data):
    """The chunks of a chunked body, and the JSON of its events."""
    chunks, rest = [], data
    while rest:
        size, rest = rest.split(b"\r\n", 1)
        size = int(size, 16)
        chunks.append(rest[:size])
        rest = rest[size + 2:]
        if size == 0:
            break
    return chunks[:-1]


class Streams(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server(model=SMALL)

    @classmethod
    def tearDownClass(cls):
        cls.server.__exit__(None, None, None)

    def test_one_event_is_one_chunk_and_the_connection_lives_on(self):
        body = {"prompt": "a b c", "max_tokens": 12, "ignore_eos": True, "stream": True, "temperature": 0}
        with self.server.send(body) as s:
            data = read_until(s, b"\r\n0\r\n\r\n")
            head, body = data.split(b"\r\n\r\n", 1)
            for line in (b"200 OK", b"Content-Type: text/event-stream", b"Cache-Control: no-cache",
                         b"X-Accel-Buffering: no", b"x-request-id: "):
                self.assertIn(line, head)
            chunks = events(body)
            for chunk in chunks:
                self.assertTrue(chunk.startswith(b"data: ") and chunk.endswith(b"\n\n"), chunk)
                self.assertEqual(chunk.count(b"\n\n"), 1)
            self.assertEqual(chunks[-1], b"data: [DONE]\n\n")
            text = "".join(json.loads(c[6:])["choices"][0]["text"] for c in chunks[:-1])
            s.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
            self.assertEqual(read_response(s)[0], 200)
        whole = self.server.complete("a b c", max_tokens=12, ignore_eos=True)[2]["choices"][0]["text"]
        self.assertEqual(text, whole)

    def test_an_error_before_the_first_byte_has_its_status(self):
        for fields in ({"model": "none"}, {"prompt": [1] * 600}, {"colour": 1}):
            status, head, answer = self.server.complete(stream=True, **fields)
            self.assertIn(status, (400, 404))
            self.assertEqual(head["content-type"], "application/json")
            self.assertIn("message", answer["error"])

    def test_metrics_parse_and_count(self):
        self.server.complete(max_tokens=5, ignore_eos=True)
        status, head, text = self.server.get("/metrics")
        self.assertTrue(head["content-type"].startswith("text/plain; version=0.0.4"))
        lines = text.decode().splitlines()
        typed = {line.split()[2]: line.split()[3] for line in lines if line.startswith("# TYPE")}
        self.assertEqual(len(typed), len([line for line in lines if line.startswith("# TYPE")]))
        for line in lines:
            if line.startswith("#"):
                continue
            match = re.match(r'^([a-zA-Z_:][a-zA-Z0-9_:]*)(\{[a-z_]+="[^"]*"(,[a-z_]+="[^"]*")*\})? (\S+)$', line)
            self.assertTrue(match, line)
            float(match.group(4))
            name = match.group(1)
            self.assertTrue(name in typed or re.sub("_(bucket|sum|count)$", "", name) in typed, line)
        values = parse_metrics(text.decode())
        label = '{model_name="tiny-llama"}'
        for name in ("num_requests_waiting", "num_requests_running", "kv_cache_usage_perc", "prompt_tokens_total"):
            self.assertIn(f"vllm:{name}{label}", values)
        self.assertEqual(values[f"vllm:kv_cache_usage_perc{label}"], 0)
        self.assertGreaterEqual(values['loquat_requests_total{route="/v1/completions",status="200"}'], 1)
        self.assertGreaterEqual(values["loquat_time_to_first_token_seconds_count"], 1)
        self.assertGreaterEqual(values["loquat_inter_token_seconds_count"], 4)
        self.assertEqual(values['loquat_request_seconds_bucket{le="+Inf"}'], values["loquat_request_seconds_count"])
        self.assertGreater(values["process_resident_memory_bytes"], 1 << 20)

    def test_no_word_of_a_user_is_logged(self):
        with Server("--log-requests", "--log-level", "debug", model=SMALL) as server:
            server.complete("SECRETPROMPT", user="SECRETUSER")
            server.get("/v1/models/SECRETNAME")
            server.get("/SECRETPATH?key=SECRETQUERY")
            server.post("/v1/completions", "{\"SECRETFIELD\":1}")
            server.stop()
            log = server.errors()
        self.assertNotIn("SECRET", log)
        self.assertIn("route=/v1/completions status=", log)
        self.assertIn("route=/v1/models/{id} status=404", log)

    def test_2000_idle_connections_beside_live_ones(self):
        before = self.server.resident()
        idle = [self.server.connect() for _ in range(2000)]
        try:
            self.server.wait_metric("loquat_connections", lambda v: v >= 2000)
            start = time.time()
            for _ in range(5):
                self.assertEqual(self.server.complete(max_tokens=2)[0], 200)
            self.assertLess(time.time() - start, 5)
            self.assertLess(self.server.resident() - before, 200 << 20)
            for s in idle[::100]:
                s.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
                self.assertEqual(read_response(s)[0], 200)
        finally:
            for s in idle:
                s.close()
        self.server.wait_metric("loquat_connections", lambda v: v < 10)

    def test_an_idle_server_rests(self):
        def cpu():
            with open(f"/proc/{self.server.process.pid}/stat") as file:
                fields = file.read().rsplit(")", 1)[1].split()
            return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        self.server.complete()
        held = self.server.connect()
        time.sleep(0.5)
        start = cpu()
        time.sleep(2)
        held.close()
        self.assertLess(cpu() - start, 0.3)


@needs_model
class Leaving(unittest.TestCase):
    """Clients that go away free what they held, wherever their request stands."""

    @classmethod
    def setUpClass(cls):
        cls.server = Server("--max-sequences", "2", "--stall-timeout", "2s", "--keepalive-interval", "300ms",
                            "--stream-buffer", "4K", "--log-requests")

    @classmethod
    def tearDownClass(cls):
        cls.server.__exit__(None, None, None)

    def setUp(self):
        self.cancelled = self.server.metrics()["loquat_requests_cancelled_total"]

    def assert_freed(self, count):
        self.server.wait_metric("loquat_requests_cancelled_total", lambda v: v == self.cancelled + count)
        self.server.wait_metric("loquat_running_sequences", lambda v: v == 0)
        self.server.wait_metric("loquat_kv_bytes_used", lambda v: v == 0)
        self.server.wait_metric("loquat_requests_in_flight", lambda v: v == 0)
        self.assertEqual(self.server.complete()[0], 200)

    def close(self, s, reset):
        if reset:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        s.close()

    def test_while_decoding(self):
        for stream in (True, False):
            for reset in (False, True):
                with self.subTest(stream=stream, reset=reset):
                    self.setUp()
                    s = self.server.send({**LONG, "stream": stream})
                    self.server.wait_metric("loquat_running_sequences", lambda v: v == 1)
                    if stream:
                        read_until(s, b"data: ")
                    time.sleep(0.2)
                    self.assertGreater(self.server.metrics()["loquat_kv_bytes_used"], 0)
                    self.close(s, reset)
                    self.assert_freed(1)

    def test_half_closed(self):
        s = self.server.send({**LONG, "stream": False})
        self.server.wait_metric("loquat_running_sequences", lambda v: v == 1)
        s.shutdown(socket.SHUT_WR)
        self.assert_freed(1)
        self.assertEqual(s.recv(100), b"")
        s.close()

    def test_while_reading_the_prompt(self):
        s = self.server.send({**LONG, "prompt": "river stone lamp paper winter " * 800, "max_tokens": 10})
        self.server.wait_metric("loquat_kv_bytes_used", lambda v: v > 0)
        s.close()
        self.assert_freed(1)

    def test_while_queued(self):
        running = [self.server.send({**LONG, "stream": True}) for _ in range(2)]
        self.server.wait_metric("loquat_running_sequences", lambda v: v == 2)
        queued = [self.server.send({**LONG, "stream": bool(i % 2)}) for i in range(4)]
        self.server.wait_metric("loquat_queued_jobs", lambda v: v == 4)
        for s in queued:
            s.close()
        self.server.wait_metric("loquat_queued_jobs", lambda v: v == 0)
        self.assertEqual(self.server.metrics()["loquat_running_sequences"], 2)
        for s in running:
            s.close()
        self.assert_freed(6)

    def test_a_pipelined_request_is_no_hang_up(self):
        with self.server.send({"prompt": "a", "max_tokens": 60, "ignore_eos": True}) as s:
            self.server.wait_metric("loquat_running_sequences", lambda v: v == 1)
            s.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
            self.assertEqual([read_response(s)[0], read_response(s)[0]], [200, 200])

    def test_a_silent_stream_gets_comments(self):
        running = [self.server.send({**LONG, "stream": True}) for _ in range(2)]
        self.server.wait_metric("loquat_running_sequences", lambda v: v == 2)
        with self.server.send({**LONG, "stream": True, "max_tokens": 3}) as s:
            data = read_until(s, b":\n\n\r\n3\r\n:\n\n")
            self.assertIn(b"200 OK", data)
            for other in running:
                other.close()
            self.assertIn(b"data: ", read_until(s, b"[DONE]"))
        self.assert_freed(2)

    def test_a_reader_that_does_not_read_is_paused_then_cancelled(self):
        stall = 40 if SANITIZED else 10  # seconds; the kernel's buffers must be full before they are over
        with Server("--stall-timeout", f"{stall}s", "--stream-buffer", "4K") as server:
            body = {**LONG, "stream": True, "n": 16, "max_tokens": 1000, "logprobs": 5}
            s = server.send(body, receive_buffer=4096)
            server.wait_metric("loquat_streams_paused_total", lambda v: v > 0, 60)
            last, now = -1, 0  # once the kernel's buffers are full too, generation stands still
            while now != last:
                time.sleep(0.4)
                last, now = now, server.metrics()["loquat_generated_tokens_total"]
            self.assertEqual(server.metrics()["loquat_requests_in_flight"], 1)
            self.assertLess(server.metrics()["loquat_unsent_bytes"], 64 << 10)
            self.assertEqual(server.complete()[0], 200)
            server.wait_metric("loquat_stalled_readers_total", lambda v: v == 1, 3 * stall)
            server.wait_metric("loquat_kv_bytes_used", lambda v: v == 0)
            self.assertEqual(server.metrics()["loquat_requests_cancelled_total"], 1)
            s.close()

    def test_a_slow_reader_gets_everything(self):
        with self.server.send({**LONG, "stream": True, "max_tokens": 700, "logprobs": 5}, receive_buffer=4096) as s:
            time.sleep(1)
            data, marks = b"", 0
            while b"[DONE]" not in data[-200:]:
                data += s.recv(20000)
                time.sleep(0.005)
                marks += 1
        self.assertEqual(data.count(b'"token_logprobs"'), 700)
        self.assertEqual(data.count(b'"finish_reason":"length"'), 1)

    def test_a_stopped_client_stalls_nobody(self):
        code = ("import socket,sys,time\ns=socket.socket()\ns.setsockopt(socket.SOL_SOCKET,socket.SO_RCVBUF,4096)\n"
                f"s.connect(('127.0.0.1',{self.server.port}))\ns.sendall(sys.stdin.buffer.read())\n"
                "print(len(s.recv(10)),flush=True)\n"
                "while s.recv(4096): pass\n")
        client = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        body = json.dumps({**LONG, "stream": True, "logprobs": 5}).encode()
        client.stdin.write(b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        client.stdin.close()
        client.stdout.readline()
        client.send_signal(signal.SIGSTOP)
        before, memory = self.server.metrics()["loquat_stalled_readers_total"], self.server.resident()
        try:
            self.assertEqual(self.server.complete()[0], 200)
            self.server.wait_metric("loquat_stalled_readers_total", lambda v: v == before + 1, 60)
            self.assertLess(self.server.resident() - memory, 64 << 20)
            self.assert_freed(1)
        finally:
            client.kill()
            client.wait()
            client.stdout.close()


@needs_model
class Many(unittest.TestCase):
    def test_16_streams_and_health_between_them(self):
        with Server() as server:
            answers, slow = {}, []

            def client(i):
                with server.send({**LONG, "stream": True, "max_tokens": 40, "prompt": f"Number {i % 4}:",
                                  "stream_options": {"include_usage": True}}) as s:
                    data = read_until(s, b"[DONE]\n\n")
                chunks = [json.loads(line[6:]) for line in data.split(b"\n") if line.startswith(b"data: {")]
                text = "".join(c["choices"][0]["text"] for c in chunks if c["choices"])
                answers.setdefault(i % 4, []).append((text, chunks[-1]["usage"]["completion_tokens"]))
            threads = [threading.Thread(target=client, args=(i,)) for i in range(16)]
            for t in threads:
                t.start()
            while any(t.is_alive() for t in threads):
                start = time.time()
                self.assertEqual(server.get("/health")[0], 200)
                slow.append(time.time() - start)
            for t in threads:
                t.join()
            for same in answers.values():
                self.assertEqual((len(same), len(set(same)), same[0][1]), (4, 1, 40))
            self.assertLess(sorted(slow)[len(slow) // 2], 0.2)
            server.wait_metric("loquat_kv_bytes_used", lambda v: v == 0)


if __name__ == "__main__":
    unittest.main()
