#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""A generation every night at two: on the clock on the wall, once for all the nights that the agent was away, once after a pause or when switch.window opens, and
with max_duration counted for each of them."""
import os
import sys

os.environ["TZ"] = "UTC"
sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from agent import AgentTest
from clock import Clock

N = 2 << 20

with AgentTest(fake=False, config="allow_faults: true\n", start=False) as t:
    clock = Clock(t.dir, "2026-11-23T14:00:00Z")
    t.start()
    t.call("POST", "/volumes", {"name": "orders", "resource": t.file("orders", N, os.urandom(N))})
    backup = os.path.join(t.dir, "backup")
    os.mkdir(backup)
    t.submit({"name": "night", "mode": "copy", "start": {"every": "24h", "at": "02:00", "keep": 3}, "max_duration": "2h",
              "pairs": [{"source": "volume:orders", "target": backup + "/orders-{time}.img"}]})

    def days():
        return [g["time"][:10] for g in t.show("night")["generations"] if g["complete"]]

    def events(word):
        return [e["detail"] for e in t.call("GET", "/events?session=night") if e["event"] == word]

    def set_clock(when):
        """And the agent knows it."""
        def told():
            return sum(e["event"] == "clock-set" for e in t.call("GET", "/events?limit=1000"))
        was = told()
        clock.set(when)
        t.wait("the clock was noticed", lambda: told() > was)

    def settled(*expected):
        def test():
            doc = t.show("night")
            return doc["state"] == "synced" and doc["phase"] == "mirroring" and all(g["complete"] for g in doc["generations"]) and tuple(days()) == expected
        try:
            t.wait(f"the generations of {expected}", test)
        except AssertionError as e:
            raise AssertionError(f"{e}: {t.show('night')}") from None

    # The copy begins at once, the first generation is made at two, and bears the instant.
    settled()
    doc = t.show("night")
    assert doc["start_due"] == "2026-11-24T02:00:00Z" and "due at 2026-11-24T02:00:00Z" in doc["reason"], doc
    set_clock("2026-11-24T01:59:00Z")
    assert not days()
    clock.set("2026-11-24T01:59:58Z")
    settled("2026-11-24")
    path = t.show("night")["generations"][0]["paths"][0]
    assert os.path.basename(path).startswith("orders-20261124T0200"), path
    assert t.show("night")["start_due"] == "2026-11-25T02:00:00Z"

    # A clock that is put back a little makes no second one of that night.
    set_clock("2026-11-24T01:59:30Z")
    assert t.show("night")["start_due"] == "2026-11-25T02:00:00Z"
    clock.set("2026-11-24T02:00:10Z")
    settled("2026-11-24")

    # Three nights without the agent: one generation when it is back, and what was missed is told.
    t.terminate()
    clock.set("2026-11-27T09:30:00Z")
    t.start()
    settled("2026-11-24", "2026-11-27")
    missed = events("generation-missed")
    assert len(missed) == 1 and "2026-11-26T02:00:00Z" in missed[0] and "up to 2026-11-27T09:" in missed[0], missed
    assert [w["code"] for w in t.show("night")["warnings"]] == ["late"], t.show("night")["warnings"]
    assert t.show("night")["start_due"] == "2026-11-28T02:00:00Z"

    # Paused over two nights: none, and one when it is resumed.
    t.verb("night", "pause")
    set_clock("2026-11-29T12:00:00Z")
    assert t.show("night")["start_due"] == "2026-11-28T02:00:00Z" and t.show("night")["state"] == "paused" and len(days()) == 2
    t.verb("night", "resume")
    settled("2026-11-24", "2026-11-27", "2026-11-29")

    # Its window is closed at two: it waits for it. The oldest goes.
    t.set("night", **{"switch.window": '["04:00-05:00"]'})
    clock.set("2026-11-30T03:00:00Z")
    t.wait("it waits", lambda: "waits for switch.window" in (t.show("night")["reason"] or ""))
    p = t.refused("POST", "/sessions/night/switch", {})
    assert p.body["code"] == "window", p
    clock.set("2026-11-30T04:00:01Z")
    settled("2026-11-27", "2026-11-29", "2026-11-30")
    t.set("night", **{"switch.window": "none"})

    # The clock is put back by a day, and the row goes on from there; nothing of what is there is touched.
    clock.set("2026-11-29T20:00:00Z")
    t.wait("the row is anew", lambda: t.show("night")["start_due"] == "2026-11-30T02:00:00Z")
    clock.set("2026-11-30T02:00:01Z")
    t.wait("another one of that day", lambda: days().count("2026-11-30") == 2)

    # max_duration was never used up, although all together took many days by the clock.
    assert t.show("night")["state"] in ("synced", "copying"), t.show("night")
    # Kept are fewer from now on.
    t.set("night", start='{every: 24h, at: "02:00", keep: 1}')
    settled("2026-11-30")
    assert len([f for f in os.listdir(backup) if not f.startswith(".")]) == 1, os.listdir(backup)
    assert t.verb("night", "cancel")["state"] == "canceled"
    # Outside its window one has not begun; it says when it will.
    doc = t.submit({"name": "later", "mode": "copy", "start": {"every": "24h", "at": "02:00"}, "window": ["20:00-21:00"],
                    "pairs": [{"source": "volume:orders", "target": t.dir}]})
    assert doc["state"] == "scheduled" and doc["start_due"] == "2026-11-30T20:00:00Z" and "waits for its window" in doc["reason"], doc
    t.verb("later", "cancel")
    assert len(os.listdir(backup)) == 1 and t.show("night")["generations"][0]["complete"]
