#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""A crash point can pull a whole machine down: with DRAY_CRASH_INTO the process writes "c" there (to /proc/sysrq-trigger in an emulated machine)
and takes no further step."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from dray import Scratch, wait_for
from iod import Iod

with Scratch() as s:
    trigger, state = s.file("trigger", "0K"), s.path("iod-state")
    iod = Iod(s, env={"DRAY_CRASH_AT": "volume-json-before", "DRAY_CRASH_INTO": trigger})
    iod.rpc.send("volume.add", name="v", resource=s.file("a", "4M"))
    wait_for("the crash", lambda: open(trigger).read() == "c")
    assert iod.process.poll() is None, iod.process.returncode
    found = [f for _, _, files in os.walk(state) for f in files]
    assert "volume.json" not in found and any("volume.json" in f for f in found), found
    iod.kill()
    # Where the file can't be written it is an end like any other.
    iod.start({"DRAY_CRASH_AT": "volume-json-after", "DRAY_CRASH_INTO": s.path("not/there")})
    iod.rpc.send("volume.add", name="w", resource=s.file("b", "4M"))
    iod.wait_crash()
    # With DRAY_CRASH_IF only what happens while that file is there counts.
    iod.start({"DRAY_CRASH_AT": "volume-json-before:2", "DRAY_CRASH_IF": s.path("armed")})
    for v in ("x", "y", "z"):
        iod.call("volume.add", name=v, resource=s.file(v, "4M"))
    s.file("armed", "0K")
    iod.call("leg.attach", volume="x", resource=s.file("x2", "4M"))
    try:
        iod.call("leg.attach", volume="y", resource=s.file("y2", "4M"))
        raise AssertionError("the second arrival was not counted")
    except (ConnectionError, OSError):
        pass
    iod.wait_crash()
