#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""A server that stops answering while an estimate reads from it keeps nobody waiting: the estimate says that it was not measured. Neither
does one that stops when it is looked at."""
import json
import os
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from dray import MiB, Scratch, wait_for

with Scratch() as s:
    a = s.agent()
    disk = s.holdback("disk", "256M", "--size", str(256 * MiB))
    good = s.file("good", 32 * MiB, True)
    # The good one first: the time to measure in is bounded, too, and its first read is always waited for.
    spec = {"name": "x", "pairs": [{"source": good, "target": s.path("new2"), "create": "thin"},
                                   {"source": disk.uri, "target": s.path("new"), "create": "thin"}]}

    def estimate(status=0, **kw):
        return a.json("estimate", "-", stdin=json.dumps(spec), status=status, **kw)

    def unmeasured(e):
        return [line for line in e["assumptions"] if "not measured" in line]

    def measured():
        """A machine with other things to do may take too long for an answer now and then: not for ever."""
        e = estimate()
        assert [p["bytes"] for p in e["pairs"]] == [32 * MiB, 256 * MiB], e
        return not unmeasured(e)

    wait_for("both are measured", measured)

    def stalled(faults):
        """Two at once, and nobody else waits meanwhile."""
        disk.faults(faults)
        got = []
        both = [threading.Thread(target=lambda: got.append(estimate())) for _ in range(2)]
        for t in both:
            t.start()
        while any(t.is_alive() for t in both):
            assert a.json("list") == []
            both[0].join(0.2)
        assert len(got) == 2, "an estimate failed"
        for e in got:
            assert unmeasured(e) and unmeasured(e)[0].startswith("1 of 2 sources were not measured") and e["seconds"] is not None, e
            assert [p["bytes"] for p in e["pairs"]] == [32 * MiB, 256 * MiB], e

    # In the middle, where the first read goes: not at the ends, which are looked at for what they hold.
    stalled(f"delay read 600000 {64 * MiB} {128 * MiB}")
    # Before that: nothing of it can be read. What it holds is not known then, as ever where that can't be looked at.
    stalled("delay read 600000")
    disk.faults()
    wait_for("both are measured again", measured)
