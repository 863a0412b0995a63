#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""dray-iod is killed while the target's server is stopped: the volume is served again at once, the leg is not told as given up, and
the pair recovers by itself when the server goes on."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from dray import MiB, Scratch, same
from iod import Iod
from nbdclient import Client

with Scratch() as s:
    iod = Iod(s)
    disk, a = s.holdback("disk", "16M"), s.file("a", "16M", data=True)
    iod.call("volume.add", name="v", resource=a)
    leg = iod.attach("v", disk.uri)
    iod.wait_synced("v", leg)
    disk.stop()
    iod.kill()
    iod.start()
    iod.wait_served("v")
    c = Client(iod.nbd_socket, "v")
    c.write(3 * MiB, b"!" * 4096)
    c.flush()
    got = iod.leg("v", leg)
    assert got["state"] == "degraded" and not got["held"] and not got["synced"] and got["error"], got
    disk.go_on()
    iod.wait_synced("v", leg, 20)
    c.close()
    iod.stop()
    disk.process.terminate()
    disk.process.wait()
    assert same(a, disk.file)
