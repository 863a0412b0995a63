#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""A storage and what lies on it exclude each other by locks, also when the kernel sees no connection at the moment: a file and the loop
device of its file system, two sessions in either order, one document, a volume. Needs root: loop devices."""
import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from dray import MiB, Scratch, need
from loop import Loops

os.environ["PATH"] += ":/usr/sbin:/sbin"
need("mkfs.ext4", "mount", "umount")

with Loops() as loops, Scratch() as s:
    disk = s.file("disk", 32 * MiB)
    dev = loops.attach(disk)
    subprocess.run(["mkfs.ext4", "-q", dev], check=True)
    mnt = s.path("mnt")
    os.mkdir(mnt)
    source = [s.file(f"s{i}", 4 * MiB, True) for i in range(4)]

    # A session that keeps all others waiting: what they lock is open nowhere.
    with open(s.path("config"), "w") as f:
        f.write("active_pairs: 1\n")
    a = s.agent(options=("--config", s.path("config")))
    a.spec({"name": "slow", "limits": {"rate": "1"}, "pairs": [{"source": source[3], "target": s.path("slow"), "create": "thin"}]})
    locks = len(a.json("locks"))

    def one(name, target, src=source[0], **more):
        return {"name": name, "pairs": [{"source": src, "target": target, **more}]}

    def refused(spec):
        return {e["code"]: e["detail"] for e in a.spec(spec, status=3)["errors"]}

    # The files' session first. Not mounted any more, nothing in the kernel tells of it.
    loops.mount(dev, mnt)
    with open(f"{mnt}/there", "wb") as f:
        f.truncate(4 * MiB)
    a.spec(one("files", f"{mnt}/there"))
    a.spec(one("more-files", f"{mnt}/new", source[1], create="thin"))  # they share what they lie on
    for name, gone in (("files", ["more-files"]), ("more-files", [])):
        loops.umount_soon(mnt)
        for target in (dev, disk):
            got = refused(one("whole", target, source[2], overwrite=True))
            assert "locked" in got and "lies on" in got["locked"] and name in got["locked"], got
        got = {e["code"] for e in a.json("volume", "add", "v", dev, status=3)["errors"]}
        assert got == {"locked"}, got
        loops.mount(dev, mnt)
        a.run("cancel", name)
    loops.umount_soon(mnt)

    # The device's session first, then it is mounted behind its back.
    a.spec(one("whole", dev, source[2], overwrite=True))
    loops.mount(dev, mnt)
    got = refused(one("files", f"{mnt}/there"))
    assert "lies on what is locked by session whole" in got["locked"], got
    got = refused(one("files", s.path("t"), f"{mnt}/there", create="thin"))  # as a source, too
    assert "lies on what is locked by session whole" in got["locked"], got
    a.run("cancel", "whole")

    # Both in one document.
    for pairs in ([f"{mnt}/there", dev], [dev, f"{mnt}/there"]):
        spec = {"name": "both", "pairs": [{"source": source[i], "target": t, "overwrite": True} for i, t in enumerate(pairs)]}
        errors = a.spec(spec, status=3)["errors"]
        same = [e for e in errors if e["code"] == "same_device"]
        assert [e["pointer"] for e in same] == ["/pairs/1/target"] and "lies on" in same[0]["detail"], errors
    loops.umount_soon(mnt)
    assert len(a.json("locks")) == locks
