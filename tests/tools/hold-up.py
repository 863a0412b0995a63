#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Runs a command, and holds up the tests that run below it: each of their processes is stopped at random moments, for as long as a busy machine, or
another tenant of its host, may take the processor away. What a test sees by luck it doesn't see then, and what the programs do about such a time shows.

    tests/tools/hold-up.py [--on SECONDS] [--off SECONDS] [--most SECONDS] COMMAND...        (make held-up)

On average each process goes on for --on, is stopped for --off, and never longer than --most: random times, DRAY_SEED decides which. Stopped are the
tests themselves (tests/*/test-*.py), `dray`, `drayd` and `dray-iod`; the latter two not where their test stops processes by itself. Servers that stand in
for storages are not: how long those take is what tests are about, and limits of a second are theirs.
"""
import argparse
import heapq
import os
import random
import re
import signal
import subprocess
import sys
import time

TEST = re.compile(r"tests/\w+/test-[^/]*\.py$")
LOOK = 0.01   # seconds
SOON = 0.03   # a command is over before its first --on

args = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
args.add_argument("--on", type=float, default=0.6)
args.add_argument("--off", type=float, default=0.4)
args.add_argument("--most", type=float, default=2.5)
args.add_argument("command", nargs=argparse.REMAINDER)
args = args.parse_args()
seed = int(os.environ.get("DRAY_SEED") or time.time())
rng = random.Random(seed)
print(f"DRAY_SEED={seed}", flush=True)


def words(pid):
    with open(f"/proc/{pid}/cmdline", "rb") as f:
        return f.read().decode(errors="replace").split("\0")


def stat(pid):
    """Its state and its parent."""
    with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as f:
        state, parent = f.read().rpartition(")")[2].split()[:2]
    return state, int(parent)


def test_of(pid):
    """The path of the test that a process is of, if that was started below our command; or None."""
    test = None
    while pid > 1:
        if pid == running.pid:
            return test
        for word in words(pid)[:3]:
            if TEST.search(word):
                test = os.path.join(os.readlink(f"/proc/{pid}/cwd"), word)
        pid = stat(pid)[1]
    return None


def stops_by_itself(test):
    with open(test, encoding="utf-8") as f:
        return "SIGSTOP" in f.read()


def on_time(pid):
    """How long it goes on for on average, or None: it is not one to be stopped."""
    w = words(pid)
    name = os.path.basename(w[0])
    if not (name in ("dray", "drayd", "dray-iod") or (name.startswith("python") and len(w) > 1 and TEST.search(w[1]))):
        return None
    test = test_of(pid)
    if not test or (name in ("drayd", "dray-iod") and stops_by_itself(test)):
        return None
    return SOON if name == "dray" else args.on


def go_on(pid):
    try:
        os.kill(pid, signal.SIGCONT)
    except ProcessLookupError:
        pass


running = subprocess.Popen(args.command)
known, stopped, due, stops = {}, set(), [], 0  # pid -> (on average, when it is stopped next); those; (when it goes on, pid)
try:
    while running.poll() is None:
        now = time.monotonic()
        while due and due[0][0] <= now:
            pid = heapq.heappop(due)[1]
            go_on(pid)
            stopped.discard(pid)
        live = {int(p) for p in os.listdir("/proc") if p.isdigit()}
        known = {p: k for p, k in known.items() if p in live}
        for pid in live:
            try:
                if pid not in known:
                    on = on_time(pid)
                    known[pid] = (on, now + rng.expovariate(1 / on)) if on else None
                if not known[pid] or pid in stopped or now < known[pid][1] or stat(pid)[0] == "T":
                    continue
                stopped.add(pid)
                os.kill(pid, signal.SIGSTOP)
            except (OSError, ValueError, IndexError):  # it has just ended
                continue
            until = now + min(args.most, rng.expovariate(1 / args.off))
            heapq.heappush(due, (until, pid))
            known[pid] = (args.on, until + rng.expovariate(1 / args.on))
            stops += 1
        time.sleep(LOOK)
finally:
    for pid in stopped:
        go_on(pid)
print(f"{stops} times something was held up")
sys.exit(running.returncode)
