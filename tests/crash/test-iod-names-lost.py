#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""A loss of power may have left a leg's definition and not the names of its map and of the list of bad ranges, which became durable with one sync
of their folder: then nothing of it was acknowledged, the leg is there with all of it to be copied, and ends equal."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from dray import MiB, Scratch, wait_for  # noqa: E402
from iod import Iod  # noqa: E402
from nbdclient import Client  # noqa: E402

with Scratch() as s:
    for gone in (("map-1-2",), ("bad",), ("map-1-2", "bad")):
        name = f"v{len(gone)}{gone[0][0]}"
        a, b = s.file(name, "8M", data=True), s.file(name + ".copy", "8M")
        iod = Iod(s, name=name, env={"DRAY_CRASH_AT": "volume-json-after:2"})
        iod.call("volume.add", name=name, resource=a)
        try:
            iod.attach(name, b, paused=True)
            raise AssertionError("acknowledged")
        except ConnectionError:
            pass
        iod.process.wait()
        folder = os.path.join(iod.state, "volumes", name)
        assert {"map-1-2", "bad", "volume.json"} <= set(os.listdir(folder)), os.listdir(folder)
        for file in gone:
            os.unlink(os.path.join(folder, file))
        # What became of the target's bytes meanwhile nobody knows.
        with open(b, "r+b") as f:
            f.write(os.urandom(MiB))
        iod.start()
        iod.wait_served(name)
        leg = iod.leg(name, 2)
        assert leg and leg["recorded_bytes"] == leg["done_bytes"] == 0, leg
        c = Client(iod.nbd_socket, name)
        iod.call("leg.pause", volume=name, leg=2, paused=False)
        c.write(2 * MiB, b"w" * 4096)
        iod.wait_synced(name, 2)
        c.flush()
        c.close()
        assert iod.leg(name, 2)["recopied_bytes"] + iod.leg(name, 2)["copied_bytes"] >= 8 * MiB - 4096, iod.leg(name, 2)
        wait_for("both are equal", lambda: open(a, "rb").read() == open(b, "rb").read())
        assert {"map-1-2", "bad"} <= set(os.listdir(folder))
        # And that is durable: the next start goes on from it.
        iod.process.kill()
        iod.process.wait()
        iod.start()
        iod.wait_synced(name, 2)
        iod.process.kill()
        iod.process.wait()
