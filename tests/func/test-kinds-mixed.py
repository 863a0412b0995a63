#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""One session with pairs of all kinds: file to export, device to file, volumes into slices, a slice as a source, larger targets. Each target
is its source, neighbours and tails are as they were; the volumes switch at one instant, an export keeps its size until the commit."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from dray import MiB, Scratch, undisturbed
from loop import Loops
from nbdclient import Client

ROOT = os.geteuid() == 0 and os.path.exists("/dev/loop-control")


def read(path, at=0, n=None):
    with open(path, "rb") as f:
        f.seek(at)
        return f.read() if n is None else f.read(n)


def run(s, loops):
    a = s.agent()
    disk = s.holdback("disk", 6 * MiB)
    with open(disk.file, "r+b") as f:
        f.seek(5 * MiB)
        f.write(b"tail" * 1000)
    big = s.file("big", 16 * MiB, True)
    outer = read(big)
    for n in ("v", "w"):
        a.volume(n, s.file(n, 3 * MiB, True))
    device = loops.attach(s.file("device", 4 * MiB, True)) if loops else s.file("device", 4 * MiB, True)
    pairs = [
        {"source": s.file("plain", 4 * MiB, True), "target": disk.uri, "overwrite": True},
        {"source": device, "target": s.path("from-device"), "create": "full"},
        {"source": "volume:v", "target": {"resource": big, "offset": MiB, "length": 3 * MiB}, "overwrite": True},
        {"source": "volume:w", "target": {"resource": big, "offset": 8 * MiB, "length": 4 * MiB}, "overwrite": True},
        {"source": {"resource": s.file("whole", 8 * MiB, True), "offset": 2 * MiB, "length": MiB + 512}, "target": s.file("from-slice", 2 * MiB)},
        {"source": {"resource": s.path("whole"), "offset": 4 * MiB}, "target": {"resource": s.file("shared", 10 * MiB), "offset": 512,
                                                                              "length": 4 * MiB}},
    ]
    doc = a.spec(undisturbed({"name": "mixed", "switch": {"when": "synced"}, "pairs": pairs}), "--wait")
    assert [p["state"] for p in doc["pairs"]] == ["completed", "completed", "switched", "switched", "completed", "completed"], doc
    app = Client(a.nbd_socket, "w")
    assert app.size == 3 * MiB  # its slice has 4
    app.write(3 * MiB - 4096, b"L" * 4096)
    app.flush()
    app.close()
    a.run("undo", "mixed")
    a.run("switch", "mixed")
    a.run("commit", "mixed")
    assert read(disk.file, 0, 4 * MiB) == read(s.path("plain"))
    assert read(disk.file, 4 * MiB) == b"\0" * MiB + b"tail" * 1000 + b"\0" * (MiB - 4000)
    assert read(s.path("from-device")) == read(s.path("device"))
    got = read(big)
    assert got[MiB:4 * MiB] == read(s.path("v")) and got[8 * MiB:11 * MiB] == read(s.path("w"))
    assert got[11 * MiB - 4096:11 * MiB] == b"L" * 4096
    for lo, hi in ((0, 1), (4, 8), (11, 16)):
        assert got[lo * MiB:hi * MiB] == outer[lo * MiB:hi * MiB], (lo, hi)
    assert read(s.path("from-slice")) == read(s.path("whole"), 2 * MiB, MiB + 512) + b"\0" * (MiB - 512)
    assert read(s.path("shared")) == b"\0" * 512 + read(s.path("whole"), 4 * MiB) + b"\0" * (6 * MiB - 512)
    assert a.json("locks") == [] and a.json("status")["orphans"] == []
    assert a.json("volume", "show", "w")["size"] == 3 * MiB


if ROOT:
    with Loops() as loops, Scratch() as s:
        run(s, loops)
else:
    with Scratch() as s:
        run(s, None)
