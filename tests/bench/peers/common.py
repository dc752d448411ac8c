"""common.py - what the peers' scripts share: inputs that are the same for everybody, timing, the line they print.

Run by a Python that has the peer's libraries; status 3 says that they are not there.
"""
import contextlib
import json
import random
import sys
import time

THREADS = 2


@contextlib.contextmanager
def needed():
    """Imports of a peer's libraries."""
    try:
        yield
    except ImportError as e:
        print(f"no {e.name} in this Python", file=sys.stderr)
        sys.exit(3)


def answer(**figures):
    print(json.dumps(figures))


def token_rows(n, length, low=100, high=40000, seed=1):
    rng = random.Random(seed)
    return [[rng.randrange(low, high) for _ in range(length)] for _ in range(n)]


def best_of(seconds, work):
    """The shortest time of `work` in runs that go on for about that long; the first run warms up."""
    work()
    best, begin = float("inf"), time.perf_counter()
    while time.perf_counter() - begin < seconds:
        start = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - start)
    return best
