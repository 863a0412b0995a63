#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Limits that were set are in force whichever program is killed at that moment, or both: what `dray set` and `dray settings` had said holds afterwards, the copy
goes on under it, and `bound_by` says so."""
import json
import os
import signal
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from dray import MiB, Scratch, wait_for  # noqa: E402
from load import LoadAgent  # noqa: E402

with Scratch() as s:
    a = LoadAgent(s, 48 * MiB, a=40, b=40)
    a.begin("two", "ab", limits={"step": "16KiB", "rate": "256KiB"})
    a.wait_copying("two")

    def kill_iod():
        os.kill(a.iod_pid(), signal.SIGKILL)

    def kill_agent():
        a.process.kill()
        a.process.wait()
        a.start()

    def kill_both():
        pid = a.iod_pid()
        a.process.kill()
        a.process.wait()
        os.kill(pid, signal.SIGKILL)
        a.start()

    def in_force(**want):
        def so():
            done = a.run("volume", "show", "b", "-o", "json", status=None)
            return done.returncode == 0 and want.items() <= json.loads(done.stdout)["limits"].items()
        wait_for(f"in force: {want}", so, 60)

    for i, kill in enumerate((kill_iod, kill_agent, kill_both) * 2):
        kib = 64 + 16 * i
        a.run("set", "two", f"limits.rate={2 * kib}KiB", f"pairs.2.limits.steps={i + 2}")
        a.run("settings", f"app_latency={i + 20}ms")
        kill()
        in_force(rate=kib << 10, steps=i + 2, app_latency_us=(i + 20) * 1000)
        a.last.clear()  # a dray-iod that was killed may have copied more than it had recorded
        a.wait_copying("two")
        a.binds("two", "rate", "session", "limits.rate", 2 * kib << 10)
        doc = a.show("two")
        assert doc["limits"] == {"step": "16KiB", "rate": f"{2 * kib}KiB"} and doc["pairs"][1]["limits"] == {"steps": i + 2}, doc
    a.run("set", "two", "limits.rate=none", "limits.step=1MiB", "pairs.2.limits.steps=none")
    a.wait("two", "synced", 120)
    a.run("cancel", "two")
