#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""The file system of the generations fills up: in the middle of a clone, and under a working image that has to grow. The generation fails with that reason and nothing
of it is left; those that were complete stay, and the applications do not notice; when there is room again the next moment has its generation."""
import os
import subprocess
import sys

if not os.environ.get("TEST_HAS_OWN_MOUNTS"):
    # A mount of its own that ends with it; who is not root becomes it in a user namespace.
    root = [] if os.geteuid() == 0 else ["--map-root-user"]
    if subprocess.run(["unshare", "--mount", *root, "mount", "-t", "tmpfs", "none", "/mnt"], check=False, capture_output=True).returncode:
        print("SKIP: no right to mount a small file system, not even in a user namespace")
        sys.exit(77)
    os.environ["TEST_HAS_OWN_MOUNTS"] = "1"
    os.execvp("unshare", ["unshare", "--mount", *root, sys.executable, *sys.argv])

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from dray import Failed, MiB, Scratch, wait_for
from generations import NAMES, Night
from nbdclient import Client

SIZE, ROOM = 2 * MiB, 24 * MiB

with Scratch() as s:
    a = s.agent()
    night = Night(s, a, SIZE)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={ROOM}", "dray-test", night.backup], check=True)
    hog = os.path.join(night.backup, "hog")

    def leave(free):
        """So much room."""
        st = os.statvfs(night.backup)
        with open(hog, "wb") as f:
            f.write(bytes(st.f_bavail * st.f_frsize - free))

    def by_hand():
        a.run("switch", "night")

    # What was written once needs its room.
    wait_for("the application has written everywhere", lambda: all(os.stat(s.path(f"old-{v}")).st_blocks * 512 >= SIZE for v in NAMES), 60)
    night.submit({"every": "1h", "keep": 2})
    wait_for("the first generation", night.complete)
    night.settle()
    before = night.complete()

    # Room for one file of the two, and a half.
    leave(SIZE + SIZE // 2)
    try:
        by_hand()
        raise AssertionError("it found room")
    except Failed as e:
        assert e.status == 1 and "No space left on device" in e.stderr, e
    doc = night.settle()
    assert doc["generations"] == before and "No space left on device" in doc["reason"], doc
    failed = night.events("generation-failed")
    assert len(failed) == 1 and night.backup in failed[0]["detail"], failed
    assert night.files() == sorted(night.expected(before) + ["hog"]), night.files()
    night.one_instant(before[0])
    # At the moments, too: each is told.
    a.run("set", "night", "start={every: 1s, keep: 2}")
    wait_for("one more that failed", lambda: len(night.events("generation-failed")) > 2)
    assert night.complete() == before and not night.events("generation-left")
    os.unlink(hog)
    wait_for("the next ones", lambda: len(now := night.complete()) >= 2 and before[0] not in now)
    a.run("set", "night", "start={every: 1h, keep: 2}")
    doc = night.settle()
    for g in doc["generations"]:
        night.one_instant(g)
    assert night.files() == night.expected(doc["generations"]), night.files()
    night.stop()
    a.run("cancel", "night")

    # A working image that is thin, under which there is no room to grow: the pair fails, and is tried again at the moments.
    a.volume("thin", s.file("old-thin", 4 * MiB))
    client = Client(a.nbd_socket, "thin")
    client.write(0, b"x" * 4096)
    a.spec({"name": "thin", "mode": "copy", "start": {"every": "2s", "keep": 2}, "pairs": [{"source": "volume:thin", "target": night.backup}]})

    def thin():
        return [g for g in a.show("thin")["generations"] if g["complete"]]

    wait_for("two generations", lambda: len(thin()) == 2)
    a.run("set", "thin", "start={every: 3s, keep: 2}")
    leave(0)
    client.write(MiB, b"y" * 2 * MiB)
    failed = wait_for("the pair fails", lambda: (p := a.pair("thin"))["state"] == "failed" and p)
    assert "No space left on device" in failed["reason"], failed
    before = thin()
    os.unlink(hog)
    later = wait_for("later generations", lambda: len(now := [g for g in thin() if g["time"] > before[-1]["time"]]) >= 2 and now)
    a.run("set", "thin", "start={every: 1h, keep: 2}")
    with open(later[-1]["paths"][0], "rb") as f:
        assert f.read() == b"x" * 4096 + bytes(MiB - 4096) + b"y" * 2 * MiB + bytes(MiB)
