#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""A target's server dies in the middle of the copy and comes back: the pair goes on from what is there. It comes back as another storage, a smaller
one: never written to, and the pair says so; the right one again, and a retry goes on."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from dray import MiB, Scratch, wait_for

N = 32 * MiB

with Scratch() as s:
    a = s.agent()
    disk = s.holdback("disk", N)
    app = s.stamp(a.volume("v", s.file("old", N, True)), "app", "--depth", "4", "--rate", "500", "--no-reconnect")
    app.wait_writes(20)
    a.spec({"name": "move", "leg_timeout": "1h", "limits": {"rate": "2MiB"}, "switch": {"when": "manual"},
            "pairs": [{"source": "volume:v", "target": disk.uri, "overwrite": True}]})
    wait_for("it moves", lambda: a.moved("move") > MiB)
    disk.kill()
    wait_for("the target is set aside", lambda: a.pair("move")["targets"][0]["state"] == "degraded")
    app.wait_writes(100)
    assert a.show("move")["state"] == "copying"
    moved = a.moved("move")
    disk.start()
    wait_for("it goes on", lambda: a.moved("move") > moved + MiB)
    # Another one in its place.
    disk.kill()
    wait_for("the target is set aside", lambda: a.pair("move")["targets"][0]["state"] == "degraded")
    os.rename(disk.file, disk.file + ".kept")
    other = s.file("disk.img", 8 * MiB)
    disk.start()
    app.wait_writes(300)
    assert a.pair("move")["targets"][0]["state"] == "degraded"
    with open(other, "rb") as f:
        assert f.read() == bytes(8 * MiB), "a stranger was written to"
    disk.kill()
    os.rename(disk.file + ".kept", disk.file)
    disk.start()
    a.run("set", "move", "limits.rate=none")

    def in_sync():
        state = a.show("move")["state"]
        if state == "failed":
            a.run("retry", "move")
        return state == "synced"
    wait_for("it is in sync", in_sync, 60)
    a.run("switch", "move")
    app.wait_writes(20)
    app.end()
    a.run("commit", "move", "--yes")
    app.verify(disk.uri)
