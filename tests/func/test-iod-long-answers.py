#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""A client of dray-iod's that subscribed to events and asked for a lot takes its time to read: the events that come meanwhile do not cost it the
connection."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from dray import MiB, Scratch  # noqa: E402
from iod import Iod, Rpc  # noqa: E402

VOLUMES, CALLS = 40, 200

with Scratch() as s:
    iod = Iod(s)
    for n in range(VOLUMES):
        iod.call("volume.add", name=f"v{n}", resource=s.file(f"v{n}", "64K"))
    size = len(str(iod.call("volume.list")))
    assert CALLS * size > 3 * MiB, size

    slow = Rpc(iod.control)
    slow.call("events.subscribe")
    asked = {slow.send("volume.list") for _ in range(CALLS)}
    for n in range(20):  # meanwhile the answers are made, and nobody reads them
        iod.call("volume.add", name=f"n{n}", resource=s.file(f"n{n}", "64K"))
        iod.call("volume.remove", name=f"n{n}")
    while asked:
        got = slow.line()
        if "method" in got:
            slow.events.append(got["params"])
        else:
            assert got["result"]
            asked.remove(got["id"])
    slow.call("status")
    assert any(e["event"] == "volume-removed" and e["volume"] == "n19" for e in slow.events), slow.events[-3:]
    iod.stop()
