#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Reads that the storage in use can't serve come from a leg that has the same (H17): from the target before the switch, also while paused; from
the old source after it; and the copy to another target reads there, too. The application sees no error, and an event tells of it."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from dray import MiB, Scratch, wait_for
from iod import Iod
from nbdclient import Client

N = 8 * MiB


def all_of(socket, volume):
    c = Client(socket, volume)
    got = b"".join(c.read(at, MiB) for at in range(0, N, MiB))
    c.close()
    return got


def seen(a, event):
    return len([e for e in a.json("events", "move") if e["event"] == event])


with Scratch() as s:
    a = s.agent()
    old, new = s.holdback("old", N), s.holdback("new", N)
    data = os.urandom(N)
    with open(old.file, "wb") as f:
        f.write(data)
    a.volume("v", old.uri)
    a.spec({"name": "move", "leg_timeout": "1h", "switch": {"when": "manual"}, "pairs": [{"source": "volume:v", "target": new.uri, "overwrite": True}]})
    a.wait("move", "synced")
    old.faults("fail read EIO 1000000")
    assert all_of(a.nbd_socket, "v") == data
    wait_for("an event tells", lambda: seen(a, "read-elsewhere") == 1)
    a.run("pause", "move")
    assert all_of(a.nbd_socket, "v") == data
    c = Client(a.nbd_socket, "v")
    c.write(MiB, b"w" * 4096)
    assert c.read(MiB, 4096) == b"w" * 4096
    c.close()
    data = data[:MiB] + b"w" * 4096 + data[MiB + 4096:]
    a.run("resume", "move")
    a.wait("move", "synced")
    # Nothing of it is bad: the target has it, and the switch is the way out.
    assert "bad_bytes" not in a.pair("move")
    a.run("switch", "move")
    assert all_of(a.nbd_socket, "v") == data
    old.faults()
    new.faults("fail read EIO 1000000")
    wait_for("the old source is in sync", lambda: a.json("volume", "show", "v")["legs"][0]["state"] == "mirror")
    assert all_of(a.nbd_socket, "v") == data
    new.faults()

    # The copy to a second target, of a source that can't be read at all any more.
    iod = Iod(s)
    third, fourth = s.holdback("third", N), s.file("fourth", N)
    with open(third.file, "wb") as f:
        f.write(data)
    iod.call("volume.add", name="w", resource=third.uri)
    iod.patient("w")
    first = iod.attach("w", s.file("fifth", N))
    iod.wait_synced("w", first)
    third.faults("fail read EIO 1000000")
    second = iod.attach("w", fourth)
    iod.wait_synced("w", second)
    assert iod.volume("w")["bad_bytes"] == 0
    iod.stop()
    with open(fourth, "rb") as f:
        assert f.read() == data
