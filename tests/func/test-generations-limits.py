#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""A clone that is under way keeps to limits.rate as it is set meanwhile, of the session, of its pair and of the agent: stopped it stands still, slow it goes on
slowly, lifted it is soon done. What it made is right."""
import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from dray import MiB, Scratch, wait_for
from generations import Night

N = 24 * MiB

with Scratch() as s:
    a = s.agent()
    night = Night(s, a, size=N, app=False)
    for v in ("data", "log"):
        with open(s.path(f"old-{v}"), "r+b") as f:
            for _ in range(N // MiB):
                f.write(os.urandom(MiB))
    night.submit({"every": "1h", "keep": 2})
    wait_for("the first generation", night.complete, 60)
    night.settle()

    def parts():
        """What there is of the files that are being made."""
        return sum(os.stat(os.path.join(night.backup, f)).st_blocks * 512 for f in night.files() if ".dray-" in f)

    def set_rate(how, rate):
        if how == "agent":
            a.run("settings", f"rate={rate}")
        else:
            a.run("set", "night", *([f"limits.rate={rate}"] if how == "session" else [f"pairs.{i}.limits.rate={rate}" for i in (1, 2)]))

    def begin():
        asked = s.start("dray", "switch", "night", env=a.env, log="switch.log")
        wait_for("it is cloned", lambda: night.doc()["phase"] == "cloning" or asked.poll() is not None)
        return asked, asked.poll() is None

    def grows(more, timeout=60):
        """It has so many bytes more than before."""
        was = parts()
        wait_for("the clone goes on", lambda: parts() >= was + more, timeout)

    for how in ("session", "pair", "agent"):
        set_rate(how, "256KiB")
        asked, slow = begin()
        if not slow:
            print("not shown: the file system shares blocks, so that nothing is copied")
            break
        grows(128 << 10)
        # At 256 KiB a second it would take three minutes; what it has by now is little.
        assert parts() < N, parts()
        if how != "agent":
            set_rate(how, "00:00,0")
            was, since = parts(), time.monotonic()
            # It stands still: what was on its way at that moment apart.
            def still():
                global was, since
                if parts() != was:
                    was, since = parts(), time.monotonic()
                return time.monotonic() - since > 1.5
            wait_for("it stands still", still)
            assert was < N and asked.poll() is None, was
            set_rate(how, "1MiB")
            grows(256 << 10)
        set_rate(how, "none")
        wait_for("it is complete", lambda: asked.poll() is not None, 60)
        assert asked.returncode == 0
        night.settle()
    for g in night.complete():
        for v, path in zip(("data", "log"), g["paths"]):
            with open(path, "rb") as new, open(s.path(f"old-{v}"), "rb") as old:
                assert new.read() == old.read(), path
    a.run("cancel", "night")
