#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""A fortnight of four sessions by a clock that is set, each hour of it compared with what dray-session(5) says of time (lib/timemodel.py): windows
with weekdays, a generation a night, a timetable, events, a max_duration, a switch at a time and in its window, a commit after a test period; on the way the clock
is put forward by a day and back, the agent is away for a day, the night in which an hour is left out in Berlin, and, the host having
moved to Sydney, the one in which an hour comes twice there. drayd and dray-iod are real, the volumes small and held up by their rates."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from agent import AgentTest  # noqa: E402
from clock import Clock, rfc, seconds  # noqa: E402
from dray import MiB, SLOW  # noqa: E402
from iod import Rpc  # noqa: E402
from timemodel import ENDS, Generations, Model  # noqa: E402

HOUR = 3600
BEGIN, END = seconds("2027-03-21T23:00:07Z"), seconds("2027-04-04T14:00:07Z")  # a Monday, midnight in Berlin; a Monday, midnight in Sydney
DOWN = seconds("2027-03-25T08:00:07Z"), seconds("2027-03-26T09:00:07Z")
SYDNEY = seconds("2027-03-31T12:00:07Z")
WEEKLY = {"name": "weekly", "start": "2027-03-22T10:30:00+01:00", "window": ["Mon-Fri 19:00-07:00", "Sat,Sun 00:00-24:00"],
          "limits": {"step": "16K", "rate": "08:00,4K 20:00,6K 02:30,0 03:15,2K"},
          "switch": {"when": "2027-04-02T00:00:00Z", "window": ["Sat 02:00-04:00"], "commit": "1450m"}}
EVENTED = {"name": "evented", "start": {"event": "loaded"}, "window": ["Mon-Fri 00:00-12:00", "Sun 02:15-02:45"], "max_duration": "20h",
           "limits": {"step": "16K", "rate": "4K"}, "switch": {"when": {"event": "go"}, "window": ["Sun 02:15-02:45"], "commit": "switched"}}
LATE = {"name": "late", "mode": "copy", "start": "2027-03-25T12:00:00Z", "limits": {"step": "16K", "rate": "4K"},
        "window": ["Thu-Fri 08:00-18:00", "Sat 22:00-02:20", "Sun 02:10-02:50"]}
NIGHTLY = {"name": "nightly", "mode": "copy", "start": {"every": "24h", "at": "02:30", "keep": 3}}

os.environ["TZ"] = zone = "Europe/Berlin"
with AgentTest(fake=False, config="allow_faults: true\n", start=False) as t:
    clock, models, nightly = Clock(t.dir, BEGIN - HOUR), {}, []
    t.start()

    def submit(doc, *volumes, **pair):
        for v in volumes:
            t.call("POST", "/volumes", {"name": v, "resource": t.file("old-" + v, 8 * MiB, os.urandom(8 * MiB))})
        before = clock.now()
        t.submit(doc | {"pairs": [{"source": f"volume:{v}", "target": t.file("new-" + v, 8 * MiB)} for v in volumes]})
        models[doc["name"]] = m = Model(doc, clock.now(), zone)
        m.volumes = volumes
        look(before)

    def submit_nightly():
        """Its volume is in sync before the first night."""
        os.mkdir(t.dir + "/backup")
        t.call("POST", "/volumes", {"name": "e", "resource": t.file("old-e", MiB, os.urandom(MiB))})
        t.submit(NIGHTLY | {"pairs": [{"source": "volume:e", "target": t.dir + "/backup"}]})
        nightly.append(Generations(NIGHTLY, clock.now(), zone))
        look(clock.now())

    def generations():
        """Those that there are, as the document says and as files; None: something is not through."""
        doc = t.show("nightly")
        files = sorted(x for x in os.listdir(t.dir + "/backup") if x[0] != ".")
        again = t.show("nightly")  # a moment may have come meanwhile
        if doc["state"] != "synced" or again["phase"] != "mirroring" or not all(g["complete"] for g in doc["generations"]):
            return None
        if doc["generations"] != again["generations"] or doc["phase"] != again["phase"]:
            return None
        assert sorted(os.path.basename(g["paths"][0]) for g in doc["generations"]) == files, (doc["generations"], files)
        return [seconds(g["time"][:19].rstrip("Z") + "Z") for g in doc["generations"]]

    def near(is_, should):
        return is_ is not None and len(is_) == len(should) and all(-2 <= a - b <= 60 * SLOW for a, b in zip(is_, should))

    def rates(names):
        iod = Rpc(os.path.join(t.run_dir, "iod.sock"))
        got = {v["name"]: v["limits"]["rate"] for v in iod.call("volume.list") if v["name"] in names}
        iod.close()
        return [got[n] for n in names]

    def wrong(m, now):
        """What the document, or dray-iod, says otherwise than it should, in words; None: nothing."""
        doc = t.show(m.name)
        due = m.due(now, zone)
        want = {"state": m.state, "pause_reasons": m.reasons, "start_due": due and rfc(due)}
        has = {"state": doc["state"], "pause_reasons": doc.get("pause_reasons", []), "start_due": doc.get("start_due")}
        if has != want:
            return f"{has}, not {want}; reason: {doc['reason']}"
        if not all(w in (doc["reason"] or "") for w in m.words) or bool(m.words) != bool(doc["reason"]):
            return f"reason: {doc['reason']}, not {m.words}"
        if m.state == "switched" and m.commit != "manual" and abs(seconds(doc["commit_due"]) - m.switched - 1450 * 60) > 60 * SLOW:
            return f"commit_due is {doc['commit_due']}; it was switched at {rfc(m.switched)}"
        if m.state == "copying":
            all_, of = m.bytes_a_second(now, zone), len(m.volumes)
            rate = None if m.free or all_ is None else all_ // of
            if rates(m.volumes) != [rate] * of:
                return f"rates in dray-iod {rates(m.volumes)}, not {rate}"
        return None

    def look(now):
        """`now`: before what there is to notice, for it may be noticed at once. By now they have all noticed what the clock shows; then each is what it
        should be, and stays it."""
        for m in models.values():
            m.look(now, zone)
            last = []
            try:
                t.wait(m.name, lambda: not last.__setitem__(slice(None), [wrong(m, now)]) and not last[0])
            except AssertionError:
                raise AssertionError(f"at {rfc(now)} ({zone}) {m.name} is {last[0]}") from None
        for m in nightly:
            m.look(now, zone)
            try:
                t.wait(m.name, lambda: near(generations(), m.times))
            except AssertionError:
                raise AssertionError(f"at {rfc(now)} ({zone}) the generations are of {[rfc(x) for x in generations() or []]}, not of "
                                     f"{[rfc(x) for x in m.times]}: {t.show('nightly')}") from None
            due = rfc(m.next(zone))
            try:
                t.wait("when the next is due", lambda: t.show("nightly")["start_due"] == due)
            except AssertionError:
                raise AssertionError(f"at {rfc(now)} ({zone}) it says {t.show('nightly')['start_due']}, not {due}") from None

    def sweeps():
        return t.call("GET", "/status")["agent"]["work"]["sweeps"]

    def at(when):
        """Time passes until then."""
        was = sweeps()
        clock.pass_to(when, zone)
        t.wait("the agent to see the clock", lambda: sweeps() > was)
        look(seconds(when) if isinstance(when, str) else when)

    def clock_set(when):
        """A person sets it."""
        was, by = sweeps(), clock.by(when)
        clock.set(when)
        t.wait("the agent to see the clock", lambda: sweeps() > was)
        for m in [*models.values(), *nightly]:
            m.clock_set(by, clock.now())
        look(seconds(when))

    def changes(when):
        """Something begins or ends with that hour."""
        return any(m.window.open(x, zone) != m.window.open(when, zone) or m.switch_window.open(x, zone) != m.switch_window.open(when, zone) or
                   m.bytes_a_second(x, zone) != m.bytes_a_second(when, zone) for x in [when - 60] for m in models.values())

    def event(name):
        """Told, and heard by those who wait for it."""
        before = clock.now()
        got = t.call("POST", "/events", {"name": name})["sessions"]
        heard = [m.name for m in models.values() if m.tell(name)]
        assert sorted(t.show(i)["name"] for i in got) == sorted(heard), (name, got, heard)
        look(before)
        return heard

    def free(name):
        models[name].free, before = True, clock.now()
        t.set(name, limits__rate="none")
        look(before)

    def weekly_set_back():
        clock_set("2027-03-22T07:00:07Z")  # nothing has begun: it waits for the same moment
        clock_set("2027-03-22T10:00:07Z")

    def forward_and_back():
        """By a day and more, which opens and closes windows; and back, further than it came from."""
        clock_set("2027-03-30T17:00:07Z")
        clock_set("2027-03-29T07:00:07Z")
        clock_set("2027-03-29T09:00:07Z")
        assert models["weekly"].state == "paused"

    def testing():
        """Its test period goes by the time that passes: a clock that is a week ahead for a while is nothing to it."""
        assert models["weekly"].state == "switched"
        clock_set("2027-04-09T18:00:07Z")
        assert models["weekly"].state == "switched"
        clock_set("2027-04-02T18:00:07Z")

    def pause():
        models["evented"].user, before = True, clock.now()
        t.verb("evented", "pause")
        look(before)
        assert event("go") == ["evented"] and event("go") == []  # for one that is paused, too; once

    def resume():
        models["evented"].resume()
        before = clock.now()
        t.verb("evented", "resume")
        look(before)

    def down():
        t.kill()
        for m in models.values():
            m.away(DOWN[1] - DOWN[0])
        clock.pass_to(DOWN[1], zone)
        t.start()
        look(DOWN[1])
        assert [w["code"] for w in t.show("late")["warnings"]] == ["late"] and "warnings" not in t.show("weekly")

    def minutes(of, *which):
        return lambda: [at(rfc(seconds(of + ":00:07Z") + m * 60)) for m in which]

    def travel():
        global zone
        zone = "Australia/Sydney"

    # What happens beside the hours, after the look at that one.
    script = {
        "2027-03-22T02": lambda: submit(WEEKLY, "a", "b"),
        "2027-03-22T04": lambda: event("loaded"),  # nobody waits for it yet: nothing is kept of it
        "2027-03-22T05": lambda: submit(EVENTED, "c"),
        "2027-03-22T06": lambda: submit(LATE, "d"),
        "2027-03-22T08": submit_nightly,
        "2027-03-22T10": weekly_set_back,
        "2027-03-22T15": lambda: event("loaded"),
        "2027-03-27T11": resume,  # lifts max_duration, not the window
        "2027-03-28T00": minutes("2027-03-28T00", 16, 29, 46, 59),
        "2027-03-29T09": forward_and_back,
        "2027-03-30T08": pause,
        "2027-03-31T09": resume,
        "2027-03-31T11": travel,
        "2027-03-31T22": lambda: free("evented"),
        "2027-04-01T12": lambda: free("weekly"),
        "2027-04-02T18": testing,
        "2027-04-03T15": minutes("2027-04-03T15", 9, 11, 16, 19, 21, 46, 51),  # half past two, the first time
        "2027-04-03T16": lambda: (minutes("2027-04-03T16", 9, 11, 16, 21)(), free("late"), minutes("2027-04-03T16", 46, 51)()),
    }
    now, done = BEGIN, set()
    while now <= END:
        if now == DOWN[0] + HOUR:
            down()
            now = DOWN[1]
        else:
            if changes(now):
                at(now - 45)  # not before it
            at(now)
        what = script.get(rfc(now)[:13])
        if what:
            what()
            done.add(rfc(now)[:13])
        now += HOUR
    assert done == set(script), set(script) - done

    # A generation a night, over all of that; the last three are kept, and stay when it is canceled.
    assert len(nightly[0].times) == 3 and nightly[0].made >= 13, nightly[0].made
    t.verb("nightly", "cancel")
    assert sorted(x for x in os.listdir(t.dir + "/backup")) == sorted(os.path.basename(g["paths"][0]) for g in t.show("nightly")["generations"])
    for g in t.show("nightly")["generations"]:
        with open(g["paths"][0], "rb") as x, open(os.path.join(t.dir, "old-e"), "rb") as y:
            assert x.read() == y.read(), g

    # Each ended, and was in between what it should have been, when it should have been that.
    for m in models.values():
        assert m.state in ENDS, m.log
        events = [e for e in t.call("GET", f"/events?session={m.name}") if e["event"] == "session" and e["after"] not in ("switching", "switched")]
        assert [e["after"] for e in events] == [s for _, s in m.log if s != "switched"], (m.name, [(e["time"], e["after"]) for e in events], m.log)
        for e, (when, _) in zip(events, [x for x in m.log if x[1] != "switched"]):
            assert when - 2 <= seconds(e["time"][:19] + "Z") <= when + 60 * SLOW, (m.name, e, rfc(when))
        print(f"{m.name}: {len(m.log)} changes, {m.state}")
        for v in m.volumes:
            with open(os.path.join(t.dir, "old-" + v), "rb") as x, open(os.path.join(t.dir, "new-" + v), "rb") as y:
                assert x.read() == y.read(), v
