#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""What the document says of bytes copied, after dray-iod was killed in the middle of a copy: each byte counts once, but for the
little that was not recorded yet."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from dray import MiB, Scratch, wait_for

N = 32 * MiB
with Scratch() as s:
    a = s.agent()
    a.volume("v", s.file("old", N, True))
    a.spec({"name": "move", "switch": {"when": "manual"}, "limits": {"rate": "8MiB"},
            "pairs": [{"source": "volume:v", "target": s.file("new", N)}]})
    for part in (3, 2):
        wait_for("it moves", lambda part=part: a.pair("move")["progress"]["bytes_done"] > N // part)
        iod = a.iod_pid()
        os.kill(iod, 9)
        wait_for("a new dray-iod", lambda iod=iod: a.iod_pid() not in (None, iod), timeout=30)
    a.run("set", "move", "limits.rate=none")
    a.wait("move", "synced")
    got = a.pair("move")["progress"]
    assert N <= got["bytes_copied"] <= N + 2 * 4 * MiB, got
    print(got)
