#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""The table of verbs and states (docs/states.md), cell by cell, with real sessions brought into each state and the command line: what is legal leads
where it should, what is fulfilled succeeds and changes nothing, what is not legal ends with 5, names what is legal, and changes nothing."""
import os
import re
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from dray import MiB, Scratch, wait_for  # noqa: E402

TABLE = {}
with open(os.path.join(os.path.dirname(__file__), "../../docs/states.md"), encoding="utf-8") as f:
    for line in f:
        cells = [c.strip() for c in line.strip().strip("|").split("|")] if line.startswith("| ") else []
        if len(cells) > 2 and cells[0] == "state":
            verbs = cells[1:]
        elif len(cells) > 2 and re.fullmatch("[a-z]+", cells[0]):
            TABLE[cells[0]] = dict(zip(verbs, cells[1:]))
assert len(TABLE) == 12 and len(verbs) == 10, TABLE

# The options that a verb needs, and the states that it leads to; None: the one it was in.
ARGS = {"set": ["priority=high"], "retire": ["--how", "read-only", "--yes"]}
LEADS = {"pause": {"paused"}, "resume": {"queued", "starting", "copying", "synced"}, "cancel": {"canceled"}, "switch": {"switched"},
         "undo": {"synced", "copying"}, "commit": {"committed"}, "retry": {"queued", "starting", "copying", "synced"},
         "set": None, "retire": None, "verify": None}

with Scratch() as s:
    a = s.agent()
    made = 0

    class Case:
        """A session whose pair 2 is (and stays) in a state; pair 1 is there to keep a place occupied."""

        def __init__(self, state):
            global made
            made += 1
            self.name, self.state, self.let_go = f"n{made}", state, lambda: None
            size = 4 * MiB
            source, self.volume = s.file(self.name, size, True), f"v{made}"
            target = {"target": s.path(self.name + "-to"), "create": "thin"}
            doc = {"name": self.name, "switch": {"when": "manual"}, "limits": {}}
            if state in ("starting", "switching", "failed"):
                disk = s.holdback(self.name + "-disk", size)
                target = {"target": disk.uri, "overwrite": True}
            if state == "failed":
                disk.faults("fail write ENOSPC 1000000", "fail zero ENOSPC 1000000")
                self.let_go = disk.faults
            online = state != "completed"
            if online:
                a.volume(self.volume, source)
            pairs = [{"source": f"volume:{self.volume}" if online else source, **target}]
            if state == "scheduled":
                doc["start"] = {"after": "1d"}
            if state in ("queued", "starting"):
                doc["limits"] = {"active_pairs": 1}
                pairs.insert(0, {"source": s.file(self.name + "-first", size, True), "target": s.path(self.name + "-first-to"), "create": "thin"})
            if state in ("queued", "starting", "copying"):
                doc["limits"]["rate"] = "16KiB"
            self.pair = str(len(pairs))
            a.spec(doc | {"pairs": pairs})
            if state == "starting":
                disk.stop()
                self.let_go = disk.go_on
                a.run("set", self.name, "limits.active_pairs=2")
            if state in ("paused", "switching", "switched", "committed", "canceled"):
                a.wait(self.name, "synced")
            if state == "switching":
                disk.stop()  # it is flushed before anything is suspended, and waited for
                self.let_go = disk.go_on
                self.caller = threading.Thread(target=lambda: a.run("switch", self.name, status=None))
                self.caller.start()
            if state in ("switched", "committed"):
                a.run("switch", self.name)
            if state == "committed":
                a.run("commit", self.name)
            if state == "paused":
                a.run("pause", self.name)
            if state == "canceled":
                a.run("cancel", self.name)
            self.wait({state})

        def now(self):
            return a.pair(self.name, int(self.pair) - 1)

        def wait(self, states):
            wait_for(f"{self.name} to be {states}; it is {self.now()}", lambda: self.now()["state"] in states, timeout=30)

        def say(self, verb, status):
            return a.json(verb, self.name, *(["--pair", self.pair] if verb != "set" else []), *ARGS.get(verb, []), status=status)

        def let_go_when_asked(self):
            """Its target answers once the verb that comes now waits for it."""
            def asked():
                return sum(e["event"] == "asked" for e in a.json("events", self.name))

            def then(was):
                wait_for("the verb is on record", lambda: asked() > was)
                self.let_go()
            threading.Thread(target=then, args=(asked(),)).start()

        def end(self):
            self.let_go()
            if self.state == "switching":
                self.caller.join()
                self.wait({"switched"})
            doc = a.show(self.name)
            if not doc["finished"]:
                if self.now()["state"] == "switched":
                    a.run("commit", self.name)
                else:
                    a.run("cancel", self.name)

    walked = 0
    for state, row in TABLE.items():
        case = Case(state)
        for verb in (v for v in verbs if row[v] != "yes"):
            before = case.now()
            answer = case.say(verb, 0 if row[verb] == "done" else 5)
            if row[verb] == "":
                assert answer["code"] == "not_legal" and verb in answer["detail"], (state, verb, answer)
                assert state in answer["detail"] or state == "queued", (state, verb, answer)
                legal = [v for v in verbs if row[v] == "yes"]
                assert verb == "set" or all(v in answer["detail"].split("legal")[-1] for v in legal), (state, verb, answer)
            after = case.now()
            assert after["state"] == before["state"] == state and after["reason"] == before["reason"], (state, verb, before, after)
            walked += 1
        for verb in sorted((v for v in verbs if row[v] == "yes"), key=lambda v: v != "set"):
            if verb != "set":  # which comes first and leaves everything as it was
                case.end()
                case = Case(state)
            if state == "starting" and verb != "set":
                case.let_go_when_asked()
            if state == "failed" and verb == "retry":
                case.let_go()  # first: it would have failed again before it was looked at
            case.say(verb, 0)
            case.wait(LEADS[verb] or {state})
            walked += 1
        case.end()
    assert walked == 12 * 10, walked
