#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""A clone that is under way gives way to the application of its volume and to that of another volume on the same disk, as long as it asks anything; to
one that sleeps, or that is on another disk, it does not, even if it is its volume's own. It says which of that, or whose rate, holds it back. What it made is right."""
import os
import signal
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from dray import MiB, Scratch, wait_for
from generations import Night

N = 24 * MiB

with Scratch() as s:
    os.mkdir(s.path("gates"))
    a = s.agent(start=False)
    a.env["DRAY_STALL_IN"] = s.path("gates")
    a.start()
    night = Night(s, a, size=N, app=False)
    near = a.volume("near", s.file("near", N))
    far = a.volume("far", s.holdback("far-disk", N).uri)
    # What they write they write before the first generation; from then on they read.
    apps = {v: s.stamp(uri, v, "--fill", "--read-percent", "100", "--depth", "1", "--rate", "100")
            for v, uri in (("data", a.uri("data")), ("near", near), ("far", far))}
    with open(s.path("old-log"), "r+b") as f:
        for _ in range(N // MiB):
            f.write(os.urandom(MiB))
    for app in apps.values():
        wait_for("it reads", lambda app=app: app.status()["reads"] > 0)

    def sleeps(v):
        apps[v].process.send_signal(signal.SIGSTOP)

    def works(v):
        apps[v].process.send_signal(signal.SIGCONT)

    sleeps("near")
    night.submit({"every": "1h", "keep": 3})
    wait_for("the first generation", night.complete, 60)
    night.settle()

    def begin():
        return s.start("dray", "switch", "night", env=a.env, log="switch.log")

    def ends(asked):
        wait_for("it is complete", lambda: asked.poll() is not None, 60)
        assert asked.returncode == 0
        night.settle()

    class SlowDisk:
        """Where the files are made: each piece takes until it is let go."""

        def __init__(self):
            self.gate = s.path("gates/gen-step")

        def hold(self):
            with open(self.gate, "x", encoding="ascii"):
                pass

        def held(self, n=1):
            """So many wait there."""
            return os.path.getsize(self.gate) >= n

        def let_go(self):
            """After so long that the rest that may follow, three times that, is longer than a rate of 64 KiB makes it wait."""
            time.sleep(1)
            os.unlink(self.gate)

        def step(self, n=1):
            """The pieces under way end; the next ones, after the rest, are held again. What is told meanwhile stays."""
            looks = 0

            def under_way():
                nonlocal looks
                looks += 1
                if not self.held(n) and looks % 100 == 0:  # who stood still all the while that it was open waits as before, and has not said so
                    self.open_once()
                return self.held(n)

            wait_for("pieces are under way", under_way, 60, every=0.05)
            self.open_once()

        def open_once(self):
            self.let_go()
            time.sleep(0.2)
            self.hold()

    disk = SlowDisk()
    disk.hold()
    asked = begin()
    wait_for("it is cloned", lambda: disk.held() or asked.poll() is not None, 60)
    if asked.poll() is not None:
        print("not shown: the file system shares blocks, so that nothing is copied")
        disk.let_go()
    else:
        def bound(by, step=lambda: None, show=night.doc):
            def is_bound():
                step()
                doc = show()
                assert doc["phase"] == "cloning", doc
                of_all = {k: v for k, v in by.items() if by.get("of") != "pair" or k != "key"}
                return doc["pairs"][0].get("bound_by") == by and doc.get("bound_by") == [dict(of_all, pairs=1)]
            wait_for(f"it is bound by {by}", is_bound, 60)

        bound({"limit": "none"})  # of the first piece, before which there was no rest
        a.run("set", "night", "limits.rate=64KiB")  # six minutes, for each, where it does not rest
        rate = {"limit": "rate", "of": "session", "key": "limits.rate", "value": 65536}
        bound({"limit": "app_latency", "of": "default"}, disk.step)
        sleeps("data")  # nobody is awake but one that is elsewhere
        bound(rate, disk.step)
        works("near")
        bound({"limit": "app_latency", "of": "neighbour"}, disk.step)
        sleeps("near")
        bound(rate, disk.step)
        # To one that came when it had begun, too.
        apps["late"] = s.stamp(a.volume("late", s.file("late", N)), "late", "--depth", "1", "--rate", "100")
        bound({"limit": "app_latency", "of": "neighbour"}, disk.step)
        sleeps("late")
        bound(rate, disk.step)
        works("data")
        bound({"limit": "app_latency", "of": "default"}, disk.step)
        a.run("set", "night", "limits.app_latency=1m")  # which is met, but not everything
        bound({"limit": "app_latency", "of": "session", "key": "limits.app_latency", "value": 60000000})
        assert len(night.complete()) == 1 and "bound_by" not in night.doc()["pairs"][1], night.doc()
        # Whose rate it is.
        os.unlink(disk.gate)
        bound(rate)
        a.run("set", "night", "pairs.1.limits.rate=32KiB")
        bound({"limit": "rate", "of": "pair", "key": "pairs.1.limits.rate", "value": 32768})
        a.run("set", "night", "pairs.1.limits.rate=none")
        a.run("settings", "rate=16KiB")
        bound({"limit": "rate", "of": "agent", "key": "rate", "value": 16384})
        a.run("settings", "rate=none")

        # A volume that is elsewhere, with its working image and the copies here: its own application has nothing to complain about.
        a.spec({"name": "afar", "mode": "copy", "start": {"every": "1h", "keep": 3},
                "pairs": [{"source": "volume:far", "target": f"{night.backup}/far-{{time}}.img"}]})
        def made():
            return [g for g in a.show("afar")["generations"] if g["complete"]]
        wait_for("the first of it", made, 60)
        wait_for("it is settled", lambda: a.show("afar")["phase"] == "mirroring", 60)
        a.run("set", "afar", "limits.rate=64KiB")
        sleeps("data")
        disk.hold()
        read = apps["far"].status()["reads"]
        other = s.start("dray", "switch", "afar", env=a.env, log="switch-afar.log")
        for _ in range(2):  # of both files
            bound(rate, lambda: disk.step(2), lambda: a.show("afar"))
        assert apps["far"].status()["reads"] > read
        a.run("set", "afar", "limits.rate=none")
        os.unlink(disk.gate)
        wait_for("it is complete", lambda: other.poll() is not None, 60)
        assert other.returncode == 0
        works("data")
        a.run("cancel", "afar")
    # It comes to its end beside an application, and without one.
    a.run("set", "night", "limits.rate=none")
    ends(asked)
    sleeps("data")
    ends(begin())
    assert len(night.complete()) == 3, night.doc()
    for g in night.complete():
        for v, path in zip(("data", "log"), g["paths"]):
            with open(path, "rb") as new, open(s.path(f"old-{v}"), "rb") as old:
                assert new.read() == old.read(), path
    for v in apps:
        works(v)
    for app in apps.values():
        app.end()
    a.run("cancel", "night")
