#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""dray-iod dies at each named point of a forced undo, and drayd before and after each thing that it records of it: then it was done or it was not,
the document says which and what was lost or that this is not known, all else is there, and the target counts as behind where it may differ."""
import os
import signal
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from dray import MiB, SLOW, Scratch, ended, wait_for  # noqa: E402
from nbdclient import Client, NbdError  # noqa: E402

SIZE = 8 * MiB
OLD, KEPT, LOST = 4 * MiB, b"kept".ljust(4096, b"."), b"lost".ljust(4096, b".")


class Scene:
    """A volume that was moved, and a target that then fails: what is written at OLD is there for sure on neither side."""

    def __init__(self, s, a, name):
        self.s, self.a, self.name = s, a, name
        self.target = s.holdback(name + "-target", SIZE)
        self.source = s.file(name + "-source", SIZE, True)
        with open(self.source, "rb") as f:
            self.was = f.read()
        a.volume(name, self.source)
        a.spec({"name": name, "switch": {"when": "synced"},
                "pairs": [{"source": f"volume:{name}", "target": self.target.uri, "overwrite": True}]}, "--wait")
        assert a.show(name)["state"] == "switched"
        c = self.client()
        c.write(0, KEPT)
        c.flush()
        self.target.faults("fail write EIO 100000", "fail read EIO 100000")
        try:
            c.write(OLD, LOST)
            raise AssertionError("the target took it")
        except NbdError:
            pass
        c.close()

    def client(self):
        return Client(self.a.nbd_socket, self.name)

    def settled(self):
        """The state, once the undo is over, whoever was killed."""
        def over():
            done = self.a.run("show", self.name, "-o", "json", status=None)
            return done.returncode == 0 and '"switching"' not in done.stdout
        wait_for("the outcome", over)
        wait_for("it is served", lambda: self.a.json("volume", "show", self.name)["served"])
        return self.a.show(self.name)["state"]

    def check_done(self, known, iod_died):
        """On the source: what was there when it was left behind is there, and what is not is told."""
        pair, volume = self.a.pair(self.name), self.a.json("volume", "show", self.name)
        assert volume["primary"] == self.source and self.a.show(self.name)["switch"]["when"] == "manual", volume
        lost = pair["undo_lost"] if "undo_lost" in pair else None
        events = [e["detail"] for e in self.a.json("events", self.name) if e["event"] == "undone"]
        assert len(events) == 1, events
        if known:
            # Whole regions. After a restart of dray-iod those count, too, that an intent covers: they can't be compared with a dead target.
            assert lost["bytes"] == sum(r["length"] for r in lost["ranges"]), lost
            assert any(r["offset"] <= OLD < r["offset"] + r["length"] for r in lost["ranges"]), lost
            assert iod_died or lost == {"bytes": MiB, "ranges": [{"offset": OLD, "length": MiB}]}, lost
            assert f"forced: {lost['bytes']} bytes" in events[0], events
        else:
            assert lost is None and "is not known" in events[0], (lost, events)
        c = self.client()
        got = c.read(OLD, 4096)  # it failed for the application: what the source made of it is one or the other
        assert c.read(0, 4096) == KEPT and got in (LOST, self.was[OLD:OLD + 4096])
        c.close()
        # The target was left with what no one knows: it is behind there, and gets the source's.
        wait_for("the target is behind", lambda: self.a.pair(self.name)["dirty_bytes"])
        self.target.faults()
        self.a.run("retry", self.name, status=None)
        wait_for("the target is in sync", lambda: self.a.show(self.name)["state"] == "synced" and self.a.pair(self.name)["dirty_bytes"] == 0)
        assert self.a.json("switch", self.name)["state"] == "switched"
        c = self.client()
        assert c.read(0, 4096) == KEPT and c.read(OLD, 4096) == got and c.read(4096, OLD - 4096) == self.was[4096:OLD]
        c.close()


def restart(a, crash=None):
    """drayd; the programs that it starts from now on die where `crash` says."""
    a.process.send_signal(signal.SIGKILL)
    a.process.wait()
    a.env.pop("DRAY_CRASH_AT", None)
    if crash:
        a.env["DRAY_CRASH_AT"] = crash
    a.start()


def a_new_iod(a):
    pid = a.iod_pid()
    os.kill(pid, signal.SIGKILL)
    wait_for("a new dray-iod", lambda: a.iod_pid() not in (None, pid))
    wait_for("it knows what the source lacks", lambda: a.show("v")["state"] == "switched" and any(
        leg["dirty_bytes"] for leg in a.json("volume", "show", "v")["legs"]))


def iod_dies(point, done):
    with Scratch() as s:
        a = s.agent()
        scene = Scene(s, a, "v")
        restart(a, point)
        a_new_iod(a)
        pid = a.iod_pid()

        def reached():
            """It may be refused for a moment: what the restart left is still being looked at."""
            a.run("undo", "v", "--force", "--yes", status=None)
            return ended(pid)
        wait_for(f"{point} is reached", reached, every=0.3)
        if done:
            restart(a)  # and a dray-iod that does not die
            os.kill(a.iod_pid(), signal.SIGKILL)
        state = scene.settled()
        assert (state != "switched") == done, state
        if not done:
            assert a.json("volume", "show", "v")["primary"] == scene.target.uri
            restart(a)
            a_new_iod(a)
            wait_for("it is undone", lambda: a.run("undo", "v", "--force", "--yes", status=None).returncode == 0)
        scene.check_done(known=not done, iod_died=True)
        print(point, "done" if done else "not done", flush=True)


def agent_dies(points, arrivals):
    """drayd alone; dray-iod goes on, so what was lost is known in any case. Returns how often it died."""
    died = 0
    with Scratch() as s:
        a = s.agent()
        for n in arrivals:
            point, armed = f"{points}:{n}", s.path(f"armed{n}")
            scene = Scene(s, a, f"v{n}")
            a.env["DRAY_CRASH_IF"] = armed  # what it records of its start does not count
            restart(a, point)
            open(armed, "w", encoding="ascii").close()
            gone = a.run("undo", scene.name, "--force", "--yes", status=None).returncode == 6
            try:
                a.process.wait(20 * SLOW if gone else 1)  # its sockets are closed before it has ended
                crashed = True
            except subprocess.TimeoutExpired:
                crashed = False
            if crashed:
                assert a.process.returncode == 137, a.process.returncode
                died += 1
            restart(a)
            if scene.settled() == "switched":
                wait_for("it is undone", lambda scene=scene: a.run("undo", scene.name, "--force", "--yes", status=None).returncode == 0)
            scene.check_done(known=True, iod_died=False)
            print(point, "died" if crashed else "not reached", flush=True)
            if not crashed:
                return died
        raise AssertionError("it never ends")


for point, done in (("epoch-before", False), ("epoch-torn", False), ("epoch-after", True), ("apply-before", True), ("apply-after", True),
                    ("switch-done", True)):
    iod_dies(point, done)
# What is there after one record is there before the next.
for points, first in (("record-before", 1), ("record-after", 2)):
    assert agent_dies(points, range(first, 20, 2)) >= 2  # the intent and the outcome
