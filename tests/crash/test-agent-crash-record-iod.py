#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""drayd dies before and after what it records in a start, a switch, an undo and a commit with a real dray-iod, in turn alone and with that: then both volumes
are on one side, the document and the locks say which, no answered write is lost, and the session can be led on to its end."""
import http.client
import os
import signal
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from agent import AgentTest, Problem  # noqa: E402
from dray import MiB, SLOW, children_using, same  # noqa: E402
from nbdclient import Client  # noqa: E402

SIZE = MiB
NAMES = ("v", "w")
OVER = {"committed"}
# The states before and after a verb.
BEGUN = {"start": ("none", "synced"), "switch": ("synced", "switched"), "undo": ("switched", "synced"), "commit": ("switched", "committed")}
RECORDS = ("record-before", "record-after", "record-before:2", "record-after:2")
POINTS = {"start": ("submit-before", "submit-after") + RECORDS, "switch": RECORDS, "undo": RECORDS, "commit": RECORDS}


def client(t, name):
    return Client(os.path.join(t.run_dir, "nbd.sock"), name, wait=20 * SLOW)


def write(t, text):
    for name in NAMES:
        c = client(t, name)
        c.write(4096, (name + text).encode().ljust(4096, b"."))
        c.flush()
        c.close()


def read(t, text):
    for name in NAMES:
        c = client(t, name)
        assert c.read(4096, 4096) == (name + text).encode().ljust(4096, b"."), (name, text)
        c.close()


class Case:
    def __init__(self, t, n, old, new):
        self.t, self.name, self.old, self.new = t, f"s{n}", old, new

    def document(self):
        return {"name": self.name, "leg_timeout": "1h", "switch": {"when": "manual"},
                "pairs": [{"source": f"volume:{n}", "target": self.new[n], "overwrite": True} for n in NAMES]}

    def start(self):
        self.t.submit(self.document())

    def verb(self, verb):
        if verb == "start":
            self.start()
        else:
            self.t.verb(self.name, verb)

    def prepare(self, verb):
        if verb == "start":
            return
        self.start()
        self.t.wait_state(self.name, "synced")
        if verb != "switch":
            self.t.verb(self.name, "switch")
            self.t.wait_state(self.name, "switched")

    def state(self):
        """None while they do not agree yet."""
        volumes = {v["name"]: v for v in self.t.call("GET", "/volumes")}
        if any(not v["served"] or v["suspended"] or v["in_doubt"] for v in volumes.values()):
            return None
        primary = {n: volumes[n]["primary"] for n in NAMES}
        held = {int(lock["pair"]) for lock in self.t.call("GET", "/locks")}
        try:
            doc = self.t.show(self.name)
        except Problem as p:
            assert p.exit == 4, p
            return "none" if primary == self.old and not held else None
        states = [p["state"] for p in doc["pairs"]]
        new = primary == self.new
        sound = (new or primary == self.old) and all(new == (s in ("switched", "committed")) for s in states)
        return doc["state"] if sound and held == {i + 1 for i, s in enumerate(states) if s not in OVER} else None

    def settled(self, allowed):
        try:
            self.t.wait(f"one of {allowed}", lambda: self.state() in allowed)
        except AssertionError as e:
            raise AssertionError(f"{e}: {self.t.call('GET', '/sessions')} {self.t.call('GET', '/volumes')} {self.t.call('GET', '/locks')}") from None
        return self.state()

    def lead_on(self):
        if self.state() == "none":
            self.start()
        if self.state() != "committed":
            self.settled(("synced", "switched", "committed"))
        if self.state() == "synced":
            self.t.wait("a switch", lambda: self.try_("switch"))
            self.settled(("switched",))
        if self.state() == "switched":
            assert all(same(self.old[n], self.new[n]) for n in NAMES)
            self.t.wait("a commit", lambda: self.try_("commit"))
        self.settled(("committed",))

    def try_(self, verb):
        try:
            self.t.verb(self.name, verb)
            return True
        except Problem as p:
            if p.exit != 5:
                raise
            return False


with AgentTest(fake=False, start=False) as test:
    armed = os.path.join(test.dir, "armed")
    one, two = ({n: test.file(f"{n}-{i}", SIZE, os.urandom(SIZE)) for n in NAMES} for i in (1, 2))
    test.start()
    for n in NAMES:
        test.call("POST", "/volumes", {"name": n, "resource": one[n]})
    os.environ["DRAY_CRASH_IF"] = armed
    for k, (verb, point) in enumerate((v, p) for v in BEGUN for p in POINTS[v]):
        try:
            case = Case(test, k, one, two)
            test.kill()
            os.environ["DRAY_CRASH_AT"] = point
            test.start()
            del os.environ["DRAY_CRASH_AT"]
            test.wait("it serves", lambda: all(v["served"] for v in test.call("GET", "/volumes")))
            case.prepare(verb)
            write(test, f"{k}")
            open(armed, "w").close()
            try:
                case.verb(verb)
            except (OSError, http.client.HTTPException):
                pass
            assert test.process.wait(20 * SLOW) == 137, test.process.returncode
            os.unlink(armed)
            if k % 2:
                for pid in list(children_using(test.run_dir)):
                    os.kill(pid, signal.SIGKILL)
            test.start()
            if verb == "start":
                allowed = ("none",) if point == "submit-before" else ("synced",)
            else:
                allowed = BEGUN[verb][:1] if point == "record-before" else BEGUN[verb]
            got = case.settled(allowed)
            read(test, f"{k}")
            print(verb, point, got, flush=True)
            write(test, f"after {k}")
            case.lead_on()
            read(test, f"after {k}")
            one, two = two, one
        except AssertionError as e:
            raise AssertionError(f"{verb} {point}: {e}") from e
