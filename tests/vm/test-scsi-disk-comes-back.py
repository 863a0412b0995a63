#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""The target, a SCSI disk, is deleted in the middle of the copy, and found again by the bus under another name, while a stranger has its old
one: within the retries it is looked for by what it is, and the copy goes on without a word from anybody; but not before udev, which is slow
here, has given it its names, for which it needs a lock on it. An LV and its disk: never two
sessions, also when the LV is not active."""
import hashlib
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from vm import Machine, wait_for

N = 24 << 20
WWN = "0x5000c500b000000"


def digest(path):
    with open(path, "rb") as f:
        return hashlib.sha256(f.read()).hexdigest()


with Machine() as m:
    m.disk("system", "64M")
    old = m.disk("old", N, bus="scsi", wwn=WWN + "1")
    new = m.disk("new", N, bus="scsi", wwn=WWN + "2")
    stranger = m.disk("stranger", N, bus="scsi", volatile=False, wwn=WWN + "3")
    m.disk("pv", N, bus="scsi", wwn=WWN + "4")
    with open(stranger.file, "r+b") as f:
        f.write(os.urandom(N))
    was = digest(stranger.file)
    m.boot()

    def name(i):
        return m.device(f"{WWN}{i}")

    m.agent()
    source, target = name(1), name(2)
    m.volume("v", source)
    app = m.stamp(m.uri("v"), "app", "--fill", "--blocks-max", "16", "--rate", "40", "--flush-every", "10", "--busy", str(4 << 20))
    app.wait_writes(30, timeout=180)
    m.spec({"name": "move", "switch": {"when": "manual"}, "leg_timeout": "10s", "limits": {"rate": "1MiB"},
            "pairs": [{"source": "volume:v", "target": target}]})
    wait_for("it moves", lambda: m.pair("move")["progress"]["bytes_done"] > N // 5, 180, 0.5)

    # All in one go: an emulated machine takes a while for each command, and the target is looked for during one minute only.
    scans = "; ".join(m.scan(dev) for dev in (name(3), target))
    iod = m.iod_pid()
    m.sh(f"""for d in {name(3)} {target}; do echo 1 >/sys/block/$(basename $d)/device/delete; done
        for i in $(seq 300); do ls -l /proc/{iod}/fd | grep -q 'sdb' || break; sleep 0.1; done
        ! ls -l /proc/{iod}/fd | grep 'sdb'
        udevadm control --stop-exec-queue; {scans}; sleep 6; udevadm control --start-exec-queue; udevadm settle""".replace("sdb", os.path.basename(target)), timeout=300)
    done = m.pair("move")["progress"]["bytes_done"]
    assert name(3) == target and name(2) != target, (name(3), name(2))
    wait_for("it goes on by itself", lambda: m.pair("move")["progress"]["bytes_done"] > done + (1 << 20), 90, 0.5)
    assert m.show("move")["state"] == "copying"
    events = [e["event"] for e in m.json("events", "move")]
    assert {"target-degraded", "target-retried"} <= set(events), events
    m.dray("set", "move", "limits.rate=none")
    m.wait_state("move", "synced", timeout=180)

    app.wait_writes(30, timeout=180)
    m.dray("switch", "move")
    m.wait_state("move", "switched")
    app.wait_writes(30, timeout=180)
    app.end()
    m.dray("commit", "move", "--yes")

    # An LV and the disk below it.
    pv = name(4)
    part = {"resource": pv, "offset": 0, "length": 8 << 20}
    m.sh(f"vgcreate -q vg {pv} && lvcreate -q -y -Wn -n lv -L 8M vg && lvcreate -q -y -Wn -n other -L 8M vg && "
         "head -c 8M /dev/urandom >/state/small && head -c 8M /dev/zero >/state/more")
    got = m.spec({"name": "both", "pairs": [{"source": "/state/small", "target": "/dev/vg/lv"}, {"source": "/state/more", "target": part, "overwrite": True}]},
                 status=3)["errors"]
    assert any((e["pointer"], e["code"]) == ("/pairs/1/target", "same_device") and "lies on" in e["detail"] for e in got), got
    m.spec({"name": "lv", "limits": {"rate": "64KiB"}, "pairs": [{"source": "/state/small", "target": "/dev/vg/lv"}]})
    m.dray("pause", "lv")
    m.dray("shutdown", "--force")
    m.sh("vgchange -q -an vg")
    m.agent()
    got = m.spec({"name": "pv", "pairs": [{"source": "/state/more", "target": part, "overwrite": True}]}, status=3)["errors"]
    assert [e["code"] for e in got] == ["locked"] and "lies on" in got[0]["detail"], got
    m.dray("cancel", "lv")
    m.dray("shutdown", "--force")
    app.verify(f"/dev/disk/by-id/wwn-{WWN}2")
    m.halt()
    assert digest(stranger.file) == was, "the stranger's disk was written to"
