#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""When a session begins: at a time, after a while, on an event; what it waits for is told, nothing of it is touched before, and the moment
outlives restarts, a clock that is set, and an agent that was not there."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from agent import AgentTest  # noqa: E402
from clock import Clock, rfc, seconds  # noqa: E402

HOUR = 3600

with AgentTest(config="allow_faults: true\nactive_pairs: 3\n", start=False) as t:
    clock = Clock(t.dir, "2027-01-01T12:00:00Z")
    t.start()

    def spec(name, start, *volumes, **more):
        for v in set(volumes) - set(t.iod.volumes):
            t.iod.add(v, "/nowhere/" + v, 1 << 20)
        return {"name": name, "start": start, **more, "pairs": [{"source": f"volume:{v}", "target": t.file(v)} for v in volumes]}

    def restart():
        t.kill()
        t.start()

    def events(session, word):
        return [e for e in t.call("GET", f"/events?session={session}") if e["event"] == word]

    def late(doc):
        return [w for w in doc["warnings"] if w["code"] == "late"]

    # A time: locked and checked, told, and left alone until then.
    doc = t.submit(spec("timed", "2027-01-01T18:00:00+01:00", "a", "b"))
    assert doc["state"] == "scheduled" and doc["started"] is None and doc["start_due"] == "2027-01-01T17:00:00Z", doc
    assert doc["start"] == "2027-01-01T18:00:00+01:00" and doc["reason"] == "starts at 2027-01-01T17:00:00Z", doc
    assert [(p["state"], p["reason"], p["phase"]) for p in doc["pairs"]] == [("scheduled", doc["reason"], "waiting")] * 2, doc
    assert doc["progress"]["bytes_total"] == 2 << 20 and doc["progress"]["bytes_done"] == 0, doc
    other = {"name": "other", "pairs": [{"source": "volume:a", "target": t.file("c")}]}
    assert t.refused("POST", "/sessions", other).codes() == {"/pairs/0/source": "locked"}
    for verb in ("pause", "resume", "switch", "undo", "commit", "retry", "verify"):
        p = t.refused("POST", f"/sessions/timed/{verb}", {})
        assert p.exit == 5 and "cancel or set" in p.body["detail"], p
    for at in ("2027-01-01T16:50:00Z", "2027-01-01T03:00:00Z"):  # put forward, and back
        clock.set(at)
        restart()
        assert t.show("timed")["reason"] == doc["reason"] and t.states("timed") == ["scheduled", "scheduled"]
    assert t.iod.count("leg.attach") == 0
    clock.set("2027-01-01T17:00:00Z")
    t.wait_states("timed", "copying", "copying")
    doc = t.show("timed")
    assert doc["state"] == "copying" and doc["reason"] is None and "start_due" not in doc and not late(doc), doc
    assert "2027-01-01T17:00:00Z" <= doc["started"] < "2027-01-01T17:10:00Z", doc["started"]
    assert len(events("timed", "due")) == 1
    sets = [e["detail"] for e in t.call("GET", "/events") if e["event"] == "clock-set"]
    assert sets and all(s.startswith("by ") for s in sets), sets
    # Once begun it has begun: a clock that is put back changes nothing, and its start can't be set any more.
    clock.set("2027-01-01T12:00:00Z")
    restart()
    t.wait_states("timed", "copying", "copying")
    p = t.refused("PATCH", "/sessions/timed", {"start": "now", "priority": "high"})
    assert p.exit == 3 and p.codes() == {"/start": "not_settable"} and "2027-01-01T17:00:" in p.body["errors"][0]["detail"], p
    assert "priority" not in t.show("timed")

    # After a while: counted from the submit, over restarts, too.
    doc = t.submit(spec("later", {"after": "2h"}, "d"))
    due = rfc(seconds(doc["created"]) + 2 * HOUR)
    assert doc["state"] == "scheduled" and doc["start_due"] == due and doc["start"] == {"after": "2h"}, doc
    restart()
    assert t.show("later")["start_due"] == due
    clock.set(due)
    t.wait_state("later", "copying")
    t.verb("later", "cancel")

    # An event, for those who wait for it; the start comes before the switch, which waits for the next one of that name.
    doc = t.submit(spec("evented", {"event": "loaded"}, "e", switch={"when": {"event": "loaded"}}))
    assert doc["state"] == "scheduled" and "start_due" not in doc and doc["reason"] == "waits for the event loaded to start", doc
    assert t.call("POST", "/events", {"name": "other"})["sessions"] == []
    restart()
    assert t.call("POST", "/events", {"name": "loaded"})["sessions"] == [doc["id"]]
    t.wait_states("evented", "copying")
    t.iod.sync("e")
    assert t.wait_state("evented", "synced")["reason"] == "waits for the event loaded to be switched"
    t.call("POST", "/events", {"name": "loaded"})
    t.wait_state("evented", "switched")

    # The agent was not there: it begins late, and says so.
    clock.set("2027-01-02T12:00:00Z")
    t.submit(spec("missed", "2027-01-02T13:00:00Z", "f"))
    t.submit(spec("not-yet", "2027-01-05T00:00:00Z", "g"))
    t.kill()
    clock.set("2027-01-02T19:30:00Z")
    t.start()
    t.wait_states("missed", "copying")
    doc = t.show("missed")
    assert [w["pointer"] for w in late(doc)] == ["/start"] and "2027-01-02T13:00:00Z" in late(doc)[0]["detail"], doc
    assert [e["detail"] for e in events("missed", "warning") if e["after"] == "late"] == [late(doc)[0]["detail"]]
    doc = t.show("not-yet")
    assert doc["state"] == "scheduled" and not late(doc), doc
    t.verb("missed", "cancel")

    # Set anew: to another time, to an event, to now.
    doc = t.set("not-yet", start="{after: 90m}")
    assert doc["state"] == "scheduled" and doc["start"] == {"after": "90m"}, doc
    assert 4800 < seconds(doc["start_due"]) - clock.now() < 5410, doc
    assert t.set("not-yet", start='{event: go}')["reason"] == "waits for the event go to start"
    assert t.set("not-yet", start="2027-01-02T20:00:00Z")["start_due"] == "2027-01-02T20:00:00Z"
    doc = t.set("not-yet", start="now")
    assert doc["state"] == "copying" and doc["start"] == "now" and "start_due" not in doc, doc
    t.wait_states("not-yet", "copying")
    # What only stands in the queue has not begun: it can be sent back.
    doc = t.submit(spec("queued", "now", "h"))
    assert doc["state"] == "copying" and doc["pairs"][0]["state"] == "queued" and doc["started"] is None, doc
    doc = t.set("queued", start="2027-06-01T00:00:00Z")
    assert doc["state"] == "scheduled" and doc["pairs"][0]["state"] == "scheduled" and doc["start_due"] == "2027-06-01T00:00:00Z", doc
    assert t.set("queued", start="now")["pairs"][0]["state"] == "queued"
    # Given up before it began: nothing was asked of dray-iod.
    t.set("queued", start='{event: never}')
    attached = t.iod.count("leg.attach")
    assert t.verb("queued", "cancel")["state"] == "canceled" and t.iod.count("leg.attach") == attached
    assert not [x for x in t.call("GET", "/locks") if x["session"] == doc["id"]]

    # A dry run says when.
    got = t.call("POST", "/sessions?dry_run=1", spec("dry", "2027-06-01T00:00:00Z", "i"))
    assert got["plan"]["start"] == {"at": "2027-06-01T00:00:00Z", "event": None, "waits": "starts at 2027-06-01T00:00:00Z"}, got["plan"]
    assert got["plan"]["pairs"][0]["waits"] == "starts at 2027-06-01T00:00:00Z", got["plan"]
    got = t.call("POST", "/sessions?dry_run=1", spec("dry", {"event": "go"}, "i"))["plan"]["start"]
    assert got == {"at": None, "event": "go", "waits": "waits for the event go to start"}, got
    got = t.call("POST", "/sessions?dry_run=1", spec("dry", "now", "i"))["plan"]["start"]
    assert abs(seconds(got["at"]) - clock.now()) < 600 and got["event"] is None and got["waits"] is None, got

    # What can't be a start is refused by name.
    for start, codes in (("soon", {"/start": "bad_value"}), (5, {"/start": "wrong_type"}), ("2027-13-01T00:00:00Z", {"/start": "bad_value"}),
                         ("2027-01-01", {"/start": "bad_value"}), ({"after": "0s"}, {"/start/after": "out_of_range"}),
                         ({"after": "soon"}, {"/start/after": "bad_value"}), ({"event": "a b"}, {"/start/event": "bad_value"}),
                         ({}, {"/start": "bad_value"}), ({"after": "2h", "event": "go"}, {"/start": "bad_value"}),
                         ({"when": "2h"}, {"/start/when": "unknown_key"}),
                         ({"every": "100ms", "at": "25:00", "keep": 0},
                          {"/start/every": "out_of_range", "/start/at": "bad_value", "/start/keep": "out_of_range"})):
        p = t.refused("POST", "/sessions", spec("bad", start, "i"))
        assert p.exit == 3 and p.codes() == codes, (start, p)
        assert all(e["legal"] and e["value"] is not None for e in p.body["errors"]), p
