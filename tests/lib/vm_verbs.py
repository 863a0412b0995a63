# SPDX-License-Identifier: BSD-3-Clause
"""The machine dies in the middle of a verb, one case a boot, and each case has a session of its own: what the tests of commit, split, start and
of drayd's own records share.

The two volumes of vm_crash.py go to and fro between their places, one way with each session. A case is (verb, point, the states in which the session
may be found afterwards; "none": it is not there). After each crash both volumes are served from the same side, the document and the locks say so,
the applications go on, and the session can be led on to its end."""
from vm import Machine, wait_for
from vm_crash import NEW, OLD, SIZE, Crashes

OVER = ("committed", "completed", "canceled")


class Verbs(Crashes):
    def __init__(self, m, cases):
        super().__init__(m)
        self.cases, self.place = cases, OLD

    def other(self):
        return NEW if self.place == OLD else OLD

    def in_sync(self):
        wait_for("the legs are in sync", lambda: all(len(legs := self.m.volume(v)["legs"]) == 2 and all(
            leg["state"] in ("primary", "mirror") and leg["dirty_bytes"] == 0 for leg in legs) for v in "ab"), 180, 0.3)

    def writes(self):
        for app in self.apps.values():
            app.wait_writes(10, timeout=180)

    def cut_off(self, i):
        """Leads the session of case i to where its verb is possible, and begins that; the machine dies in the middle."""
        verb, point, _ = self.cases[i]
        name, target = f"s{i}", self.other()
        pairs = ", ".join(f'{{"source": "volume:{v}", "target": "{target[v]}", "overwrite": true}}' for v in "ab")
        self.m.sh(f"""echo '{{"name": "{name}", "mode": "{"copy" if verb == "split" else "move"}", "switch": {{"when": "manual"}}, "pairs": [{pairs}]}}' >/run/spec""")
        if verb == "start":
            self.crash("start /run/spec", point, "")
            return
        self.m.dray("start", "/run/spec")
        self.m.wait_state(name, "synced", timeout=180)
        if verb in ("undo", "commit"):
            self.m.dray("switch", name)
            self.m.wait_state(name, "switched")
        self.in_sync()
        self.writes()
        self.crash({"split": "switch", "commit": "commit --yes"}.get(verb, verb), point, name)

    def found(self, name):
        """The session's state, and whether all agree on it."""
        got = self.m.exec("dray", "show", name, status=None, env=self.m.env)["status"]
        assert got in (0, 4), got
        primary = {v: self.m.volume(v).get("primary") for v in "ab"}
        if None in primary.values():
            return None  # not served yet
        if got == 4:
            assert primary == self.place and not self.m.json("locks"), (primary, self.m.json("locks"))
            return "none"
        doc = self.m.show(name)
        states = [p["state"] for p in doc["pairs"]]
        held = {int(lock["pair"]) for lock in self.m.json("locks")}
        live = {n + 1 for n, s in enumerate(states) if s not in OVER}
        assert primary in (OLD, NEW), f"the volumes are on different sides: {primary} {doc}"
        new = primary != self.place
        sound = held == live and all(new == (s in ("switched", "committed")) for s in states)
        return doc["state"] if sound else None

    def judge(self, i):
        """What became of case i; then its session is led on to the end."""
        verb, point, allowed = self.cases[i]
        name, target = f"s{i}", self.other()
        state = wait_for(f"{allowed} after {verb} at {point}", lambda: (s := self.found(name)) in allowed and s, 180, 0.5)
        print(f"  after the restart: {state}", flush=True)
        self.writes()
        if state == "none":
            return
        if state not in OVER and state != "switched":
            self.m.wait_state(name, "synced", timeout=180)
            self.m.dray("switch", name)
        if verb == "split":
            self.m.wait_state(name, "completed")
            # This half does not change any more since the applications filled it.
            half = SIZE >> 21
            for v in "ab":
                one, two = (self.m.sh(f"dd if={p[v]} bs=1M skip={half} count={half} iflag=direct status=none | md5sum") for p in (self.place, target))
                assert one == two, f"the copy of {v} is not what was split off"
        else:
            if state != "committed":
                self.m.wait_state(name, "switched")
                self.m.dray("commit", name, "--yes")
            self.m.wait_state(name, "committed")
            assert self.found(name) == "committed", self.m.show(name)
            self.place = target
        assert not self.m.json("locks") and not self.m.json("status")["orphans"], (self.m.json("locks"), self.m.json("status"))


def verb_crashes(cases):
    with Machine(net=True) as m:
        c = Verbs(m, cases)
        c.boot(cases[0][1], unarmed=True)
        c.begin()
        for i in range(len(cases)):
            c.cut_off(i)
            c.boot(cases[i + 1][1] if i + 1 < len(cases) else None, unarmed=True)
            c.judge(i)
        c.end()
        for v in "ab":
            c.apps[v].verify(f"nbd://127.0.0.1:{m.tcp}/{v}")
        m.dray("shutdown", "--force")
        m.halt()
        # From outside, by what the application remembers.
        v = "a" if c.place == NEW else "b"
        c.apps[v].verify(m.disks[f"disk-{v}"].file)
