#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""drayd is killed at every step of a generation, and dray-iod in its split: whatever is listed as complete is one instant of both volumes, what was split is made to
its end, nothing is left lying about, the hooks after the split are run in any case, and the next moments have their generations."""
import os
import signal
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from dray import SLOW, Scratch, wait_for
from generations import Night

# Of drayd; whether the generation that it dies in is made to its end.
POINTS = {"gen-hooks": False, "record-before": None, "gen-split": True, "gen-thawed": True, "gen-cloning": True, "gen-cloned": True, "gen-placing": True,
          "gen-placed": True, "gen-complete": True, "gen-removing": True, "gen-removed": True}

with Scratch() as s:
    hooks = s.path("hooks")
    config = s.path("drayd.yaml")
    with open(config, "w", encoding="ascii") as f:
        f.write(f"hooks_dir: {hooks}\n")
    for kind in ("before-split", "after-split"):
        os.makedirs(os.path.join(hooks, kind), mode=0o700)
        path = os.path.join(hooks, kind, "10-note")
        with open(path, "w", encoding="ascii") as f:
            f.write(f'#!/bin/sh\necho "$DRAY_EVENT $DRAY_SPLIT" >> {s.path("hooks.said")}\n')
        os.chmod(path, 0o700)
    a = s.agent(options=("--config", config))
    night = Night(s, a)
    night.submit({"every": "1s", "keep": 3})
    wait_for("a generation", night.complete)
    armed = s.path("armed")

    def restart(**env):
        a.process.kill()
        a.process.wait()
        a.env.update(env)
        a.start()
        for k in env:
            del a.env[k]

    def newer_than(time, n=1):
        def more():
            got = [g for g in night.complete() if g["time"] > time]
            return len(got) >= n and got
        return wait_for("later generations", more, 60)

    def frozen():
        """The last word of the hooks is that it may go on."""
        with open(s.path("hooks.said"), encoding="ascii") as f:
            return f.read().split("\n")[-2].startswith("before-split")

    for point, finished in POINTS.items():
        restart(DRAY_CRASH_AT=point, DRAY_CRASH_IF=armed)
        open(armed, "w", encoding="ascii").close()
        assert a.process.wait(60 * SLOW) == 137, point
        os.unlink(armed)
        a.start()
        doc = night.doc()
        under_way = [g for g in doc["generations"] if not g["complete"]]
        done = newer_than(max(g["time"] for g in doc["generations"]))
        if finished:  # whatever was split
            assert not night.events("generation-failed"), (point, night.events("generation-failed"))
            made = [e["detail"].split(": ")[0] for e in night.events("generation")]
            assert {g["time"] for g in under_way if g not in night.doc()["generations"]} <= set(made), (point, under_way, made)
        for g in done:
            try:
                night.one_instant(g)
            except AssertionError:  # it may have been removed meanwhile
                assert g not in night.complete(), (point, g)
        print(f"{point}: {len(under_way)} under way, {len(done)} later ones", flush=True)

    # dray-iod, in the split of two volumes: all or none is set aside, and a generation of which nobody can say that it is good is not listed.
    for point in ("split-before", "split-after", "switch-done"):
        a.run("shutdown", "--force")
        a.process.wait(30 * SLOW)
        restart(DRAY_CRASH_AT=point, DRAY_CRASH_IF=armed)
        pid = wait_for("dray-iod", a.iod_pid)
        open(armed, "w", encoding="ascii").close()
        wait_for("dray-iod dies", lambda: not os.path.exists(f"/proc/{pid}"), 60)
        os.unlink(armed)
        last = max(g["time"] for g in night.doc()["generations"])
        for g in newer_than(last):
            try:
                night.one_instant(g)
            except AssertionError:
                assert g not in night.complete(), (point, g)
        print(f"{point}: passed", flush=True)
    # And any moment of a generation.
    for i in range(2):
        last = max(g["time"] for g in night.complete())
        wait_for("one is being made", lambda: night.doc()["phase"] in ("switching", "cloning", "copying"), 60, 0.001)
        os.kill(wait_for("dray-iod", a.iod_pid), signal.SIGKILL)
        newer_than(last)

    # At rest: each complete one is one instant, and what is there is what is listed.
    a.run("set", "night", "start={every: 1h, keep: 3}")
    soon = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 1200))
    wait_for("the row has begun anew, with a generation now", lambda: (night.doc()["start_due"] or "") > soon, 60)
    night.stop()
    doc = night.settle()
    for g in doc["generations"]:
        night.one_instant(g)
    doc = night.settle()
    assert night.files() == night.expected(doc["generations"]), (night.files(), doc["generations"])
    assert not frozen()
    a.run("cancel", "night")
    doc = night.doc()
    assert night.files() == night.expected(doc["generations"], bases=False), (night.files(), doc["generations"])
