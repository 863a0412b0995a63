#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""A session transfers in its window only: before it has begun it is scheduled outside of it, afterwards paused, for a reason of its own, which
ends with the next window and lifts no other; what is in sync stays so. Two weeks of it by a clock that is set, over the night in which it is
put back, an agent that was away, and a window that is changed on the way."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from agent import AgentTest  # noqa: E402
from clock import Clock  # noqa: E402

os.environ["TZ"] = "CET-1CEST,M3.5.0,M10.5.0/3"

with AgentTest(config="allow_faults: true\nactive_pairs: 4\n", start=False) as t:
    clock = Clock(t.dir, "2027-10-20T16:00:00Z")  # a Wednesday, 18:00
    t.start()

    def spec(name, window, *volumes, **more):
        for v in set(volumes) - set(t.iod.volumes):
            t.iod.add(v, "/nowhere/" + v, 1 << 20)
        return {"name": name, "window": window, **more, "pairs": [{"source": f"volume:{v}", "target": t.file(v)} for v in volumes]}

    def paused(volume):
        return [leg["paused"] for leg in t.iod.volumes[volume]["legs"] if leg["role"] != "source"]

    def events(session, *words):
        return [e["event"] for e in t.call("GET", f"/events?session={session}") if e["event"] in words]

    # Before it: scheduled. In it: it begins.
    doc = t.submit(spec("night", ["19:00-07:00"], "a", "b"))
    assert doc["state"] == "scheduled" and doc["start_due"] == "2027-10-20T17:00:00Z" and doc["window"] == ["19:00-07:00"], doc
    assert doc["reason"] == "waits for its window to start: it opens at 2027-10-20T17:00:00Z", doc
    clock.set("2027-10-20T17:00:00Z")
    t.wait_states("night", "copying", "copying")
    # At its end it is paused, every pair of it; the legs are kept.
    clock.set("2027-10-21T04:59:58Z")
    t.wait_states("night", "paused", "paused")  # at seven, with nobody's help, and not before
    at = [e["time"] for e in t.call("GET", "/events?session=night") if e["event"] == "window-closed"]
    assert len(at) == 1 and at[0] >= "2027-10-21T05:00:00", at
    doc = t.show("night")
    assert doc["state"] == "paused" and doc["pause_reasons"] == ["window"], doc
    assert doc["reason"] == "outside its window: it opens at 2027-10-21T17:00:00Z", doc
    assert paused("a") == paused("b") == [True] and t.iod.count("leg.detach") == 0
    assert {e["actor"] for e in t.call("GET", "/events?session=night") if e["after"] == "paused"} == {"drayd"}
    # A resume does not get past it; a pause is one more reason, and stays when the window opens.
    assert t.verb("night", "resume")["pause_reasons"] == ["window"]
    t.verb("night", "pause", pairs=["2"])
    assert t.verb("night", "pause")["pause_reasons"] == ["user", "window"]
    t.kill()
    clock.set("2027-10-21T17:00:00Z")
    t.start()
    t.wait("the window to open", lambda: t.show("night")["pause_reasons"] == ["user"])
    assert t.states("night") == ["paused", "paused"] and paused("a") == [True]
    t.verb("night", "resume", pairs=["1"])
    t.wait_states("night", "copying", "paused")
    t.verb("night", "resume")
    t.wait_states("night", "copying", "copying")
    clock.set("2027-10-22T10:00:00Z")
    t.wait_states("night", "paused", "paused")
    # Its own pause outlasts that of the session, whichever ends first.
    t.verb("night", "pause", pairs=["2"])
    clock.set("2027-10-22T20:00:00Z")
    t.wait_states("night", "copying", "paused")
    assert [p.get("pause_reasons") for p in t.show("night")["pairs"]] == [None, ["user"]]
    t.verb("night", "resume", pairs=["2"])
    t.wait_states("night", "copying", "copying")

    # Changed on the way: at once, either way.
    doc = t.set("night", window='["Sat,Sun 00:00-24:00"]')
    assert doc["state"] == "paused" and doc["pause_reasons"] == ["window"] and doc["window"] == ["Sat,Sun 00:00-24:00"], doc
    assert doc["reason"] == "outside its window: it opens at 2027-10-22T22:00:00Z", doc  # midnight there
    doc = t.set("night", window="none")
    assert "window" not in doc and doc["state"] == "copying", doc
    t.wait_states("night", "copying", "copying")
    t.set("night", window="02:15-02:45")
    t.wait_states("night", "paused", "paused")

    # The night with an hour that comes twice: the window comes twice, too.
    seen = []
    for at in ("00:05:00", "00:30:00", "00:50:00", "01:05:00", "01:16:00", "01:46:00"):
        clock.set(f"2027-10-31T{at}Z")
        want = at in ("00:30:00", "01:16:00")
        t.wait_states("night", *["copying" if want else "paused"] * 2)
        seen.append(want)
    assert seen == [False, True, False, False, True, False]
    assert events("night", "window-opened", "window-closed") == ["window-closed", "window-opened"] * 5 + ["window-closed"]

    # In sync there is nothing to transfer: it stays, and is switched when that is due; what falls back waits for the window.
    clock.set("2027-10-31T01:20:00Z")
    t.wait_states("night", "copying", "copying")
    t.iod.sync("a", "b")
    t.wait_states("night", "synced", "synced")
    sets = len([e for e in t.call("GET", "/events") if e["event"] == "clock-set"])
    clock.set("2027-10-31T12:00:00Z")
    t.wait("a look at it", lambda: len([e for e in t.call("GET", "/events") if e["event"] == "clock-set"]) > sets)
    t.kill()
    t.start()
    t.wait("dray-iod", lambda: t.call("GET", "/status")["iod"]["connected"])
    assert t.show("night")["state"] == "synced" and t.show("night")["reason"] is None
    leg = t.iod.leg("b")
    with t.iod.lock:
        leg.update(synced=False, dirty_bytes=4096, done_bytes=(1 << 20) - 4096, state="copying")
    t.iod.event()
    t.wait_states("night", "synced", "paused")  # what is in sync stays so
    with t.iod.lock:  # mirrored writes may bring even that
        leg.update(synced=True, dirty_bytes=0, done_bytes=1 << 20, state="mirror")
    t.iod.event()
    t.wait_states("night", "synced", "synced")
    assert events("night", "window-opened", "window-closed")[-2:] == ["window-closed", "window-opened"]
    assert t.verb("night", "switch")["state"] == "switched"

    # What only stands in the queue when the window ends has not begun. One that waits for a start and a window waits for both.
    clock.set("2027-11-02T20:00:00Z")  # 21:00
    t.submit(spec("full", [], "c", "d", "e", "f") | {"window": "00:00-24:00"})
    t.wait_states("full", *["copying"] * 4)
    doc = t.submit(spec("behind", "19:00-07:00", "g"))
    assert doc["pairs"][0]["state"] == "queued" and doc["started"] is None, doc
    clock.set("2027-11-03T06:00:00Z")
    doc = t.wait_state("behind", "scheduled")
    assert doc["start_due"] == "2027-11-03T18:00:00Z" and t.states("full") == ["copying"] * 4, doc
    doc = t.submit(spec("both", "19:00-07:00", "h", start="2027-11-03T12:00:00Z"))
    assert doc["reason"] == "starts at 2027-11-03T18:00:00Z", doc
    clock.set("2027-11-03T13:00:00Z")
    t.wait("its start", lambda: t.show("both")["reason"] == "waits for its window to start: it opens at 2027-11-03T18:00:00Z")
    # The agent is away over the whole of that night: both say so, and wait for the next one.
    t.kill()
    clock.set("2027-11-04T09:00:00Z")
    t.start()
    for name, pointer in (("behind", "/window"), ("both", "/start")):
        doc = t.show(name)
        late = [w for w in doc["warnings"] if w["code"] == "late"]
        assert [w["pointer"] for w in late] == [pointer] and "2027-11-03T18:00:00Z" in late[0]["detail"], doc
        assert doc["state"] == "scheduled" and doc["start_due"] == "2027-11-04T18:00:00Z", doc
    t.verb("full", "cancel")
    clock.set("2027-11-04T18:00:00Z")
    t.wait_state("behind", "copying")
    t.wait_state("both", "copying")

    # A dry run says when, and what is no window is refused.
    clock.set("2027-11-05T12:00:00Z")
    plan = t.call("POST", "/sessions?dry_run=1", spec("dry", ["Mon-Fri 22:00-06:00"], "i"))["plan"]
    assert plan["start"]["at"] == "2027-11-05T21:00:00Z" and plan["pairs"][0]["waits"] == plan["start"]["waits"], plan
    for window, codes in (("night", {"/window": "bad_value"}), ([], {"/window": "out_of_range"}), (["19:00-07:00", 5], {"/window/1": "wrong_type"}),
                          ({"from": 1}, {"/window": "wrong_type"}), (["19:00-19:00"], {"/window/0": "bad_value"})):
        p = t.refused("POST", "/sessions", spec("bad", window, "i"))
        assert p.exit == 3 and p.codes() == codes, (window, p)
