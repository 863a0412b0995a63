#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""A session's life over a fake dray-iod: submit, copy, pause, resume, switch, undo, switch again, commit."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from agent import AgentTest  # noqa: E402

with AgentTest() as t:
    t.iod.add("orders", "/nowhere", 1 << 20)
    target = t.file("target")
    doc = t.submit({"name": "move", "pairs": [{"source": "volume:orders", "target": target}]})
    assert doc["id"].startswith("s-") and doc["pairs"][0]["vehicle"] in ("auto", "host"), doc
    t.wait_states("move", "copying")
    assert [lock["role"] for lock in t.call("GET", "/locks")] == ["volume", "source", "target"], t.call("GET", "/locks")

    doc = t.verb("move", "pause")
    assert doc["state"] == "paused" and t.iod.leg("orders")["paused"], doc
    assert t.verb("move", "pause")["state"] == "paused"  # already so: success
    doc = t.verb("move", "resume")
    t.wait_states("move", "copying")
    assert not t.iod.leg("orders")["paused"]
    assert t.refused("POST", "/sessions/move/resume", {}).exit == 5
    assert t.refused("POST", "/sessions/move/switch", {}).exit == 5  # not synced

    t.iod.sync("orders")
    t.wait_state("move", "synced")
    doc = t.verb("move", "switch")
    assert doc["state"] == "switched" and doc["pairs"][0]["blackout_us"] == 1234, doc
    assert t.iod.leg("orders")["state"] == "primary"
    assert t.refused("POST", "/sessions/move/cancel", {}).exit == 5
    assert t.call("GET", "/locks"), "locks last until commit"

    doc = t.verb("move", "undo")
    assert doc["state"] == "synced", doc
    assert t.iod.leg("orders", 0)["state"] == "primary"
    doc = t.verb("move", "switch")
    assert doc["state"] == "switched", doc
    doc = t.verb("move", "commit")
    assert doc["state"] == "committed" and doc["finished"], doc
    assert [leg["id"] for leg in t.iod.volumes["orders"]["legs"]] == [1]
    assert t.call("GET", "/locks") == []
    assert t.verb("move", "commit")["state"] == "committed"

    events = t.call("GET", "/events?session=move")
    steps = [(e["before"], e["after"]) for e in events if e["event"] == "state"]
    assert steps == [("queued", "starting"), ("starting", "copying"), ("copying", "paused"), ("paused", "queued"), ("queued", "starting"),
                     ("starting", "copying"), ("copying", "synced"), ("synced", "switching"), ("switching", "switched"),
                     ("switched", "switching"), ("switching", "synced"), ("synced", "switching"), ("switching", "switched"),
                     ("switched", "committed")], steps
    assert {e["actor"] for e in events} == {"drayd", f"uid:{os.getuid()}"}, events
    epochs = [m["epoch"] for method, p in t.iod.calls if method == "switch" for m in p["members"]]
    assert epochs == [1, 2, 3], epochs
