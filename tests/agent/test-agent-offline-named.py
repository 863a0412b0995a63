#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""An offline pair is split off by itself. If that failed as often as it may, somebody may name it to `dray switch`: then it is split off as well,
never switched, and it can't be mixed with pairs that have an application."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from agent import AgentTest  # noqa: E402

with AgentTest() as t:
    t.iod.add("v", "/nowhere/v", 1 << 20)
    t.iod.fail["split"] = [("dirty", "not to be")]
    sid = t.submit({"name": "s", "switch": {"attempts": 1}, "pairs": [{"source": t.file("a"), "target": t.file("b")},
                                                                      {"source": "volume:v", "target": t.file("c")}]})["id"]
    t.wait_states("s", "copying", "copying")
    t.iod.sync(sid + ".1")
    t.iod.sync("v")
    t.wait("it was tried", lambda: any(e["event"] == "switch-failed" for e in t.call("GET", "/events?session=s")))
    t.wait_states("s", "synced", "synced")
    before = len(t.iod.calls)
    p = t.refused("POST", "/sessions/s/switch", {"pairs": ["1", "2"]})
    assert p.exit == 5 and p.body["code"] == "mixed" and "pair 1" in p.body["detail"], p
    t.verb("s", "switch", pairs=["1"])
    t.wait_states("s", "completed", "synced")
    methods = [method for method, _ in t.iod.calls[before:]]
    assert "split" in methods and "switch" not in methods, methods
    assert t.verb("s", "switch", pairs=["2"])["pairs"][1]["state"] == "switched"
