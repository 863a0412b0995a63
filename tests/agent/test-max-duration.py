#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""A session transfers for its max_duration and is paused then, for that reason: a resume lets it go on for as long again, a longer one for what
it is longer. Pauses and what is in sync don't count, nor does a clock that is set; what dray-iod did while the agent was away does."""
import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from agent import AgentTest  # noqa: E402
from clock import Clock  # noqa: E402

HOUR = 3600

with AgentTest(config="allow_faults: true\n", start=False) as t:
    clock = Clock(t.dir, "2027-01-01T12:00:00Z")
    t.start()

    def submit(name, most, *volumes, **more):
        for v in volumes:
            t.iod.add(v, "/nowhere/" + v, 1 << 20)
        return t.submit({"name": name, "max_duration": most, **more, "pairs": [{"source": f"volume:{v}", "target": t.file(v)} for v in volumes]})

    def away(seconds):
        t.kill()
        clock.forward(seconds)
        t.start()
        t.wait("dray-iod", lambda: t.call("GET", "/status")["iod"]["connected"])

    def used_up(name, n=1):
        t.wait_states(name, *["paused"] * n)
        doc = t.show(name)
        assert doc["state"] == "paused" and doc["pause_reasons"] == ["max_duration"], doc
        assert doc["reason"] == "its max_duration is used up: resume it, or set a longer one", doc
        return doc

    # Real seconds: it is paused by itself, and goes on for as long again.
    doc = submit("short", "1s", "a", "b")
    assert doc["max_duration"] == "1s"
    used_up("short", 2)
    assert [leg["paused"] for leg in t.iod.volumes["a"]["legs"] if leg["role"] != "source"] == [True]
    begun = time.monotonic()
    t.verb("short", "resume")
    used_up("short", 2)
    assert time.monotonic() - begun > 0.9
    told = [e for e in t.call("GET", "/events?session=short") if e["event"] == "max-duration"]
    assert len(told) == 2 and all(e["actor"] == "drayd" and e["detail"].startswith("it ran for ") for e in told), told
    # Two reasons: a resume by a person lifts what a person may lift.
    assert t.verb("short", "pause")["pause_reasons"] == ["user", "max_duration"]
    doc = t.set("short", max_duration="2h")
    assert doc["pause_reasons"] == ["user"] and doc["state"] == "paused", doc
    t.verb("short", "resume")
    t.wait_states("short", "copying", "copying")
    doc = t.set("short", max_duration="1s")  # it ran for longer
    used_up("short", 2)
    assert "max_duration" not in t.set("short", max_duration="none")
    t.wait_states("short", "copying", "copying")

    # A clock that is set is no time that has passed.
    submit("long", "2h", "c")
    t.wait_states("long", "copying")
    clock.forward(5 * HOUR)
    t.wait("the clock to be noticed", lambda: [e for e in t.call("GET", "/events") if e["event"] == "clock-set"])
    clock.forward(-9 * HOUR)
    away(0)
    t.wait_states("long", "copying")
    # What passed while the agent was away has, for dray-iod went on.
    away(HOUR)
    t.wait_states("long", "copying")
    # A pause does not count; nor does it begin the count anew.
    t.verb("long", "pause")
    away(24 * HOUR)
    assert t.show("long")["pause_reasons"] == ["user"]
    t.verb("long", "resume")
    t.wait_states("long", "copying")
    away(HOUR)
    used_up("long")
    # A longer one: for what it is longer.
    t.set("long", max_duration="3h")
    t.wait_states("long", "copying")
    away(HOUR)
    used_up("long")
    # A resume: for as long again. What is in sync does not count and is not paused.
    t.verb("long", "resume")
    t.wait_states("long", "copying")
    away(2 * HOUR)
    t.wait_states("long", "copying")
    t.iod.sync("c")
    t.wait_state("long", "synced")
    away(24 * HOUR)
    assert t.show("long")["state"] == "synced"
    assert t.verb("long", "switch")["state"] == "switched"

    # What has not begun does not count.
    submit("later", "1h", "d", start={"after": "24h"})
    away(25 * HOUR)
    t.wait_states("later", "copying")
    for most, codes in (("0s", "out_of_range"), ("1001d", "out_of_range"), ("long", "bad_value"), (["1h"], "wrong_type")):
        p = t.refused("PATCH", "/sessions/later", {"max_duration": most})
        assert p.exit == 3 and p.codes() == {"/max_duration": codes}, p
