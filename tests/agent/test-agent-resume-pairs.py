#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""A pause of the session holds what can be paused: a failed or switched pair is not resumed; resuming one pair leaves the others paused. It
does not hold what could not be paused: a switched pair is verified all the same, and a failed one goes on when it is retried."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from agent import AgentTest  # noqa: E402

with AgentTest() as t:
    names = "abcd"
    for n in names:
        t.iod.add(n, "/nowhere/" + n, 1 << 20)
    t.submit({"name": "s", "limits": {"active_pairs": 3}, "pairs": [{"source": f"volume:{n}", "target": t.file(n)} for n in names]})
    t.wait_states("s", "copying", "copying", "copying", "queued")
    t.iod.leg("a").update(held=True, state="degraded", error="out of space")
    t.iod.event()
    t.wait_states("s", "failed", "copying", "copying", "copying")
    t.iod.sync("b")
    t.wait_states("s", "failed", "synced", "copying", "copying")
    t.verb("s", "switch", pairs=["2"])
    t.set("s", limits__active_pairs=1)
    t.wait_states("s", "failed", "switched", "copying", "queued")
    doc = t.verb("s", "pause")
    assert doc["state"] == "paused" and doc["not_paused"] == ["1", "2"], doc
    assert doc["reason"] == "left out, failed: pair 1", doc["reason"]
    for pair in ("1", "2"):
        p = t.refused("POST", "/sessions/s/resume", {"pairs": [pair]})
        assert p.exit == 5 and f"pair {pair} is " in p.body["detail"], p
    assert t.show("s")["state"] == "paused"
    # A queued pair that is resumed alone goes on; what is paused stays so, with its reason.
    doc = t.verb("s", "resume", pairs=["4"])
    t.wait_states("s", "failed", "switched", "paused", "copying")
    doc = t.show("s")
    assert doc["pairs"][2]["pause_reasons"] == ["user"] and doc["state"] == "copying", doc
    t.iod.sync("d")
    t.wait_states("s", "failed", "switched", "paused", "synced")
    assert all("pause_reasons" not in p for p in doc["pairs"][:2]), doc
    t.iod.leg("a").update(held=False, state="copying", error=None)
    t.verb("s", "retry", pairs=["1"])
    t.wait_states("s", "copying", "switched", "paused", "synced")
    t.verb("s", "pause")
    assert t.verb("s", "verify", pairs=["2"])["pairs"], "not verified"
    assert t.verb("s", "resume")["state"] == "copying"
    assert t.refused("POST", "/sessions/s/resume", {}).exit == 5
