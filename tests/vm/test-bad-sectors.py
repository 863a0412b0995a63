#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Sources with sectors that can't be read, as the kernel has them: a SCSI disk with a medium error (scsi_debug) and a device-mapper table with a hole. What is
bad is listed to the block, over a loss of power too; the switch is refused until it is accepted; then these blocks fail to be read, and all others
are right. Mended, and looked at again, nothing is bad."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from vm import Machine, wait_for

MB = 1 << 20
W = "/dev/disk/by-id/wwn-0x5000c500a000000"
AT, N = 3 * MB, 4096  # what is missing of the mapped device
SOURCE = "/dev/mapper/mapped"
# scsi_debug: ten sectors from 0x1234 on
SD_AT, SD_N = 0x1234 * 512, 10 * 512


def table(hole):
    good = f"0 16384 linear {W}1 0"
    a, n = AT // 512, N // 512
    return good if not hole else f"0 {a} linear {W}1 0\\n{a} {n} error\\n{a + n} {16384 - a - n} linear {W}1 {a + n}"


def bad(pair):
    return [(r["offset"], r["length"]) for r in pair.get("bad_ranges", [])]


with Machine() as m:
    m.disk("system", "64M")
    m.disk("old", 8 * MB, bus="scsi", wwn="0x5000c500a0000001")
    m.disk("new", 8 * MB, bus="scsi", wwn="0x5000c500a0000002")
    m.boot()
    m.sh(f"dd if=/dev/urandom of={W}1 bs=1M count=8 oflag=direct conv=fsync status=none; printf '{table(True)}' | dmsetup create mapped --uuid dray-test-mapped")

    # A medium error, in one boot: scsi_debug's disk is memory.
    m.sh("modprobe scsi_debug dev_size_mb=8 sector_size=512; udevadm settle")
    sd = m.sh("lsblk -dno PATH,MODEL | awk '/scsi_debug/ {print $1}'")
    m.sh(f"dd if=/dev/urandom of={sd} bs=1M count=8 oflag=direct status=none; cp {sd} /run/was; echo 2 >/sys/bus/pseudo/drivers/scsi_debug/opts; "
         f"! dd if={sd} of=/dev/null bs=4k iflag=direct status=none")
    m.agent()
    m.volume("s", sd)
    m.spec({"name": "medium", "switch": {"when": "manual"}, "pairs": [{"source": "volume:s", "target": "/run/copy", "create": "thin"}]})
    m.wait_state("medium", "synced")
    pair = m.pair("medium")
    print(pair["bad_ranges"], pair["bad_bytes"], flush=True)
    assert bad(pair) == [(SD_AT, SD_N)], pair
    got = m.exec("dray", "switch", "medium", status=5, env=m.env)
    m.sh("echo 0 >/sys/bus/pseudo/drivers/scsi_debug/opts")
    m.dray("retry", "medium", "--pair", "1")
    wait_for("nothing is bad any more", lambda: (p := m.pair("medium"))["state"] == "synced" and not bad(p), 60, 0.3)
    m.dray("switch", "medium")
    m.dray("commit", "medium", "--yes")
    m.sh("cmp /run/copy /run/was")
    m.dray("volume", "remove", "s")

    # A hole in a mapped device, over a loss of power.
    m.volume("v", SOURCE)
    m.spec({"name": "hole", "switch": {"when": "manual"}, "pairs": [{"source": "volume:v", "target": W + "2"}]})
    m.wait_state("hole", "synced")
    wait_for("the hole is listed", lambda: bad(m.pair("hole")) == [(AT, N)], 60, 0.3)
    m.power_loss()

    m.boot()
    m.sh(f"printf '{table(True)}' | dmsetup create mapped --uuid dray-test-mapped; udevadm settle")
    m.agent()
    m.wait_state("hole", "synced")
    wait_for("the hole is listed", lambda: bad(m.pair("hole")) == [(AT, N)], 60, 0.3)
    m.exec("dray", "switch", "hole", status=5, env=m.env)
    m.dray("switch", "hole", "--accept-bad")
    m.wait_state("hole", "switched")
    m.sh(f"""modprobe nbd; nbd-client -unix /run/dray/nbd.sock /dev/nbd0 -N v
        ! dd if=/dev/nbd0 of=/dev/null bs=4096 skip={AT // 4096} count=1 iflag=direct status=none
        dd if=/dev/nbd0 bs=1M count={AT // MB} iflag=direct status=none | cmp -n {AT} - {W}1
        dd if=/dev/nbd0 bs=4096 skip={(AT + N) // 4096} iflag=direct status=none | cmp -n {8 * MB - AT - N} - <(dd if={W}1 bs=4096 skip={(AT + N) // 4096} iflag=direct status=none)
        dd if=/dev/zero of=/dev/nbd0 bs=4096 seek={AT // 4096} count=1 oflag=direct conv=fsync,notrunc status=none
        dd if=/dev/nbd0 of=/run/block bs=4096 skip={AT // 4096} count=1 iflag=direct status=none; cmp -n 4096 /run/block /dev/zero
        nbd-client -d /dev/nbd0""")
    wait_for("what was overwritten is bad no more", lambda: not bad(m.pair("hole")), 60, 0.3)
