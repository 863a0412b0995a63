#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""The copy takes what the application leaves. On a disk that does one thing after the other, an application that works keeps the copy's window small,
as the volume and the metrics show; where `limits.app_latency` allows more, it grows, at once when that is set; and when the application is silent, it is
wide open."""
import os
import statistics
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from dray import MiB, Scratch, wait_for
from load import while_it_works

N = 8192 * MiB  # of nothing, which has to be read all the same, and takes minutes

with Scratch() as s:
    a = s.agent()
    disk = s.holdback("disk", N)
    disk.faults("arm 40")
    uri = a.volume("v", disk.uri)

    def window():
        return a.json("volume", "show", "v")["copy_window"]

    app = s.stamp(uri, "app", "--size", str(1024 * MiB), "--depth", "1", "--rate", "200")
    app.wait_writes(300)
    a.spec({"name": "move", "limits": {"step": "128KiB"}, "switch": {"when": "manual"},
            "pairs": [{"source": "volume:v", "target": s.path("new"), "create": "thin"}]})
    wait_for("it moves", lambda: a.moved("move") > MiB)
    wait_for("it gives way", lambda: window()["steps"] <= 4)
    seen = while_it_works(app, lambda: window()["steps"], 25)
    print("window beside an application:", sorted(seen)[::6])
    assert statistics.median(seen) <= 4 and min(seen) >= 0.25, seen

    def shown():
        p = a.pair("move")
        return 0 < p["copy_window"]["steps"] <= 8 and p["copy_window"]["base_us"] > 100 and (p["latency_us"]["write_p99"] or 0) > 100

    wait_for("the document has it, too", shown)
    wait_for("what is allowed is more than what it takes alone", lambda: 100 < window()["base_us"] < window()["allowed_us"])

    a.run("set", "move", "limits.app_latency=5s")
    wait_for("it takes more", lambda: window()["steps"] > 6 and window()["allowed_us"] == 5_000_000, 60)
    assert a.json("volume", "show", "v")["limits"]["app_latency_us"] == 5_000_000
    a.run("set", "move", "limits.app_latency=none")
    wait_for("it gives way again", lambda: window()["steps"] < 4, 60)
    assert a.json("volume", "show", "v")["limits"]["app_latency_us"] is None

    assert a.show("move")["state"] == "copying"
    app.end()
    wait_for("nobody is in its way", lambda: window()["steps"] == 8, every=0.2)
    a.run("set", "move", "limits.steps=2")
    wait_for("a number that somebody set is the most", lambda: window()["steps"] == 2)
    a.run("cancel", "move")
