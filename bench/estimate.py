#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""How near estimates come: for each document what `dray estimate` says, what the session then takes until all is in sync or over, and what its own
eta_seconds said when a third was done; as ratios of the real time, in random order, several times.

    bench/estimate.py [--mib N] [--times N] [--only NAME,...] [--known]

Each time by an agent that never copied anything; with --known by one that did all of them once before. `low` and `high` are the ends of the range: the real
time, 1, should lie between them; `inside`: how often it did. Seconds are told whole: what takes few of them has coarse ratios. Files are below /tmp, or DRAY_TEST_DIR. Two of the documents wait for a minute of the clock to end."""
import argparse
import json
import os
import random
import statistics
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../tests/lib"))
from dray import MiB, Scratch, wait_for  # noqa: E402

args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
args.add_argument("--mib", type=int, default=512, help="of each document")
args.add_argument("--times", type=int, default=3)
args.add_argument("--only", default="")
args.add_argument("--known", action="store_true", help="go by the history of earlier copies")
args = args.parse_args()


def minute(after):
    """HH:MM of the next minute that is at least so many seconds away."""
    at = (int(time.time()) + after) // 60 * 60 + 60
    return time.strftime("%H:%M", time.localtime(at)), time.strftime("%H:%M", time.localtime(at + 3600))


def documents(mib):
    rate = max(mib // 16, 1)
    return {
        "one-big": (1, mib, lambda: {}),
        "many-small": (64, max(mib // 64, 1), lambda: {}),
        "one-disk": (4, mib // 4, lambda: {}),
        "in-turn": (8, mib // 8, lambda: {"limits": {"active_pairs": 1}}),
        "rate": (2, mib // 2, lambda: {"limits": {"rate": f"{rate}MiB"}}),
        "timetable": (1, mib, lambda: {"limits": {"rate": f"00:00,{rate}M {minute(5)[0]},{rate * 4}M"}}),
        "window": (2, mib // 2, lambda: {"window": ["-".join(minute(2))], "limits": {"rate": f"{rate * 2}MiB"}}),
    }


def run(s, a, name, n, mib, more):
    sources = [s.file(f"src-{name}-{i}", mib * MiB, True) for i in range(n)]
    os.sync()
    doc = {"name": name, **more(), "pairs": [{"source": x, "target": s.path(f"dst-{name}-{i}"), "create": "thin"} for i, x in enumerate(sources)]}
    began, eta = time.monotonic(), None
    e = a.json("estimate", "-", stdin=json.dumps(doc))
    if "window" not in doc:  # what waits for a moment waits for it from when it was asked
        began = time.monotonic()
    a.spec(doc)

    def over():
        nonlocal eta
        d = a.show(name)
        g = d["progress"]
        if eta is None and g["eta_seconds"] and g["bytes_done"] and g["bytes_done"] * 3 > g["bytes_total"] and d["state"] == "copying":
            eta = time.monotonic() - began + g["eta_seconds"]
        return d["state"] == "completed"
    wait_for(f"{name} to be over", over, timeout=600, every=0.1)
    took = time.monotonic() - began
    for i, x in enumerate(sources):
        os.unlink(x)
        os.unlink(s.path(f"dst-{name}-{i}"))
    return took, e, eta


kinds = documents(args.mib)
only = [k for k in kinds if not args.only or k in args.only.split(",")]
todo = [k for k in only for _ in range(args.times)]
random.shuffle(todo)
found = {k: [] for k in only}
with Scratch() as s:
    agent = None
    if args.known:
        agent = s.agent()
        for k in only:
            run(s, agent, k, *kinds[k])
        time.sleep(6)  # until it is on record
    for number, k in enumerate(todo):
        if not args.known:
            if agent:
                agent.destroy()
            agent = s.agent(name=f"agent{number}")
        took, e, eta = run(s, agent, k, *kinds[k])
        found[k].append((took, e["seconds_low"] / took, e["seconds"] / took, e["seconds_high"] / took, eta and eta / took))
        print(f"{number + 1}/{len(todo)} {k}: {took:.1f} s", file=sys.stderr)
print(f"{'document':12} {'seconds':>8} {'low':>6} {'mid':>6} {'high':>6} {'eta':>6} inside   (medians of {args.times}; {args.mib} MiB each; ratios to the real time)")
for k in only:
    columns = list(zip(*found[k]))
    etas = [x for x in columns[4] if x]
    inside = sum(low <= 1 <= high for _, low, _, high, _ in found[k])
    print(f"{k:12} {statistics.median(columns[0]):8.1f} " + " ".join(f"{statistics.median(c):6.2f}" for c in columns[1:4]) +
          (f" {statistics.median(etas):6.2f}" if etas else "      -") + f" {inside}/{args.times}")
