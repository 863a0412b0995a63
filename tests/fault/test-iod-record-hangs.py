#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""The epoch record of a switch hangs past the deadline: the application goes on, in doubt, with both legs written; other switches are
refused; killed then, the old side is served with all that was answered; once the record ends, the switch does."""
import os
import sys
from concurrent.futures import ThreadPoolExecutor

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from dray import Scratch, same, wait_for
from iod import Iod, Rpc
from nbdclient import Client

def one(kill):
    with Scratch() as s:
        iod = Iod(s)
        a, b, wall = s.file("a", "4M", data=True), s.file("b", "4M"), s.path("wall")
        iod.call("volume.add", name="v", resource=a)
        iod.call("volume.add", name="other", resource=s.file("o", "1M"))
        other = iod.attach("other", s.file("p", "1M"))
        leg = iod.attach("v", b)
        iod.patient("v", "other")
        iod.stop()
        iod.start({"DRAY_STALL_AT": f"epoch-write:{wall}"})
        iod.wait_synced("v", leg)
        iod.wait_synced("other", other)
        s.file("wall", "0M")
        c = Client(iod.nbd_socket, "v")
        r = Rpc(iod.control)
        # Longer than a disk or dray-iod is held up on the way to the record.
        r.send("switch", token="t", deadline_ms=4000, members=[{"volume": "v", "leg": leg, "epoch": 1}])
        wait_for("in doubt", lambda: iod.volume()["in_doubt"])
        assert iod.call("switch.status", token="t")["outcome"] == "in_doubt"
        c.write(0, b"d" * 4096)
        c.flush()
        for f in (a, b):
            with open(f, "rb") as x:
                assert x.read(4096) == b"d" * 4096, f
        iod.refused("switch", "record_busy", token="u", deadline_ms=300, members=[{"volume": "other", "leg": other, "epoch": 1}])
        assert iod.volume("other")["primary"] == 1
        if kill:
            iod.kill()
            os.unlink(wall)
            iod.start()
            iod.wait_served("v")
            assert (iod.volume()["epoch"], iod.volume()["primary"]) == (1, 1)
            c = Client(iod.nbd_socket, "v")
            assert c.read(0, 4096) == b"d" * 4096
            assert iod.call("switch.status", token="t")["outcome"] == "unknown"
        else:
            os.unlink(wall)
            got = r.answer(r.id)
            assert got["outcome"] == "switched", got
            v = iod.volume()
            assert (v["in_doubt"], v["epoch"], v["primary"]) == (False, 2, leg), v
            c.write(4096, b"e" * 4096)
            c.flush()
        c.close()
        iod.wait_synced("v", leg if kill else 1)
        iod.stop()
        assert same(a, b)


# At once: it is the deadline that they wait for.
with ThreadPoolExecutor() as both:
    list(both.map(one, (False, True)))
