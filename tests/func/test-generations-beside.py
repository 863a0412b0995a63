#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""A clone that is under way gives way to the application of its volume and to that of another volume on the same disk, as long as it asks anything, and says so; to
one that sleeps, or that is on another disk, it does not, even if it is its volume's own. What it made is right."""
import os
import signal
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from dray import MiB, Scratch, wait_for
from generations import Night

N = 24 * MiB

with Scratch() as s:
    a = s.agent()
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

    a.run("set", "night", "limits.rate=64KiB")  # six minutes, for each
    asked = begin()
    wait_for("it is cloned", lambda: night.doc()["phase"] == "cloning" or asked.poll() is not None)
    if asked.poll() is not None:
        print("not shown: the file system shares blocks, so that nothing is copied")
    else:
        def gives_way(to):
            def does():
                doc = night.doc()
                assert doc["phase"] == "cloning", doc
                return doc["pairs"][0].get("bound_by") == to and doc.get("bound_by") == (to and [dict(to, pairs=1)])
            wait_for(f"it gives way to {to}", does)

        gives_way({"limit": "app_latency", "of": "default"})
        a.run("set", "night", "limits.app_latency=5s")  # which is met, but not everything
        gives_way({"limit": "app_latency", "of": "session", "key": "limits.app_latency", "value": 5000000})
        # Nobody is awake but one that is elsewhere.
        sleeps("data")
        gives_way(None)
        works("near")
        gives_way({"limit": "app_latency", "of": "neighbour"})
        sleeps("near")
        gives_way(None)
        works("data")
        gives_way({"limit": "app_latency", "of": "session", "key": "limits.app_latency", "value": 5000000})
        assert len(night.complete()) == 1 and "bound_by" not in night.doc()["pairs"][1], night.doc()

        # A volume that is elsewhere, with its working image and the copies here: its own application has nothing to complain about.
        a.spec({"name": "afar", "mode": "copy", "start": {"every": "1h", "keep": 3}, "limits": {"rate": "none"},
                "pairs": [{"source": "volume:far", "target": f"{night.backup}/far-{{time}}.img"}]})
        def made():
            return [g for g in a.show("afar")["generations"] if g["complete"]]
        wait_for("the first of it", made, 60)
        wait_for("it is settled", lambda: a.show("afar")["phase"] == "mirroring", 60)
        a.run("set", "afar", "limits.rate=64KiB")
        other = s.start("dray", "switch", "afar", env=a.env, log="switch-afar.log")
        sleeps("data")
        def part():
            return sum(os.stat(os.path.join(night.backup, f)).st_blocks * 512 for f in os.listdir(night.backup) if f.startswith(".far-") and ".dray-" in f)
        wait_for("it is being copied", lambda: part() >= 128 << 10)
        def alone():
            doc = a.show("afar")
            assert doc["phase"] == "cloning", doc
            return "bound_by" not in doc
        wait_for("nobody else is awake", alone)
        read, was = apps["far"].status()["reads"], part()
        def goes_on():
            assert alone(), a.show("afar")
            return apps["far"].status()["reads"] > read + 50 and part() > was
        wait_for("both go on", goes_on)
        a.run("set", "afar", "limits.rate=none")
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
    for v in ("data", "near"):
        works(v)
    for app in apps.values():
        app.end()
    a.run("cancel", "night")
