#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Block devices: one under several names (loop device and file, disk and partition), in use (mounted, the file behind a mount, open
exclusively), with blocks of 4096 bytes, with a partition table; a larger one with a GPT is warned of. Needs root: loop devices."""
import json
import os
import struct
import subprocess
import sys
import uuid
import zlib

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from dray import MiB, Scratch, need, same
from loop import Loops

os.environ["PATH"] += ":/usr/sbin:/sbin"
need("mkfs.ext4", "mount", "umount")


def gpt(path, size):
    """A GPT with one partition, at both ends, as any program writes it."""
    last = size // 512 - 1
    entry = uuid.UUID("0fc63daf-8483-4772-8e79-3d69d8477de4").bytes_le + uuid.uuid4().bytes_le + struct.pack("<QQQ", 2048, last - 2048, 0) + \
        "data".encode("utf-16-le").ljust(72, b"\0")
    entries, disk = entry.ljust(128 * 128, b"\0"), uuid.uuid4()

    def header(own, other, at):
        def text(crc):
            return struct.pack("<8sIIIIQQQQ16sQIII", b"EFI PART", 0x10000, 92, crc, 0, own, other, 34, last - 33, disk.bytes_le, at, 128, 128,
                               zlib.crc32(entries))
        return text(zlib.crc32(text(0)))
    with open(path, "r+b") as f:
        f.seek(446)
        f.write(struct.pack("<B3sB3sII", 0, b"\0\2\0", 0xee, b"\xff\xff\xff", 1, last))
        f.seek(510)
        f.write(b"\x55\xaa")
        for own, other, at in ((1, last, 2), (last, 1, last - 32)):
            f.seek(own * 512)
            f.write(header(own, other, at))
            f.seek(at * 512)
            f.write(entries)
    return str(disk)


with Loops() as loops, Scratch() as s:
    a = s.agent()
    for i in range(8):
        s.file(f"s{i}", 4 * MiB, True)
    plain = s.file("plain", 8 * MiB)
    dev = loops.attach(plain)
    node = s.path("other-name")
    os.symlink(dev, node)

    def refused(*pairs):
        problem = a.spec({"name": "x", "pairs": [{"source": p.pop("source", s.path(f"s{i}")), **p} for i, p in enumerate(pairs)]}, status=3)
        return {e["pointer"]: (e["code"], e["detail"]) for e in problem["errors"]}

    got = refused({"target": dev}, {"target": node}, {"target": plain}, {"target": {"resource": plain, "offset": MiB, "length": 4 * MiB}})
    assert {p: c for p, (c, _) in got.items()} == {f"/pairs/{i}/target": "same_device" for i in (1, 2, 3)}, got

    # In use.
    mounted = s.file("mounted", 16 * MiB)
    mdev = loops.attach(mounted)
    subprocess.run(["mkfs.ext4", "-q", mdev], check=True)
    os.mkdir(s.path("mnt"))
    loops.mount(mdev, s.path("mnt"))
    excl = loops.attach(s.file("exclusive", 8 * MiB))
    fd = os.open(excl, os.O_RDWR | os.O_EXCL)
    got = refused({"target": mdev, "overwrite": True}, {"target": mounted, "overwrite": True}, {"target": excl},
                  {"source": mdev, "target": s.file("t1", 16 * MiB)})
    assert got["/pairs/0/target"][0] == "mounted" and s.path("mnt") in got["/pairs/0/target"][1], got
    assert {e["code"] for e in a.spec({"name": "y", "pairs": [{"source": s.path("s0"), "target": mounted, "overwrite": True}]},
                                      status=3)["errors"]} == {"mounted"}
    assert got["/pairs/2/target"][0] == "held" and got["/pairs/3/source"][0] in ("mounted", "same_device"), got
    assert refused({"source": mdev, "target": s.path("t1")})["/pairs/0/source"][0] == "mounted"
    for r in (mdev, mounted):
        assert a.json("volume", "add", "in-use", r, status=3)["errors"][0]["code"] == "mounted"
    os.close(fd)
    loops.umount_soon(s.path("mnt"))

    # Blocks: the users of a volume were promised some (H14); nobody was promised any of what is not in use.
    large = loops.attach(s.file("large-blocks", 8 * MiB), sector=4096)
    a.volume("narrow", loops.attach(s.file("narrow", 8 * MiB, True)))
    a.run("volume", "add", "wide", s.file("wide", 8 * MiB, True), "--block-size", "4096")
    assert a.json("volume", "show", "wide")["block_bytes"] == 4096
    got = refused({"source": "volume:narrow", "target": large})
    assert got["/pairs/0/target"][0] == "block_size", got
    got = refused({"source": s.file("odd", 4 * MiB + 512), "target": large})
    assert got["/pairs/0/target"][0] == "block_size", got
    assert a.json("volume", "add", "bad", s.path("s7"), "--block-size", "1000", status=3)["errors"][0]["pointer"] == "/block_bytes"
    doc = a.spec({"name": "wide", "switch": {"when": "synced", "commit": "switched"}, "pairs": [{"source": "volume:wide", "target": large}]}, "--wait")
    assert doc["state"] == "committed" and same(s.path("wide"), s.path("large-blocks")), doc
    a.run("volume", "remove", "wide")
    doc = a.spec({"name": "offline", "pairs": [{"source": s.path("s1"), "target": large, "overwrite": True}]}, "--wait")
    assert doc["state"] == "completed" and same(s.path("s1"), s.path("large-blocks"), 4 * MiB), doc
    assert same(s.path("wide"), s.path("large-blocks")) is False

    # A disk with a partition table, and its partition.
    disk = s.file("disk", 32 * MiB)
    table = gpt(disk, 32 * MiB)
    whole = loops.attach(disk, partitions=True)
    part = loops.partition(whole, 1)
    got = refused({"target": whole}, {"source": s.path("s1"), "target": {"resource": whole, "offset": 0, "length": 4 * MiB}},
                  {"source": s.path("s2"), "target": {"resource": whole, "offset": 8 * MiB, "length": 4 * MiB}})
    assert got["/pairs/0/target"][0] == "signature" and "gpt" in got["/pairs/0/target"][1], got
    got = refused({"target": {"resource": whole, "offset": 0, "length": 4 * MiB}})
    assert got["/pairs/0/target"][0] == "signature" and "gpt" in got["/pairs/0/target"][1], got
    got = refused({"target": {"resource": whole, "offset": 8 * MiB, "length": 4 * MiB}})
    assert got["/pairs/0/target"][0] == "signature" and "of which this is a slice" in got["/pairs/0/target"][1], got
    if part:
        got = refused({"target": whole, "overwrite": True}, {"target": part})
        assert got["/pairs/1/target"][0] == "same_device", got

    # A larger target, with a GPT at its source (H26): warned of, told by the command line, an event; the tail is not touched. After
    # the copy: two disks with one identity.
    bigger = s.file("bigger", 40 * MiB)
    with open(bigger, "r+b") as f:
        f.seek(36 * MiB)
        f.write(b"tail" * 1024)
    done = a.run("start", "-", "--wait", stdin=json.dumps({"name": "grow", "pairs": [{"source": disk, "target": bigger, "overwrite": True}]}))
    assert "warning: pair 1: target" in done.stderr and "sgdisk" in done.stderr and table in done.stderr, done.stderr
    doc = a.show("grow")
    assert [(w["pointer"], w["code"]) for w in doc["warnings"]] == [("/pairs/0/target", "gpt_backup"), ("/pairs/0/target", "duplicate_uuid")], doc
    assert [e["after"] for e in a.json("events", "grow") if e["event"] == "warning"] == ["gpt_backup", "duplicate_uuid"]
    with open(bigger, "rb") as f:
        f.seek(32 * MiB)
        tail = f.read()
    assert same(disk, bigger, 32 * MiB) and tail == b"\0" * (4 * MiB) + b"tail" * 1024 + b"\0" * (4 * MiB - 4096)
