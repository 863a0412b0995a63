#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""An estimate goes by what earlier copies to the same target took, from the same source if there are any, and says so; over a restart of the agent.
What a limit held says nothing of a storage, and is not kept."""
import contextlib
import json
import os
import sqlite3
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from dray import MiB, Scratch, wait_for

N = 32 * MiB

with Scratch() as s:
    a = s.agent()
    # A disk with one arm: 60 us for each KiB, so at most 16 MiB a second, whatever the machine is.
    disk = s.holdback("disk", "32M", "--size", str(N))
    disk.faults("arm 60")
    source, other, target = s.file("source", N, True), s.file("other", N, True), disk.uri

    def spec(name, source, **more):
        return {"name": name, **more, "pairs": [{"source": source, "target": target, "overwrite": True}]}

    def estimate(source):
        return a.json("estimate", "-", stdin=json.dumps(spec("e", source)))

    def before(e):
        return [line for line in e["assumptions"] if "earlier copies" in line]

    def kept():
        with contextlib.closing(sqlite3.connect(f"{a.state}/repository.db", timeout=30)) as db:
            rows = db.execute("SELECT value FROM meta WHERE key = 'speeds'").fetchall()
        return json.loads(rows[0][0]) if rows else []

    def about(e):
        """But for what is rounded, and what a pair takes beside its bytes."""
        return rate * 0.97 < e["pairs"][0]["rate"] <= rate * 1.001

    first = estimate(source)
    assert not before(first), first
    # With a limit: not kept.
    a.spec(spec("limited", source, limits={"rate": "12MiB"}), "--wait")
    assert not before(estimate(source)) and kept() == [], kept()
    a.spec(spec("free", source), "--wait")
    wait_for("it is on record", lambda: len(kept()) == 1)
    rate = kept()[0]["rate"]
    assert MiB // 4 < rate < 24 * MiB, rate  # a busy machine is slower
    for restart in (False, True):
        if restart:
            a.process.kill()
            a.process.wait()
            a.start()
        e = estimate(source)
        assert before(e) and "1 of 1 pairs" in before(e)[0] and "(0 of them from other sources)" in before(e)[0], e
        assert about(e) and e["seconds_low"] <= e["seconds"] <= e["seconds_high"] and e["seconds"] >= N // rate, (e, rate)
        assert e["seconds_high"] < 2 * N / rate + 2 and not [x for x in e["assumptions"] if "not measured" in x or "for a moment" in x], e
    # Another source to the same target: better than none.
    e = estimate(other)
    assert "(1 of them from other sources)" in before(e)[0] and about(e), e
    # Another target: nothing is known.
    e = a.json("estimate", "-", stdin=json.dumps({"name": "e", "pairs": [{"source": source, "target": s.path("new"), "create": "thin"}]}))
    assert not before(e), e

    # Files that are made anew each time, in one file system: what was copied from the same disk to others there.
    def anew(number, source=target):
        return {"name": f"anew{number}", "pairs": [{"source": source, "target": s.path(f"new{number}"), "create": "thin"}]}

    a.spec(anew(1), "--wait")
    wait_for("it is on record, too", lambda: len(kept()) == 2)
    rate = kept()[1]["rate"]
    e = a.json("estimate", "-", stdin=json.dumps(anew(2)))
    assert "1 of 1 pairs" in before(e)[0] and "between the same disks" in before(e)[0] and about(e), (e, rate)
    assert before(e)[0].endswith("the median of 1 on record"), e
    # Two at a time share what one of them had.
    halves = {"name": "halves", "pairs": [{"source": {"resource": target, "offset": i * N // 2, "length": N // 2}, "target": s.path(f"half{i}"),
                                           "create": "thin"} for i in range(2)]}
    e = a.json("estimate", "-", stdin=json.dumps(halves))
    assert "2 of 2 pairs" in before(e)[0] and before(e)[0].endswith("the median of 1 on record"), e
    assert all(rate * 0.48 < p["rate"] <= rate * 0.51 for p in e["pairs"]), (e, rate)
    assert not [x for x in e["assumptions"] if "for a moment" in x], e
    e = a.json("estimate", "-", stdin=json.dumps(anew(3, other)))
    assert not before(e), e  # of another disk
