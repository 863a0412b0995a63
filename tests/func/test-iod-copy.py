#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""A leg is attached and copied, paused, resumed, limited, verified, detached; the contents are equal; what may not be a leg is refused."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from dray import Scratch, same, wait_for
from iod import Iod
from nbdclient import Client

MiB = 1 << 20
with Scratch() as s:
    iod = Iod(s)
    a, b = s.file("a", "32M", data=True), s.path("b")
    iod.call("volume.add", name="v", resource=a)
    iod.refused("leg.attach", "too_small", volume="v", resource=s.file("small", "1M"))
    iod.refused("leg.attach", "exists", volume="v", resource=a)
    iod.refused("leg.attach", "not_found", volume="v", resource=b)
    iod.refused("leg.attach", "self_export", volume="v", resource=iod.uri())
    iod.refused("leg.attach", "bad_resource", volume="v", resource="")
    assert len(iod.volume()["legs"]) == 1

    limits = iod.call("copy.set", volume="v", rate=2 * MiB, leg_timeout_ms=600000)
    assert (limits["rate"], limits["leg_timeout_ms"]) == (2 * MiB, 600000), limits
    leg = iod.attach("v", b, create="thin", tag="pair-1")
    assert leg == 2 and iod.leg("v", leg)["tag"] == "pair-1"
    iod.refused("volume.remove", "busy", name="v")
    wait_for("something is copied", lambda: iod.leg("v", leg)["copied_bytes"] > 0)
    iod.call("leg.pause", volume="v", leg=leg, paused=True)
    at = iod.leg("v", leg)
    assert at["paused"] and not at["synced"]
    c = Client(iod.nbd_socket, "v")
    c.write(0, b"p" * 65536)
    c.zero(20 * MiB, 65536)
    c.flush()
    assert iod.leg("v", leg)["copied_bytes"] == at["copied_bytes"]
    iod.call("copy.set", volume="v", rate=None)
    iod.call("leg.pause", volume="v", leg=leg, paused=False)
    iod.wait_synced("v", leg)
    c.write(5 * MiB, b"q" * 65536)
    c.flush()
    got = iod.leg("v", leg)
    assert got["dirty_bytes"] == 0 and got["done_bytes"] == 32 * MiB
    assert got["copied_bytes"] + got["skipped_bytes"] + got["zeroed_bytes"] <= 32 * MiB + got["recopied_bytes"]

    iod.call("verify.start", volume="v", leg=leg)
    wait_for("verified", lambda: (iod.leg("v", leg)["verify"] or {"running": True})["running"] is False)
    got = iod.leg("v", leg)["verify"]
    assert (got["compared_bytes"], got["differing_bytes"]) == (32 * MiB, 0), got

    # Tracked only: nothing is written there any more, until it may again.
    iod.call("leg.pause", volume="v", leg=leg, paused=True, detach=True)
    c.write(7 * MiB, b"r" * 65536)
    c.flush()
    assert iod.leg("v", leg)["state"] == "degraded" and iod.leg("v", leg)["dirty_bytes"] > 0
    iod.call("leg.pause", volume="v", leg=leg, paused=False)
    iod.wait_synced("v", leg)
    c.flush()
    iod.call("leg.detach", volume="v", leg=leg)
    assert len(iod.volume()["legs"]) == 1
    assert not [f for f in os.listdir(os.path.join(iod.state, "volumes/v")) if f.startswith("map-")]
    c.close()
    iod.stop()
    assert same(a, b)
