#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Pause, resume and cancel of a session that makes generations, also in the middle of one; what has no meaning for it is refused."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from dray import MiB, SLOW, Failed, Scratch, wait_for
from generations import Night
from nbdclient import Client

with Scratch() as s:
    a = s.agent()
    night = Night(s, a, size=12 * MiB, app=False)
    clients = [Client(a.nbd_socket, v) for v in ("data", "log")]
    for c in clients:
        c.write(0, os.urandom(12 * MiB))
    night.submit({"every": "1h", "keep": 5})
    wait_for("the first generation", night.complete)
    a.run("set", "night", "limits.rate=6MiB")  # where blocks are not shared, the next takes a few seconds

    def begin(i):
        """One by hand, that is being cloned when this returns, or was already."""
        night.settle()
        n = len(night.complete())
        asked = s.start("dray", "switch", "night", env=a.env, log=f"switch{i}.log")
        wait_for("it is split", lambda: night.doc()["phase"] == "cloning" or len(night.complete()) > n or asked.poll() is not None, every=0.005)
        return asked, n

    def content(path):
        with open(path, "rb") as f:
            return f.read()

    # Paused in its middle, with or without what comes then: it is made to its end, of its instant.
    for i, options in enumerate(((), ("--detach",))):
        images = [content(s.path("old-data")), content(s.path("old-log"))]
        asked, n = begin(i)
        for c in clients:
            c.write(3 * MiB, os.urandom(8192))
        doc = a.json("pause", "night", *options)
        assert doc["state"] == "paused", doc
        assert asked.wait(timeout=60 * SLOW) == 0 and len(night.complete()) == n + 1
        assert [content(p) for p in night.complete()[-1]["paths"]] == images
        assert night.doc()["state"] == "paused"
        try:
            a.run("switch", "night")
            raise AssertionError("a paused session makes no generations")
        except Failed as e:
            assert e.status == 5, e
        assert a.json("resume", "night")["state"] != "paused"
        night.settle()
        for c, v in zip(clients, ("data", "log")):
            c.flush()
            assert content(f"{night.backup}/.{v}-base.img") == content(s.path("old-" + v)), v

    # What it can't do.
    for verb in (("undo", "night"), ("commit", "night", "--yes"), ("retire", "night", "--how", "delete", "--yes"), ("retry", "night"), ("switch", "night", "--pair", "1")):
        try:
            a.run(*verb)
            raise AssertionError(f"{verb} was not refused")
        except Failed as e:
            assert e.status == 5, (verb, e)
    try:
        a.run("set", "night", "start=now")
        raise AssertionError("it became another kind of session")
    except Failed as e:
        assert e.status == 3, e

    # A kill of either program in its middle is nothing to it.
    images = [content(s.path("old-data")), content(s.path("old-log"))]
    asked, n = begin(8)
    a.process.kill()
    a.process.wait()
    a.start()
    wait_for("it is complete", lambda: len(night.complete()) == n + 1)
    assert [content(p) for p in night.complete()[-1]["paths"]] == images and not night.events("generation-failed")
    asked.wait(timeout=60 * SLOW)

    # Canceled in its middle: it is given up, nothing of it is left, and what was complete stays.
    asked, n = begin(9)
    assert a.json("cancel", "night")["state"] == "canceled"
    asked.wait(timeout=60 * SLOW)
    doc = night.doc()
    assert len(doc["generations"]) in (n, n + 1) and all(g["complete"] for g in doc["generations"]), doc
    assert night.files() == night.expected(doc["generations"], bases=False), (night.files(), doc["generations"])
    assert not a.json("locks")
    # The name and the places are free again.
    # And it can be waited for the first generation.
    doc = night.submit({"every": "1h", "keep": 5}, "--wait")
    assert [g["complete"] for g in doc["generations"]] == [True] and doc["state"] in ("copying", "synced"), doc
    a.run("cancel", "night")
    for c in clients:
        c.close()
