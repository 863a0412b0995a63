#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""dray-iod dies at each named point of volume.add, leg.attach and leg.detach: a thing is there whole or not at all."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from dray import Scratch, same
from iod import Iod


def crash(iod, point, method, **params):
    iod.stop()
    iod.start({"DRAY_CRASH_AT": point})
    for v in iod.call("volume.list"):
        iod.wait_served(v["name"])
    try:
        iod.call(method, **params)
        raise AssertionError(f"{point} was not reached")
    except (ConnectionError, OSError):
        pass
    iod.wait_crash()
    iod.start()
    return {v["name"] for v in iod.call("volume.list")}


with Scratch() as s:
    iod = Iod(s)
    a, b = s.file("a", "4M", data=True), s.file("b", "4M")
    for point in ("volume-json-before", "volume-json-after", "epoch-before", "epoch-torn"):
        assert crash(iod, point, "volume.add", name="v", resource=a) == set(), point
        assert os.listdir(os.path.join(iod.state, "volumes")) == []
    assert crash(iod, "epoch-after", "volume.add", name="v", resource=a) == {"v"}
    iod.wait_served("v")

    for point, legs in (("map-create-after", 1), ("volume-json-before", 1), ("volume-json-after", 2)):
        crash(iod, point, "leg.attach", volume="v", resource=b)
        iod.wait_served("v")
        assert len(iod.volume()["legs"]) == legs, point
    leg = iod.volume()["legs"][1]["id"]
    iod.wait_synced("v", leg)
    crash(iod, "volume-json-before", "leg.detach", volume="v", leg=leg)
    iod.wait_served("v")
    assert len(iod.volume()["legs"]) == 2
    crash(iod, "detach-forgotten", "leg.detach", volume="v", leg=leg)
    iod.wait_served("v")
    assert len(iod.volume()["legs"]) == 1
    assert same(a, b)
    assert crash(iod, "epoch-after", "volume.remove", name="v") == set()
    assert os.listdir(os.path.join(iod.state, "volumes")) == []
    iod.stop()
