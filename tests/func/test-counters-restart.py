#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Over deaths of drayd and dray-iod the bytes copied are each counted once: all of them, and only what was not recorded twice."""
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

    def done():
        return a.pair("m")["progress"]["bytes_done"]

    for at, who in ((4, "iod"), (8, "drayd"), (12, "iod")):
        wait_for(f"{at} MiB", lambda: done() >= at * MiB)
        if who == "iod":
            pid = a.iod_pid()
            os.kill(pid, signal.SIGKILL)
            wait_for("another dray-iod", lambda: a.iod_pid() not in (None, pid))
        else:
            a.process.kill()
            a.process.wait()
            a.start()
        p = a.pair("m")["progress"]
        assert p["bytes_copied"] < p["bytes_done"] + 10 * MiB, p
    a.run("set", "m", "limits.rate=none")
    a.wait("m", "synced")
    p = a.pair("m")["progress"]
    print(p)
    # A death of dray-iod costs what was copied since the last record: under a second's worth.
    assert SIZE <= p["bytes_copied"] + p["bytes_skipped"] <= SIZE + 12 * MiB, p
