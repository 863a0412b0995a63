#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
# Shows: loop-device: discard zero
# Shows: loop-device-slice: discard zero
"""Block devices are retired: a loop device in each way that it has, a partition of one, and what it has not is refused."""
import ctypes
import fcntl
import os
import shutil
import struct
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from dray import MiB, Scratch, wait_for  # noqa: E402
from loop import Loops  # noqa: E402

BLKROGET, BLKPG = 0x125E, 0x1269
LEGAL = "none, discard or zero"


def content(path):
    with open(path, "rb") as f:
        return f.read()


def is_read_only(device):
    with open(device, "rb") as f:
        return struct.unpack("i", fcntl.ioctl(f, BLKROGET, struct.pack("i", 0)))[0] == 1


def add_partition(device, number, at):
    """Of 2 MiB, told to the kernel: not every kernel reads tables of partitions."""
    entry = ctypes.create_string_buffer(struct.pack("qqi64s64s", at, 2 * MiB, number, b"", b""))
    with open(device, "rb") as f:
        fcntl.ioctl(f, BLKPG, struct.pack("iiiP", 1, 0, len(entry), ctypes.addressof(entry)))


with Loops() as loops, Scratch() as s:
    a = s.agent()
    for way in ("discard", "zero"):
        file = s.file(f"disk-{way}", 4 * MiB, True)
        before = content(file)
        dev = loops.attach(file)
        a.volume(way, dev)
        doc = {"name": way, "switch": {"when": "synced", "commit": "switched", "retire": way},
               "pairs": [{"source": f"volume:{way}", "target": s.file(f"t-{way}", 4 * MiB)}]}
        for bad in ("read-only", "offline", "delete", "rename"):
            problem = a.spec({**doc, "switch": {"retire": bad}}, status=3)
            assert [(e["pointer"], e["code"], e["legal"]) for e in problem["errors"]] == [("/switch/retire", "retire", LEGAL)], problem
        a.spec(doc)
        got = wait_for("the end", lambda: (d := a.show(way))["finished"] and d)
        assert got["pairs"][0]["retired"]["state"] == "done", got
        assert not any(content(dev)), way
        if way == "discard":
            assert os.stat(file).st_blocks * 512 < MiB
        assert content(s.path(f"t-{way}")) == before

    # A part of it: nothing of the device beside it; and what the whole can't be asked for, a part can't.
    file = s.file("parted", 8 * MiB, True)
    before = content(file)
    dev = loops.attach(file, partitions=True)
    add_partition(dev, 1, MiB)
    add_partition(dev, 2, 4 * MiB)
    first, second = dev + "p1", dev + "p2"
    if not os.path.exists(second):
        print("partitions of loop devices don't appear here: not looked at")
    else:
        for way, part in (("discard", first), ("zero", second)):
            a.json("migrate", part, s.file(f"t-part-{way}", 2 * MiB), "--name", f"part-{way}")
            for bad in ("delete", "read-only"):
                problem = a.json("retire", f"part-{way}", "--how", bad, "--yes", status=3)
                assert problem["errors"][0]["legal"] == LEGAL, problem
            a.run("retire", f"part-{way}", "--how", way, "--yes")
        assert not is_read_only(first) and not is_read_only(second) and not is_read_only(dev)
        assert content(dev) == before[:MiB] + bytes(2 * MiB) + before[3 * MiB:4 * MiB] + bytes(2 * MiB) + before[6 * MiB:]

    # Slices: not one byte beside them.
    file = s.file("sliced", 8 * MiB, True)
    before = content(file)
    dev = loops.attach(file)
    for way, at in (("discard", MiB + 512), ("zero", 4 * MiB + 512)):
        a.spec({"name": f"slice-{way}", "switch": {"retire": way}, "pairs": [
            {"source": {"resource": dev, "offset": at, "length": MiB}, "target": s.file(f"t-slice-{way}", MiB)}]})
        got = wait_for("the slice", lambda: (d := a.show(f"slice-{way}"))["finished"] and d)
        assert got["pairs"][0]["retired"]["state"] == "done", got
        before = before[:at] + bytes(MiB) + before[at + MiB:]
        assert content(dev) == before, way

    # Somebody has it open without holding it, as a hypervisor does.
    file = s.file("open", 4 * MiB, True)
    before = content(file)
    dev = loops.attach(file)
    a.json("migrate", dev, s.file("t-open", 4 * MiB), "--name", "open")
    reader = subprocess.Popen(["sleep", "600"], stdin=open(dev, "rb"))
    s.processes.append(reader)
    got = a.json("retire", "open", "--how", "zero", "--yes", status=1)
    assert f"process {reader.pid} (sleep) has it open" in got["detail"], got
    reader.kill()
    reader.wait()
    # Mounted.
    if shutil.which("mkfs.ext4"):
        subprocess.run(["mkfs.ext4", "-q", dev], check=True)
        os.mkdir(s.path("mnt"))
        if subprocess.run(["mount", dev, s.path("mnt")], capture_output=True, check=False).returncode == 0:
            try:
                got = a.json("retire", "open", "--how", "zero", "--yes", status=1)
                assert "mounted" in got["detail"] or "in use" in got["detail"], got
            finally:
                subprocess.run(["umount", s.path("mnt")], check=True)
    assert a.json("retire", "open", "--how", "zero", "--yes")["pairs"][0]["retired"]["state"] == "done"
    assert not any(content(dev))

    # The device is another one's by now: the same name, another file behind it.
    file = s.file("gone", 4 * MiB, True)
    dev = loops.attach(file)
    a.json("migrate", dev, s.file("t-gone", 4 * MiB), "--name", "gone")
    loops.detach(dev)
    other = s.file("other", 4 * MiB, True)
    mine = content(other)
    loops.attach(other, device=dev)
    got = a.json("retire", "gone", "--how", "zero", "--yes", status=3)
    assert [e["code"] for e in got["errors"]] == ["replaced"] and content(other) == mine, got

    # A file behind a loop device is in use, though no process has it open.
    file = s.file("behind", 4 * MiB, True)
    before = content(file)
    a.json("migrate", file, s.file("t-behind", 4 * MiB), "--name", "behind")
    loops.attach(file)
    got = a.json("retire", "behind", "--how", "delete", "--yes", status=1)
    assert "the kernel" in got["detail"] and content(file) == before, got
