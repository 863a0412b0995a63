#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""One session of very many pairs of tiny files, by real processes: accepted, queued, run to its end, shown and listed; what it takes grows with the
pairs, not with their square. DRAY_SCALE_PAIRS=10000 is the full one."""
import json
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from agent import AgentTest  # noqa: E402

N = int(os.environ.get("DRAY_SCALE_PAIRS", 300))


def rss(pid):
    with open(f"/proc/{pid}/status", encoding="utf-8") as f:
        return {k: v.strip() for k, v in (line.split(":", 1) for line in f) if k in ("VmRSS", "VmHWM")}


with AgentTest(fake=False, config="active_pairs: 48\nlog_level: warn\n") as t:
    os.mkdir(t.dir + "/s")
    os.mkdir(t.dir + "/d")
    for i in range(N):
        with open(f"{t.dir}/s/{i}", "wb") as f:
            f.write(f"{i:08}".encode() * 512)
    doc = {"name": "big", "pairs": [{"source": f"{t.dir}/s/{i}", "target": f"{t.dir}/d/{i}", "create": "thin"} for i in range(N)]}
    assert len(json.dumps(doc)) * 10000 < N * (16 << 20), "ten thousand would not fit into a request"
    t.submit(doc, timeout=600)
    print("submitted", rss(t.process.pid))
    t.wait("the end", lambda: t.call("GET", "/sessions", timeout=120)[0]["state"] in ("completed", "failed"), 300 if N < 1000 else 1500)
    shown = t.call("GET", "/sessions/big", timeout=240)
    assert shown["state"] == "completed" and [p["state"] for p in shown["pairs"]] == ["completed"] * N
    assert shown["progress"]["bytes_done"] == N * 4096, shown["progress"]
    print("completed", rss(t.process.pid))
    for i in range(N):
        with open(f"{t.dir}/d/{i}", "rb") as f:
            assert f.read() == f"{i:08}".encode() * 512, i
    status = t.call("GET", "/status")
    work = status["agent"]["work"]
    print(work)
    assert status["iod"]["volumes"] == 0 and t.call("GET", "/locks") == []
    # A handful of states, rows and looks for each pair; several pairs are recorded in one transaction.
    assert work["pairs_written"] < 16 * N, work
    assert work["commits"] < 6 * N, work
    assert work["pairs_looked_at"] - work["sweeps"] * N < 150 * N, work
