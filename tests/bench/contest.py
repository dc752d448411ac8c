"""contest.py - who takes part in a measurement, and how turns are taken.

A contestant is a name and a function that measures once and returns {figure: value}; in a group every contestant
measures in turn, round after round, so that all see the same machine, and the median over the rounds counts.  A
contestant that cannot take part raises Absent with the reason, which is printed.
"""
import contextlib
import json
import os
import re
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

HERE = Path(__file__).resolve().parent


class Absent(Exception):
    """This contestant is not here; the text says why."""


class Group:
    """Figures of one kind: {figure: {contestant: median}}, and who was absent and why."""

    def __init__(self, name):
        self.name, self.figures, self.absent = name, {}, {}

    def run(self, contestants, rounds):
        """contestants: {name: function -> {figure: value}}."""
        taken = {}
        for turn in range(rounds):
            for name, measure in contestants.items():
                if name in self.absent:
                    continue
                try:
                    for figure, value in measure().items():
                        taken.setdefault(figure, {}).setdefault(name, []).append(value)
                    say(f"{self.name}: {name}, round {turn + 1} of {rounds}")
                except Absent as why:
                    self.absent[name] = str(why)
                    say(f"{self.name}: {name} is absent: {why}")
        for figure, by_name in taken.items():
            self.figures[figure] = {name: statistics.median(values) for name, values in by_name.items()}


def say(text):
    print(text, file=sys.stderr, flush=True)


def environment():
    """Without what tunes a library for somebody else, or our server."""
    dropped = ("LOQUAT_", "OPENBLAS_", "OMP_", "MKL_", "KMP_", "LLAMA_ARG_")
    return {k: v for k, v in os.environ.items() if not k.startswith(dropped)}


def run(command, timeout=600):
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, timeout=timeout,
                          stdin=subprocess.DEVNULL, env=environment(), check=False)
    if done.returncode != 0:
        lines = (done.stderr or done.stdout).strip().splitlines() or ["no output"]
        raise RuntimeError(f"{command[0]} ended with status {done.returncode}: {lines[-1]}")
    return done.stdout


def peer(python, script, *arguments):
    """The figures that peers/SCRIPT prints as its last line; Absent when its libraries are not there."""
    if not python:
        raise Absent("no --python")
    command = [python, HERE / "peers" / script, *arguments]
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, timeout=900,
                          stdin=subprocess.DEVNULL, env=environment(), check=False)
    if done.returncode == 3:
        raise Absent(done.stderr.strip().splitlines()[-1])
    if done.returncode != 0:
        raise RuntimeError(f"{script}: {done.stderr.strip().splitlines()[-1:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


class Server:
    """A server process on a free port of this machine, ready when entered, stopped when left."""

    def __init__(self, command, ready_path="/health"):
        self.command, self.ready_path = [str(c) for c in command], ready_path

    def __enter__(self):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.log = tempfile.TemporaryFile()
        self.started = time.perf_counter()
        self.process = subprocess.Popen([*self.command, "--port", str(self.port)], stdout=self.log, stderr=self.log,
                                        stdin=subprocess.DEVNULL, env=environment())
        try:
            self.wait_ready()
        except BaseException:
            self.__exit__()
            raise
        return self

    def wait_ready(self, seconds=180):
        while time.perf_counter() - self.started < seconds:
            if self.process.poll() is not None:
                self.log.seek(0)
                raise RuntimeError(f"{self.command[0]} ended: {self.log.read()[-500:].decode('utf-8', 'replace')}")
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"http://127.0.0.1:{self.port}{self.ready_path}", timeout=5).read()
                return
            time.sleep(0.002)
        raise RuntimeError(f"{self.command[0]} was not ready within {seconds} s")

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()

    def get(self, path):
        return urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=60).read().decode()

    def post(self, path, body):
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", json.dumps(body).encode(),
                                         {"Content-Type": "application/json"})
        return json.load(urllib.request.urlopen(request, timeout=600))

    def resident(self):
        """Bytes."""
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii")
        return int(re.search(r"VmRSS:\s+(\d+) kB", status).group(1)) * 1024

    def metric(self, name):
        found = re.search(rf"^{re.escape(name)}(?:\{{[^}}]*\}})? (\S+)$", self.get("/metrics"), re.M)
        if not found:
            raise RuntimeError(f"/metrics has no {name}")
        return float(found.group(1))


@contextlib.contextmanager
def busy(processes):
    """That many processes that do nothing but compute."""
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(processes)]
    try:
        time.sleep(0.3)
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()
