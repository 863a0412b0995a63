#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""A dray-iod that hangs is connected and does not answer: /healthz and /metrics say so, and no limit is told to hold back what does not move."""
import os
import signal
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from agent import AgentTest

with AgentTest(fake=False) as t:
    t.call("POST", "/volumes", {"name": "v", "resource": t.file("old", 64 << 20, os.urandom(64 << 20))})
    t.submit({"name": "x", "limits": {"rate": "64KiB"}, "pairs": [{"source": "volume:v", "target": t.file("new", 64 << 20)}]})
    pid = t.call("GET", "/status")["iod"]["pid"]

    def told():
        """(it is up, it is healthy, what holds the pair back)"""
        up = [line for line in t.request("GET", "/metrics")[1].splitlines() if line.startswith("dray_iod_up ")]
        doc = t.show("x")
        assert bool(doc.get("bound_by")) == bool(doc["pairs"][0].get("bound_by")), doc
        return up == ["dray_iod_up 1"], t.request("GET", "/healthz")[0] == 200, (doc["pairs"][0].get("bound_by") or {}).get("limit")

    t.wait("it copies", lambda: told() == (True, True, "rate"))
    os.kill(pid, signal.SIGSTOP)
    t.wait("that it hangs is told", lambda: told() == (False, False, None), 40)
    assert t.states("x") == ["copying"]
    os.kill(pid, signal.SIGCONT)
    t.wait("it goes on", lambda: told() == (True, True, "rate"), 40)
    # And where nothing moves.
    t.verb("x", "pause")
    os.kill(pid, signal.SIGSTOP)
    t.wait("that it hangs is told", lambda: told() == (False, False, None), 60)
    os.kill(pid, signal.SIGCONT)
    t.wait("it goes on", lambda: told() == (True, True, None), 40)
