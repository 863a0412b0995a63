#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
# Shows: virtio-or-NVMe-disk: read-only discard zero
# Shows: virtio-or-NVMe-disk-slice: discard zero
# Shows: SCSI-or-SATA-disk-slice: discard zero
# Shows: LVM-logical-volume-slice: discard zero
# Shows: partition-of-a-disk-slice: discard zero
"""Every way of retiring a virtio and an NVMe disk, and slices of disks, partitions and logical volumes, on real ones: not a byte beside a slice changes. And
md arrays, other device-mapper devices and the kernel's NBD devices are refused in each way, whole and in part."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from vm import Machine

MB = 1 << 20
W = "/dev/disk/by-id/wwn-0x5000c500a000000"
WHOLE = ("read-only", "discard", "zero")
PART = ("discard", "zero")
AT = MB + 512  # no whole blocks
trouble = []

with Machine() as m:
    m.disk("system", "96M")
    for way in WHOLE:
        m.disk(f"vd{way}", 4 * MB)
        m.disk(f"nv{way}", 4 * MB, bus="nvme")
    m.disk("vdslices", 8 * MB)
    m.disk("lvs", "32M", bus="scsi", wwn="0x5000c500a0000001")
    m.disk("scsi", 8 * MB, bus="scsi", wwn="0x5000c500a0000002")
    m.disk("parts", "24M", bus="scsi", wwn="0x5000c500a0000003")
    m.disk("one", "16M", bus="scsi", wwn="0x5000c500a0000004")
    m.disk("two", "16M", bus="scsi", wwn="0x5000c500a0000005")
    m.boot()
    m.sh(f"""modprobe -a nvme raid1 nbd; vgcreate -q vg {W}1; lvcreate -q -y -Wn -n slices -L 8M vg; echo size=8M | sfdisk -q {W}3; udevadm settle
        mdadm --create /dev/md0 --run --level=1 --raid-devices=2 --metadata=1.2 {W}4 missing 2>&1
        dmsetup create linear --table "0 16384 linear {W}5 0"; truncate -s 8M /run/other
        nbd-holdback --file /run/other --unix /run/other.sock --pid-file /run/other.pid </dev/null >/dev/null 2>&1 &
        while [ ! -e /run/other.pid ]; do sleep 0.1; done; nbd-client -unix /run/other.sock /dev/nbd0 -N ''; udevadm settle""")
    disks = {f"{bus}{way}": (m.sh(f"d=$(grep -lE '^(vd{way}|nv{way}) *$' /sys/block/{bus}*/{serial} | cut -d/ -f4); echo -n /dev/$d"), way)
             for bus, serial in (("vd", "serial"), ("nv", "device/serial")) for way in WHOLE}
    vd = m.sh("d=$(grep -lx vdslices /sys/block/vd*/serial | cut -d/ -f4); echo -n /dev/$d")
    sliced = {"virtio": vd, "scsi": W + "2", "partition": f"{W}3-part1", "lv": "/dev/vg/slices"}
    print(disks, sliced, flush=True)
    for path in [p for p, _ in disks.values()] + list(sliced.values()):
        m.sh(f"dd if=/dev/urandom of={path} bs=1M count={4 if path not in sliced.values() else 8} oflag=direct conv=fsync status=none")
    before = {n: m.sh(f"head -c 4M {p} | sha256sum") for n, (p, _) in disks.items()}
    m.agent()

    # Refused on devices on which nobody ever saw it work.
    for path, word in (("/dev/md0", "mdadm"), ("/dev/mapper/linear", "dmsetup"), ("/dev/nbd0", "nbd: URI")):
        for way in ("read-only", "offline", "discard", "zero", "delete", "rename"):
            for source in (path, {"resource": path, "offset": 0, "length": MB}):
                got = m.spec({"name": "no", "switch": {"retire": way}, "pairs": [{"source": source, "target": "/run/no", "create": "thin"}]}, status=3)
                told = [(e["pointer"], e["code"], e["value"], e["legal"]) for e in got["errors"]]
                if told != [("/switch/retire", "retire", way, "none")] or (source is path and word not in got["errors"][0]["detail"]):
                    trouble.append(f"{source} {way}: {got}")
        print(path, "is refused", flush=True)

    def ended(name):
        m.wait_state(name, "completed")
        m.wait(f"the retire of {name}", f"DRAY_SOCKET={m.env['DRAY_SOCKET']} dray events {name} | grep -E 'retired|retire-failed'", 60)
        retired = m.pair(name)["retired"]
        print(name, retired, flush=True)
        if retired["state"] != "done":
            trouble.append(f"{name}: {retired}")

    for name, (path, way) in disks.items():
        m.spec({"name": name, "switch": {"retire": way}, "pairs": [{"source": path, "target": f"/run/{name}", "create": "thin"}]})
    for name, (path, way) in disks.items():
        ended(name)
        if m.sh(f"head -c 4M /run/{name} | sha256sum") != before[name]:
            trouble.append(f"{name}: the target is not what the source was")
        is_ = m.sh(f"head -c 4M {path} | sha256sum") == before[name]
        blank = m.sh(f"head -c 4M {path} | tr -d '\\0' | wc -c").strip() == "0"
        if (is_, blank) != ((True, False) if way == "read-only" else (False, True)):
            trouble.append(f"{name}: as before: {is_}, zeroes: {blank}")
        if way == "read-only":
            m.sh(f"[ $(blockdev --getro {path}) = 1 ]; ! dd if=/dev/zero of={path} count=1 oflag=direct")

    # Slices: one after the other of each storage, and all of it compared with what it should be.
    for name, path in sliced.items():
        m.sh(f"dd if={path} of=/run/want bs=1M iflag=direct status=none count=8")
        for i, way in enumerate(PART):
            at = AT + i * 3 * MB
            m.spec({"name": f"{name}-{way}", "switch": {"retire": way}, "pairs": [{"source": {"resource": path, "offset": at, "length": MB},
                                                                                     "target": f"/run/s-{name}-{way}", "create": "thin"}]})
            ended(f"{name}-{way}")
            m.sh(f"dd if=/dev/zero of=/run/want bs=512 seek={at // 512} count={MB // 512} conv=notrunc status=none")
            if m.exec("sh", "-c", f"dd if={path} bs=1M iflag=direct status=none count=8 | cmp - /run/want", status=None)["status"]:
                trouble.append(f"slice of {name}, {way}: it, or what lies beside it, is not as it should be")
    assert not m.json("locks"), m.json("locks")
    assert not trouble, "\n".join(trouble)
