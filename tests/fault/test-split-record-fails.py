#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""The record of a split fails: all volumes go on with all their legs, in sync, also after a kill; the next split works, and is there after a kill."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from dray import SLOW, Scratch
from iod import Iod
from nbdclient import Client

with Scratch() as s:
    iod = Iod(s)
    legs = {}
    for v in ("v", "w"):
        iod.call("volume.add", name=v, resource=s.file(v, "2M", data=True))
        legs[v] = iod.attach(v, s.file(v + "-copy", "2M"))
        iod.patient(v)
        iod.wait_synced(v, legs[v])
    iod.stop()
    iod.start({"DRAY_FAULT_AT": "split-write"})
    members = [{"volume": v, "legs": [legs[v]]} for v in legs]
    for v in legs:
        iod.wait_synced(v, legs[v])
    e = iod.refused("split", "record_failed", token="s1", deadline_ms=60000, members=members)
    assert e.data["outcome"] == "rolled_back" and "split-" in e.message, e
    for restart in (False, True):
        if restart:
            iod.kill()
            iod.start()
            iod.wait_served("v", "w")
        for v in legs:
            c = Client(iod.nbd_socket, v)
            c.write(8192 * restart, b"x" * 4096)
            c.flush()
            c.close()
            iod.wait_synced(v, legs[v])
    iod.call("split", token="s2", deadline_ms=60000, members=members)
    iod.kill()
    assert not [f for f in os.listdir(iod.state) if f.startswith("split-")], os.listdir(iod.state)
    iod.start()
    iod.wait_served("v", "w")
    assert all(len(iod.volume(v)["legs"]) == 1 for v in legs)
    for v in legs:
        with open(s.path(v), "rb") as a, open(s.path(v + "-copy"), "rb") as b:
            assert a.read() == b.read(), v
    # A record that says nothing legible: it is not guessed.
    iod.stop()
    with open(os.path.join(iod.state, "split-9.json"), "w") as f:
        f.write("{")
    assert iod.s.start(os.environ["DRAY_IOD"], "--state-dir", iod.state, "--run-dir", iod.run_dir, log="refused.log").wait(20 * SLOW) == 1
    assert "split-9.json" in open(s.path("refused.log")).read()
