#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""An estimate of very many pairs reads from few of their sources, says so, and takes the others of the same disk to be as fast. Counted by the kernel,
not by the agent."""
import json
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from dray import MiB, Scratch

N = int(os.environ.get("DRAY_SCALE_PAIRS", 128))
TINY = 3 * N

with Scratch() as s:
    a = s.agent()
    big = s.file("big", N * MiB, True)
    # Beside more that hold next to nothing, of which reading says nothing.
    os.mkdir(s.path("tiny"))
    for i in range(TINY):
        with open(s.path(f"tiny/{i}"), "wb") as f:
            f.write(b"tiny")
            f.truncate(8 * MiB)
    pairs = [{"source": {"resource": big, "offset": i * MiB, "length": MiB}, "target": s.path(f"new{i}"), "create": "thin"} for i in range(N)]
    pairs += [{"source": s.path(f"tiny/{i}"), "target": s.path(f"newtiny{i}"), "create": "thin"} for i in range(TINY)]

    def read():
        with open(f"/proc/{a.process.pid}/io", encoding="utf-8") as f:
            return int(next(line for line in f if line.startswith("rchar:")).split()[1])

    def cost(*what):
        before = read()
        answer = a.json(*what, "-", stdin=json.dumps({"name": "x", "pairs": pairs}), timeout=300)
        return read() - before, answer

    looked, _ = cost("start", "--dry-run")
    estimated, e = cost("estimate")
    assert estimated - looked < N * MiB // 4, (estimated, looked)
    assert any(line.startswith(f"4 of {N + TINY} sources were read for a moment") for line in e["assumptions"]), e["assumptions"]
    assert not any("not measured" in line for line in e["assumptions"]), e["assumptions"]
    # For people: what fits on a screen.
    text = a.run("estimate", "-", stdin=json.dumps({"name": "x", "pairs": pairs}), timeout=300).stdout
    assert text.count("\n  pair ") == 20 and f"... and {N + TINY - 20} more" in text and "Assumed:" in text, text[-3000:]
    assert e["bytes"] <= N * MiB + TINY * 64 * 1024 and e["seconds_low"] <= e["seconds"] <= e["seconds_high"], e["bytes"]
