#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""A pair that failed at its start can be retried at once, while what it had begun is still being let go."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from agent import AgentTest  # noqa: E402

with AgentTest() as t:
    t.iod.held["volume.remove"] = True
    t.iod.fail["leg.attach"] = [("not_accessible", "it is on fire")]
    t.submit({"name": "x", "pairs": [{"source": t.file("a"), "target": t.file("b")}]})
    t.wait("its hidden volume is being removed", lambda: t.iod.kept)
    assert t.call("GET", "/sessions/x")["pairs"][0]["state"] == "failed"
    assert t.verb("x", "retry", pairs=["1"])["pairs"][0]["state"] in ("queued", "starting")
    assert t.iod.count("volume.add") == 1
    t.iod.release("volume.remove")
    t.wait_states("x", "copying")
    assert t.iod.count("volume.add") == 2 and t.iod.count("volume.remove") == 1 and len(t.iod.volumes) == 1, t.iod.calls
    assert len(t.call("GET", "/locks")) == 2
