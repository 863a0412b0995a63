#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""The storage in use, a SCSI disk, is taken away under an application, and found again by the bus under another name, while a stranger has its
old one: dray-iod sees that it is dead, looks for it by what it is, and goes on there, without being started anew; but not before udev, which
is slow here, has given it its names. Once alone, once in the middle of a copy, once as a mirrored source, when all reads are served by
the target meanwhile."""
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
    m.disk("old", N, bus="scsi", wwn=WWN + "1")
    m.disk("new", N, bus="scsi", wwn=WWN + "2")
    stranger = m.disk("stranger", N, bus="scsi", volatile=False, wwn=WWN + "3")
    with open(stranger.file, "r+b") as f:
        f.write(os.urandom(N))
    was = digest(stranger.file)
    m.boot()

    def name(i):
        return m.device(f"{WWN}{i}")

    def leg():
        return m.volume("v")["legs"][0]

    def go_and_come(meanwhile=lambda: None):
        """The source and the stranger are deleted, then found in the order that gives the stranger the source's name."""
        source, other = name(1), name(3)
        ways = m.scan(other), m.scan(source)
        m.sh(f"for d in {other} {source}; do echo 1 >/sys/block/$(basename $d)/device/delete; done")
        wait_for("it is seen", lambda: "looked for" in (leg()["error"] or "") or "no device has its identity" in (leg()["error"] or ""), 60, 0.5)
        meanwhile()
        m.sh(f"udevadm control --stop-exec-queue; {ways[0]}; {ways[1]}; sleep 3; udevadm control --start-exec-queue; udevadm settle", timeout=120)
        wait_for("it is there again", lambda: leg()["error"] is None, 120, 0.5)
        assert name(1) != source, (name(1), source)

    m.agent()
    uri = m.volume("v", name(1))
    iod = m.iod_pid()
    app = m.stamp(uri, "app", "--fill", "--blocks-max", "16", "--rate", "40", "--flush-every", "10", "--busy", str(4 << 20), "--no-reconnect")
    app.wait_writes(30, timeout=180)

    def wrote_more():
        n = app.status()["writes"]
        wait_for("the application goes on", lambda: app.status()["writes"] > n + 30, 120, 0.5)

    # Alone.
    go_and_come()
    assert app.status()["errors"] > 0 and app.status()["bad"] == 0, app.status()
    wrote_more()

    # In the middle of a copy.
    m.spec({"name": "move", "switch": {"when": "manual"}, "leg_timeout": "10s", "limits": {"rate": "1MiB"},
            "pairs": [{"source": "volume:v", "target": name(2)}]})
    wait_for("it moves", lambda: m.pair("move")["progress"]["bytes_done"] > N // 5, 180, 0.5)
    go_and_come()
    done = m.pair("move")["progress"]["bytes_done"]
    wait_for("the copy goes on", lambda: m.pair("move")["progress"]["bytes_done"] > done + (1 << 20), 120, 0.5)
    events = [e["event"] for e in m.json("events", "move")]
    assert {"source-lost", "source-found"} <= set(events), events
    m.dray("set", "move", "limits.rate=none")
    m.wait_state("move", "synced", timeout=240)
    wrote_more()

    # Mirrored, and nothing is written: the target answers for it.
    got = app.end(good=False)
    assert got["bad"] == 0, got
    go_and_come(lambda: app.verify(uri))
    m.wait_state("move", "synced", timeout=120)
    m.dray("verify", "move", timeout=300)
    m.dray("switch", "move")
    m.wait_state("move", "switched")
    m.dray("commit", "move", "--yes")
    assert m.iod_pid() == iod
    m.dray("shutdown", "--force")
    app.verify(f"/dev/disk/by-id/wwn-{WWN}2")
    m.sh(f"cmp /dev/disk/by-id/wwn-{WWN}1 /dev/disk/by-id/wwn-{WWN}2", timeout=120)
    m.halt()
    assert digest(stranger.file) == was, "the stranger's disk was written to"
