#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""A moment at which a working image is not in sync is late: the document says so, one generation is made as soon as it is in sync, and the moments that went by
meanwhile are told and not made up for. With a pair that is canceled none is made, until the others are to be had without it."""
import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from dray import Failed, MiB, Scratch, wait_for
from generations import Night
from nbdclient import Client

with Scratch() as s:
    a = s.agent()
    night = Night(s, a, size=8 * MiB, app=False)
    night.submit({"every": "2s", "keep": 1000})  # none goes while it is looked at
    wait_for("two generations", lambda: len(night.complete()) >= 2, 30)
    # What is written while nothing is mirrored has to be brought, which takes for ever at this rate.
    a.run("pause", "night", "--detach")
    clients = {v: Client(a.nbd_socket, v) for v in ("data", "log")}
    clients["log"].write(2 * MiB, os.urandom(2 * MiB))
    wait_for("none is being made", lambda: (d := night.doc())["phase"] == "paused" and all(g["complete"] for g in d["generations"]))
    before = night.complete()
    a.run("set", "night", "limits.rate=1")
    a.run("resume", "night")
    wait_for("it is late", lambda: "is made when all is in sync" in (night.doc()["reason"] or ""))
    doc = night.doc()
    assert doc["state"] == "copying" and doc["generations"] == before, doc
    due = doc["start_due"]
    try:
        a.run("switch", "night")
        raise AssertionError("a generation was made of what is not in sync")
    except Failed as e:
        assert e.status == 5, e
    missed = len(night.events("generation-missed"))
    seen = time.monotonic()
    wait_for("several moments go by", lambda: time.monotonic() > seen + 5)
    assert night.complete() == before
    a.run("set", "night", "limits.rate=none")
    g = wait_for("the late one", lambda: [x for x in night.complete() if x not in before])[0]
    assert g["time"] > due, (g, due)
    with open(g["paths"][1], "rb") as x, open(s.path("old-log"), "rb") as y:
        assert x.read() == y.read()
    told = [e["detail"] for e in night.events("generation-missed")][missed:]
    assert told and g["time"] in told[0] and due < told[0].split()[4], (told, due, g)
    for c in clients.values():
        c.close()

    # One pair less.
    a.run("cancel", "night", "--pair", "1")
    doc = wait_for("it says why", lambda: "partial=true" in ((d := night.doc())["reason"] or "") and d)
    assert [p["state"] for p in doc["pairs"]][0] == "canceled" and not os.path.exists(f"{night.backup}/.data-base.img"), doc
    a.run("set", "night", "switch.partial=true")
    g = wait_for("one without it", lambda: [x for x in night.complete() if len(x["paths"]) == 1])[0]
    assert "/log-" in g["paths"][0], g
    a.run("cancel", "night")
    assert night.files() == night.expected(night.complete(), bases=False)
