#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Odd hours: a pair in sync beside one that its window holds, a switch window when no transfer window is open, a clock that is set in a test period, a
host that sleeps, an agent that was away when a window closed, events too early, twice and for who is paused."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from agent import AgentTest  # noqa: E402
from clock import Clock, rfc, seconds  # noqa: E402

HOUR, DAY = 3600, 86400
os.environ["TZ"] = "UTC"

with AgentTest(config="allow_faults: true\n", start=False) as t:
    clock = Clock(t.dir, "2027-01-01T06:00:00Z")
    t.start()

    def submit(name, *volumes, **keys):
        for v in volumes:
            t.iod.add(v, "/nowhere/" + v, 1 << 20)
        return t.submit({"name": name, **keys, "pairs": [{"source": f"volume:{v}", "target": t.file(v)} for v in volumes]})

    def events(word, session=None):
        return [e for e in t.call("GET", "/events" + (f"?session={session}" if session else "")) if e["event"] == word]

    def seen(word, change, *args):
        """Does that to the clock, and waits until the agent has noticed."""
        n = len(events(word))
        change(*args)
        t.wait(word, lambda: len(events(word)) > n)
        return events(word)[-1]["detail"]

    def paused(v):
        return [leg["paused"] for leg in t.iod.volumes[v]["legs"] if leg["role"] != "source"]

    # What is in sync has nothing to transfer: no window holds it, and it is verified and switched as it is due. The other one is held.
    submit("mixed", "a", "b", window=["19:00-07:00"], verify="full", switch={"when": "pair", "window": ["12:00-13:00"]})
    t.wait_states("mixed", "copying", "copying")
    t.iod.sync("a")
    t.wait_states("mixed", "synced", "copying")
    clock.pass_to("2027-01-01T07:00:01Z")
    t.wait_states("mixed", "synced", "paused")
    doc = t.show("mixed")
    assert doc["state"] == "paused" and doc["pause_reasons"] == ["window"] and "pause_reasons" not in doc["pairs"][0], doc
    assert paused("a") == [False] and paused("b") == [True]
    t.verb("mixed", "pause", pairs=["1"])  # a person's pause holds it, and no window is needed to lift that
    t.wait_states("mixed", "paused", "paused")
    t.verb("mixed", "resume", pairs=["1"])
    t.wait_states("mixed", "synced", "paused")
    clock.pass_to("2027-01-01T12:00:01Z")
    t.wait_states("mixed", "switched", "paused")
    assert t.show("mixed")["pairs"][0]["verified"] == "clean"
    clock.pass_to("2027-01-01T19:00:01Z")
    t.wait_states("mixed", "switched", "copying")
    t.iod.sync("b")
    t.wait_states("mixed", "switched", "synced")
    clock.pass_to("2027-01-02T12:00:01Z")
    t.wait_states("mixed", "switched", "switched")
    # The same of max_duration.
    submit("short", "c", "d", max_duration="1h")
    t.wait_states("short", "copying", "copying")
    t.iod.sync("c")
    t.wait_states("short", "synced", "copying")
    t.set("short", max_duration="1s")
    t.wait_states("short", "synced", "paused")
    t.verb("short", "switch", pairs=["1"])
    t.wait_states("short", "switched", "paused")

    # A test period is time that passes. A clock that is put forward over its end, or back, moves the end with it.
    submit("test", "e", switch={"when": "synced", "commit": "24h"})
    t.wait_states("test", "copying")
    t.iod.sync("e")
    t.wait_state("test", "switched")
    due = seconds(t.show("test")["commit_due"])
    assert abs(due - clock.now() - DAY) < 60, rfc(due)
    for by in (30 * DAY, -60 * DAY, 30 * DAY):
        said = seen("clock-set", clock.forward, by)
        assert said.startswith("by ") and abs(int(said.split()[1]) - by) <= 2, said
        t.wait("it is moved", lambda d=due + by: abs(seconds(t.show("test")["commit_due"]) - d) <= 2)
        due += by
        assert t.show("test")["state"] == "switched"
    t.kill()
    t.start()
    assert abs(seconds(t.show("test")["commit_due"]) - due) <= 5
    # A host that came up long ago, by its clock, and is told better: never longer than the period as a whole.
    t.kill()
    clock.set("2000-01-01T00:00:00Z")
    t.start()
    assert t.show("test")["state"] == "switched"
    seen("clock-set", clock.set, "2027-01-03T00:00:00Z")
    t.wait("it is moved", lambda: clock.now() + DAY - 60 < seconds(t.show("test")["commit_due"]) <= clock.now() + DAY + 1)
    # Asleep or awake, running or not.
    said = seen("host-slept", clock.pass_to, "2027-01-03T20:00:00Z")
    assert said.startswith("for ") and t.show("test")["state"] == "switched", said
    t.kill()
    clock.pass_to("2027-01-04T01:00:00Z")
    t.start()
    t.wait_state("test", "committed")

    # A host that sleeps transfers nothing; a moment that came meanwhile has come.
    clock.pass_to("2027-01-04T08:00:00Z")
    submit("asleep", "f", max_duration="1h")
    submit("woken", "g", start="2027-01-04T12:00:00Z")
    t.wait_states("asleep", "copying")
    sets = len(events("clock-set"))
    seen("host-slept", clock.pass_to, "2027-01-05T00:00:00Z")
    t.wait_states("woken", "copying")
    assert t.states("asleep") == ["copying"] and len(events("clock-set")) == sets
    t.kill()
    t.start()
    t.wait("dray-iod", lambda: t.call("GET", "/status")["iod"]["connected"])
    assert t.states("asleep") == ["copying"], "the time asleep was counted after a restart"

    # The agent is away when a window closes: dray-iod knows of none and goes on, which is told; and it is paused then.
    submit("over", "h", "i", window=["00:00-06:00"])
    submit("done", "j", window=["00:00-06:00"])
    t.wait_states("over", "copying", "copying")
    t.wait_states("done", "copying")
    t.iod.sync("j")
    t.wait_state("done", "synced")
    t.kill()
    clock.pass_to("2027-01-05T09:00:00Z")
    t.start()
    t.wait_states("over", "paused", "paused")
    doc = t.show("over")
    late = [w for w in doc["warnings"] if w["code"] == "late"]
    assert [w["pointer"] for w in late] == ["/window"] and "closed at 2027-01-05T06:00:00Z" in late[0]["detail"], doc
    assert [e["detail"] for e in events("warning", "over") if e["after"] == "late"] == [late[0]["detail"]]
    assert not [w for w in t.show("done")["warnings"] if w["code"] == "late"] and t.show("done")["state"] == "synced"
    # Away when it opens: it goes on with the agent, and that is nothing to tell.
    t.kill()
    clock.pass_to("2027-01-06T01:00:00Z")
    t.start()
    t.wait_states("over", "copying", "copying")
    assert len([w for w in t.show("over")["warnings"] if w["code"] == "late"]) == 1

    # An event is for who waits for it when it comes: not for who comes later; not twice; but for one that is paused.
    assert t.call("POST", "/events", {"name": "go"})["sessions"] == []
    doc = submit("evented", "k", switch={"when": {"event": "go"}})
    t.wait_states("evented", "copying")
    t.verb("evented", "pause")
    t.wait_states("evented", "paused")
    assert t.call("POST", "/events", {"name": "go"})["sessions"] == [doc["id"]]
    assert t.call("POST", "/events", {"name": "go"})["sessions"] == []
    t.iod.sync("k")
    t.verb("evented", "resume")
    t.wait_state("evented", "switched")

    # Not before: what is no whole second is a second.
    doc = submit("half", "l", start={"after": "1500ms"})
    assert seconds(doc["start_due"]) - seconds(doc["created"]) == 2, doc
    # A moment that is past is now.
    assert submit("past", "m", start="2020-01-01T00:00:00Z")["state"] == "copying"
    # What is no window is told, with what would be.
    for window in (["19:00-19:00"], ["24:00-01:00"], ["Monday 10:00-11:00"], ["Mon, Tue 10:00-11:00"], ["9:00-11:00"]):
        p = t.refused("POST", "/sessions", {"name": "bad", "window": window, "pairs": [{"source": "volume:m", "target": t.file("n")}]})
        assert p.codes()["/window/0"] == "bad_value", p
        assert ["HH:MM-HH:MM" in e["detail"] and "Sat,Sun 00:00-24:00" in e["legal"] for e in p.body["errors"] if e["pointer"] == "/window/0"] == [True], p
