#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""A wake-up costs by what changed: among thousands of queued pairs the progress of two touches those two, a change writes one row, and a verb
for all of them is a transaction or two. Counted, not timed (`work` in the status)."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from agent import AgentTest  # noqa: E402
from dray import MiB  # noqa: E402

N = int(os.environ.get("DRAY_SCALE_PAIRS", 2000))


def work():
    return t.call("GET", "/status")["agent"]["work"]


def since(before):
    return {k: v - before[k] for k, v in work().items()}


with AgentTest(config="active_pairs: 2\n") as t:
    os.mkdir(t.dir + "/s")
    for i in range(N):
        with open(f"{t.dir}/s/{i}", "wb") as f:
            f.truncate(MiB)
    doc = t.submit({"name": "big", "pairs": [{"source": f"{t.dir}/s/{i}", "target": f"{t.dir}/t{i}", "create": "thin"} for i in range(N)]},
                   timeout=240)
    assert len(doc["pairs"]) == N
    t.wait("two transfer", lambda: t.states("big").count("copying") == 2, 60)
    active = [i + 1 for i, s in enumerate(t.states("big")) if s == "copying"]
    assert active == [1, 2], active

    # The reason of the last one says how many are before it.
    last = t.show("big")["pairs"][-1]
    assert last["reason"] == f"waits for 1 of 2 active pairs of the agent (active_pairs of its configuration); {N - 3} pairs before it", last

    # Progress of one: a wake-up and a look at the two that transfer for each list, and nothing of the others. (Now and then all are looked at,
    # on a timer; that is counted apart.)
    name = t.show("big")["id"] + ".1"
    before = work()
    for done in range(1, 21):
        t.iod.leg(name).update(done_bytes=done * 1000, copied_bytes=done * 1000, dirty_bytes=MiB - done * 1000)
        t.iod.event()
        t.wait("it is seen", lambda d=done: t.show("big")["pairs"][0]["progress"]["bytes_done"] == d * 1000, 20)
    d = since(before)
    assert d["volumes_changed"] >= 20, d
    assert d["pairs_looked_at"] - d["sweeps"] * N < 20 * (d["lists"] + 5), d
    assert d["pairs_written"] < 40 and d["heads_written"] < 10, d  # the counters, every few seconds

    # One is ready: the next one takes its place. A handful of transactions, and of rows.
    before = work()
    t.iod.sync(name)
    t.wait("it is over", lambda: t.states("big")[0] == "completed", 30)
    t.wait("the next one", lambda: t.states("big")[2] == "copying", 30)
    d = since(before)
    assert d["pairs_written"] <= 20 and d["commits"] <= 20, d
    assert d["pairs_looked_at"] - d["sweeps"] * N < 20 * (d["lists"] + 5), d

    # All of them: one intent, one outcome, however many there are.
    before = work()
    t.verb("big", "pause")
    d = since(before)
    assert d["commits"] <= 10 and d["pairs_written"] < 50, d
    before = work()
    doc = t.call("POST", "/sessions/big/cancel", {}, timeout=240)
    t.wait("all are canceled", lambda: t.show("big")["state"] in ("canceled", "completed"), 60)
    d = since(before)
    assert t.states("big").count("canceled") == N - 1 and d["commits"] <= 20, d
    assert d["pairs_written"] <= 3 * N, d
    assert t.call("GET", "/locks") == []
print(N, "pairs")
