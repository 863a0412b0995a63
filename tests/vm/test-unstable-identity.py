#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Disks that do not say what they are: after a reboot, when their names belong to strangers, nothing is written to a target until somebody vouches for
it; once the names are right again a retry goes on, and the target ends equal to the source. A ramdisk, empty after a reboot, is never taken for clean."""
import hashlib
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from vm import Machine, wait_for

N = 16 << 20


def digest(path):
    with open(path, "rb") as f:
        return hashlib.sha256(f.read()).hexdigest()


with Machine(net=True) as m:
    m.disk("system", "64M")
    m.disk("old-v", N, bus="scsi", wwn="0x5000c500a0000001")
    m.disk("old-w", N, bus="scsi", wwn="0x5000c500a0000002")
    m.disk("old-r", N, bus="scsi", wwn="0x5000c500a0000003")
    new_v = m.disk("new-v", N, serial=None)
    new_w = m.disk("new-w", N, bus="scsi", serial=None)
    strangers = [m.disk("stranger-1", N, serial=None, volatile=False), m.disk("stranger-2", N, bus="scsi", serial=None, volatile=False)]
    for d in strangers:
        with open(d.file, "r+b") as f:
            f.write(os.urandom(N))
    was = [digest(d.file) for d in strangers]
    right = ["system", "new-v", "new-w", "old-v", "old-w", "old-r"]
    wrong = ["system", "stranger-1", "stranger-2", "new-v", "new-w", "old-v", "old-w", "old-r"]

    m.boot(order=right)
    v, w = m.sh("echo /dev/vdb; lsblk -dno PATH,WWN | awk '$1 ~ /sd/ && !$2 {print $1}'").split()
    targets = {"v": v, "w": w, "r": "/dev/ram0"}
    m.sh(f"modprobe brd rd_nr=1 rd_size={N // 1024}")
    m.agent()
    apps = {}
    for i, name in enumerate("vwr"):
        m.volume(name, f"/dev/disk/by-id/wwn-0x5000c500a000000{i + 1}")
        apps[name] = m.app(name, name, "--fill", "--blocks-max", "16", "--rate", "20", "--flush-every", "10", "--busy", str(2 << 20))
    for a in apps.values():
        a.wait_writes(20, timeout=180)
        a.end()
    print(targets, flush=True)
    for name in "vwr":
        m.spec({"name": f"move-{name}", "switch": {"when": "manual"}, "pairs": [{"source": f"volume:{name}", "target": targets[name]}]})
    for name in "vwr":
        m.wait_state(f"move-{name}", "synced")
    wait_for("all is recorded", lambda: all(m.volume(x)["legs"][1].get("recorded_bytes", 0) == N for x in "vwr"), 60, 0.5)
    m.dray("shutdown")
    m.halt()
    good = digest(new_v.file), digest(new_w.file)

    # The names are strangers' now; the ramdisk is there, and empty.
    m.boot(order=wrong)
    m.sh(f"modprobe brd rd_nr=1 rd_size={N // 1024}")
    m.agent()
    wait_for("the volumes are served", lambda: all(m.volume(x).get("primary") for x in "vwr"), 120, 0.3)
    for name in "vwr":
        # An application writes: that must not reach a disk of which only the name is known.
        m.exec("dray-stamp", "run", "--uri", m.uri(name), "--journal", f"/run/{name}.j", "--writes", "30", "--read-percent", "0", "--seed", "7")
        doc, vol = m.show(f"move-{name}"), m.volume(name)
        print(name, doc["state"], doc["pairs"][0]["state"], doc["pairs"][0].get("reason"), vol["legs"][1:], flush=True)
        assert doc["state"] != "synced", doc
        assert m.exec("dray", "switch", f"move-{name}", status=None, env=m.env)["status"] in (1, 3, 5)
        assert m.volume(name)["primary"].startswith("/dev/disk/by-id/wwn-"), m.volume(name)
    # The ramdisk has the right name and is another thing all the same. Who vouches for it is believed; but what it holds is looked at.
    assert m.sh("cmp -n 4096 /dev/ram0 /dev/zero && echo untouched") == "untouched"
    m.dray("shutdown", "--force")
    m.halt()
    assert [digest(d.file) for d in strangers] == was, "a stranger's disk was written to"
    assert (digest(new_v.file), digest(new_w.file)) == good, "a disk was written to that nobody vouched for"

    # The right names again, and somebody vouches.
    m.boot(order=right)
    m.sh(f"modprobe brd rd_nr=1 rd_size={N // 1024}")
    m.agent()
    wait_for("the volumes are served", lambda: all(m.volume(x).get("primary") for x in "vwr"), 120, 0.3)
    for name in "vwr":
        print(name, m.exec("dray", "retry", f"move-{name}", "--pair", "1", status=None, env=m.env), flush=True)
    for name in "vwr":
        m.wait_state(f"move-{name}", "synced", timeout=120)
        print(name, m.pair(f"move-{name}")["progress"], flush=True)
    m.dray("shutdown", "--force")
    for i, name in enumerate("vwr"):
        m.sh(f"cmp /dev/disk/by-id/wwn-0x5000c500a000000{i + 1} {targets[name]}")
    m.halt()
