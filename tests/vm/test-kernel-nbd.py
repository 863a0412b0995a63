#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""The kernel's NBD client on a volume: a mounted file system moves under its user; and such a device, alone or below device-mapper or loop, is refused as
a target of what it is itself an export of (H29)."""
import json
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from vm import Machine, wait_for

with Machine() as m:
    m.disk("system", "64M")
    m.disk("old", "24M", bus="scsi", wwn="0x5000c500a0000001")
    m.disk("new", "24M", bus="scsi", wwn="0x5000c500a0000002")
    old, new = "/dev/disk/by-id/wwn-0x5000c500a0000001", "/dev/disk/by-id/wwn-0x5000c500a0000002"
    m.boot()
    m.agent()
    m.volume("v", old)
    m.sh("head -c 8M /dev/urandom >/state/w")
    m.volume("w", "/state/w")
    m.sh("""modprobe -a nbd loop; nbd-client -unix /run/dray/nbd.sock /dev/nbd0 -N v
        mkfs.ext4 -q /dev/nbd0; mkdir -p /mnt/v; mount /dev/nbd0 /mnt/v""")
    # Another server's device is no export of ours, and what has nothing to do with NBD neither.
    m.sh("truncate -s 8M /run/other; nbd-holdback --file /run/other --unix /run/other.sock --pid-file /run/other.pid </dev/null >/dev/null 2>&1 & while [ ! -e /run/other.pid ]; do sleep 0.1; done; nbd-client -unix /run/other.sock /dev/nbd2 -N ''")
    # Refused, in whatever disguise; both ways in which nbd-client hands its socket to the kernel.
    m.sh("""nbd-client -unix /run/dray/nbd.sock /dev/nbd1 -N w; nbd-client -nonetlink -unix /run/dray/nbd.sock /dev/nbd3 -N w
        dmsetup create disguise --table "0 16384 linear /dev/nbd1 0"; losetup /dev/loop0 /dev/nbd1; losetup /dev/loop1 /dev/nbd3
        truncate -s 8M /mnt/v/file; losetup /dev/loop2 /mnt/v/file; udevadm settle; cat /sys/block/nbd?/pid""")
    trouble = []
    paths = ["/dev/nbd1", "/dev/mapper/disguise", "/dev/loop0", "/dev/nbd0", "/mnt/v/file", "/dev/loop2", "/mnt/v/none", "/dev/nbd3", "/dev/loop1"]

    def attempt(path):
        return m.exec("dray", "start", "-", "-o", "json", status=None, env=m.env, stdin=json.dumps({"name": "t", "switch": {"when": "manual"}, "pairs": [
            {"source": "volume:w", "target": path, "overwrite": True, "create": "thin"}]}))

    def refused(path):
        got = attempt(path)
        if got["status"] == 0:
            m.exec("dray", "cancel", "t", status=None, env=m.env)
        return "self_export" in got["stderr"]
    # drayd looks again a moment after a client came; dray-iod itself refuses at once, which is asked below.
    wait_for("drayd knows of the devices", lambda: refused("/dev/nbd1") and refused("/dev/nbd3"), 30, 1)
    for path in paths:
        got = attempt(path)
        print(path, got["status"], got["stderr"][:200], flush=True)
        if got["status"] != 3 or "self_export" not in got["stderr"]:
            trouble.append(f"{path}: {got['status']} {got['stderr'][-700:]}{got['stdout'][-300:]}")
            m.exec("dray", "cancel", "t", status=None, env=m.env)
        added = m.exec("dray", "volume", "add", "self", path, "-o", "json", status=None, env=m.env)
        # Of one that is mounted drayd says that at once, and asks dray-iod no more. A missing file's folder tells.
        why = "mounted" if path == "/dev/nbd0" else "self_export"
        if added["status"] == 0 or why not in added["stderr"]:
            trouble.append(f"volume add {path}: {added['status']} {added['stderr'][-700:]}{added['stdout'][-300:]}")
            m.exec("dray", "volume", "remove", "self", status=None, env=m.env)
    # What the old mode leaves could be any device that is nobody else's: with it gone, the other server's is known to be another's.
    m.sh("for i in 0 1 2; do losetup -d /dev/loop$i; done; dmsetup remove disguise; nbd-client -d /dev/nbd1; nbd-client -d /dev/nbd3; rm /mnt/v/file; udevadm settle")
    wait_for("the clients are gone", lambda: (got := attempt("/dev/nbd2"))["status"] == 0 or "self_export" not in got["stderr"], 30, 1)
    got = {"status": m.exec("dray", "show", "t", status=None, env=m.env)["status"], "stderr": ""}
    if got["status"]:
        trouble.append(f"another server's device is refused: {got['stderr']}")
    else:
        m.wait_state("t", "synced")
        m.dray("cancel", "t")
    m.sh("nbd-client -d /dev/nbd2; cmp /state/w /run/other")

    # A user of the file system, all the while.
    user = m.start("i=0; while [ ! -e /run/stop ]; do i=$((i + 1)); head -c 100000 /dev/urandom >/mnt/v/f$((i % 20)).new; "
            "(cd /mnt/v && sha256sum f$((i % 20)).new >s$((i % 20)).new && mv f$((i % 20)).new f$((i % 20)) && mv s$((i % 20)).new s$((i % 20))); echo $i >/run/rounds; done", "user")
    m.wait("the user works", "[ $(cat /run/rounds) -gt 5 ]")
    m.spec({"name": "move", "switch": {"when": "synced"}, "pairs": [{"source": "volume:v", "target": new}]})
    m.wait_state("move", "switched")
    m.sh("n=$(cat /run/rounds); while [ $(cat /run/rounds) -le $((n + 5)) ]; do sleep 0.2; done")
    m.dray("undo", "move")
    m.wait_state("move", "synced")
    m.dray("switch", "move")
    m.wait_state("move", "switched")
    m.sh("n=$(cat /run/rounds); while [ $(cat /run/rounds) -le $((n + 5)) ]; do sleep 0.2; done; touch /run/stop")
    m.wait("the user stops", f"! kill -0 {user}")
    check = "for s in s?  s??; do sed 's/[.]new$//' $s | sha256sum -c --quiet; done"
    m.sh(f"sync; cd /mnt/v; {check}")
    wait_for("the way back is in sync", lambda: all(leg["dirty_bytes"] == 0 for leg in m.volume("v")["legs"]), 60, 0.3)
    m.sh("umount /mnt/v; nbd-client -d /dev/nbd0")
    m.dray("commit", "move", "--yes")
    m.wait_state("move", "committed")
    m.dray("shutdown", "--force")
    # Both disks hold the whole file system.
    for disk in (old, new):
        m.sh(f"fsck.ext4 -n -f {disk}; mount -o ro {disk} /mnt/v; cd /mnt/v; {check}; cd /; umount /mnt/v")
    assert not trouble, "\n".join(trouble)
