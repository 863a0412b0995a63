#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""dray-iod dies at each named point of a switch that lets the old source go: after the restart it is either no leg at all, with the
bytes of the switch's instant, or the primary as before."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from dray import Scratch
from iod import Iod
from nbdclient import Client


def one(point, switched):
    with Scratch() as s:
        a, b = s.file("a", "4M", data=True), s.file("b", "4M")
        iod = Iod(s)
        iod.call("volume.add", name="v", resource=a)
        leg = iod.attach("v", b)
        iod.wait_synced("v", leg)
        iod.patient("v")
        iod.stop()
        iod.start({"DRAY_CRASH_AT": point})
        iod.wait_synced("v", leg)
        c = Client(iod.nbd_socket, "v")
        c.write(0, b"before" * 512)
        c.flush()
        try:
            iod.call("switch", token="t", deadline_ms=60000, commit=True, members=[{"volume": "v", "leg": leg, "epoch": 1}])
            raise AssertionError(f"{point} was not reached")
        except (ConnectionError, OSError):
            pass
        iod.wait_crash()
        iod.start()
        iod.wait_served("v")
        c = Client(iod.nbd_socket, "v")
        c.write(0, b"after " * 512)
        c.flush()
        c.close()
        got = iod.volume("v")
        legs = sorted(x["id"] for x in got["legs"])
        maps = [f for f in os.listdir(os.path.join(iod.state, "volumes", "v")) if f.startswith("map-")]
        if switched:
            assert (got["epoch"], got["primary"], legs) == (2, leg, [leg]), (point, got)
            assert maps == [], maps
        else:
            assert (got["epoch"], got["primary"], legs) == (1, 1, [1, leg]), (point, got)
        iod.stop()
        with open(a, "rb") as f:
            assert f.read(6) == (b"before" if switched else b"after "), point


for point, switched in (("epoch-before", False), ("epoch-after", True), ("apply-before", True), ("switch-done", True)):
    one(point, switched)
    print(point, "ok")
