"""test_server_drain.py - the beginning and the end of a server: loading, draining, signals."""
import json
import signal
import threading
import time
import unittest

from harness import SMALL, Server, is_closed, needs_model, read_response, read_to_end, read_until

LONG = {"prompt": "Once upon a time", "max_tokens": 4000, "ignore_eos": True, "temperature": 0}


class Ends(unittest.TestCase):
    def test_an_idle_server_ends_at_once(self):
        for number in (signal.SIGTERM, signal.SIGINT):
            with Server(model=SMALL) as server:
                held = server.connect()
                start = time.time()
                self.assertEqual(server.stop((number,)), 0)
                self.assertLess(time.time() - start, 5)
                self.assertTrue(is_closed(held, 1))
                held.close()

    def test_a_request_whose_body_is_still_coming_is_waited_for(self):
        body = json.dumps({"prompt": "a", "max_tokens": 2}).encode()
        with Server(model=SMALL) as server, server.connect() as s:
            s.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body[:5])
            server.wait_metric("loquat_requests_in_flight", lambda v: v == 1)
            server.process.send_signal(signal.SIGTERM)
            time.sleep(0.3)
            s.sendall(body[5:])
            self.assertEqual(read_response(s)[0], 200)
            self.assertEqual(server.process.wait(10), 0)

    def test_a_body_that_never_comes_is_given_up_with_the_drain(self):
        with Server("--drain", "500ms", model=SMALL) as server, server.connect() as s:
            s.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{")
            server.wait_metric("loquat_requests_in_flight", lambda v: v == 1)
            server.process.send_signal(signal.SIGTERM)
            self.assertEqual(read_response(s)[0], 503)
            self.assertEqual(server.process.wait(10), 0)
            self.assertIn("1 requests did not finish in time", server.errors())


@needs_model
class Drain(unittest.TestCase):
    def test_while_loading_health_says_so(self):
        server = Server(wait=False)
        try:
            server.wait_port()
            seen = set()
            while True:
                try:
                    status, head, body = server.get("/health")
                except ConnectionRefusedError:
                    continue
                seen.add(status)
                if status == 200:
                    break
                self.assertIn("Loading model", json.loads(body)["error"]["message"])
                status, head, answer = server.complete()
                if status == 503:
                    self.assertEqual(answer["error"]["code"], "loading_model")
                    self.assertGreaterEqual(int(head["retry-after"]), 1)
            self.assertIn(200, seen)
            server.wait_ready()
        finally:
            server.__exit__(None, None, None)

    def test_drain_finishes_what_was_accepted_and_refuses_the_rest(self):
        with Server() as server:
            results = []

            def client(stream):
                with server.send({**LONG, "max_tokens": 150, "stream": stream}) as s:
                    results.append(read_until(s, b"[DONE]") if stream else read_response(s))
            threads = [threading.Thread(target=client, args=(i % 2 == 0,)) for i in range(8)]
            for t in threads:
                t.start()
            server.wait_metric("loquat_requests_in_flight", lambda v: v == 8)
            server.process.send_signal(signal.SIGTERM)
            time.sleep(0.1)
            status, head, body = server.get("/health")
            self.assertEqual((status, head["connection"].lower()), (503, "close"))
            status, head, answer = server.complete()
            self.assertEqual((status, answer["error"]["code"]), (503, "draining"))
            self.assertIn("retry-after", head)
            for t in threads:
                t.join()
            self.assertEqual(server.process.wait(30), 0)
            self.assertEqual(len(results), 8)
            for result in results:
                if isinstance(result, bytes):
                    self.assertIn(b'"finish_reason":"length"', result)
                else:
                    self.assertEqual(result[0], 200)
                    self.assertEqual(json.loads(result[2])["usage"]["completion_tokens"], 150)

    def test_what_cannot_finish_is_told(self):
        with Server("--drain", "500ms") as server:
            stream = server.send({**LONG, "stream": True})
            plain = server.send({**LONG, "stream": False})
            server.wait_metric("loquat_running_sequences", lambda v: v == 2)
            read_until(stream, b"data: ")
            server.process.send_signal(signal.SIGTERM)
            data = read_to_end(stream)
            last = [line for line in data.split(b"\n") if line.startswith(b"data: ")][-1]
            self.assertEqual(json.loads(last[6:])["error"]["code"], "draining")
            status, head, body = read_response(plain)
            self.assertEqual((status, json.loads(body)["error"]["code"]), (503, "draining"))
            self.assertEqual(server.process.wait(10), 0)
            self.assertIn("2 requests did not finish in time", server.errors())
            stream.close()
            plain.close()

    def test_a_second_signal_ends_at_once(self):
        with Server() as server:
            s = server.send({**LONG, "stream": True})
            read_until(s, b"data: ")
            server.process.send_signal(signal.SIGTERM)
            time.sleep(0.3)
            self.assertIsNone(server.process.poll())
            start = time.time()
            self.assertEqual(server.stop((signal.SIGTERM,)), 128 + signal.SIGTERM)
            self.assertLess(time.time() - start, 1)
            s.close()

    def test_a_reader_that_does_not_read_cannot_hold_the_drain(self):
        with Server("--drain", "500ms", "--stream-buffer", "1K") as server:
            s = server.send({**LONG, "stream": True, "logprobs": 5}, receive_buffer=4096)
            server.wait_metric("loquat_streams_paused_total", lambda v: v >= 1, 60)
            start = time.time()
            self.assertEqual(server.stop(), 0)
            self.assertLess(time.time() - start, 6)
            s.close()


if __name__ == "__main__":
    unittest.main()
