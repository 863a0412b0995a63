#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""A clone and the copy of another session share the agent's rate: both go on, and together they move no more than that."""
import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from dray import MiB, Scratch, wait_for

N, RATE = 48 * MiB, 6 * MiB

with Scratch() as s:
    a = s.agent()
    backup = s.path("backup")
    os.mkdir(backup)
    for v in ("cloned", "copied"):
        a.volume(v, s.file(v, N, True))
    a.spec({"name": "night", "mode": "copy", "start": {"every": "1h", "keep": 2}, "pairs": [{"source": "volume:cloned", "target": backup}]})
    first = wait_for("the first generation", lambda: [g for g in a.show("night")["generations"] if g["complete"]], 60)
    wait_for("all is in sync", lambda: a.show("night")["state"] == "synced")
    if first[0]["shared"]:
        print("not shown: the file system shares blocks, so that nothing is copied")
        sys.exit(0)
    a.run("settings", "rate=512KiB")
    wait_for("another second", lambda: time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()) > first[0]["time"])
    asked = s.start("dray", "switch", "night", env=a.env, log="switch.log")
    a.spec({"name": "move", "switch": {"when": "manual"}, "pairs": [{"source": "volume:copied", "target": s.path("new"), "create": "thin"}]})

    # What is on the disk, which is not late as what is told of it may be.
    def cloned():
        return sum(os.stat(os.path.join(backup, f)).st_blocks * 512 for f in os.listdir(backup) if ".dray-" in f)

    def copied():
        return os.stat(s.path("new")).st_blocks * 512

    wait_for("both have begun", lambda: cloned() and os.path.exists(s.path("new")) and copied(), 60)
    a.run("settings", f"rate={RATE}")
    began, was = time.monotonic(), (cloned(), copied())
    wait_for("both go on", lambda: cloned() >= was[0] + 4 * MiB and copied() >= was[1] + 4 * MiB, 60)
    moved = cloned() - was[0] + copied() - was[1]
    seconds = time.monotonic() - began
    print(f"{moved / MiB:.1f} MiB in {seconds:.2f} s")
    assert moved <= RATE * (seconds + 1), (moved, seconds)
    assert asked.poll() is None and a.show("move")["state"] == "copying"
    a.run("settings", "rate=none")
    assert asked.wait(timeout=120) == 0
    a.run("cancel", "move")
    a.run("cancel", "night")
