#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""The first generation moves everything, a later one only what changed since the one before; each holds what was written up to its instant and nothing
later; on file systems that share blocks they do."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from dray import MiB, SLOW, Scratch, wait_for
from nbdclient import Client

N = 32 * MiB

with Scratch() as s:
    a = s.agent()
    content = bytearray(os.urandom(N))
    with open(s.path("old"), "wb") as f:
        f.write(content)
    a.volume("orders", s.path("old"))
    backup = s.path("backup")
    os.mkdir(backup)
    client = Client(a.nbd_socket, "orders")

    def leg():
        return next(x for x in a.json("volume", "show", "orders")["legs"] if x["state"] != "primary")

    def complete():
        return [g for g in a.show("hourly")["generations"] if g["complete"]]

    def write(offset, n):
        data = os.urandom(n)
        client.write(offset, data)
        content[offset:offset + n] = data

    def synced():
        wait_for("all is in sync again", lambda: a.show("hourly")["state"] == "synced" and leg()["synced"])

    # The first is due at once, the next in an hour.
    a.spec({"name": "hourly", "mode": "copy", "leg_timeout": "1m", "start": {"every": "1h", "keep": 10}, "pairs": [{"source": "volume:orders", "target": backup}]})
    wait_for("the first generation", complete)
    synced()
    doc = a.show("hourly")
    assert "next generation is due" in doc["reason"] and doc["start_due"] > doc["generations"][0]["time"], doc
    assert leg()["copied_bytes"] == N, leg()
    images = [bytes(content)]
    # By hand. What is written before it is mirrored, and in it; what is written while it is cloned, which takes a while where blocks are not shared, is not in it,
    # and is all that is brought afterwards.
    a.run("set", "hourly", "limits.rate=16MiB")
    for i, writes in enumerate(([], [(5 * MiB + 4096, 4096)], [(0, 512), (9 * MiB, 2 * MiB), (N - 4096, 4096)])):
        write(3 * MiB, 8192)
        before, image = leg(), bytes(content)
        asked = s.start("dray", "switch", "hourly", env=a.env, log=f"switch{i}.log")
        wait_for("it is split", lambda: leg()["set_aside"] or asked.poll() is not None or len(complete()) > len(images))
        late = leg()["set_aside"]
        for offset, n in writes:
            write(offset, n)
        late = late and leg()["set_aside"]
        assert asked.wait(timeout=60 * SLOW) == 0
        images.append(image)
        synced()
        after = leg()
        moved = after["copied_bytes"] + after["zeroed_bytes"] - before["copied_bytes"] - before["zeroed_bytes"]
        regions = {r for offset, n in writes for r in range(offset // MiB, (offset + n + MiB - 1) // MiB)}
        assert moved == len(regions) * MiB if late else moved <= len(regions) * MiB, (i, moved, regions, before, after)
        print(f"{len(regions)} regions written, {moved} bytes moved, while it was cloned: {late}")
    got = complete()
    assert len(got) == len(images) and len({g["time"] for g in got}) == len(got), got
    for g, image in zip(got, images):
        with open(g["paths"][0], "rb") as f:
            assert f.read() == image, g
    doc = a.json("cancel", "hourly")
    assert doc["state"] == "canceled" and sorted(os.listdir(backup)) == sorted(os.path.basename(g["paths"][0]) for g in got)
