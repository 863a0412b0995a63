#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Of two submits that want one device the first to come wins, even if looking at what it names takes longer."""
import os
import socket
import subprocess
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from agent import AgentTest, Problem  # noqa: E402


class SlowDoor:
    """Lets clients of a unix socket through to another one once it is opened."""

    def __init__(self, path, behind):
        self.behind, self.open, self.came = behind, threading.Event(), threading.Event()
        self.server = socket.socket(socket.AF_UNIX)
        self.server.bind(path)
        self.server.listen(8)
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            client, _ = self.server.accept()
            self.came.set()
            threading.Thread(target=self.let_in, args=(client,), daemon=True).start()

    def let_in(self, client):
        self.open.wait()
        server = socket.socket(socket.AF_UNIX)
        server.connect(self.behind)
        for a, b in ((client, server), (server, client)):
            threading.Thread(target=self.pump, args=(a, b), daemon=True).start()

    @staticmethod
    def pump(a, b):
        try:
            while data := a.recv(65536):
                b.sendall(data)
            b.shutdown(socket.SHUT_WR)
        except OSError:
            pass


with AgentTest() as t:
    behind = t.dir + "/nbd.sock"
    nbd = subprocess.Popen(["nbd-memory", behind, "size=1M"], stdout=subprocess.PIPE, text=True)
    try:
        assert nbd.stdout.readline().strip() == "ready"
        door = SlowDoor(t.dir + "/door.sock", behind)
        for n in "abc":
            t.iod.add(n, "/nowhere/" + n, 1 << 20)
        wanted, got = t.file("wanted"), {}

        def submit(name, *pairs):
            try:
                got[name] = t.submit({"name": name, "pairs": [{"source": s, "target": x} for s, x in pairs]})
            except Problem as p:
                got[name] = p

        first = threading.Thread(target=submit, args=("first", ("volume:a", wanted), ("volume:b", f"nbd+unix:///?socket={t.dir}/door.sock")))
        first.start()
        assert door.came.wait(20)
        lists = t.iod.count("volume.list")
        second = threading.Thread(target=submit, args=("second", ("volume:c", wanted)))
        second.start()
        t.wait("the second one has been looked at", lambda: t.iod.count("volume.list") > lists)
        second.join(0.5)
        assert not got, got
        door.open.set()
        first.join(30)
        second.join(30)
        assert isinstance(got["first"], dict), got["first"]
        assert isinstance(got["second"], Problem) and got["second"].codes() == {"/pairs/0/target": "locked"}, got["second"]

        # A repeat that comes before its original is on record is answered with that, too; another document of that id is refused.
        door.open.clear()
        door.came.clear()

        def repeat(key, priority=5):
            try:
                got[key] = t.submit({"id": "s-twice", "name": "twice", "priority": priority, "start": {"after": "9d"},
                                     "pairs": [{"source": t.dir + "/source", "target": f"nbd+unix:///?socket={t.dir}/door.sock"}]})
            except Problem as p:
                got[key] = p
        t.file("source")
        t.verb("first", "cancel")
        threads = [threading.Thread(target=repeat, args=(0,))]
        threads[0].start()
        assert door.came.wait(20)
        for i in range(1, 6):
            threads.append(threading.Thread(target=repeat, args=(i, 5 if i < 5 else 6)))
            threads[i].start()
        door.open.set()
        for th in threads:
            th.join(60)
        assert [got[i]["id"] for i in range(5)] == ["s-twice"] * 5, got
        assert isinstance(got[5], Problem) and got[5].codes()["/id"] == "exists", got[5]
    finally:
        nbd.terminate()
        nbd.wait()
