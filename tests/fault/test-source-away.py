#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""A source that can't be read at all for a while is no source with bad sectors: the copy waits and says so, nothing is listed as bad, and it
goes on from what is there when the source is back; once as errors, once as a server that died."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from dray import MiB, Scratch, same, wait_for

N = 32 * MiB

with Scratch() as s:
    a = s.agent()
    disk, target = s.holdback("disk", N), s.path("new")
    with open(disk.file, "wb") as f:
        f.write(os.urandom(N))
    app = s.stamp(a.volume("v", disk.uri), "app", "--depth", "2", "--rate", "200", "--size", str(MiB), "--read-percent", "0", "--no-reconnect")
    app.wait_writes(20)
    a.spec({"name": "move", "leg_timeout": "1h", "limits": {"rate": "1MiB"}, "switch": {"when": "manual"},
            "pairs": [{"source": "volume:v", "target": target, "create": "thin"}]})
    wait_for("it moves", lambda: a.moved("move") > MiB)
    disk.faults("fail read EIO 1000000")
    wait_for("it says what it waits for", lambda: "can't be read" in (a.pair("move")["reason"] or ""))
    assert a.show("move")["state"] == "copying"
    app.wait_writes(200)
    disk.faults()
    wait_for("it does not wait any more", lambda: a.pair("move")["reason"] is None)
    moved = a.moved("move")
    wait_for("it goes on", lambda: a.moved("move") > moved)
    # The server of the source dies, and comes back: requests of the application wait.
    disk.process.terminate()  # in order: it would take what it had acknowledged along otherwise
    disk.process.wait()
    disk.start()
    app.wait_writes(50)
    a.run("set", "move", "limits.rate=none")
    a.wait("move", "synced")
    p = a.pair("move")
    assert "bad_bytes" not in p and p["progress"]["bytes_copied"] + p["progress"]["bytes_skipped"] <= N + 4 * MiB, p
    a.run("switch", "move")
    app.end()
    a.run("commit", "move", "--yes")
    disk.process.terminate()
    disk.process.wait()
    assert same(target, disk.file)
