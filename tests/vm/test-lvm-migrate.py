#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""A logical volume moves to one of another volume group under load, over real device-mapper: copy, switch, undo, switch, commit; every block is
what the application wrote, and the logical volumes are equal when they must be."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from vm import Machine, wait_for

with Machine() as m:
    m.disk("system", "64M")
    m.disk("old", "32M", bus="scsi", wwn="0x5000c500a0000001")
    m.disk("new", "32M", bus="scsi", wwn="0x5000c500a0000002")
    m.boot()
    m.sh("""vgcreate -q old /dev/disk/by-id/wwn-0x5000c500a0000001; vgcreate -q new /dev/disk/by-id/wwn-0x5000c500a0000002
        lvcreate -q -y -n orders -L 16M old; lvcreate -q -y -n orders -L 16M new""")
    m.agent()
    uri = m.volume("orders", "/dev/old/orders")
    app = m.stamp(uri, "app", "--fill", "--depth", "4", "--rate", "300", "--zero-percent", "5", "--fua-percent", "5")
    app.wait_writes(20)
    m.spec({"name": "move", "pairs": [{"source": "volume:orders", "target": "/dev/mapper/new-orders"}]})
    m.wait_state("move", "synced")
    pair = m.pair("move")
    assert pair["progress"]["bytes_copied"] + pair["progress"]["bytes_skipped"] >= 16 << 20, pair
    for verb, state, primary in (("switch", "switched", "/dev/mapper/new-orders"), ("undo", "synced", "/dev/old/orders"),
                                 ("switch", "switched", "/dev/mapper/new-orders")):
        app.wait_writes(50)
        m.dray(verb, "move")
        m.wait_state("move", state)
        assert m.volume("orders")["primary"] == primary, (verb, m.volume("orders"))
        # The leg that follows is in sync, and stays it.
        wait_for("the other leg mirrors", lambda: all(leg["dirty_bytes"] == 0 for leg in m.volume("orders")["legs"]), 60, 0.3)
    app.wait_writes(50)
    got = app.end()
    print(got)
    app.verify(uri)
    m.dray("commit", "move", "--yes")
    m.wait_state("move", "committed")
    m.dray("shutdown")
    # Both are at rest: the old one holds all that was written until the commit.
    m.sh("cmp /dev/old/orders /dev/new/orders")
    app.verify("/dev/new/orders")
    # Nobody holds them any more.
    m.sh("vgchange -q -an old new; ! ls /dev/mapper | grep orders")
