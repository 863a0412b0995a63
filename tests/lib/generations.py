# SPDX-License-Identifier: BSD-3-Clause
"""What the tests of point-in-time copies share: two volumes whose writer alternates between them, and a session that makes generations of both."""
import json
import os
import signal
import subprocess

from dray import SLOW, MiB, wait_for

NAMES = ("data", "log")


class Night:
    def __init__(self, scratch, agent, size=2 * MiB, app=True):
        self.s, self.a = scratch, agent
        self.backup = scratch.path("backup")
        os.mkdir(self.backup)
        uris = [agent.volume(v, scratch.file(f"old-{v}", size)) for v in NAMES]
        self.app = None
        if app:
            self.app = scratch.start("dray-stamp", "pair", "--uri", uris[0], "--uri2", uris[1], "--flush-every", "20", "--status",
                                     scratch.path("status"), "--reconnect-wait", "60", log="pair.log")
            wait_for("the application writes", lambda: os.path.exists(scratch.path("status")))

    def submit(self, start, *options):
        return self.a.spec({"name": "night", "mode": "copy", "start": start, "leg_timeout": "1h",
                            "pairs": [{"source": f"volume:{v}", "target": f"{self.backup}/{v}-{{time}}.img"} for v in NAMES]}, *options)

    def doc(self):
        return self.a.show("night")

    def complete(self):
        return [g for g in self.doc()["generations"] if g["complete"]]

    def events(self, *words):
        return [e for e in self.a.json("events", "night") if e["event"] in words]

    def one_instant(self, generation):
        """Both files show one instant of the writer: what it wrote last is in the second one or, if not, only just not."""
        done = subprocess.run(["dray-stamp", "pair-verify", *generation["paths"]], capture_output=True, text=True, check=False)
        assert done.returncode == 0, (generation, done.stdout, done.stderr)

    def settle(self):
        """Nothing is being made or removed, and all is in sync."""
        def settled():
            doc = self.doc()
            return doc["state"] == "synced" and doc["phase"] == "mirroring" and all(g["complete"] for g in doc["generations"]) and doc
        return wait_for("the session is settled", settled, 60)

    def files(self):
        return sorted(os.listdir(self.backup))

    def expected(self, generations, bases=True):
        return sorted([os.path.basename(p) for g in generations for p in g["paths"]] + ([f".{v}-base.img" for v in NAMES] if bases else []))

    def newest(self):
        """What the writer wrote last, as of its last status."""
        with open(self.s.path("status"), encoding="ascii") as f:
            return json.load(f)["newest"]

    def stop(self):
        """Ends the writer, which has seen no error: not before it writes, for dray-iod may have been killed a moment ago."""
        if self.app:
            was = self.newest()
            wait_for("the application writes", lambda: self.newest() > was, 60)
            self.app.send_signal(signal.SIGTERM)
            assert self.app.wait(timeout=60 * SLOW) == 0
            self.app = None
