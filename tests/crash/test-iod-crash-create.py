#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""dray-iod is killed while it makes a target: nothing of it is there afterwards, and the next attempt makes it. (An empty file that was left there would be
refused as too small, for ever.)"""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from agent import AgentTest  # noqa: E402
from dray import Scratch, ended  # noqa: E402
from iod import Iod, RpcError  # noqa: E402

with Scratch() as s:
    os.mkdir(s.path("to"))
    a = s.file("a", "3M", data=True)
    for create in ("thin", "full"):
        target = s.path("to/" + create)
        iod = Iod(s, name=create, env={"DRAY_CRASH_AT": "target-made"})
        iod.call("volume.add", name="v", resource=a)
        try:
            iod.attach("v", target, create=create)
            raise AssertionError("acknowledged")
        except ConnectionError:
            pass
        iod.process.wait()
        assert not os.path.exists(target)
        iod.start()
        iod.wait_served("v")
        leg = iod.attach("v", target, create=create)
        iod.wait_synced("v", leg)
        iod.call("leg.detach", volume="v", leg=leg)
        with open(a, "rb") as x, open(target, "rb") as y:
            assert x.read() == y.read()
        # One that is there is taken as it is.
        leg = iod.attach("v", target, create=create)
        iod.call("leg.detach", volume="v", leg=leg)
        open(s.path("to/empty"), "wb").close()
        try:
            iod.attach("v", s.path("to/empty"), create=create)
            raise AssertionError("too small")
        except RpcError as e:
            assert e.kind == "too_small", e
        assert os.path.getsize(s.path("to/empty")) == 0
        iod.process.kill()
        iod.process.wait()
    # Where a file can't be without a name, one that nobody looks at stays.
    there = sorted(n for n in os.listdir(s.path("to")) if not n.startswith(".dray-"))
    assert there == ["empty", "full", "thin"], there

# The same in a session: it is completed, by the dray-iod that comes after.
os.environ["DRAY_CRASH_AT"] = "target-made"
with AgentTest(fake=False) as t:
    source = t.file("source", 1 << 20, os.urandom(1 << 20))
    t.submit({"name": "x", "pairs": [{"source": source, "target": t.dir + "/made", "create": "thin"}]})
    pid = t.call("GET", "/status")["iod"]["pid"]
    t.wait("it is killed there", lambda: ended(pid), 30)
    t.kill()
    del os.environ["DRAY_CRASH_AT"]
    t.start()
    t.wait_state("x", "completed", 60)
    with open(source, "rb") as x, open(t.dir + "/made", "rb") as y:
        assert x.read() == y.read()
