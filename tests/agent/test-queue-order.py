#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""The queue over several sessions: priority, then age; `set priority` orders it anew at once; a paused session holds no places; fewer places put the
surplus back without losing what it has done, and each that waits says for what."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from agent import AgentTest  # noqa: E402

with AgentTest(config="active_pairs: 2\n") as t:
    def submit(name, volumes, **more):
        for v in volumes:
            t.iod.add(v, "/nowhere/" + v, 1 << 20)
        return t.submit({"name": name, "pairs": [{"source": f"volume:{v}", "target": t.file(v)} for v in volumes], **more})

    submit("old", "ab")
    t.wait_states("old", "copying", "copying")
    submit("low", "cd", priority="low")
    submit("mid", "ef")
    doc = submit("high", "gh", priority=9)
    reasons = [p["reason"] for p in doc["pairs"]]
    assert all("2 active pairs of the agent" in r for r in reasons) and "; 0 pairs before it" in reasons[0] and "; 1 pair before it" in reasons[1], reasons
    assert "; 2 pairs before it" in t.show("mid")["pairs"][0]["reason"] and "; 5 pairs before it" in t.show("low")["pairs"][1]["reason"]

    # What runs is not displaced; the next place goes to the highest.
    assert t.states("old") == ["copying", "copying"]
    t.iod.sync("a")
    t.wait_states("high", "copying", "queued")
    # Ordered anew at once.
    t.set("low", priority="9")
    t.set("high", priority="low")
    assert "; 0 pairs before it" in t.show("low")["pairs"][0]["reason"] and "; 4 pairs before it" in t.show("high")["pairs"][1]["reason"]
    t.iod.sync("b")
    t.wait_states("low", "copying", "queued")
    # A paused session holds none, and its queued pairs wait for the resume.
    t.verb("low", "pause")
    t.wait_states("low", "paused", "queued")
    assert t.show("low")["pairs"][1]["reason"] == "the session is paused"
    t.wait_states("mid", "copying", "queued")
    # Its turn comes again by its priority, when there is a place.
    t.iod.leg("c").update(done_bytes=1 << 19, copied_bytes=1 << 19, dirty_bytes=1 << 19)
    t.iod.event()
    t.wait("it is seen", lambda: t.show("low")["pairs"][0]["progress"]["bytes_done"] == 1 << 19)
    t.verb("low", "resume")
    t.wait("they wait", lambda: t.states("low") == ["queued", "queued"])
    assert t.show("low")["pairs"][0]["progress"]["bytes_done"] == 1 << 19
    t.iod.sync("g")
    t.wait_states("low", "copying", "queued")
    assert t.iod.count("leg.attach") == 5, "what was attached once is not attached again"
    # A limit of the session comes first; lowered, the last one in goes back, with what it has.
    t.set("low", limits__active_pairs=1)
    t.iod.sync("e")
    t.wait_states("mid", "synced", "copying")
    assert "this session (limits.active_pairs)" in t.show("low")["pairs"][1]["reason"]
    t.set("low", limits__active_pairs="none")
    t.wait_states("low", "copying", "queued")
    t.iod.sync("f")
    t.wait_states("low", "copying", "copying")
    t.iod.leg("d").update(done_bytes=1 << 18, copied_bytes=1 << 18, dirty_bytes=3 << 18)
    t.iod.event()
    t.wait("it is seen", lambda: t.show("low")["pairs"][1]["progress"]["bytes_done"] == 1 << 18)
    t.set("low", limits__active_pairs=1)
    t.wait_states("low", "copying", "queued")
    t.wait("it stops", lambda: t.iod.leg("d")["paused"] and not t.iod.leg("c")["paused"])
    t.wait_states("high", "synced", "copying")
    assert t.show("low")["pairs"][1]["progress"]["bytes_copied"] == 1 << 18
