"""harness.py - starts the server for the HTTP tests and speaks to it, through http.client or raw sockets.

LOQUAT_TEST_PROGRAM is the program (else LOQUAT_BUILD/loquat, else build/loquat), LOQUAT_TEST_MODEL a checkpoint of
some size; without it the tests that need generation to take a while are skipped and the others use the small one.
"""
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import tempfile
import time
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SMALL = str(ROOT / "tests/golden/models/tiny-llama.gguf")
MODEL = os.environ.get("LOQUAT_TEST_MODEL", "")
BUILD = os.environ.get("LOQUAT_BUILD", ROOT / "build")
PROGRAM = os.environ.get("LOQUAT_TEST_PROGRAM") or os.path.join(BUILD, "loquat")
START_SECONDS = 120
SANITIZED = os.environ.get("LOQUAT_SANITIZED", "")  # the sanitizer in PROGRAM, which makes arithmetic slow
heavy = unittest.skipIf(SANITIZED, "too much arithmetic under a sanitizer; the plain build runs it")
needs_model = unittest.skipUnless(MODEL, "needs a checkpoint in LOQUAT_TEST_MODEL")


def environment(**extra):
    """Ours without the server's own variables."""
    return {**{k: v for k, v in os.environ.items() if not k.startswith("LOQUAT_")}, **extra}


def run(*arguments, stdin=None, timeout=60, **extra):
    """A subcommand to its end: status, standard output, standard error."""
    done = subprocess.run([PROGRAM, *arguments], input=stdin, capture_output=True, timeout=timeout,
                          env=environment(**extra), stdin=subprocess.DEVNULL if stdin is None else None)
    return done.returncode, done.stdout, done.stderr.decode("utf-8", "replace")


class Server:
    """One `loquat serve` on a free port.  Use as a context manager; leaving it stops the process."""

    def __init__(self, *options, model=None, wait=True):
        self.log = tempfile.TemporaryFile()
        command = [PROGRAM, "serve", "--port", "0", "--model", model or MODEL or SMALL, *options]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=self.log, env=environment())
        self.ready, self.port = "", 0
        if wait:
            self.wait_ready()

    def wait_ready(self):
        self.ready = self.process.stdout.readline().decode()
        found = re.match(r"loquat listening on http://\S+:(\d+) \(model \S+, kernels \S+, \d+ threads?\)$", self.ready)
        if not found:
            self.process.wait(10)
            raise AssertionError(f"not ready: {self.ready!r}\n{self.errors()}")
        self.port = int(found.group(1))

    def wait_port(self):
        """The port while the model is still loading, from the log."""
        end = time.time() + START_SECONDS
        while time.time() < end:
            found = re.search(r"port (\d+) is open", self.errors())
            if found:
                self.port = int(found.group(1))
                return
            time.sleep(0.005)
        raise AssertionError("the port never opened")

    def errors(self):
        self.log.seek(0)
        return self.log.read().decode("utf-8", "replace")

    def stop(self, signals=(signal.SIGTERM,), timeout=60):
        """The exit status."""
        for number in signals:
            if self.process.poll() is None:
                self.process.send_signal(number)
        try:
            status = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise
        finally:
            self.process.stdout.close()
        return status

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        if self.process.poll() is None:
            self.stop((signal.SIGTERM, signal.SIGTERM))
        if not self.process.stdout.closed:
            self.process.stdout.close()
        log = self.errors()
        self.log.close()
        if kind:
            print(log[-4000:])
        elif re.search("(Thread|Address|Leak)Sanitizer|runtime error", log):
            raise AssertionError(log[-8000:])

    # ---- speaking ------------------------------------------------------------------------------

    def request(self, method, path, body=None, headers=None, timeout=120):
        """A connection of its own: status, headers (lower case), body as bytes."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        data = body if body is None or isinstance(body, (bytes, str)) else json.dumps(body)
        head = {"Content-Type": "application/json"} if data is not None else {}
        connection.request(method, path, data, {**head, **(headers or {})})
        response = connection.getresponse()
        answer = response.status, {k.lower(): v for k, v in response.getheaders()}, response.read()
        connection.close()
        return answer

    def post(self, path, body, headers=None, timeout=120):
        status, head, data = self.request("POST", path, body, headers, timeout)
        return status, head, json.loads(data)

    def get(self, path, headers=None):
        return self.request("GET", path, headers=headers)

    def complete(self, prompt="Once upon a time", **fields):
        return self.post("/v1/completions", {"prompt": prompt, "max_tokens": 8, "temperature": 0, **fields})

    def connect(self, receive_buffer=0, timeout=60):
        s = socket.socket()
        if receive_buffer:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        s.settimeout(timeout)
        s.connect(("127.0.0.1", self.port))
        return s

    def send(self, body, path="/v1/completions", receive_buffer=0, extra=""):
        """A request on a raw socket, not read yet."""
        s = self.connect(receive_buffer)
        s.sendall(post_bytes(path, json.dumps(body).encode(), extra))
        return s

    def metrics(self):
        """Name with labels -> value."""
        status, _, text = self.get("/metrics")
        assert status == 200, status
        return parse_metrics(text.decode())

    def wait_metric(self, name, check, seconds=20):
        end = time.time() + seconds
        value = None
        while time.time() < end:
            value = self.metrics()[name]
            if check(value):
                return value
            time.sleep(0.02)
        raise AssertionError(f"{name} is {value}")

    def resident(self):
        return self.metrics()["process_resident_memory_bytes"]


def post_bytes(path, body, extra=""):
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    return f"{head}{extra}\r\n".encode() + body


def parse_metrics(text):
    values = {}
    for line in text.splitlines():
        if line and not line.startswith("#"):
            name, value = line.rsplit(" ", 1)
            values[name] = float(value)
    return values


def read_to_end(s):
    data = b""
    while True:
        try:
            piece = s.recv(65536)
        except ConnectionResetError:
            return data
        if not piece:
            return data
        data += piece


def read_response(s):
    """One response with Content-Length from a raw socket: status, headers (lower case), body."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = s.recv(1)
        if not piece:
            raise AssertionError(f"the connection ended in the head: {data!r}")
        data += piece
    lines = data.decode("latin-1").split("\r\n")
    head = {k.lower(): v for k, v in (line.split(": ", 1) for line in lines[1:] if line)}
    body = b""
    while len(body) < int(head.get("content-length", 0)):
        body += s.recv(int(head["content-length"]) - len(body))
    return int(lines[0].split()[1]), head, body


def read_until(s, marker):
    """Bytes up to and with marker, and what came with it."""
    data = b""
    while marker not in data:
        piece = s.recv(4096)
        if not piece:
            raise AssertionError(f"the connection ended before {marker!r}: {data[-500:]!r}")
        data += piece
    return data


def is_closed(s, seconds):
    """Whether the server ends the connection in time; what it still sends is dropped."""
    s.settimeout(seconds)
    try:
        while s.recv(65536):
            pass
        return True
    except socket.timeout:
        return False
    except ConnectionError:
        return True
