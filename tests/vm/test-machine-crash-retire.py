#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""The machine dies at the recorded steps of a retire of logical volumes and SCSI disks, and its disks come back under other names: the retire ends as it
should, a new logical volume that got the name in between is not touched, and neither is another disk."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from vm import Machine, wait_for

MB = 1 << 20
W = "/dev/disk/by-id/wwn-0x5000c500a000000"
# (kind, way, point, what happens while drayd is away)
STEPS = [("lv", "delete", "retire-begun", None), ("lv", "delete", "retire-acted", "new"), ("lv", "delete", "retire-pending", "swapped"),
         ("lv", "rename", "retire-acted", "new"), ("lv", "offline", "retire-lv-skip", None), ("lv", "read-only", "retire-acted", None),
         ("disk", "zero", "retire-acted", None), ("disk", "offline", "retire-acted", None)]
ORDERS = (["system", "lvs", "disk", "stranger"], ["stranger", "disk", "lvs", "system"], ["disk", "system", "stranger", "lvs"])

with Machine() as m:
    m.disk("system", "96M")
    m.disk("lvs", "96M", bus="scsi", wwn="0x5000c500a0000001")
    m.disk("disk", 2 * MB, bus="scsi", wwn="0x5000c500a0000002")
    m.disk("stranger", 2 * MB, bus="scsi", wwn="0x5000c500a0000003")
    sums = {}

    def total(path):
        return m.sh(f"dd if={path} bs=1M count=2 iflag=direct status=none | sha256sum")

    def prepare(i):
        """The session of step i, up to where the machine dies."""
        kind, way, point, _ = STEPS[i]
        path = f"/dev/vg/s{i}" if kind == "lv" else W + "2"
        if kind == "lv":
            m.sh(f"lvcreate -q -y -Wn -n s{i} -L 4M vg; udevadm settle")
        m.sh(f"dd if=/dev/urandom of={path} bs=1M count=2 oflag=direct conv=fsync status=none")
        sums[i] = total(path)
        m.agent(crash_at=point)
        m.start(f"echo '{{\"name\": \"m{i}\", \"switch\": {{\"retire\": \"{way}\"}}, \"pairs\": [{{\"source\": \"{path}\", \"target\": \"/state/t{i}\", \"create\": \"thin\"}}]}}' "
                f">/run/spec; DRAY_SOCKET={m.env['DRAY_SOCKET']} dray start /run/spec", "start")
        m.wait_crash()
        print(f"{kind} {way}: the machine stopped at {point}", flush=True)

    def judge(i):
        """After the crash of step i: first what happens while nobody looks, then drayd comes back."""
        kind, way, point, meanwhile = STEPS[i]
        path = f"/dev/vg/s{i}" if kind == "lv" else W + "2"
        new = None
        if meanwhile == "swapped":
            m.sh(f"lvrename -q vg s{i} aside{i}")
        if meanwhile:
            m.sh(f"lvcreate -q -y -Wn -n s{i} -L 4M vg; udevadm settle; dd if=/dev/urandom of={path} bs=1M count=2 oflag=direct conv=fsync status=none")
            new = total(path), m.sh(f"lvs --noheadings -o lv_uuid,lv_attr vg/s{i}")
        m.agent()
        sid = m.show(f"m{i}")["id"]
        retired = wait_for("the end of the retire", lambda: (r := m.pair(f"m{i}").get("retired")) and r["state"] in ("done", "failed") and r, 120, 0.3)
        print(f"  {retired}", flush=True)
        assert m.sh(f"head -c 2M /state/t{i} | sha256sum") == sums[i], "the target is not what the source was"
        assert total(W + "3") == sums["stranger"], "a stranger's disk was touched"
        if new:
            assert (total(path), m.sh(f"lvs --noheadings -o lv_uuid,lv_attr vg/s{i}")) == new, "the new volume of that name was touched"
        assert retired["state"] == "done", retired
        if meanwhile == "swapped":
            # It is the volume that was migrated, by its UUID, whatever it is called now.
            assert m.exec("lvs", f"vg/aside{i}", status=None)["status"] == 5
        if kind == "lv" and way == "delete":
            assert meanwhile or m.exec("lvs", f"vg/s{i}", status=None)["status"] == 5
        elif way == "rename":
            assert total(f"/dev/vg/s{i}.retired-{sid}") == sums[i]
            assert meanwhile or m.exec("lvs", f"vg/s{i}", status=None)["status"] == 5
        elif kind == "lv" and way == "offline":
            m.sh(f"vgchange -q -ay vg; udevadm settle; [ ! -e {path} ]; lvs vg/s{i}")
        elif kind == "lv" and way == "read-only":
            assert total(path) == sums[i]
            m.sh(f"lvs --noheadings -o lv_attr vg/s{i} | grep -q '^ *.r'")
        elif way == "zero":
            m.sh(f"[ $(dd if={path} bs=1M count=2 iflag=direct status=none | tr -d '\\0' | wc -c) = 0 ]")
        if kind == "lv":
            # What the test itself changes is flushed: LVM leaves its metadata in the disk's cache.
            m.exec("bash", "-c", f"lvremove -q -y vg/s{i} vg/s{i}.retired-{sid}; sync {W}1", status=None)
        assert not m.json("locks"), m.json("locks")
        m.dray("shutdown", "--force")

    for i in range(len(STEPS) + 1):
        m.boot(order=ORDERS[i % len(ORDERS)])
        if i == 0:
            m.sh(f"vgcreate -q vg {W}1; sync {W}1; dd if=/dev/urandom of={W}3 bs=1M count=2 oflag=direct conv=fsync status=none")
            sums["stranger"] = total(W + "3")
        else:
            m.sh("vgchange -q -ay vg; udevadm settle")
            judge(i - 1)
        if i < len(STEPS):
            prepare(i)
