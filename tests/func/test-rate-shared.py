#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""The agent's, a session's and a pair's rate hold together, measured in bytes that arrive; what one can't use others get; priority is a share."""
import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from dray import MiB, Scratch, wait_for  # noqa: E402

with Scratch() as s:
    a = s.agent()
    names = "abcd"
    for n in names:
        a.volume(n, s.file(n + ".src", 512 * MiB))  # sparse: but the file system says so, and then nothing is copied
    for n in names:
        with open(s.path(n + ".src"), "r+b") as f:
            block = os.urandom(MiB)
            for at in range(0, 512 * MiB, MiB):
                f.seek(at)
                f.write(block)
        s.file(n + ".dst", 512 * MiB)
    a.run("settings", "rate=24MiB")
    a.spec({"name": "low", "priority": 2, "limits": {"rate": "20MiB"}, "pairs": [
        {"source": "volume:a", "target": s.path("a.dst")}, {"source": "volume:b", "target": s.path("b.dst"), "limits": {"rate": "1MiB"}}]})
    a.spec({"name": "high", "priority": 8, "pairs": [{"source": "volume:c", "target": s.path("c.dst")}]})

    def done():
        pairs = a.show("low")["pairs"] + a.show("high")["pairs"] + (a.show("late")["pairs"] if late else [])
        return [p["progress"]["bytes_done"] or 0 for p in pairs]

    late = False

    def rates(seconds=4):
        """MiB per second of each pair, over some seconds."""
        wait_for("all move", lambda: all(a.show(n)["state"] == "copying" for n in ("low", "high")))
        for _ in range(3):  # what is shown is a moment old: until it is of now
            was = done()
            wait_for("other figures", lambda: done() != was)  # pylint: disable=cell-var-from-loop
        t0, before = time.monotonic(), done()
        time.sleep(seconds)  # a measurement, not a wait
        after, t1 = done(), time.monotonic()
        return [(y - x) / MiB / (t1 - t0) for x, y in zip(before, after)]

    def never_above(limit, got):
        # A step that was begun before the first look may end in the window, and regions count as done when all of them is.
        assert got <= limit * 1.25 + 1.5, (got, limit)

    r = rates()
    print("agent 24, low 2 : high 8, one pair of low at most 1:", r)
    never_above(24, sum(r))
    never_above(1, r[1])
    never_above(24 * 2 / 10, r[0] + r[1])
    never_above(24 * 8 / 10, r[2])
    assert r[2] > 5, r  # it moves

    a.run("set", "high", "limits.rate=2MiB")
    r = rates()
    print("high at most 2: the rest is low's, up to its own 20, and of that what its slow pair can't use is the other's:", r)
    never_above(2, r[2])
    never_above(20, r[0] + r[1])
    never_above(24, sum(r))
    assert r[0] > 24 * 2 / 10, r  # what high can't use
    assert a.json("volume", "show", "a")["limits"]["rate"] == 19 * MiB  # ... and the other pair

    late = True
    a.run("set", "high", "limits.rate=none")
    a.run("settings", "rate=10MiB")
    a.spec({"name": "late", "priority": 5, "pairs": [{"source": "volume:d", "target": s.path("d.dst")}]})
    r = rates()
    print("another session, and less in all:", r)
    never_above(10, sum(r))
    assert r[3] > 0.5, r
    a.run("settings", "rate=none")
    for n in ("low", "high", "late"):
        a.run("cancel", n)
