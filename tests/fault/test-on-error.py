#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""A target that fails for good fails its own pair, or, with on_error: session, the whole session: the others are canceled, but never one
that was switched; no source is touched and no application sees an error."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from dray import MiB, Scratch, wait_for

N = 4 * MiB

with Scratch() as s:
    a = s.agent()
    disk = s.holdback("disk", N)
    apps = []
    for name in "uvw":
        apps.append(s.stamp(a.volume(name, s.file(name, N, True)), "app-" + name, "--depth", "2", "--rate", "200", "--no-reconnect"))
    for app in apps:
        app.wait_writes(10)

    def session(name, on_error, when="manual"):
        pairs = [{"source": "volume:u", "target": s.path(name + "-1"), "create": "thin"},
                 {"source": "volume:v", "target": disk.uri, "overwrite": True},
                 {"source": "volume:w", "target": s.path(name + "-3"), "create": "thin"}]
        a.spec({"name": name, "on_error": on_error, "leg_timeout": "1h", "switch": {"when": when}, "pairs": pairs})

    def states(name):
        return [p["state"] for p in a.show(name)["pairs"]]

    # Alone.
    disk.faults("fail write ENOSPC 1000000")
    session("alone", "pair")
    wait_for("its pair fails, the others go on", lambda: states("alone") == ["synced", "failed", "synced"])
    assert "pair 2" in a.show("alone")["reason"] or "No space" in a.pair("alone", 1)["reason"], a.show("alone")
    a.run("cancel", "alone")
    wait_for("it is canceled", lambda: states("alone") == ["canceled"] * 3)

    # All: the others are canceled.
    session("all", "session")
    wait_for("the session fails", lambda: states("all") == ["canceled", "failed", "canceled"])
    assert a.show("all")["state"] == "failed", a.show("all")["state"]
    a.run("cancel", "all", status=None)

    # But not what was switched.
    disk.faults()
    session("some", "session", "manual")
    wait_for("all are in sync", lambda: states("some") == ["synced"] * 3)
    a.run("switch", "some", "--pair", "1")
    assert states("some")[0] == "switched"
    disk.faults("fail write ENOSPC 1000000")
    wait_for("the others end", lambda: states("some")[1:] == ["failed", "canceled"])
    assert states("some")[0] == "switched"
    for app in apps:
        app.wait_writes(10)
    a.run("undo", "some", "--pair", "1")
    for app in apps:
        app.end()
