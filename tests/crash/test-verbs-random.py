#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Random verbs on random pairs of random sessions, with kills and failing targets in between, held against a model (tests/lib/
verbmodel.py): exit status, states, locks, what is copied, and the data. DRAY_SEED: other choices; DRAY_SECONDS: for how long."""
import collections
import json
import os
import random
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from agent import AgentTest, Problem  # noqa: E402
from dray import SEED, MiB, SLOW, Holdback  # noqa: E402
from nbdclient import Client  # noqa: E402
from verbmodel import FINAL, STATES, TABLE, Pair, Session  # noqa: E402

VERBS = "pause resume cancel switch undo commit retry verify".split()
WEIGHTS = [5, 6, 1, 4, 4, 1, 4, 2]


class Disks:
    """What Holdback needs of a scratch directory."""

    def __init__(self, t):
        self.t, self.mem, self.processes = t, t.dir, []

    def path(self, name):
        return os.path.join(self.t.dir, name)

    def start(self, *args, log):
        import subprocess
        with open(self.path(log), "ab") as out:
            p = subprocess.Popen([str(a) for a in args], stdin=subprocess.DEVNULL, stdout=out, stderr=out)
        self.processes.append(p)
        return p

    def end(self):
        for p in self.processes:
            p.send_signal(18)
            p.kill()
            p.wait()


class Bench:
    """One session with its volumes, disks and the application that writes to them."""

    def __init__(self, t, disks, rng, number):
        self.t, self.rng, self.name = t, rng, f"n{number}"
        self.log, self.killed, self.tracked = [], False, set()
        self.pairs, self.source, self.target, self.shadow, self.disk, self.size, self.clients = [], [], [], [], [], [], []
        doc = []
        failing_session = rng.random() < 0.4
        for i in range(rng.randint(1, 4)):
            size = rng.choice([MiB, 2 * MiB, 3 * MiB])
            online, failing = rng.random() < 0.75, failing_session and rng.random() < 0.6
            data = os.urandom(size)
            source = t.file(f"{self.name}-{i}", size, data)
            disk, target = None, t.file(f"{self.name}-{i}-to", size)
            if failing:
                disk = Holdback(disks, f"{self.name}-{i}-disk", size, ("--writeback", "100"))
                if rng.random() < 0.6:
                    disk.faults("fail write ENOSPC 1000000")
                target = disk.uri
            if online:
                t.call("POST", "/volumes", {"name": f"{self.name}{i}", "resource": source})
            doc.append({"source": f"volume:{self.name}{i}" if online else source, "target": target, "overwrite": True})
            self.pairs.append(Pair(online, failing))
            for into, what in ((self.source, source), (self.target, disk.file if disk else target), (self.shadow, bytearray(data)),
                               (self.disk, disk), (self.size, size), (self.clients, None)):
                into.append(what)
        self.model = Session(self.pairs, rng.choice(["pair", "pair", "session"]), rng.random() < 0.3)
        limits = {"rate": rng.choice(["2MiB", "8MiB", "64MiB"]), "active_pairs": rng.randint(1, 4)}
        self.doc = self.step("start", lambda: t.submit({
            "name": self.name, "limits": limits, "on_error": self.model.on_error, "switch": {"when": "manual", "partial": self.model.partial},
            # The model knows nothing of a disk that is held up, but that a target that may fail may do that, too.
            "leg_timeout": "1s" if failing_session else "1h", "pairs": doc}))

    def step(self, what, do):
        self.log.append(what)
        return do()

    def fail(self, why):
        raise AssertionError(why)

    def tell(self):
        """What led to a failure, whatever it was."""
        print(f"pairs: {[(p.online, p.failing, p.state, p.held) for p in self.pairs]} on_error={self.model.on_error} "
              f"partial={self.model.partial} held={self.model.held}\nsteps: " + "\n       ".join(self.log))
        for path in (f"/sessions/{self.name}", "/volumes", "/status"):
            try:
                print(f"{path}: {json.dumps(self.t.call('GET', path, timeout=5), indent=1)}", flush=True)
            except (OSError, Problem) as e:
                print(f"{path}: {e}", flush=True)

    # ---- looking ----
    def look(self, allowed=None, why="by itself"):
        """Takes over the states as they are now; each must be one of those allowed, or have come by itself."""
        doc = self.t.show(self.name)
        states = [p["state"] for p in doc["pairs"]]
        for i, p in enumerate(self.pairs):
            may = allowed[i] if allowed else self.model.reach(p, p.state)
            if states[i] not in may:
                self.fail(f"pair {i + 1} is {states[i]} {why}, not one of {sorted(may)}")
            p.state = states[i]
            if p.state in FINAL | {"failed", "switched"}:
                p.held = False
        want = self.model.aggregate(states)
        if doc["state"] != want:
            self.fail(f"the session is {doc['state']}, not {want}")
        if self.log[-1] != (line := "       " + " ".join(states)):
            self.log.append(line)
        return doc

    def check_locks(self):
        """Pairs that end by themselves may do so while it is looked: then once more."""
        def over():
            return [p["state"] in FINAL for p in self.look()["pairs"]]
        while True:
            before = over()
            held = {int(lock["pair"]) for lock in self.t.call("GET", "/locks") if lock["session"] == self.doc["id"]}
            if over() == before:
                break
        want = {i + 1 for i, ended in enumerate(before) if not ended}
        if held != want:
            self.fail(f"locks are held by pairs {held}, not {want}")

    def check_copied(self):
        """Nothing that was moved is moved again, as long as nothing was killed and no target failed."""
        for i, p in enumerate(self.t.show(self.name)["pairs"]):
            g = p["progress"]
            if self.killed or self.pairs[i].failing or g["bytes_copied"] is None:
                continue
            # What was only tracked for a while is copied again where it was written to.
            again = g["bytes_recopied"] and i not in self.tracked
            if g["bytes_copied"] + g["bytes_skipped"] - g["bytes_recopied"] > self.size[i] or again:
                self.fail(f"pair {i + 1} of {self.size[i]} bytes: {g}")

    # ---- doing ----
    def verb(self):
        n = len(self.pairs)
        verb = self.rng.choices(VERBS, WEIGHTS)[0]
        named = self.rng.random() < 0.6
        wanted = sorted(self.rng.sample(range(n), self.rng.randint(1, n))) if named else list(range(n))
        # Half of them are to be of use.
        one = self.rng.randrange(n)
        useful = [v for v in VERBS if TABLE[v][self.pairs[one].state] == "Y"]
        if useful and self.rng.random() < (0.1 if useful == ["cancel"] else 0.6):
            verb = self.rng.choice(useful)
            if verb == "cancel" and self.rng.random() < 0.7:
                verb = self.rng.choice(useful)
            if named:
                wanted = sorted({one} | {i for i in range(n) if self.pairs[i].state == self.pairs[one].state and self.rng.random() < 0.5})
        body = {"pairs": [str(i + 1) for i in wanted]} if named else {}
        if verb == "pause" and self.rng.random() < 0.2:
            body["detach"] = True
            self.tracked |= set(wanted)
        if verb == "verify" and self.rng.random() < 0.5:
            body["sample"] = 2
        may = self.model.outcomes(verb, wanted, named)
        for i in wanted:
            seen[verb, self.pairs[i].state] += 1
        status, problem = 0, None
        try:
            answer = self.step(f"{verb} {body}", lambda: self.t.verb(self.name, verb, **body))
        except Problem as p:
            status, problem = p.exit, p
        self.log[-1] += f" -> {status} {problem.body['detail'] if problem else ''}"
        if verb in ("pause", "verify") and any(p.failing for p in self.pairs):
            may |= {1}  # a target may fail while it is waited for
        if status not in may:
            self.fail(f"{verb} {body} ended with {status}, not {sorted(may)}: {problem}")
        if status == 5 and (self.name not in problem.body["detail"] and "pair" not in problem.body["detail"]):
            self.fail(f"a refusal says nothing: {problem}")
        if status == 0:
            allowed = self.model.after(verb, wanted, named)
            if verb != "verify" and answer["name"] != self.name:
                self.fail(f"{verb} is answered with {answer}")
            if verb == "undo":
                self.model.automatic = False
            self.look(allowed, f"after {verb}")
        elif status == 1:
            # It was recorded and goes on, or was taken back: both are possible.
            allowed = [a | self.model.reach(p, p.state) for a, p in zip(self.model.after(verb, wanted, named), self.pairs)]
            self.look(allowed, f"after {verb}, which failed")
        else:
            self.look(None, f"after {verb}, which was refused")

    def write(self):
        for i, p in enumerate(self.pairs):
            if not p.online or self.rng.random() < 0.5:
                continue
            at, length = self.rng.randrange(0, self.size[i] - 65536, 512), self.rng.choice([512, 4096, 65536])
            data = os.urandom(length)
            if p.failing and (p.state in ("switched", "switching", "committed") or self.model.automatic):
                self.disk[i].faults()  # it is what the application uses now, or may use in a moment
            for _ in range(2):
                try:
                    if not self.clients[i]:
                        self.clients[i] = Client(os.path.join(self.t.run_dir, "nbd.sock"), f"{self.name}{i}", 20 * SLOW)
                        if self.clients[i].read(0, self.size[i]) != bytes(self.shadow[i]):
                            self.fail(f"volume {self.name}{i} does not read as what was written")
                    self.clients[i].write(at, data)
                    self.clients[i].flush()
                    break
                except (ConnectionError, OSError):
                    self.clients[i] = None
            else:
                self.fail("no client gets through")
            self.shadow[i][at:at + length] = data

    def kill(self):
        what = self.rng.choice(["drayd", "dray-iod", "both"])
        self.killed = self.model.shaken = True
        self.log.append(f"kill {what}")
        iod = self.t.call("GET", "/status")["iod"]["pid"]
        if what != "dray-iod":
            self.t.kill()
        if what != "drayd":
            os.kill(iod, 9)
            self.clients = [None] * len(self.clients)
        if what != "dray-iod":
            self.t.start()
        else:
            self.t.wait("dray-iod is back", lambda: self.t.call("GET", "/status")["iod"]["pid"] not in (None, iod))
        self.look(None, f"after the end of {what}")

    def set(self):
        key, value = self.rng.choice([("limits.active_pairs", self.rng.randint(1, 4)), ("switch.when", "synced"), ("switch.when", "pair"),
                                      ("switch.when", "manual"), ("switch.partial", True), ("limits.rate", "64MiB"), ("priority", "high"),
                                      ("switch.deadline", "2m"), ("switch.commit", "manual")])
        self.log.append(f"set {key}={value}")
        try:
            self.t.set(self.name, **{key.replace(".", "__"): value})
        except Problem as p:
            if p.exit != 5 or not self.look()["state"] in FINAL:
                self.fail(f"set {key}={value}: {p}")
            return
        if key == "switch.when":
            self.model.automatic = value != "manual"
        if key == "switch.partial":
            self.model.partial = True
        self.look()

    def disturb(self):
        for i, disk in enumerate(self.disk):
            if disk and self.rng.random() < 0.5:
                lines = self.rng.choice([[], [], ["fail write ENOSPC 1000000"], ["fail write ENOSPC 1000000"], ["fail flush EIO 1"],
                                         ["delay write 100"], ["delay flush 200"], None])
                self.log.append(f"target {i + 1}: {'stalls' if lines is None else lines}")
                if lines is None:
                    disk.stop()
                    threading.Timer(self.rng.uniform(0.1, 2), disk.go_on).start()
                else:
                    disk.faults(*lines)

    def run(self, until):
        for _ in range(self.rng.randint(10, 40)):
            if time.monotonic() > until or all(p.state in FINAL for p in self.pairs):
                break
            what = self.rng.random()
            if what < 0.65:
                self.verb()
            elif what < 0.8:
                self.write()
            elif what < 0.82:
                self.set()
            elif what < 0.87:
                self.disturb()
            elif what < 0.9:
                self.kill()
            else:
                self.t.wait("a moment", lambda end=time.monotonic() + self.rng.uniform(0, 0.3): time.monotonic() > end)
                self.look()
        self.end()

    def end(self):
        """To an end that shows the data: what is switched is committed, the rest canceled."""
        for disk in self.disk:
            if disk:
                disk.faults()
        self.check_copied()
        for i, p in enumerate(self.pairs):
            self.t.wait(f"pair {i + 1} is not on its way", lambda p=p: self.look() and p.state != "switching" and (p.online or p.state != "synced"))
        self.check_locks()
        # Pairs switch and end by themselves while this is asked: each time, what is left as it is now.
        problem = None
        for _ in range(20):
            self.t.wait("nothing is on its way", lambda: self.look() and all(p.state != "switching" for p in self.pairs))
            left = [(str(i + 1), p.state) for i, p in enumerate(self.pairs) if p.state not in FINAL]
            if not left:
                break
            for verb in ("commit", "cancel"):
                names = [n for n, state in left if (state == "switched") == (verb == "commit")]
                try:
                    if names:
                        self.step(f"{verb} {names}, to end", lambda: self.t.verb(self.name, verb, pairs=names))
                        for n in names:
                            self.pairs[int(n) - 1].state = "committed" if verb == "commit" else "canceled"
                except Problem as e:
                    problem = e
        else:
            self.fail(f"it does not come to an end: {problem}")
        doc = self.look()
        self.check_locks()
        for c in self.clients:
            if c:
                c.close()
        for i, p in enumerate(self.pairs):
            where = {"committed": self.target, "canceled": self.source, "completed": self.target}[p.state][i]
            if p.online:
                primary = self.t.call("GET", f"/volumes/{self.name}{i}")
                if len(primary["legs"]) != 1 or primary["suspended"] or primary["in_doubt"]:
                    self.fail(f"volume {i}: {primary}")
            with open(where, "rb") as f:
                if f.read(self.size[i]) != bytes(self.shadow[i]):
                    self.fail(f"pair {i + 1}: {where} is not what was written")
        if any(v["hidden"] for v in self.t.call("GET", "/volumes") if v["name"].startswith(doc["id"])):
            self.fail("a hidden volume is left")


end = time.monotonic() + float(os.environ.get("DRAY_SECONDS", "15")) * min(SLOW, 2)
seen = collections.Counter()  # (verb, state of a pair that it was said to)
print(f"DRAY_SEED={SEED}", flush=True)
sessions = 0
with AgentTest(fake=False) as t:
    disks = Disks(t)
    try:
        while time.monotonic() < end:
            rng = random.Random(f"{SEED}.{sessions}")
            bench = Bench(t, disks, rng, sessions)
            try:
                bench.run(end)
            except BaseException:
                bench.tell()
                raise
            sessions += 1
    finally:
        disks.end()
print(sessions, "sessions")
for verb in VERBS:
    print(f"{verb:8}", *(f"{s}:{seen[verb, s]}" for s in STATES))
