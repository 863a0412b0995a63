#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Device names that move while dray-iod is down: legs are found by their identity, two that swapped names too; a strange disk under an
old name is not touched; one that is missing is found when it comes back, under whatever name. Needs root: loop devices."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from dray import Scratch, same, wait_for
from iod import Iod, RpcError
from loop import Loops
from nbdclient import Client

MiB = 1 << 20


def write(iod, at, byte):
    c = Client(iod.nbd_socket, "v")
    c.write(at * MiB, byte * 4096)
    c.flush()
    c.close()


with Loops() as loops, Scratch() as s:
    iod = Iod(s)
    a, b, stranger = s.file("a", "8M", data=True), s.file("b", "8M"), s.file("stranger", "8M", data=True)
    with open(stranger, "rb") as f:
        strange = f.read()
    dev_a, dev_b = loops.attach(a), loops.attach(b)
    iod.call("volume.add", name="v", resource=dev_a)
    iod.patient()
    leg = iod.attach("v", dev_b)
    iod.wait_synced("v", leg)
    assert iod.leg("v", leg)["path"] is None and iod.leg("v", leg)["stable"]

    def names():
        return {x["id"]: x["path"] or x["resource"] for x in iod.volume()["legs"]}

    # They swap names.
    for how in ("stop", "kill"):
        write(iod, 1, b"x")
        iod.stop() if how == "stop" else iod.kill()
        for d in (dev_a, dev_b):
            loops.detach(d)
        loops.attach(b, device=dev_a)
        loops.attach(a, device=dev_b)
        iod.start()
        iod.wait_served("v")
        iod.wait_synced("v", leg)
        assert names() == {1: dev_b, leg: dev_a}, names()
        write(iod, 2, how[:1].encode())
        assert same(a, b)
        iod.stop()
        # And back: nothing is said of it any more.
        for d in (dev_a, dev_b):
            loops.detach(d)
        loops.attach(a, device=dev_a)
        loops.attach(b, device=dev_b)
        iod.start()
        iod.wait_synced("v", leg)
        assert [x["path"] for x in iod.volume()["legs"]] == [None, None]

    # A stranger has the secondary's name, and the right one has none: served without it, and nobody writes to the stranger. When it
    # is there again, under a third name, it is taken up.
    iod.kill()
    loops.detach(dev_b)
    loops.attach(stranger, device=dev_b)
    iod.start()
    iod.wait_served("v")
    wait_for("told", lambda: "no device has that" in (iod.leg("v", leg)["error"] or ""))
    assert iod.leg("v", leg)["state"] == "degraded", iod.leg("v", leg)
    write(iod, 3, b"w")
    iod.refused("switch", "degraded", token="t", deadline_ms=1000, members=[{"volume": "v", "leg": leg, "epoch": 1}])
    with open(stranger, "rb") as f:
        assert f.read() == strange
    third = loops.attach(b)

    def retried():
        try:
            iod.call("leg.retry", volume="v", leg=leg)
        except RpcError as e:
            assert e.kind == "busy", e  # found already, and being opened
        return iod.leg("v", leg)["state"] != "degraded"
    wait_for("taken up", retried)
    iod.wait_synced("v", leg)
    assert names()[leg] == third and same(a, b)
    iod.stop()

    # The same with the primary: not served, and it says why, until it is there.
    loops.detach(dev_a)
    loops.attach(stranger, device=dev_a) if not loops.detach(dev_b) else None
    iod.start()
    wait_for("told", lambda: "no device has that" in (iod.volume()["reason"] or ""))
    assert iod.volume()["served"] is False
    fourth = loops.attach(a)
    iod.wait_served("v")
    iod.wait_synced("v", leg)
    assert names() == {1: fourth, leg: third}, names()
    write(iod, 4, b"z")
    assert same(a, b)
    with open(stranger, "rb") as f:
        assert f.read() == strange
    iod.stop()
