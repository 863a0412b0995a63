#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Switch and undo under a writing client: nothing it wrote is lost, the token answers again with the same outcome, also after a restart."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from dray import Scratch, same
from iod import Iod

with Scratch() as s:
    iod = Iod(s)
    a, b = s.file("a", "16M", data=True), s.file("b", "16M")
    iod.call("volume.add", name="v", resource=a)
    iod.patient()
    leg = iod.attach("v", b)
    app = s.stamp(iod.uri(), "app")
    app.wait_writes(200)
    iod.wait_synced("v", leg)
    epoch = iod.volume()["epoch"]
    iod.refused("switch", "stale_token", token="t0", deadline_ms=1000, members=[{"volume": "v", "leg": leg, "epoch": epoch + 1}])
    got = iod.switch("t1", ("v", leg))
    assert got["outcome"] == "switched" and got["members"][0]["epoch"] == epoch + 1 and got["members"][0]["primary"] == leg, got
    assert got["members"][0]["suspended_us"] > 0
    assert iod.call("switch.status", token="t1") == got
    assert iod.call("switch", token="t1", deadline_ms=1, members=[{"volume": "v", "leg": leg, "epoch": 99}]) == got
    assert iod.call("switch.status", token="nobody's") == {"outcome": "unknown"}
    v = iod.volume()
    assert v["last_switch"]["token"] == "t1" and v["resource"] == b and v["epoch"] == epoch + 1
    app.wait_writes(200)
    # The way back: the old source was kept in sync.
    iod.wait_synced("v", 1)
    iod.switch("t2", ("v", 1))
    app.wait_writes(200)
    iod.wait_synced("v", leg)
    iod.switch("t3", ("v", leg))
    app.wait_writes(200)
    app.end()
    iod.wait_synced("v", 1)
    iod.stop()
    assert same(a, b)
    app.verify(b)

    iod.start()
    iod.wait_served("v")
    v = iod.volume()
    assert (v["epoch"], v["primary"], v["resource"]) == (epoch + 3, leg, b), v
    assert iod.call("switch.status", token="t3")["outcome"] == "switched"
    assert iod.call("switch.status", token="t1")["outcome"] == "unknown"
    # In order stopped, in order started: nothing to compare, nothing to copy.
    iod.wait_synced("v", 1)
    got = iod.leg("v", 1)
    assert got["copied_bytes"] == 0 and got["compared_bytes"] == 0, got
    iod.call("commit", volume="v", leg=1)
    assert [x["id"] for x in iod.volume()["legs"]] == [leg]
    iod.stop()
    iod.start()
    iod.wait_served("v")
    assert (iod.volume()["primary"], iod.volume()["epoch"]) == (leg, epoch + 3)
    iod.stop()
    app.verify(b)
