#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""What a pair can't use of a rate, since its disk is slow, others get, of its own session and of another, each by its part; the sum stays below the
whole; and it is given back when the pair can use it. What is lent is not recorded: the shares are."""
import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from dray import MiB, Scratch, wait_for

N = 192 * MiB

with Scratch() as s:
    config = s.path("drayd.yaml")
    with open(config, "w") as f:
        f.write("allow_faults: true\n")
    a = s.agent(options=("--config", config))
    block = os.urandom(MiB)
    for v in ("slow", "fast", "other"):
        with open(os.path.join(s.mem, v), "wb") as f:
            for _ in range(N // MiB):
                f.write(block)
        a.volume(v, f"fault:delay_ms=100:{s.mem}/{v}" if v == "slow" else f"{s.mem}/{v}")

    def spec(name, priority, *volumes):
        a.spec({"name": name, "priority": priority, "switch": {"when": "manual"}, "limits": {"step": "64KiB"},
                "pairs": [{"source": f"volume:{v}", "target": os.path.join(s.mem, v + ".new"), "create": "thin"} for v in volumes]})

    def rates(seconds, *volumes):
        def count():
            return [a.json("volume", "show", v)["paced_bytes"] for v in volumes]
        t0, before = time.monotonic(), count()
        time.sleep(seconds)  # a measurement, not a wait
        after, t1 = count(), time.monotonic()
        return [(y - x) / MiB / (t1 - t0) for x, y in zip(before, after)]

    def now(volume, key="rate_now"):
        return a.json("volume", "show", volume)["limits"][key] / MiB

    # One step of 64 KiB each 200 ms: 0.3 MiB a second.
    a.run("settings", "rate=6MiB")
    spec("two", 5, "slow", "fast")
    a.run("set", "two", "--pair", "1", "limits.steps=1")
    wait_for("what the slow one can't use is lent", lambda: now("fast") > 4.5)
    assert now("fast", "rate") == now("slow", "rate") == 3, "the shares, which are on record"
    r = rates(2, "slow", "fast")
    print("6 MiB/s for a slow and a fast one:", r)
    assert r[0] < 1 and r[1] > 4 and sum(r) < 6 * 1.25, r
    pairs = a.show("two")["pairs"]
    assert [p["bound_by"]["limit"] for p in pairs] == ["steps", "rate"], pairs
    assert pairs[1]["bound_by"]["of"] == "agent", pairs

    # Another session, three times as important: it has three quarters of what is left.
    spec("three", 9, "other")
    a.run("set", "two", "priority=3")
    wait_for("by priority", lambda: 4 < now("other") < 4.8)
    wait_for("the rest of its own session's", lambda: 0.9 < now("fast") < 1.5)
    r = rates(2, "slow", "fast", "other")
    print("... and another session:", r)
    assert sum(r) < 6 * 1.25 and r[2] > 2 * r[1], r
    # The other way round, in mid-copy.
    a.run("set", "three", "priority=1")
    wait_for("by priority", lambda: 1.2 < now("other") < 1.8)
    a.run("cancel", "three")

    # It has become faster: its share is its own again, in a second or so.
    wait_for("lent", lambda: now("fast") > 4.5)
    a.run("set", "two", "pairs.1.limits.steps=none")
    wait_for("given back", lambda: now("slow") == 3 and now("fast") < 3.5)
    r = rates(2, "slow", "fast")
    print("both can use it:", r)
    assert sum(r) < 6 * 1.25 and r[0] > 1.2, r

    # Of a rate of the session alone the same.
    a.run("settings", "rate=none")
    a.run("set", "two", "limits.rate=4MiB", "pairs.1.limits.steps=1")
    wait_for("lent in the session", lambda: now("fast") > 3)
    wait_for("it is the session's", lambda: a.show("two")["pairs"][1]["bound_by"].get("key") == "limits.rate")
    a.run("cancel", "two")
