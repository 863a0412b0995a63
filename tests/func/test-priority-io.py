#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""A session's priority is the I/O priority of its copy's reads and writes, from when it is set, and never of the application's; and the nice of the thread
that retires its source."""
import ctypes
import os
import platform
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from dray import MiB, Scratch, undisturbed, wait_for

with Scratch() as s:
    config, seen = s.path("drayd.yaml"), s.path("prios")
    with open(config, "w") as f:
        f.write("allow_faults: true\n")
    a = s.agent(options=("--config", config))
    s.file("old", 32 * MiB, True)
    s.file("new", 32 * MiB)
    uri = a.volume("v", f"fault:prio_file={seen}:{s.path('old')}")

    looked = 0

    def prios():
        """{(operation, priority)} since the last look; priority: 0 none, else 1 and the level."""
        global looked
        with open(seen, "rb") as f:
            f.seek(looked)
            lines = f.read().rpartition(b"\n")[0].decode().splitlines()  # one that is being written is for the next look
        looked += sum(len(line) + 1 for line in lines)
        return {(op, int(prio)) for op, prio in map(str.split, lines)}

    app = s.stamp(uri, "app", "--depth", "2", "--rate", "300")
    app.wait_writes(50)
    assert {p for _, p in prios()} == {0}
    a.spec(undisturbed({"name": "move", "priority": "high", "limits": {"rate": "256KiB", "step": "64KiB"}, "switch": {"when": "manual", "retire": "zero"}, "pairs": [
        {"source": "volume:v", "target": s.path("new"), "overwrite": True}]}))
    for priority, level in (("high", 5), (6, 6), ("normal", 6), (4, 6), (3, 7), ("low", 7), (9, 5)):
        a.run("set", "move", f"priority={priority}")
        wait_for("told", lambda: a.json("volume", "show", "v")["limits"]["io_level"] == level)  # pylint: disable=cell-var-from-loop
        prios()
        got = set()

        def both(got=got, level=level):
            got.update(prios())
            return {("read", level + 1), ("write", 0)} <= got
        wait_for(f"reads of the copy and writes of the application, by {priority}", both)
        at = a.moved("move")
        wait_for("it moves", lambda: a.moved("move") > at)  # pylint: disable=cell-var-from-loop
        got |= prios()
        print(priority, sorted(got))
        # A step under way ends as it began: one of those may have been there at the first look, none now.
        assert {p for op, p in got if op == "write"} == {0} and {p for op, p in got if op == "read"} <= {0, level + 1}, got

    # The thread that overwrites the old source.
    a.run("set", "move", "limits.rate=none", "priority=low")
    a.wait("move", "synced")
    app.end()
    a.run("set", "move", "limits.rate=256KiB")
    a.run("switch", "move")
    a.run("commit", "move", "--yes")

    def threads():
        out = []
        for tid in os.listdir(f"/proc/{a.process.pid}/task"):
            try:
                with open(f"/proc/{a.process.pid}/task/{tid}/stat", encoding="utf-8") as f:
                    out.append((int(f.read().rsplit(")", 1)[1].split()[16]), int(tid)))
            except OSError:
                pass  # it ended
        return out

    own = os.getpriority(os.PRIO_PROCESS, 0)  # the tests themselves may be run at another one
    wait_for("a thread of nice 15", lambda: max(threads())[0] == max(own, 15))
    nice = [n for n, _ in threads()]
    assert set(nice) == {own, max(own, 15)}, nice  # it, and what it made for itself; the others stay as they were
    if platform.machine() == "x86_64":  # ioprio_get
        def levels():
            return [ctypes.CDLL(None).syscall(252, 1, tid) for _, tid in threads()]
        wait_for("best effort, 7", lambda: (2 << 13 | 7) in levels())
