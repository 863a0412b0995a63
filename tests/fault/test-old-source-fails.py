#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""After the switch the old source fails, or is gone: the pair stays switched, the application is unharmed, an undo is refused with the reason and
the figures; when the source is back it is brought up to date by itself, and then the undo is there again."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from dray import MiB, Scratch, wait_for

N = 8 * MiB

with Scratch() as s:
    a = s.agent()
    old = s.holdback("old", N)
    app = s.stamp(a.volume("v", old.uri), "app", "--depth", "4", "--rate", "500", "--no-reconnect")
    app.wait_writes(20)
    # leg_timeout: longer than a server is held up that is not stopped.
    a.spec({"name": "move", "leg_timeout": "4s", "switch": {"when": "synced"}, "pairs": [{"source": "volume:v", "target": s.path("new"), "create": "thin"}]})
    a.wait("move", "switched")

    def events():
        return [e["event"] for e in a.json("events", "move")]

    def trouble(what, begin, end):
        begin()
        app.wait_writes(20)
        wait_for(f"{what}: the old source is set aside", lambda: a.json("volume", "show", "v")["legs"][0]["state"] == "degraded")
        assert a.show("move")["state"] == "switched"
        refused = a.json("undo", "move", status=5)
        assert refused["code"] == "not_synced" and "old source" in refused["detail"] and refused["undo_dirty_bytes"] > 0, refused
        app.wait_writes(100)
        end()
        wait_for(f"{what}: it is in sync again", lambda: a.json("volume", "show", "v")["legs"][0]["synced"], timeout=40)
        wait_for(f"{what}: and told so", lambda: "source-recovered" in events())

    trouble("errors", lambda: old.faults("fail write EIO 1000000", "fail zero EIO 1000000"), old.faults)
    assert "source-degraded" in events()
    trouble("stalled", old.stop, old.go_on)
    trouble("gone", old.kill, old.start)
    a.run("undo", "move")
    app.wait_writes(50)
    app.end()
    a.run("cancel", "move")
    a.run("volume", "remove", "v")
    app.verify(old.uri)
