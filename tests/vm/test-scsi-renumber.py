#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""The power fails in the middle of a copy between SCSI disks, and after it their names belong to each other and to a stranger: the copy goes on from
the map, not a byte of the stranger's disk changes, and no flushed write is lost. Named by /dev/disk/by-id the legs are there at once."""
import hashlib
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from vm import Machine, wait_for

N = 24 << 20
OLD, NEW = "/dev/disk/by-id/wwn-0x5000c500a0000001", "/dev/disk/by-id/wwn-0x5000c500a0000002"


def digest(path):
    with open(path, "rb") as f:
        return hashlib.sha256(f.read()).hexdigest()


with Machine(net=True) as m:
    m.disk("system", "64M")
    old = m.disk("old", N, bus="scsi", wwn="0x5000c500a0000001")
    new = m.disk("new", N, bus="scsi", wwn="0x5000c500a0000002")
    stranger = m.disk("stranger", N, bus="scsi", volatile=False, wwn="0x5000c500a0000003")
    with open(stranger.file, "r+b") as f:
        f.write(os.urandom(N))
    was = digest(stranger.file)

    m.boot(order=["system", "old", "new"])
    names = [m.sh(f"readlink -f {OLD} {NEW}").split()]
    m.agent()
    m.volume("v", OLD)
    app = m.app("v", "app", "--fill", "--blocks-max", "16", "--rate", "40", "--flush-every", "10", "--busy", str(4 << 20))
    app.wait_writes(30, timeout=180)
    m.spec({"name": "move", "switch": {"when": "manual"}, "limits": {"rate": "1MiB"}, "pairs": [{"source": "volume:v", "target": NEW}]})
    wait_for("a third is recorded clean", lambda: m.volume("v")["legs"][1].get("recorded_bytes", 0) >= 8 << 20, 180, 0.5)
    recorded = m.volume("v")["legs"][1]["recorded_bytes"]
    m.power_loss()

    # The stranger has a name that one of them had; they have each other's.
    m.boot(order=["new", "stranger", "old", "system"])
    names.append(m.sh(f"readlink -f {OLD} {NEW}").split())
    m.agent()
    wait_for("the volume is served", lambda: m.volume("v").get("primary") == OLD, 120, 0.3)
    legs = wait_for("both legs", lambda: len(got := m.volume("v")["legs"]) == 2 and got[1]["state"] in ("copying", "mirror") and got, 120, 0.3)
    done = N - legs[1]["dirty_bytes"]
    print(f"recorded clean before: {recorded}, in sync after the restart: {done}", flush=True)
    assert done >= recorded - (4 << 20), "what was recorded is copied again"
    m.dray("set", "move", "limits.rate=none")
    m.wait_state("move", "synced", timeout=180)
    p = m.pair("move")["progress"]
    print(p, flush=True)
    # Once each, but for what was copied and not yet recorded, and where the application was writing.
    assert p["bytes_done"] == N and p["bytes_recopied"] <= (4 << 20) + (4 << 20), p
    app.wait_writes(30, timeout=180)
    m.dray("switch", "move")
    m.wait_state("move", "switched")
    m.power_loss()

    m.boot(order=["old", "new", "stranger", "system"])
    names.append(m.sh(f"readlink -f {OLD} {NEW}").split())
    m.agent()
    m.wait_state("move", "switched")
    wait_for("the volume is served", lambda: m.volume("v").get("primary") == NEW, 120, 0.3)
    app.wait_writes(30, timeout=180)
    wait_for("the way back is in sync", lambda: all(leg["dirty_bytes"] == 0 for leg in m.volume("v")["legs"]) and len(m.volume("v")["legs"]) == 2, 120, 0.3)
    got = app.end()
    assert got["reconnects"] >= 2, got
    app.verify(f"nbd://127.0.0.1:{m.tcp}/v")
    m.dray("shutdown", "--force")
    m.halt()
    print(names)
    assert len({n[0] for n in names}) > 1 and len({n[1] for n in names}) > 1, "the names did not move"
    app.verify(old.file)
    app.verify(new.file)
    assert digest(stranger.file) == was, "the stranger's disk was written to"
