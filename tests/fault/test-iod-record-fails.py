#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""The epoch record of a switch fails: the group goes back to the old side, by a record that supersedes it; the next switch works."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from dray import Scratch, same
from iod import Iod
from nbdclient import Client

with Scratch() as s:
    iod = Iod(s)
    a, b = s.file("a", "4M", data=True), s.file("b", "4M")
    iod.call("volume.add", name="v", resource=a)
    leg = iod.attach("v", b)
    iod.patient("v")
    iod.wait_synced("v", leg)
    iod.stop()
    iod.start({"DRAY_FAULT_AT": "epoch-write"})
    iod.wait_synced("v", leg)
    c = Client(iod.nbd_socket, "v")
    e = iod.refused("switch", "record_failed", token="t", deadline_ms=60000, members=[{"volume": "v", "leg": leg, "epoch": 1}])
    assert e.code == -32004 and e.data["suspended"] is True, e
    assert iod.call("switch.status", token="t")["outcome"] == "rolled_back"
    v = iod.volume()
    assert (v["epoch"], v["primary"], v["in_doubt"], v["suspended"]) == (1, 1, False, False), v
    c.write(0, b"1" * 4096)
    c.flush()
    iod.wait_synced("v", leg)
    iod.kill()
    iod.start()
    iod.wait_served("v")
    assert (iod.volume()["epoch"], iod.volume()["primary"]) == (1, 1)
    iod.wait_synced("v", leg)
    got = iod.switch("u", ("v", leg))
    assert got["members"][0]["epoch"] == 2
    iod.stop()
    assert same(a, b)
