# SPDX-License-Identifier: BSD-3-Clause
"""Two losses of power, one in the middle of a copy between SCSI disks and one after the switch, and each time the disks have other names, one of
them a stranger's: what the tests of names that move share."""
import hashlib
import os

from vm import Machine, wait_for

N = 24 << 20
BUSY = 4 << 20
WWN = "0x5000c500a000000"


def digest(path):
    with open(path, "rb") as f:
        return hashlib.sha256(f.read()).hexdigest()


def story(by_id):
    """by_id: the document names the disks by links that follow them; else by the names of the first boot (/dev/sda)."""
    with Machine(net=True) as m:
        m.disk("system", "64M")
        old = m.disk("old", N, bus="scsi", wwn=WWN + "1")
        new = m.disk("new", N, bus="scsi", wwn=WWN + "2")
        stranger = m.disk("stranger", N, bus="scsi", volatile=False, wwn=WWN + "3")
        with open(stranger.file, "r+b") as f:
            f.write(os.urandom(N))
        was = digest(stranger.file)
        links = [f"/dev/disk/by-id/wwn-{WWN}1", f"/dev/disk/by-id/wwn-{WWN}2"]

        m.boot(order=["system", "old", "new"])
        names = [m.sh(f"readlink -f {links[0]} {links[1]}").split()]
        source, target = links if by_id else names[0]
        m.agent()
        m.volume("v", source)
        app = m.app("v", "app", "--fill", "--blocks-max", "16", "--rate", "40", "--flush-every", "10", "--busy", str(BUSY))
        app.wait_writes(30, timeout=180)
        m.spec({"name": "move", "switch": {"when": "manual"}, "limits": {"rate": "1MiB"}, "pairs": [{"source": "volume:v", "target": target}]})
        wait_for("a third is recorded clean", lambda: m.volume("v")["legs"][1].get("recorded_bytes", 0) >= N // 3, 180, 0.5)
        recorded = m.volume("v")["legs"][1]["recorded_bytes"]
        m.power_loss()

        # The stranger has a name that one of them had; they have each other's.
        m.boot(order=["new", "stranger", "old", "system"])
        names.append(m.sh(f"readlink -f {links[0]} {links[1]}").split())
        m.agent()
        wait_for("the volume is served", lambda: m.volume("v").get("primary") == source, 120, 0.3)
        legs = wait_for("both legs", lambda: len(got := m.volume("v")["legs"]) == 2 and got[1]["state"] in ("copying", "mirror") and got, 120, 0.3)
        done = N - legs[1]["dirty_bytes"]
        print(f"recorded clean before: {recorded}, in sync after the restart: {done}; {names}", flush=True)
        assert done >= recorded - BUSY, "what was recorded is copied again"
        m.dray("set", "move", "limits.rate=none")
        m.wait_state("move", "synced", timeout=180)
        p = m.pair("move")["progress"]
        print(p, flush=True)
        # Once each, but for what was copied and not yet recorded, and where the application was writing.
        assert p["bytes_done"] == N and p["bytes_recopied"] <= 2 * BUSY, p
        app.wait_writes(30, timeout=180)
        m.dray("switch", "move")
        m.wait_state("move", "switched")
        m.power_loss()

        m.boot(order=["old", "new", "stranger", "system"])
        names.append(m.sh(f"readlink -f {links[0]} {links[1]}").split())
        m.agent()
        m.wait_state("move", "switched")
        wait_for("the volume is served", lambda: m.volume("v").get("primary") == target, 120, 0.3)
        app.wait_writes(30, timeout=180)
        wait_for("the way back is in sync", lambda: len(got := m.volume("v")["legs"]) == 2 and all(leg["dirty_bytes"] == 0 for leg in got), 120, 0.3)
        got = app.end()
        assert got["reconnects"] >= 2, got
        app.verify(f"nbd://127.0.0.1:{m.tcp}/v")
        m.dray("shutdown", "--force")
        m.halt()
        assert len({n[0] for n in names}) > 1 and len({n[1] for n in names}) > 1, f"the names did not move: {names}"
        app.verify(old.file)
        app.verify(new.file)
        assert digest(stranger.file) == was, "the stranger's disk was written to"
