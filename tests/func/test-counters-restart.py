#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Over deaths of drayd and dray-iod the bytes copied are each counted once: all of them, and only what was not recorded twice. Where the copy stands still
when dray-iod dies, to the byte."""
import os
import signal
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from dray import MiB, Scratch, wait_for

SIZE = 24 * MiB
with Scratch() as s:
    a = s.agent()
    a.volume("v", s.file("old", SIZE, True))
    a.spec({"name": "m", "limits": {"rate": "8MiB"}, "pairs": [{"source": "volume:v", "target": s.file("new", SIZE)}]})

    def recorded():
        return a.json("volume", "show", "v")["legs"][1]["recorded_bytes"]

    def new_iod():
        pid = a.iod_pid()
        os.kill(pid, signal.SIGKILL)
        wait_for("another dray-iod", lambda: a.iod_pid() not in (None, pid))
        return wait_for("it is known again", lambda: (p := a.pair("m")["progress"])["bytes_done"] is not None and p)

    wait_for("4 MiB", lambda: a.moved("m") >= 4 * MiB)
    a.run("pause", "m")
    known, was = recorded(), a.pair("m")["progress"]
    p = new_iod()
    assert p["bytes_copied"] == was["bytes_copied"] and known <= p["bytes_done"] <= was["bytes_done"], (p, was, known)
    a.run("resume", "m")
    wait_for("8 MiB", lambda: a.moved("m") >= 8 * MiB)
    a.process.kill()
    a.process.wait()
    a.start()
    wait_for("12 MiB", lambda: a.moved("m") >= 12 * MiB)
    known = recorded()
    twice = new_iod()["bytes_copied"] - known  # at most: what was copied more than once by now, or was not on record
    a.run("set", "m", "limits.rate=none")
    a.wait("m", "synced")
    p = a.pair("m")["progress"]
    print(p)
    assert SIZE <= p["bytes_copied"] + p["bytes_skipped"] <= SIZE + twice, (p, twice)
