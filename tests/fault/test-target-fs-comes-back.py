#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""The file system of a target dies under it (as when its disk is pulled) and is mounted again: the target is let go of, so that it can be, found
again within the retries and brought up to date, without a word from anybody; and another file in its place is not written to. Needs
root: loop devices."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from dray import MiB, Scratch, need, wait_for
from loop import DyingFs, Loops

os.environ["PATH"] += ":/usr/sbin:/sbin"
need("mkfs.ext4", "mount", "umount")
N = 16 * MiB

with Loops() as loops, Scratch() as s:
    a = s.agent()
    fs = DyingFs(loops, s.file("disk", 64 * MiB), s.path("mnt"))
    mnt = fs.mnt

    def leg(i):
        return a.json("volume", "show", "v")["legs"][i]

    app = s.stamp(a.volume("v", s.file("old", N, True)), "app", "--depth", "2", "--rate", "300", "--no-reconnect")
    app.wait_writes(20)
    a.spec({"name": "move", "leg_timeout": "1h", "limits": {"rate": "512KiB"}, "switch": {"when": "manual"},
            "pairs": [{"source": "volume:v", "target": f"{mnt}/new", "create": "full"}]})
    wait_for("it moves", lambda: a.moved("move") > MiB // 2)
    # One that nobody writes to, beside it: it notices nothing by itself, and would keep the file system from being unmounted.
    a.volume("idle", s.file("idle", MiB, True))
    a.spec({"name": "idle", "switch": {"when": "manual"}, "pairs": [{"source": "volume:idle", "target": f"{mnt}/idle", "create": "full"}]})
    a.wait("idle", "synced")
    os.sync()
    for _ in range(2):
        fs.die()
        wait_for("the target is set aside", lambda: a.pair("move")["targets"][0]["state"] == "degraded")
        app.wait_writes(50)
        # Not lazily: only if dray-iod has let go of the file can it be unmounted, and only then is the next mount a living one.
        wait_for("the file system can be unmounted", fs.unmounted, 20)
        app.wait_writes(50)
        moved = a.moved("move")
        fs.mount()
        wait_for("it goes on by itself", lambda: a.moved("move") > moved, 40)
        assert a.show("move")["state"] == "copying"
        a.wait("idle", "synced")
    events = [e["event"] for e in a.json("events", "move")]
    assert {"target-degraded", "target-retried", "target-recovered"} <= set(events), events

    # Another file of that name: looked at, and left alone.
    fs.die()
    wait_for("the file system can be unmounted", fs.unmounted, 40)
    fs.mount()
    wait_for("it goes on by itself", lambda: a.pair("move")["targets"][0]["state"] in ("copying", "mirror"), 40)
    fs.die()
    wait_for("the file system can be unmounted", fs.unmounted, 40)
    with open(f"{mnt}/new", "wb") as f:
        f.truncate(N)
    wait_for("it is seen as another", lambda: "not the storage that was recorded" in (leg(1)["error"] or ""), 40)
    app.wait_writes(50)
    with open(f"{mnt}/new", "rb") as f:
        assert f.read() == bytes(N), "a stranger was written to"
    os.unlink(f"{mnt}/new")
    fs.mount()
    a.run("set", "move", "limits.rate=none")
    a.wait("move", "synced")
    a.run("switch", "move")
    app.wait_writes(50)
    got = app.status()
    assert got["bad"] == 0 and got["errors"] == 0, got
    a.run("commit", "move", "--yes")
    app.end()
    app.verify(f"{mnt}/new")
    a.run("volume", "remove", "v")
