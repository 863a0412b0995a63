# SPDX-License-Identifier: BSD-3-Clause
"""The crash test: programs are killed at random moments of a migration under a writing application that reconnects.

campaign(kills, holdback) moves a volume from one disk to the other, kills on the way, in the copy, while synced, in the middle of a
switch and of an undo; then commits and starts again in the other direction, until so many kills were made. With holdback=True
both disks lose what was not flushed, in the same moment (a power loss of the host); else the page cache keeps it (kill -9).

Checked: every block that was acknowledged and flushed is there after each kill (dray-stamp does, when it reconnects); the
migration ends; what was recorded as copied is not copied again; at the end both legs are equal and every stamp is right.
"""
import json
import os
import random
import subprocess
import sys
import time

from dray import SEED, Failed, MiB, SLOW, Scratch, same, size, wait_for

N = 96 * MiB
RATE = "16MiB"
SETTLE = 6  # seconds; see Campaign.kill
BUSY = N // 12  # the application keeps to this part: what it writes to is in intent and is compared after a crash


class Campaign:
    def __init__(self, scratch, kills, holdback, seed):
        self.s, self.kills, self.holdback = scratch, kills, holdback
        self.rng = random.Random(seed)
        self.done, self.moves = 0, 0
        # In this migration: bytes copied by dray-iods that are gone, what of that may be copied again, kills of them while copying.
        self.copied, self.may_repeat, self.in_copy = 0, 0, 0
        self.settled_at = 0
        self.disks = [scratch.holdback(f"disk{i}", N) for i in range(2)] if holdback else None
        self.names = [d.uri for d in self.disks] if holdback else [scratch.file(f"disk{i}", N) for i in range(2)]
        self.files = [d.file for d in self.disks] if holdback else self.names
        self.a = scratch.agent()
        uri = self.a.volume("v", self.names[0])
        self.app = scratch.stamp(uri, "app", "--fill", "--busy", str(BUSY), "--depth", "8", "--rate", "1500", "--blocks-max", "8", "--zero-percent", "5",
                                 "--fua-percent", "5", "--flush-every", "40", "--reconnect-wait", "60")
        self.app.wait_writes(100)

    def pause_for(self, seconds):
        time.sleep(self.rng.uniform(0, seconds))  # the random moment itself, not a wait for a state

    def kill(self, what):
        """Kills drayd, dray-iod, or both (with holdback: the disks too), and waits until the application writes again."""
        self.done += 1
        victims = self.rng.choice(["iod", "drayd", "both"]) if not self.holdback else "power"
        reconnects = self.app.status()["reconnects"]
        iod = self.a.iod_pid()
        looked_at = time.monotonic()
        was = self.leg()
        if victims in ("drayd", "both", "power"):
            self.a.process.kill()
        if victims in ("iod", "both", "power"):
            os.kill(iod, 9)
        if victims == "power":
            for d in self.disks:
                d.kill()
        killed_at = time.monotonic()
        if victims in ("drayd", "both", "power"):
            self.a.process.wait()
        if victims == "power":
            for d in self.disks:
                d.start()
        if victims != "iod":
            self.a.start()
        print(f"kill {self.done}: {victims}, {what}", flush=True)
        if victims != "drayd":
            wait_for("the application is back", lambda: self.app.status()["reconnects"] > reconnects, timeout=60)
            wait_for("a new dray-iod", lambda: self.a.iod_pid() != iod, timeout=30)
        self.app.wait_writes(50)
        now = wait_for("the leg is known again", lambda: was is None or self.leg(), timeout=30)
        if was and now is not True and victims != "drayd" and was["id"] == now["id"] and what == "copying":
            # Recorded clean is clean still, but for what the application wrote to in between.
            print(f"  {was['done'] >> 20} MiB were in sync, of them recorded {was['recorded'] >> 20}; after the restart {now['done'] >> 20}; "
                  f"copied since {now['copied'] >> 20}, compared {now['compared'] >> 20}", flush=True)
            lost = was["recorded"] - now["done"]
            assert lost <= BUSY, f"{lost} recorded bytes are not in sync any more"
            self.in_copy += 1
        if was and victims != "drayd":
            self.copied += was["copied"]
            # What was copied in the moment before the kill was not recorded yet, and what the application was writing to is compared.
            # On network storage writes of the dead may land for some seconds yet: until then what the next one copies is not
            # recorded, so a kill within that time repeats it.
            self.may_repeat += int(size(RATE) * (1 + killed_at - looked_at)) + BUSY
            if killed_at < self.settled_at:
                self.may_repeat += was["copied"]
            self.settled_at = time.monotonic() + SETTLE if self.holdback else 0

    def leg(self):
        """The leg that is not primary, or None."""
        legs = [leg for leg in self.a.json("volume", "show", "v")["legs"] if leg["state"] != "primary"]
        if not legs:
            return None
        leg = legs[0]
        size = self.a.json("volume", "show", "v")["size"]
        return {"id": leg.get("id"), "state": leg["state"], "done": leg.get("done_bytes", size - leg["dirty_bytes"]),
                "recorded": leg.get("recorded_bytes", 0), "copied": leg.get("copied_bytes", 0), "compared": leg.get("compared_bytes", 0)}

    def state(self):
        return self.a.show("move")["state"]

    def verb_and_kill(self, verb):
        """Kills in the middle of a verb; then the document says which side it is, and that must be so."""
        p = subprocess.Popen(["dray", verb, "move"], env=self.a.env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                             stderr=subprocess.DEVNULL)
        self.pause_for(0.06)
        self.kill(f"during {verb}")
        p.wait(timeout=60 * SLOW)
        state = wait_for("an outcome", lambda: self.state() in ("synced", "switched", "copying") and self.state(), timeout=60)
        primary = self.a.json("volume", "show", "v")["primary"]
        want = self.target if state == "switched" else self.source
        assert primary == want, (state, primary)
        print(f"  {verb}: {state}", flush=True)

    def to(self, state):
        """Brings the session to synced or switched, by whatever it takes."""
        def there():
            got = self.state()
            if got == state:
                return True
            if got == "synced" and state == "switched":
                self.a.run("switch", "move", status=None)
            elif got == "switched" and state == "synced":
                self.a.run("undo", "move", status=None)
            return False
        wait_for(f"state {state}", there, timeout=120, every=0.2)

    def move(self):
        """One migration with kills on its way."""
        self.source, self.target = self.names[self.moves % 2], self.names[(self.moves + 1) % 2]
        self.moves += 1
        self.a.spec({"name": "move", "leg_timeout": "1h", "switch": {"when": "manual"}, "limits": {"rate": RATE},
                     "pairs": [{"source": "volume:v", "target": self.target, "overwrite": True}]})
        self.copied = self.may_repeat = self.in_copy = self.settled_at = 0
        until = self.done + 5
        while self.done < min(self.kills, until) and self.state() == "copying":
            # Now and then long enough for network storage to settle.
            self.pause_for(1.5 if not self.holdback or self.rng.random() < 0.6 else 2 * SETTLE)
            if self.state() == "copying":
                self.kill("copying")
        self.a.run("set", "move", "limits.rate=none")
        try:
            self.a.wait("move", "synced", timeout=120)
        except Failed:
            print(json.dumps(self.a.json("volume", "show", "v")), json.dumps(self.a.show("move")), self.app.status(), sep="\n", flush=True)
            raise
        again = self.copied + self.leg()["copied"] - N
        print(f"in sync after {self.in_copy} restarts: {N >> 20} MiB, copied again {max(0, again) >> 10} KiB", flush=True)
        assert again <= self.may_repeat, (again, self.may_repeat)
        for step in ("synced", "switch", "undo", "switched"):
            if self.done >= self.kills:
                break
            if step == "synced":
                self.kill("synced")
                self.to("synced")
            elif step == "switch":
                self.to("synced")
                self.verb_and_kill("switch")
            elif step == "undo":
                self.to("switched")
                self.verb_and_kill("undo")
            else:
                self.to("switched")
                self.kill("switched")
        self.to("switched")
        wait_for("the way back is in sync", lambda: self.leg() and self.leg()["state"] == "mirror", timeout=120)
        self.app.wait_writes(100)

    def run(self):
        while True:
            self.move()
            if self.done >= self.kills:
                break
            self.a.run("commit", "move", "--yes")
        got = self.app.end()
        self.a.run("commit", "move", "--yes")
        self.app.verify(self.a.uri("v"))
        self.a.run("shutdown", "--force")
        if self.holdback:
            for d in self.disks:
                d.process.terminate()
                d.process.wait()
        assert same(*self.files)
        print(json.dumps(got))
        print(f"{self.done} kills in {self.moves} migrations; {got['reconnects']} reconnects, {got['rechecked']} blocks checked after them")


def campaign(kills, holdback):
    print(f"DRAY_SEED={SEED}", file=sys.stderr, flush=True)
    with Scratch() as s:
        Campaign(s, kills, holdback, SEED).run()
