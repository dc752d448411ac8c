#!/usr/bin/env python3
"""count.py - adds up what test runners report.  Called by tests/run with their logs; prints "PASSED FAILED SKIPPED".

usage: count.py meson TESTLOG.json | unittest LOG | style LOG

A C test binary counts by its checks (check's "Checks: N, Failures: N, Errors: N" lines); one that died before such a
line counts as one failure, one without any as one test.  A line "SKIP: reason" in its output counts as skipped, and so
does exit status 77.  Reasons for skipping go to standard error.
"""
import collections
import json
import re
import sys

CHECKS = re.compile(r"^\d+%: Checks: (\d+), Failures: (\d+), Errors: (\d+)", re.M)
SKIP = re.compile(r"^(?:skipped|SKIP): (.*)", re.M)


def meson(text):
    passed = failed = skipped = 0
    for line in text.splitlines():
        test = json.loads(line)
        output = test.get("stdout", "") + test.get("stderr", "")
        good = test["result"] in ("OK", "SKIP", "EXPECTEDFAIL")
        reasons = SKIP.findall(output)
        for reason, times in collections.Counter(reasons).items():
            print(f"skipped: {test['name']}: {reason}" + (f" ({times} times)" if times > 1 else ""), file=sys.stderr)
        skipped += len(reasons)
        checks = CHECKS.findall(output)
        bad = sum(int(f) + int(e) for _, f, e in checks)
        ran = sum(int(n) for n, _, _ in checks)
        if test["result"] == "SKIP" and not reasons:
            print(f"skipped: {test['name']}: {output.strip()[-200:]}", file=sys.stderr)
            skipped += 1
        elif not checks and good and not reasons:
            passed += 1
        passed += ran - bad
        if not good:
            print(f"failed: {test['name']} ({test['result']})", file=sys.stderr)
            bad = max(bad, 1)
        failed += bad
    return passed, failed, skipped


def unittest(text):
    ran = re.findall(r"^Ran (\d+) tests? in", text, re.M)
    verdict = re.findall(r"^(?:OK|FAILED|NO TESTS RAN)(?: \((.*)\))?$", text, re.M)
    if not ran or not verdict:
        print("failed: the runner did not finish", file=sys.stderr)
        return 0, 1, 0
    counts = dict(re.findall(r"([\w ]+?)=(\d+)", verdict[-1].replace(", ", ",").replace(",", " ,")))
    number = {k.strip(" ,"): int(v) for k, v in counts.items()}
    failed = number.get("failures", 0) + number.get("errors", 0) + number.get("unexpected successes", 0)
    skipped = number.get("skipped", 0)
    for reason in sorted(set(re.findall(r"skipped '(.*)'$", text, re.M) + re.findall(r'skipped "(.*)"$', text, re.M))):
        print(f"skipped: {reason}", file=sys.stderr)
    return max(0, int(ran[-1]) - failed - skipped), failed, skipped


def style(text):
    m = re.search(r"^style: (\d+) passed, (\d+) failed, (\d+) skipped", text, re.M)
    return tuple(map(int, m.groups())) if m else (0, 1, 0)


def main():
    kind, path = sys.argv[1:]
    with open(path, encoding="utf-8", errors="replace") as f:
        print(*{"meson": meson, "unittest": unittest, "style": style}[kind](f.read()))


if __name__ == "__main__":
    main()
