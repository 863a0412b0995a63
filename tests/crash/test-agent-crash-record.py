#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""drayd dies before and after each thing that it records in the life of a session (start, switch, undo, switch, commit): after its return
all pairs are on the same side, what dray-iod has is what the document says, and a repeated verb leads on to the end."""
import http.client
import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from agent import AgentTest, Problem  # noqa: E402
from dray import SLOW  # noqa: E402


class Life:
    def __init__(self, t, point):
        self.t, self.crashed, self.at = t, False, "start"
        os.environ["DRAY_CRASH_AT"] = point
        t.start()
        for v in ("a", "b"):
            t.iod.add(v, "/nowhere/" + v, 1 << 20)
        offline = t.file("offline")
        self.doc = {"id": "s-1", "name": "s", "pairs": [{"source": "volume:a", "target": t.file("ta")}, {"source": "volume:b", "target": t.file("tb")},
                                                        {"source": offline, "target": t.file("tc")}]}

    def again(self):
        """The agent is gone: a new one, that does not die."""
        assert self.t.process.wait(20 * SLOW) == 137, self.t.process.returncode
        assert not self.crashed
        self.crashed = True
        os.environ.pop("DRAY_CRASH_AT", None)
        self.t.start()
        try:
            self.t.show("s")
        except Problem as p:
            assert p.exit == 4 and self.at == "start", p
            assert self.t.call("GET", "/locks") == [], "locks of a session that is not there"
            return
        self.t.wait("the outcome", lambda: "switching" not in self.t.states("s"))
        self.check()

    def check(self):
        """One side for both volumes, and the document says which."""
        def sound():
            states = self.t.states("s")
            volumes = [self.t.iod.volumes[v] for v in ("a", "b")]
            new = {v["primary"] == 1 for v in volumes} | {s in ("switched", "committed") for s in states[:2]}
            held = {int(lock["pair"]) for lock in self.t.call("GET", "/locks")}
            live = {i + 1 for i, s in enumerate(states) if s not in ("committed", "completed")}
            return len({v["epoch"] for v in volumes}) == 1 and len(new) == 1 and held == live
        self.t.wait("one side, the same for all", sound)

    def try_(self, do):
        """Calls, and calls again when the agent died meanwhile."""
        try:
            return do()
        except (OSError, http.client.HTTPException, AssertionError):
            try:
                self.t.process.wait(20 * SLOW)  # its sockets are closed before it has ended
            except subprocess.TimeoutExpired:
                raise self.problem() from None
            self.again()
            return None

    def to(self, at, do, good):
        """Does it until the states are as wanted."""
        self.at = at
        for _ in range(4):
            if self.try_(lambda: good(self.t.states("s")) if at != "start" or self.crashed else False):
                return
            if self.try_(do) is not None and self.try_(lambda: self.t.wait(at, lambda: good(self.t.states("s")), 10)):
                return
            if self.crashed:  # what was recorded is carried out by itself
                self.t.wait(f"{at} is settled", lambda: not {"switching", "starting", "queued", "copying"} & set(self.t.states("s"))
                            if self.known() else True, 10)
        raise self.problem()

    def problem(self):
        return AssertionError(f"{self.at}: {self.t.show('s')}")

    def known(self):
        try:
            return self.t.show("s")
        except Problem:
            return None

    def run(self):
        self.to("start", lambda: self.t.submit(self.doc) if not self.crashed or not self.known() else True,
                lambda s: s == ["synced", "synced", "completed"])
        for verb, state in (("switch", "switched"), ("undo", "synced"), ("switch", "switched"), ("commit", "committed")):
            self.to(verb, lambda v=verb: self.t.verb("s", v), lambda s, w=state: s[:2] == [w, w])
            if not self.crashed or self.t.process.poll() is None:
                self.check()
        assert self.t.call("GET", "/locks") == []
        assert all(len(v["legs"]) == 1 and v["primary"] == 1 and v["epoch"] == 4 for n, v in self.t.iod.volumes.items() if n in "ab"), self.t.iod.volumes
        # Whatever happened, it is told once.
        events = [(e["event"], e["pair"]) for e in self.t.call("GET", "/events?session=s")]
        for what, times in (("submitted", 1), ("switched", 4), ("undone", 2), ("committed", 2)):
            assert sum(e[0] == what for e in events) == times, (what, events)


steps = 0
for when in ("record-before", "record-after"):
    for n in range(1, 100):
        with AgentTest(auto=True, start=False) as test:
            life = Life(test, f"{when}:{n}")
            try:
                life.run()
            except AssertionError as e:
                raise AssertionError(f"{when}:{n}: {e}") from e
            if not life.crashed:
                break
        steps += 1
    else:
        raise AssertionError("it never ends")
os.environ.pop("DRAY_CRASH_AT", None)
print(steps, "steps")
assert steps > 20, steps
