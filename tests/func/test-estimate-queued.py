#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""An estimate counts who goes before: pairs of other sessions that have the agent's places, or wait for one with no lower priority, keep the new session waiting for as
long as they take; one of a higher priority goes before those that wait; and the vehicle's limits are limits, too. What is never done is told in words."""
import json
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from dray import MiB, Scratch, wait_for  # noqa: E402

with Scratch() as s:
    a = s.agent()
    for v in "abcde":
        a.volume(v, s.file(v, "2M", data=True))

    def doc(name, *volumes, rate="4KiB", **more):
        return {"name": name, "limits": {"rate": rate, **more.pop("limits", {})}, **more,
                "pairs": [{"source": f"volume:{v}", "target": s.path(f"to-{v}"), "create": "thin", "overwrite": True} for v in volumes]}

    def estimate(*args, **kw):
        return a.json("estimate", "-", stdin=json.dumps(doc(*args, **kw)))

    def about(e, seconds):
        assert 0.9 * seconds <= e["seconds"] <= 1.15 * seconds and e["seconds_low"] <= e["seconds"] <= e["seconds_high"], (seconds, e)

    alone = 2 * MiB // 4096
    about(estimate("new", "b"), alone)
    # Nobody is in the way of a session that has places enough.
    a.spec(doc("runs", "a"))
    wait_for("it has an ETA", lambda: (a.show("runs")["progress"]["eta_seconds"] or 0) > alone // 2)
    e = estimate("new", "b")
    about(e, alone)
    assert not any("other sessions have" in t for t in e["assumptions"]), e
    # The only place is taken.
    a.run("settings", "active_pairs=1")
    e = estimate("new", "b")
    about(e, 2 * alone)
    assert e["pairs"][0]["begins"] > alone // 2 and any("pairs of other sessions have 1 of the agent's 1 places, and 0 wait before it" in t for t in e["assumptions"]), e
    assert e["seconds_high"] - e["seconds_low"] > alone // 4, "the range does not know that an ETA is no promise"
    # One more waits; who is more important goes before it.
    a.spec(doc("waits", "c", "d", rate="8KiB"))
    e = estimate("new", "b")
    about(e, 3 * alone)
    assert any("and 2 wait before it" in t for t in e["assumptions"]), e
    about(estimate("new", "b", priority="high"), 2 * alone)
    # With two places the other one is free for those that wait.
    a.run("settings", "active_pairs=2")
    wait_for("two transfer", lambda: a.json("status")["agent"]["pairs"]["active"] == 2)
    a.run("cancel", "waits")
    about(estimate("new", "b"), alone)
    begins = [p["begins"] for p in estimate("new", "b", "c")["pairs"]]
    assert begins[0] == 0 and begins[1] > alone // 2, begins
    # A vehicle's places count as the session's and the agent's do.
    about(estimate("new", "b", "c", limits={"vehicle": {"host": {"active_pairs": 1}}}), 2 * alone)
    one = {p["id"]: p["begins"] for p in estimate("new", "b", "c", limits={"vehicle": {"host": {"active_pairs": 1}}})["pairs"]}
    assert one["1"] == 0 and one["2"] > alone // 2, one
    a.run("settings", "active_pairs=default", "vehicle.host.active_pairs=1")
    about(estimate("new", "b"), 2 * alone)

    # Nobody knows when it ends: it is said, and not counted.
    a.run("set", "runs", "limits.rate=00:00,0")
    e = wait_for("it ends never", lambda: a.show("runs")["progress"]["eta_seconds"] is None and estimate("new", "b"))
    about(e, alone)
    assert any(t.startswith("of 1 pairs of other sessions") and t.endswith("they are not counted") for t in e["assumptions"]), e

    # Never.
    text = a.run("estimate", "-", stdin=json.dumps(doc("new", "b", rate="00:00,0"))).stdout
    assert text.splitlines()[:2] == ["new: 2.0 MiB, never done, as it stands: the last assumption says why", "  pair 1: volume:b: 2.0 MiB, never done"], text
    assert "would not end within a year" in text.splitlines()[-1], text
