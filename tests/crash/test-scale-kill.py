#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""drayd is killed in the middle of a session of many pairs, twice: those that are over stay over, the others go on, and each target is whole.
DRAY_SCALE_PAIRS=1000 is the full one."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from agent import AgentTest  # noqa: E402

N = int(os.environ.get("DRAY_SCALE_PAIRS", 150))


def over():
    return sum(s == "completed" for s in t.states("big"))


with AgentTest(fake=False, config="active_pairs: 16\nlog_level: warn\n") as t:
    os.mkdir(t.dir + "/s")
    os.mkdir(t.dir + "/d")
    for i in range(N):
        with open(f"{t.dir}/s/{i}", "wb") as f:
            f.write(f"{i:08}".encode() * 512)
    t.submit({"name": "big", "pairs": [{"source": f"{t.dir}/s/{i}", "target": f"{t.dir}/d/{i}", "create": "thin"} for i in range(N)]}, timeout=300)
    for part in (5, 2):
        before = t.wait("a part of them is over", lambda p=part: (n := over()) >= N // p and n, 600)
        t.kill()
        t.start()
        assert over() >= before, (over(), before)
    t.wait("the end", lambda: t.show("big")["state"] in ("completed", "failed"), 600)
    assert t.states("big") == ["completed"] * N
    for i in range(N):
        with open(f"{t.dir}/d/{i}", "rb") as f:
            assert f.read() == f"{i:08}".encode() * 512, i
    assert t.call("GET", "/locks") == [] and t.call("GET", "/status")["iod"]["volumes"] == 0
    ends = [e for e in t.call("GET", "/events?session=big") if e["event"] == "state" and e["after"] == "completed"]
    assert sorted(int(e["pair"]) for e in ends) == list(range(1, N + 1)), "each ended once"
