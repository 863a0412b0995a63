#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""What the document says of bytes copied, after dray-iod was killed in the middle of a copy: each byte counts once, but for the
little that was not recorded yet."""
import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from dray import MiB, Scratch, size, wait_for

N, RATE = 32 * MiB, "8MiB"
with Scratch() as s:
    a = s.agent()
    a.volume("v", s.file("old", N, True))
    a.spec({"name": "move", "leg_timeout": "1h", "switch": {"when": "manual"}, "limits": {"rate": RATE},
            "pairs": [{"source": "volume:v", "target": s.file("new", N)}]})

    def on_record():
        """When it was looked, if what was copied by then is on record, but for the last moments: a disk that is held up has nothing recorded for so long."""
        now, leg = time.monotonic(), a.json("volume", "show", "v")["legs"][1]
        return leg["done_bytes"] - leg["recorded_bytes"] <= 3 * MiB and now

    may_repeat = 0
    for part in (3, 2):
        wait_for("it moves", lambda part=part: a.moved("move") > N // part)
        iod = a.iod_pid()
        looked = wait_for("what was copied is on record", on_record)
        os.kill(iod, 9)
        may_repeat += 4 * MiB + int((time.monotonic() - looked) * size(RATE))
        wait_for("a new dray-iod", lambda iod=iod: a.iod_pid() not in (None, iod), timeout=30)
    a.run("set", "move", "limits.rate=none")
    a.wait("move", "synced")
    got = a.pair("move")["progress"]
    assert N <= got["bytes_copied"] <= N + may_repeat, (got, may_repeat)
    print(got)
