#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""What is in use or means the same thing under another name is refused as a target, each by its reason, on real device-mapper, LVM, md, swap, partitions,
loop and mounted file systems; and not a byte of it is changed."""
import json
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from vm import Machine

A, B = "/dev/disk/by-id/wwn-0x5000c500a0000001", "/dev/disk/by-id/wwn-0x5000c500a0000002"
P, D = "/dev/disk/by-id/virtio-parts", "/dev/disk/by-id/virtio-plain"
M1, M2 = "/dev/disk/by-id/virtio-md1", "/dev/disk/by-id/virtio-md2"
trouble = []


def target(path, **more):
    return {"name": "t", "pairs": [dict(source="volume:src", target=path, **more)]}


def refused(m, what, doc, code, words="", pointer="/pairs/0/target", n=0):
    """The document must be refused at `pointer` with `code`, by a reason with `words` in it."""
    got = m.exec("dray", "start", "-", "-o", "json", status=None, stdin=json.dumps(doc), env=m.env)
    if got["status"] != 3:
        trouble.append(f"{what}: status {got['status']}: {got['stdout'][:300]} {got['stderr'][:300]}")
        m.exec("dray", "cancel", "t", status=None, env=m.env)
        return
    errors = json.loads(got["stderr"])["errors"]
    hits = [e for e in errors if e["pointer"] == pointer and e["code"] == code and words in e["detail"]]
    if not hits:
        trouble.append(f"{what}: not {code} with '{words}' at {pointer}: {[(e['pointer'], e['code'], e['detail']) for e in errors]}")
    else:
        print(f"{what}: {hits[0]['code']}: {hits[0]['detail']}", flush=True)


with Machine() as m:
    m.disk("system", "64M")
    m.disk("a", "24M", bus="scsi", wwn="0x5000c500a0000001")
    m.disk("b", "24M", bus="scsi", wwn="0x5000c500a0000002")
    for name in ("parts", "plain", "md1", "md2"):
        m.disk(name, "16M")
    m.boot()
    m.sh(f"""
        vgcreate -q vg {A}; for n in 1 2 3 4; do lvcreate -q -y -n lv$n -L 4M vg; done
        mkfs.ext4 -q /dev/vg/lv1; mkdir -p /mnt/1; mount /dev/vg/lv1 /mnt/1
        mkfs.ext4 -q /dev/vg/lv2
        mkswap -q /dev/vg/lv3; swapon /dev/vg/lv3
        printf 'size=4M\\nsize=4M\\n' | sfdisk -q {P}; udevadm settle
        mkfs.ext4 -q {P}-part1; mkdir -p /mnt/2; mount {P}-part1 /mnt/2
        modprobe raid1; yes | mdadm -q --create /dev/md0 --level=1 --raid-devices=2 --metadata=1.2 {M1} {M2}
        dmsetup create over --table "0 8192 linear {D} 0"
        mkdir -p /state/f; truncate -s 4M /state/f/src /state/f/other /state/f/used; ln /state/f/other /state/f/hard; ln -s other /state/f/soft
        modprobe loop; losetup /dev/loop3 /state/f/other; losetup /dev/loop4 /state/f/used
        udevadm settle; mdadm --wait /dev/md0 || true
        modprobe brd rd_nr=1 rd_size=4096
    """)
    before = m.sh(f"sync; cat /dev/vg/lv2 {D} /state/f/other /state/f/used | md5sum")
    m.agent()
    m.volume("src", "/state/f/src")
    m.volume("used", "/dev/loop4")

    dm = m.sh("basename $(readlink -f /dev/vg/lv1)")
    over = m.sh("basename $(readlink -f /dev/mapper/over)")
    refused(m, "a mounted LV", target("/dev/vg/lv1", overwrite=True), "mounted", "mounted on /mnt/1")
    refused(m, "a mounted LV as dm-N", target(f"/dev/{dm}", overwrite=True), "mounted", "mounted on /mnt/1")
    refused(m, "a mounted LV by id", target("/dev/disk/by-id/dm-name-vg-lv1", overwrite=True), "mounted", "mounted on /mnt/1")
    refused(m, "an LV with a file system", target("/dev/vg/lv2"), "signature", "ext4")
    refused(m, "an LV that is swap", target("/dev/vg/lv3", overwrite=True), "mounted", "swap")
    refused(m, "a PV with active LVs", target(A, overwrite=True), "held", "part of dm-")
    refused(m, "a mounted partition", target(P + "-part1", overwrite=True), "mounted", "mounted on /mnt/2")
    refused(m, "the disk of a mounted partition", target(P, overwrite=True), "mounted", "mounted on /mnt/2")
    refused(m, "an md member", target(M1, overwrite=True), "held", "part of md0")
    refused(m, "a disk below dm-linear", target(D, overwrite=True), "held", f"part of {over}")
    refused(m, "a file below a volume's loop device", target("/state/f/used"), "held", "leg of volume used")
    refused(m, "a volume's loop device", target("/dev/loop4"), "held", "leg of volume used")

    # One thing under two names, in one document.
    def twice(x, y, **more):
        return {"name": "t", "pairs": [{"source": "volume:src", "target": x, "overwrite": True}, dict(source="/dev/ram0", target=y, overwrite=True, **more)]}
    for what, x, y in (("LV, three spellings", "/dev/vg/lv4", "/dev/mapper/vg-lv4"), ("LV by id", "/dev/mapper/vg-lv4", "/dev/disk/by-id/dm-name-vg-lv4"),
                       ("a hard link", "/state/f/hard", "/state/f/other"), ("a symbolic link", "/state/f/soft", "/state/f/hard"),
                       ("a file and its loop device", "/state/f/other", "/dev/loop3")):
        refused(m, f"{what}: {x} and {y}", twice(x, y), "same_device", pointer="/pairs/1/target")
    # A partition and its disk, which nobody uses now; a second partition is another thing.
    m.sh(f"umount /mnt/2; wipefs -q -a {P}-part1")
    refused(m, "a partition and its disk", twice(P + "-part2", P), "same_device", pointer="/pairs/1/target")
    refused(m, "a disk with a partition table", target(P), "signature", "partition table")
    # A PV whose group is not active: its signature tells.
    m.sh("umount /mnt/1; swapoff -a; vgchange -q -an vg")
    refused(m, "a PV", target(A), "signature", "LVM2_member")
    # A path of a multipath device: dm with the uuid that multipathd gives it.
    m.sh(f"""vgchange -q -an vg; dmsetup create mpatha --uuid mpath-35000c500a0000002 --table "0 $(blockdev --getsz {B}) linear {B} 0"; udevadm settle""")
    refused(m, "a path of a multipath device", target(B, overwrite=True), "held", "part of dm-")
    m.spec({"name": "first", "switch": {"when": "manual"}, "pairs": [{"source": "volume:src", "target": "/dev/mapper/mpatha"}]})
    m.wait_state("first", "synced")
    refused(m, "a multipath device that a session has", {"name": "t", "pairs": [{"source": "/dev/ram0", "target": "/dev/mapper/mpatha"}]}, "locked", "session first")
    refused(m, "a path of it", {"name": "t", "pairs": [{"source": "/dev/ram0", "target": B}]}, "locked", "session first")
    m.dray("cancel", "first")
    # Two LVs are two things, though one disk is below them.
    m.sh("vgchange -q -ay vg; udevadm settle")
    m.spec({"name": "two", "switch": {"when": "manual"}, "pairs": [{"source": "volume:src", "target": "/dev/vg/lv4"}]})
    m.wait_state("two", "synced")
    m.json("start", "-", stdin=json.dumps({"name": "three", "mode": "copy", "pairs": [{"source": "/dev/ram0", "target": "/dev/vg/lv3", "overwrite": True}]}))
    m.wait_state("three", "completed")
    refused(m, "an LV that a session has, as dm-N", {"name": "t", "pairs": [{"source": "/dev/ram0", "target": m.sh("readlink -f /dev/vg/lv4")}]}, "locked", "session two")
    m.dray("cancel", "two")
    m.sh("dmsetup remove mpatha; fsck.ext4 -n -f /dev/vg/lv1")
    after = m.sh(f"sync; cat /dev/vg/lv2 {D} /state/f/other /state/f/used | md5sum")
    if before != after:
        trouble.append("something was written")
    assert not trouble, "\n".join(trouble)
