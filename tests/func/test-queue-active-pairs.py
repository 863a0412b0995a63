#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Three pairs, one at a time: the others wait and say why; `dray set` starts them at once; pauses cost no byte twice."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from dray import MiB, Scratch, same, undisturbed, wait_for

N = 24 * MiB

with Scratch() as s:
    a = s.agent()
    for i in range(3):
        a.volume(f"v{i}", s.file(f"old{i}", N, True))
    # So slowly that none is through before it is told to be fast.
    a.spec(undisturbed({"name": "three", "limits": {"active_pairs": 1, "rate": "256KiB"},
                        "pairs": [{"source": f"volume:v{i}", "target": s.path(f"new{i}"), "create": "thin"} for i in range(3)]}))

    def states():
        return [p["state"] for p in a.show("three")["pairs"]]

    wait_for("one copies, two wait", lambda: states() == ["copying", "queued", "queued"])
    reasons = [p["reason"] for p in a.show("three")["pairs"][1:]]
    print(reasons)
    assert all("limits.active_pairs" in r and "of 1 " in r for r in reasons), reasons
    assert "0 pairs before" in reasons[0] and "1 pair before" in reasons[1], reasons
    wait_for("the first one moves", lambda: a.moved("three") > 0)
    assert a.moved("three", 1) == 0

    a.run("set", "three", "limits.active_pairs=3")
    wait_for("all copy", lambda: states() == ["copying"] * 3)

    for _ in range(2):
        was = sum(p["progress"]["bytes_copied"] for p in a.show("three")["pairs"])
        wait_for("they move", lambda was=was: sum(p["progress"]["bytes_copied"] for p in a.show("three")["pairs"]) > was)
        a.run("pause", "three")
        assert a.show("three")["state"] == "paused" and states() == ["paused"] * 3
        still = [p["progress"]["bytes_copied"] for p in a.show("three")["pairs"]]
        a.run("set", "three", "limits.rate=512KiB")
        a.run("pause", "three")  # already so: success
        assert [p["progress"]["bytes_copied"] for p in a.show("three")["pairs"]] == still
        a.run("resume", "three")
        a.run("resume", "three", status=5)
        a.run("set", "three", "limits.rate=256KiB")
    a.run("set", "three", "limits.rate=none")
    a.wait("three", "synced")

    pairs = a.show("three")["pairs"]
    moved = sum(p["progress"]["bytes_copied"] + p["progress"]["bytes_skipped"] for p in pairs)
    again = sum(p["progress"]["bytes_recopied"] for p in pairs)
    print(f"bytes moved {moved} of {3 * N}, moved twice {again}")
    assert moved == 3 * N and again == 0
    a.run("switch", "three")
    a.run("commit", "three", "--yes")
    for i in range(3):
        assert same(s.path(f"old{i}"), s.path(f"new{i}"))
