"""test_server_http.py - HTTP itself: routes, framing, limits, ids, CORS, keep-alive.

After every test the server must still answer.
"""
import json
import socket
import time
import unittest

from harness import SMALL, Server, is_closed, post_bytes, read_response, read_to_end

PROMPT = json.dumps({"prompt": "a", "max_tokens": 1}).encode()


class Http(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server("--max-body", "100K", "--read-timeout", "1s", "--idle-timeout", "2s", "--cors-origin",
                            "https://a.example,https://b.example", model=SMALL)

    @classmethod
    def tearDownClass(cls):
        cls.server.__exit__(None, None, None)

    def tearDown(self):
        self.assertEqual(self.server.complete()[0], 200)

    def raw(self, data):
        with self.server.connect() as s:
            s.sendall(data)
            return read_response(s)

    def assert_error(self, answer, status, text=""):
        self.assertEqual(answer[0], status, answer)
        self.assertEqual(answer[1]["content-type"], "application/json")
        error = json.loads(answer[2])["error"]
        self.assertEqual(set(error), {"message", "type", "param", "code"})
        self.assertIn(text, error["message"])

    # ---- routes ----

    def test_unknown_paths_and_wrong_methods(self):
        self.assert_error(self.server.get("/nowhere"), 404)
        answer = self.server.request("GET", "/v1/completions")
        self.assert_error(answer, 405)
        self.assertIn("POST", answer[1]["allow"])
        answer = self.server.request("DELETE", "/health")
        self.assert_error(answer, 405)
        self.assertIn("GET", answer[1]["allow"])
        self.assert_error(self.server.request("POST", "/v1/models", {}), 405)

    def test_head_is_get_without_a_body(self):
        for path in ("/health", "/v1/models"):
            status, head, body = self.server.request("HEAD", path)
            self.assertEqual((status, body), (200, b""))
            self.assertGreater(int(head["content-length"]), 0)

    def test_an_absolute_target_is_a_path(self):
        answer = self.raw(b"GET http://x/health HTTP/1.1\r\nHost: x\r\n\r\n")
        self.assertEqual((answer[0], answer[2]), (200, b'{"status":"ok"}'))

    def test_model_names_are_decoded_after_the_path_is_split(self):
        self.assert_error(self.server.get("/v1/models/no%2Fsuch"), 404, "no/such")
        self.assert_error(self.server.get("/v1/models/no/such"), 404)

    # ---- bodies ----

    def test_only_json_bodies(self):
        self.assert_error(self.server.request("POST", "/v1/completions", PROMPT, {"Content-Type": "text/plain"}), 415)
        head = b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(PROMPT)
        self.assertEqual(self.raw(head + PROMPT)[0], 200)
        types = {"Content-Type": "Application/JSON; charset=utf-8"}
        self.assertEqual(self.server.request("POST", "/v1/completions", PROMPT, types)[0], 200)
        for body in ("{", "[]", "", "\"x\"", "{\"prompt\": \"a\"} x", "{\"prompt\": \"\xff\"}".encode("latin-1")):
            self.assert_error(self.server.request("POST", "/v1/completions", body), 400)
        self.assert_error(self.server.request("POST", "/v1/completions", "[" * 5000 + "]" * 5000), 400)

    def test_too_large_with_a_length_is_refused_at_once(self):
        for length in (b"9000000", b"999999999999999"):
            answer = self.raw(b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: " + length + b"\r\n\r\n")
            self.assert_error(answer, 413)

    def test_a_client_that_sends_everything_first_still_reads_413(self):
        self.assert_error(self.server.request("POST", "/v1/completions", b"x" * 8000000), 413)

    def test_too_large_in_chunks(self):
        head = b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        chunk = b"4000\r\n" + b"x" * 0x4000 + b"\r\n"
        self.assert_error(self.raw(head + chunk * 10 + b"0\r\n\r\n"), 413)
        with self.server.connect() as s:  # one that never ends
            try:
                s.sendall(head)
                for _ in range(1000):
                    s.sendall(chunk)
            except ConnectionError:
                pass
            self.assertIn(b"413", read_to_end(s)[:20])

    def test_chunked_bodies_work(self):
        body = b"".join(b"%x\r\n%s\r\n" % (len(PROMPT[i:i + 5]), PROMPT[i:i + 5]) for i in range(0, len(PROMPT), 5))
        head = b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        self.assertEqual(self.raw(head + body + b"0\r\n\r\n")[0], 200)

    def test_expect_100_continue(self):
        with self.server.connect() as s:
            s.sendall(post_bytes("/v1/completions", PROMPT, "Expect: 100-continue\r\n")[:-len(PROMPT)])
            self.assertEqual(s.recv(25), b"HTTP/1.1 100 Continue\r\n\r\n")
            s.sendall(PROMPT)
            self.assertEqual(read_response(s)[0], 200)
        with self.server.connect() as s:
            s.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n"
                      b"Content-Length: 300000\r\n\r\n")
            self.assert_error(read_response(s), 413)

    def test_contradicting_lengths_are_refused_and_the_connection_closed(self):
        smuggled = b"GET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n"
        for extra in (b"Content-Length: 0\r\nContent-Length: %d\r\n" % len(smuggled),
                      b"Content-Length: %d\r\nContent-Length: 0\r\n" % len(smuggled),
                      b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n",
                      b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
                      b"Transfer-Encoding: gzip, chunked\r\n"):
            for method in (b"POST /v1/completions", b"GET /health"):
                with self.server.connect() as s:
                    s.sendall(method + b" HTTP/1.1\r\nHost: x\r\n" + extra + b"\r\n" + smuggled)
                    data = read_to_end(s)
                self.assertTrue(data.startswith(b"HTTP/1.1 400"), (extra, data[:200]))
                self.assertEqual(data.count(b"HTTP/1.1"), 1, (extra, data))

    def test_bodies_past_the_memory_for_bodies_get_429_and_give_it_back(self):
        with Server("--max-body", "1M", "--body-memory", "1500K", model=SMALL) as server:
            head = b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n"
            with server.connect() as first:
                first.sendall(head)
                server.wait_metric("loquat_body_bytes", lambda v: v == 1000000)
                with server.connect() as second:
                    second.sendall(head + b"x" * 1000000)
                    answer = read_response(second)
                    self.assert_error(answer, 429)
                    self.assertGreaterEqual(int(answer[1]["retry-after"]), 1)
            server.wait_metric("loquat_body_bytes", lambda v: v == 0)
            server.wait_metric("loquat_requests_in_flight", lambda v: v == 0)
            self.assertEqual(server.complete()[0], 200)

    def test_too_many_requests_get_429(self):
        with Server("--max-requests", "1", model=SMALL) as server:
            with server.connect() as first:
                first.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n")
                server.wait_metric("loquat_requests_in_flight", lambda v: v == 1)
                status, head, _ = server.complete()
                self.assertEqual(status, 429)
                self.assertIn("retry-after", head)
            server.wait_metric("loquat_requests_in_flight", lambda v: v == 0)
            self.assertEqual(server.complete()[0], 200)

    # ---- time ----

    def test_a_head_or_body_that_drips_is_closed_with_408(self):
        for begin in (b"GET /hea", b"POST /v1/completions HTTP/1.1\r\nHost: x\r\n",
                      b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n"):
            with self.server.connect() as s:
                s.sendall(begin)
                start, data = time.time(), b""
                s.settimeout(0.2)
                while time.time() - start < 10:
                    try:
                        s.sendall(b"a")
                        piece = s.recv(4096)
                        data += piece
                        if not piece:
                            break
                    except socket.timeout:
                        continue
                    except ConnectionError:
                        break
                self.assertLess(time.time() - start, 4, begin)
                self.assertIn(b"408", data[:20], begin)

    def test_an_idle_connection_is_closed(self):
        with self.server.connect() as s:
            start = time.time()
            self.assertTrue(is_closed(s, 6))
            self.assertGreater(time.time() - start, 1)

    # ---- headers ----

    def test_request_ids(self):
        def answered(headers):
            return self.server.get("/health", headers)[1]["x-request-id"]
        self.assertEqual(answered({"X-Request-Id": "abc-1"}), "abc-1")
        self.assertEqual(answered({"X-Client-Request-Id": "mine"}), "mine")
        for bad in ("a b", "x" * 129, "caf\xe9", ""):
            self.assertRegex(answered({"X-Request-Id": bad}), r"^req-[0-9a-f]{24}$")
        self.assertNotEqual(answered({}), answered({}))
        _, head, _ = self.server.request("POST", "/v1/completions", "{", {"X-Request-Id": "e1"})
        self.assertEqual(head["x-request-id"], "e1")
        self.assertRegex(self.server.complete()[1]["openai-processing-ms"], r"^\d+$")

    def test_cors_only_for_named_origins(self):
        allowed = {"Origin": "https://b.example", "Access-Control-Request-Method": "POST",
                   "Access-Control-Request-Headers": "authorization, x-stainless-os"}
        status, head, body = self.server.request("OPTIONS", "/v1/completions", headers=allowed)
        self.assertEqual((status, body), (204, b""))
        self.assertEqual(head["access-control-allow-origin"], "https://b.example")
        self.assertIn("POST", head["access-control-allow-methods"])
        self.assertIn("x-stainless-os", head["access-control-allow-headers"])
        self.assertEqual(self.server.get("/health", {"Origin": "https://a.example"})[1]["access-control-allow-origin"],
                         "https://a.example")
        for origin in ("https://evil.example", "https://a.exam"):
            self.assertNotIn("access-control-allow-origin", self.server.get("/health", {"Origin": origin})[1])

    # ---- connections ----

    def test_keep_alive_and_pipelining(self):
        request = post_bytes("/v1/completions", PROMPT)
        with self.server.connect() as s:
            for _ in range(3):
                s.sendall(request)
                self.assertEqual(read_response(s)[0], 200)
            s.sendall(request * 4 + b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
            self.assertEqual([read_response(s)[0] for _ in range(5)], [200] * 5)
        with self.server.connect() as s:  # a refusal leaves a small body behind, not a broken connection
            s.sendall(post_bytes("/nowhere", PROMPT) + post_bytes("/v1/completions", b"{") + request)
            self.assertEqual([read_response(s)[0] for _ in range(3)], [404, 400, 200])

    def test_connections_past_the_limit_are_told(self):
        with Server("--max-connections", "3", model=SMALL) as server:
            held = [server.connect() for _ in range(3)]
            time.sleep(0.2)
            with server.connect() as s:
                self.assert_error(read_response(s), 503, "connections")
            for s in held:
                s.close()
            time.sleep(0.2)
            self.assertEqual(server.get("/health")[0], 200)

    def test_garbage_closes_only_its_own_connection(self):
        for data in (b"\x00\x01\x02\r\n\r\n", b"GET\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 30,
                     b"GET /" + b"a" * 100000 + b" HTTP/1.1\r\n\r\n",
                     b"GET / HTTP/1.1\r\n" + b"".join(b"h%d: x\r\n" % i for i in range(5000)) + b"\r\n"):
            with self.server.connect() as s:
                try:
                    s.sendall(data)
                except ConnectionError:
                    pass
                self.assertTrue(is_closed(s, 8), data[:20])


if __name__ == "__main__":
    unittest.main()
