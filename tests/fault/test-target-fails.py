#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""A target whose writes fail for a while: set aside, tried again with back-off, an event each time, and it recovers by itself; what was copied
is not copied again; the application sees no error and does not wait."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from dray import MiB, Scratch, wait_for

N = 32 * MiB

with Scratch() as s:
    a = s.agent()
    disk = s.holdback("disk", N)
    # The application works on the first 2 MiB: all else is copied once.
    app = s.stamp(a.volume("v", s.file("old", N, True)), "app", "--depth", "4", "--rate", "500", "--size", str(2 * MiB),
                  "--no-reconnect")
    app.wait_writes(50)
    a.spec({"name": "move", "leg_timeout": "1h", "limits": {"rate": "2MiB"}, "switch": {"when": "manual"},
            "pairs": [{"source": "volume:v", "target": disk.uri, "overwrite": True}]})
    wait_for("it moves", lambda: a.moved("move") > MiB)
    disk.faults("fail write EIO 1000000", "fail zero EIO 1000000")
    wait_for("the target is set aside", lambda: a.pair("move")["targets"][0]["state"] == "degraded")

    def told(what):
        return [e for e in a.json("events", "move") if e["event"] == what]

    wait_for("it is tried again, and again", lambda: len(told("target-retried")) >= 2 and len(told("target-degraded")) >= 3)
    assert a.show("move")["state"] == "copying", a.show("move")["state"]
    app.wait_writes(100)
    disk.faults()
    wait_for("it is well again", lambda: told("target-recovered"))
    degraded, retried, recovered = told("target-degraded"), told("target-retried"), told("target-recovered")
    assert "Input/output error" in degraded[0]["detail"] and disk.uri in degraded[0]["detail"], degraded
    assert len(degraded) >= 3 and "attempts" in recovered[0]["detail"], (degraded, recovered)
    a.run("set", "move", "limits.rate=none")
    a.wait("move", "synced")
    p = a.pair("move")["progress"]
    assert p["bytes_copied"] + p["bytes_skipped"] <= N + 4 * MiB, p
    a.run("switch", "move")
    app.wait_writes(50)
    app.end()
    a.run("commit", "move", "--yes")
    app.verify(disk.uri)
