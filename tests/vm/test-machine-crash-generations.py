#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""The machine dies at each recorded step of a generation of two volumes: after the boot every generation that was listed as complete is there and holds what the
volumes held at its instant, nothing is left lying about, and the next ones are made."""
import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from vm import Machine, wait_for

POINTS = ("gen-hooks", "gen-split", "gen-thawed", "gen-cloning", "gen-cloned", "gen-placing", "gen-placed", "gen-complete", "gen-removing", "gen-removed",
          "split-before", "split-after")
BACKUP, NAMES, KEEP = "/state/backup", ("data", "log"), 3


def boot(m, point):
    """Up again; the machine will stop at the point, once it is armed."""
    m.boot()
    for kind in ("before-split", "after-split"):
        m.sh(f"mkdir -p -m 700 /etc/dray/hooks.d/{kind}; printf '#!/bin/sh\\nexit 0\\n' >/etc/dray/hooks.d/{kind}/10-nothing; chmod 700 /etc/dray/hooks.d/{kind}/10-nothing")
    m.agent(crash_at=point, unarmed=True)


def complete(m):
    return [g for g in m.show("night")["generations"] if g["complete"]]


def sums(m, paths):
    """Of files that may be removed at any moment."""
    got = m.exec("sha256sum", *paths, status=None)
    return [line.split()[0] for line in got["stdout"].splitlines()] if got["status"] == 0 else None


class Rounds:
    """What the volumes hold, and what each generation has to."""

    def __init__(self, m):
        self.m, self.n, self.known = m, 0, {}

    def write(self):
        """Each block of both volumes anew, flushed; then a generation of that."""
        m = self.m
        self.n += 1
        for v in NAMES:
            subprocess.run(["dray-stamp", "run", "--uri", f"nbd://127.0.0.1:{m.tcp}/{v}", "--journal", m.s.path(f"{v}{self.n}.journal"), "--fill-only"],
                           check=True, stdout=subprocess.DEVNULL, timeout=300)
        self.content = sums(m, [f"/state/old-{v}" for v in NAMES])
        since = max([g["time"] for g in m.show("night")["generations"]], default="")
        wait_for("a generation of what was written", lambda: [g for g in complete(m) if g["time"] > since and self.check(g)], 180, 0.5)

    def check(self, g):
        """It holds what it must: what it held when it was seen first, which is what the volumes held then. False: it is of before the last writes, or gone."""
        got = sums(self.m, g["paths"])
        must = self.known.get(g["time"])
        if got is None or (must and got != must):
            assert g not in complete(self.m), (g, got, must)
            return False
        if got == self.content:
            self.known[g["time"]] = got
        return got == self.content or bool(must)


with Machine(net=True) as machine:
    machine.disk("system", "160M")
    boot(machine, POINTS[0])
    machine.sh(f"mkdir {BACKUP}; sync {BACKUP} /state")
    for v in NAMES:
        machine.sh(f"truncate -s 2M /state/old-{v}; sync /state/old-{v} /state")
        machine.volume(v, f"/state/old-{v}")
    machine.spec({"name": "night", "mode": "copy", "start": {"every": "3s", "keep": KEEP},
                  "pairs": [{"source": f"volume:{v}", "target": f"{BACKUP}/{v}-{{time}}.img"} for v in NAMES]})
    wait_for("the first generations", lambda: len(complete(machine)) == KEEP, 180, 0.5)
    rounds = Rounds(machine)
    for i, point in enumerate(POINTS):
        rounds.write()
        written = max(g for g in rounds.known)
        machine.arm()
        machine.wait_crash(timeout=180)
        print(f"the machine stopped at {point}", flush=True)
        boot(machine, POINTS[i + 1] if i + 1 < len(POINTS) else None)
        listed = complete(machine)
        assert len(listed) >= KEEP - 1, listed
        for g in listed:
            # All since the last writes hold what was written; those before hold what they were seen to hold.
            if g["time"] >= written or g["time"] in rounds.known:
                assert rounds.check(g) or g not in complete(machine), g
        last = listed[-1]["time"]
        wait_for("a later generation", lambda last=last: complete(machine)[-1]["time"] > last, 180, 0.5)
    # At rest.
    machine.dray("set", "night", f"start={{every: 1h, keep: {KEEP}}}")
    wait_for("nothing is made or removed", lambda: (d := machine.show("night"))["state"] == "synced" and all(g["complete"] for g in d["generations"]), 120, 0.5)
    listed = complete(machine)
    assert all(rounds.check(g) for g in listed), listed
    expected = sorted([p.split("/")[-1] for g in listed for p in g["paths"]] + [f".{v}-base.img" for v in NAMES])
    there = sorted(f for f in machine.sh(f"ls -A {BACKUP}").split())
    assert there == expected, (there, expected)
    machine.dray("cancel", "night")
