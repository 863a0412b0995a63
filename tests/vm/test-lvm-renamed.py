#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""The power fails while a volume has two logical volumes as its legs, and before dray is back these have swapped their names, and a third one takes part: the
legs are found by their UUIDs, never by their names, both in the middle of a session and after the switch; the third is not touched."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from vm import Machine, wait_for

W = "/dev/disk/by-id/wwn-0x5000c500a0000001"
MB = 1 << 20

with Machine(net=True) as m:
    m.disk("system", "64M")
    m.disk("lvs", "64M", bus="scsi", wwn="0x5000c500a0000001")
    m.boot()
    m.sh(f"vgcreate -q vg {W}; for n in old new third; do lvcreate -q -y -Wn -n $n -L 8M vg; done; udevadm settle; "
         f"dd if=/dev/urandom of=/dev/vg/third bs=1M count=8 oflag=direct conv=fsync status=none; sync {W}")
    uuid = {n: m.sh(f"lvs --noheadings -o lv_uuid vg/{n}") for n in ("old", "new", "third")}
    third = m.sh("md5sum </dev/vg/third")

    def name(which):
        """What the volume that was called so at first is called now."""
        return "/dev/vg/" + m.sh(f"lvs --noheadings -o lv_uuid,lv_name vg | awk '$1 == \"{uuid[which]}\" {{print $2}}'")

    def at(resource):
        return m.sh(f"readlink -f {resource}")

    def rename(*pairs):
        m.power_loss()
        m.boot()
        m.sh("vgchange -q -ay vg; " + "; ".join(f"lvrename -q vg {a} {b}" for a, b in pairs) + f"; udevadm settle; sync {W}")
        m.agent()
        wait_for("the volume is served", lambda: m.volume("v").get("primary"), 120, 0.3)

    def legs(primary, other):
        """Both are what they were, whatever they are called."""
        wait_for("the legs are in sync", lambda: all(leg["state"] in ("primary", "mirror") and leg["dirty_bytes"] == 0 for leg in m.volume("v")["legs"]), 120, 0.3)
        v = m.volume("v")
        found = {leg["state"]: at(leg["path"] or leg["resource"]) for leg in v["legs"]}
        assert found == {"primary": at(name(primary)), "mirror": at(name(other))}, (found, v)

    m.agent()
    m.volume("v", "/dev/vg/old")
    app = m.app("v", "app", "--fill", "--blocks-max", "16", "--rate", "25", "--flush-every", "10")
    app.wait_writes(30, timeout=120)
    m.spec({"name": "move", "switch": {"when": "manual"}, "pairs": [{"source": "volume:v", "target": "/dev/vg/new"}]})
    m.wait_state("move", "synced")
    rename(("old", "x"), ("new", "old"), ("x", "new"))
    m.wait_state("move", "synced")
    legs("old", "new")
    app.wait_writes(20, timeout=120)
    m.dray("switch", "move")
    m.wait_state("move", "switched")
    # The third gets the name of what is the primary now.
    rename(("old", "y"), ("third", "old"))
    m.wait_state("move", "switched")
    legs("new", "old")
    app.wait_writes(20, timeout=120)
    print(app.end(), flush=True)
    app.verify(f"nbd://127.0.0.1:{m.tcp}/v")
    m.dray("commit", "move", "--yes")
    m.wait_state("move", "committed")
    m.dray("shutdown", "--force")
    m.sh(f"cmp {name('old')} {name('new')}")
    assert m.sh(f"md5sum <{name('third')}") == third, "the third was written"
