#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Three pairs and one place: the others wait and say why; more places start them at once, fewer put the surplus back."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from agent import AgentTest  # noqa: E402

with AgentTest() as t:
    for n in "abc":
        t.iod.add(n, "/nowhere/" + n, 1 << 20)
    pairs = [{"source": f"volume:{n}", "target": t.file(n)} for n in "abc"]
    doc = t.submit({"name": "three", "limits": {"active_pairs": 1}, "pairs": pairs})
    assert [p["state"] for p in doc["pairs"]] == ["starting", "queued", "queued"], doc
    assert [p["reason"] for p in doc["pairs"][1:]] == ["waits for 1 of 1 active pairs of this session (limits.active_pairs); 0 pairs before it",
                                                       "waits for 1 of 1 active pairs of this session (limits.active_pairs); 1 pair before it"], doc
    t.wait_states("three", "copying", "queued", "queued")

    doc = t.set("three", limits__active_pairs=3)
    assert [p["state"] for p in doc["pairs"]] == ["copying", "starting", "starting"], doc
    t.wait_states("three", "copying", "copying", "copying")

    t.set("three", limits__active_pairs="2")
    t.wait_states("three", "copying", "copying", "queued")
    t.wait("the surplus stops", lambda: t.iod.leg("c")["paused"])
    assert not t.iod.leg("b")["paused"]

    # A pair that is through makes room.
    t.iod.sync("a")
    t.wait_states("three", "synced", "copying", "copying")
    t.wait("it goes on", lambda: not t.iod.leg("c")["paused"])

    # Pause leaves the queued ones queued and starts nobody.
    t.set("three", limits__active_pairs=1)
    t.wait_states("three", "synced", "copying", "queued")
    doc = t.verb("three", "pause")
    assert [p["state"] for p in doc["pairs"]] == ["paused", "paused", "queued"], doc
    t.verb("three", "resume")
    t.wait_states("three", "synced", "copying", "queued")
    doc = t.verb("three", "cancel")
    assert doc["state"] == "canceled" and t.call("GET", "/locks") == [], doc
    assert all(len(v["legs"]) == 1 for v in t.iod.volumes.values()), t.iod.volumes
