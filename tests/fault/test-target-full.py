#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""A sparse target on a file system that fills up: the pair fails at once and says why, the application is unharmed; when there is room again
`retry` goes on from what is there, without moving again what was moved. On a real file system as root, else on a disk that says so."""
import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from dray import MiB, Scratch, same, wait_for

N = 16 * MiB


def run(s, name, target, make_full, make_room, options):
    a = s.agent(name=name)
    source = s.file(name + "-old", N, True)
    app = s.stamp(a.volume("v", source), name + "-app", "--depth", "2", "--rate", "300", "--size", str(2 * MiB),
                  "--no-reconnect")
    app.wait_writes(20)
    make_full()
    a.spec({"name": "move", "leg_timeout": "1h", "switch": {"when": "manual"}, "pairs": [dict({"source": "volume:v", "target": target}, **options)]})
    failed = wait_for("the pair fails", lambda: (p := a.pair("move"))["state"] == "failed" and p)
    assert "No space left on device" in failed["reason"], failed["reason"]
    before = failed["progress"]["bytes_copied"]
    # The session's only pair: there are no others to switch, and what is legal is told.
    refused = a.json("switch", "move", status=5)
    assert refused["code"] == "not_legal" and "retry" in refused["detail"] and "partial" not in refused["detail"], refused
    app.wait_writes(50)
    make_room()
    a.run("retry", "move")
    a.wait("move", "synced")
    p = a.pair("move")["progress"]
    print(f"{name}: {before} bytes when it was full, {p}")
    # The application works on the first 2 MiB; all else is moved once.
    assert before > 4 * MiB and p["bytes_copied"] + p["bytes_skipped"] <= N + 4 * MiB, (before, p)
    a.run("switch", "move")
    app.wait_writes(20)
    app.end()
    a.run("commit", "move", "--yes")
    app.verify(target)


with Scratch() as s:
    disk = s.holdback("disk", N)
    run(s, "server", disk.uri, lambda: disk.faults(f"fail write ENOSPC 1000000 {N // 2} {N // 2}"), disk.faults, {"overwrite": True})

    small = s.path("small")
    os.mkdir(small)
    mounted = os.geteuid() == 0 and subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24M", "dray-test", small], check=False,
                                                   capture_output=True).returncode == 0
    if not mounted:
        print("not shown on a real file system: no right to mount one")
        sys.exit(0)
    try:
        hog = os.path.join(small, "hog")

        def fill():
            with open(hog, "wb") as f:
                f.write(bytes(14 * MiB))

        run(s, "tmpfs", os.path.join(small, "new"), fill, lambda: os.unlink(hog), {"create": "thin"})
    finally:
        for agent in s.agents:
            agent.destroy()
        subprocess.run(["umount", "-l", small], check=True)
