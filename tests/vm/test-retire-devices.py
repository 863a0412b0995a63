#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
# Shows: LVM-logical-volume: read-only offline discard zero delete rename
# Shows: SCSI-or-SATA-disk: read-only offline discard zero
# Shows: partition-of-a-disk: read-only discard zero
"""Every way of retiring a logical volume, a SCSI disk and a partition, on real ones: what docs/RETIRE.md says of each is so, at once and after a reboot, and
the neighbours on the same disk are not touched."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from vm import Machine

MB = 1 << 20
WAYS = ("read-only", "offline", "discard", "zero", "delete", "rename")
W = "/dev/disk/by-id/wwn-0x5000c500a000000"
trouble = []

with Machine() as m:
    m.disk("system", "64M")
    m.disk("lvs", "64M", bus="scsi", wwn="0x5000c500a0000001")
    for i, way in enumerate(("read-only", "offline", "discard", "zero")):
        m.disk(f"disk-{way}", 4 * MB, bus="scsi", wwn=f"0x5000c500a000000{i + 2}")
    m.disk("parts", "24M", bus="scsi", wwn="0x5000c500a0000009")
    m.boot()
    disks = {way: f"{W}{i + 2}" for i, way in enumerate(("read-only", "offline", "discard", "zero"))}
    parts = {"read-only": f"{W}9-part1", "discard": f"{W}9-part2", "zero": f"{W}9-part3"}
    lvs = {way: f"/dev/vg/{way.replace('-', '_')}" for way in WAYS}
    m.sh(f"vgcreate -q vg {W}1; for w in read_only offline discard zero delete rename neighbour snapped; do lvcreate -q -y -Wn -n $w -L 4M vg; done; "
         f"lvcreate -q -y -s -n snap -L 4M vg/snapped; for i in 1 2 3 4; do echo size=4M; done | sfdisk -q {W}9; udevadm settle")
    sources = {f"lv-{w}": (p, w) for w, p in lvs.items()} | {f"disk-{w}": (p, w) for w, p in disks.items()} | {f"part-{w}": (p, w) for w, p in parts.items()}
    m.sh("for d in " + " ".join(p for p, _ in sources.values()) + f" /dev/vg/neighbour {W}9-part4; do "
         "dd if=/dev/urandom of=$d bs=1M count=4 oflag=direct conv=fsync status=none; done")
    sums = {n: m.sh(f"head -c 4M {p} | sha256sum") for n, (p, _) in sources.items()}
    neighbours = m.sh(f"cat /dev/vg/neighbour {W}9-part4 | sha256sum")
    m.agent()

    # Refused at validation, with the ways that are possible.
    for what, path, way, code in (("a disk", disks["zero"], "delete", "retire"), ("a disk", disks["zero"], "rename", "retire"), ("a partition", parts["zero"], "offline", "retire"),
                                  ("a partition", parts["zero"], "rename", "retire"), ("an LV with a snapshot", "/dev/vg/snapped", "delete", "retire"),
                                  ("an LV with a snapshot", "/dev/vg/snapped", "offline", "retire")):
        got = m.spec({"name": "no", "switch": {"retire": way}, "pairs": [{"source": path, "target": "/run/no", "create": "thin"}]}, status=3)
        codes = {e["pointer"]: (e["code"], e["legal"]) for e in got["errors"]}
        print(what, way, codes, flush=True)
        if not any(c == code and legal for c, legal in codes.values()):
            trouble.append(f"{what} {way}: {got}")

    ids = {}
    for name, (path, way) in sources.items():
        ids[name] = m.spec({"name": name, "switch": {"retire": way}, "pairs": [{"source": path, "target": f"/run/{name}", "create": "thin"}]})["id"]
    for name, (path, way) in sources.items():
        m.wait_state(name, "completed")
        m.wait(f"the retire of {name}", f"DRAY_SOCKET={m.env['DRAY_SOCKET']} dray events {name} | grep -E 'retired|retire-failed'", 60)
        retired = m.pair(name)["retired"]
        print(name, retired, flush=True)
        if retired["state"] != "done" or retired["how"] != way:
            trouble.append(f"{name}: {retired}")
        if m.sh(f"head -c 4M /run/{name} | sha256sum") != sums[name]:
            trouble.append(f"{name}: the target is not what the source was")
    if m.json("locks"):
        trouble.append(f"locks are left: {m.json('locks')}")

    def check(what, script):
        got = m.exec("bash", "-ec", script, status=None)
        print(what, "ok" if got["status"] == 0 else "NO", flush=True)
        if got["status"]:
            trouble.append(f"{what}: {got['stdout'][-300:]} {got['stderr'][-300:]}")

    zeroes = "[ $(head -c 4M {0} | tr -d '\\0' | wc -c) = 0 ]"

    def lasting(when):
        """What has to be so at once and after a reboot."""
        check(f"{when}: lv read-only", f"lvs --noheadings -o lv_attr vg/read_only | grep -q '^ *.r'; ! dd if=/dev/zero of={lvs['read-only']} count=1 oflag=direct conv=fsync")
        check(f"{when}: lv read-only holds its data", f"[ \"$(head -c 4M {lvs['read-only']} | sha256sum)\" = '{sums['lv-read-only']}' ]")
        check(f"{when}: lv offline is not there, and exists", f"[ ! -e {lvs['offline']} ]; lvs vg/offline")
        check(f"{when}: lv offline is not activated with its group", f"vgchange -q -ay vg; udevadm settle; [ ! -e {lvs['offline']} ]")
        check(f"{when}: lv zero", zeroes.format(lvs["zero"]))
        check(f"{when}: lv discard has given up its blocks", zeroes.format(lvs["discard"]))
        check(f"{when}: lv delete", "! lvs vg/delete 2>/dev/null; [ ! -e /dev/vg/delete ]")
        check(f"{when}: lv rename", f"! lvs vg/rename 2>/dev/null; n=/dev/vg/rename.retired-{ids['lv-rename']}; [ \"$(head -c 4M $n | sha256sum)\" = '{sums['lv-rename']}' ]")
        check(f"{when}: disk zero", zeroes.format(disks["zero"]))
        check(f"{when}: disk discard", zeroes.format(disks["discard"]))
        check(f"{when}: partition zero", zeroes.format(parts["zero"]))
        check(f"{when}: partition discard", zeroes.format(parts["discard"]))
        check(f"{when}: the neighbours", f"[ \"$(cat /dev/vg/neighbour {W}9-part4 | sha256sum)\" = '{neighbours}' ]; lvs vg/snap vg/snapped")
    lasting("at once")
    sd = m.sh(f"basename $(readlink -f {disks['offline']})")
    check("disk offline", f"[ $(cat /sys/block/{sd}/device/state) = offline ]; ! dd if=/dev/{sd} of=/dev/null count=1 iflag=direct")
    check("disk read-only", f"[ $(blockdev --getro {disks['read-only']}) = 1 ]; ! dd if=/dev/zero of={disks['read-only']} count=1 oflag=direct; "
          f"[ \"$(head -c 4M {disks['read-only']} | sha256sum)\" = '{sums['disk-read-only']}' ]")
    check("partition read-only", f"[ $(blockdev --getro {parts['read-only']}) = 1 ]; [ $(blockdev --getro {W}9-part4) = 0 ]")
    m.power_loss()

    m.boot()
    m.sh("vgchange -q -ay vg; udevadm settle")
    lasting("after a reboot")
    # What the page says does not last.
    check("after a reboot: disk offline is there again", f"[ \"$(head -c 4M {disks['offline']} | sha256sum)\" = '{sums['disk-offline']}' ]")
    check("after a reboot: disk read-only can be written again", f"[ $(blockdev --getro {disks['read-only']}) = 0 ]; [ \"$(head -c 4M {disks['read-only']} | sha256sum)\" = '{sums['disk-read-only']}' ]")
    m.agent()
    for name in sources:
        if m.pair(name)["retired"]["state"] != "done":
            trouble.append(f"after a reboot: {name}: {m.pair(name)['retired']}")
    assert not trouble, "\n".join(trouble)
