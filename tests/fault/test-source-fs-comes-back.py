#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""The file system of the source dies under it, and is mounted again: the source is let go of, so that it can be, and found again by itself. The
application's connection stays: it sees errors meanwhile, and one at its next flush, for what it had not flushed may be gone; then all goes
on, the migration too. Another file in its place is not served. Needs root: loop devices."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from dray import MiB, Scratch, need, same, wait_for
from loop import DyingFs, Loops
from nbdclient import Client, NbdError

os.environ["PATH"] += ":/usr/sbin:/sbin"
need("mkfs.ext4", "mount", "umount")
N = 16 * MiB


def fails(what, *args):
    try:
        what(*args)
    except NbdError:
        return True
    return False


with Loops() as loops, Scratch() as s:
    a = s.agent()
    fs = DyingFs(loops, s.file("disk", 64 * MiB), s.path("mnt"))
    mnt = fs.mnt

    def primary():
        return a.json("volume", "show", "v")["legs"][0]

    source = f"{mnt}/old"
    with open(source, "wb") as f:
        f.write(os.urandom(N))
        os.fsync(f.fileno())
    uri = a.volume("v", source)
    # One that nobody uses, on the same file system: it must not keep it from being unmounted.
    with open(f"{mnt}/idle", "wb") as f:
        f.truncate(MiB)
        os.fsync(f.fileno())
    a.volume("idle", f"{mnt}/idle")

    c = Client(a.nbd_socket, "v")
    c.write(0, b"\7" * 65536)
    c.flush()
    c.write(MiB, b"\10" * 65536)
    fs.die()
    assert fails(c.read, 0, 65536)
    wait_for("the file system can be unmounted", fs.unmounted, 20)
    assert fails(c.read, 0, 65536) and fails(c.write, 2 * MiB, b"\11" * 65536)
    wait_for("it says what it waits for", lambda: "No such file" in (primary()["error"] or ""), 20)
    fs.mount()
    wait_for("it is there again", lambda: not fails(c.read, 0, 65536), 20)
    assert primary()["error"] is None, primary()
    assert c.read(0, 65536) == b"\7" * 65536
    assert fails(c.flush), "what was not flushed may be gone, and the application was not told"
    c.flush()
    c.write(3 * MiB, b"\5" * 65536)
    c.flush()

    idle = Client(a.nbd_socket, "idle")
    wait_for("the idle one, too", lambda: not fails(idle.read, 0, 4096), 20)
    idle.close()

    # Everything is durable when it dies: nothing is owed.
    fs.die()
    wait_for("the file system can be unmounted", lambda: fails(c.read, 0, 65536) and fs.unmounted(), 20)
    fs.mount()
    wait_for("it is there again", lambda: not fails(c.read, 0, 65536), 20)
    c.flush()
    assert c.read(3 * MiB, 65536) == b"\5" * 65536 and c.read(0, 65536) == b"\7" * 65536
    c.close()

    # In the middle of a migration.
    target = s.path("new")
    app = s.stamp(uri, "app", "--depth", "2", "--rate", "300", "--no-reconnect", "--flush-every", "16")
    app.wait_writes(20)
    a.spec({"name": "move", "leg_timeout": "1h", "limits": {"rate": "1MiB"}, "switch": {"when": "manual"},
            "pairs": [{"source": "volume:v", "target": target, "create": "full"}]})
    wait_for("it moves", lambda: a.moved("move") > MiB)
    fs.die()
    wait_for("the application sees it", lambda: app.status()["errors"] > 0)
    wait_for("the file system can be unmounted", fs.unmounted, 20)
    moved = a.moved("move")
    fs.mount()
    app.wait_writes(50)
    wait_for("it goes on by itself", lambda: a.moved("move") > moved, 40)
    events = [e["event"] for e in a.json("events", "move")]
    assert {"source-lost", "source-found"} <= set(events), events
    a.run("set", "move", "limits.rate=none")
    a.wait("move", "synced")
    app.wait_writes(50)
    a.run("verify", "move")
    got = app.end(good=False)
    assert got["bad"] == 0 and got["errors"] > 0, got
    assert same(source, target)

    # Another file of that name: seen, and left alone.
    c = Client(a.nbd_socket, "v")
    data = c.read(0, 65536)
    fs.die()
    assert c.read(0, 65536) == data, "the target has it"
    wait_for("the file system can be unmounted", fs.unmounted, 20)
    assert c.read(0, 65536) == data
    fs.mount()
    os.rename(source, source + ".kept")
    with open(source, "wb") as f:
        f.truncate(N)
    wait_for("it is seen as another", lambda: "not the storage that was recorded" in (primary()["error"] or ""), 40)
    assert fails(c.write, 0, b"x" * 65536)
    with open(source, "rb") as f:
        assert f.read() == bytes(N), "a stranger was written to"
    os.rename(source + ".kept", source)
    wait_for("it is there again", lambda: not fails(c.write, 0, b"x" * 65536), 20)
    a.wait("move", "synced")
    c.close()
    assert same(source, target)
