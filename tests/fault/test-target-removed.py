#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""The file of a target is removed, or another one takes its name: the application is unharmed, no switch goes to what would be lost when it is
closed, and a retry does not take the stranger for it."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from dray import MiB, Scratch, wait_for
from iod import Iod
from nbdclient import Client

N = 4 * MiB

with Scratch() as s:
    a = s.agent()
    target = s.path("new")
    app = s.stamp(a.volume("v", s.file("old", N, True)), "app", "--depth", "2", "--rate", "200", "--no-reconnect")
    app.wait_writes(10)
    a.spec({"name": "move", "leg_timeout": "1h", "switch": {"when": "manual"}, "pairs": [{"source": "volume:v", "target": target, "create": "thin"}]})
    a.wait("move", "synced")
    os.unlink(target)
    a.run("switch", "move", status=1)
    pair = a.pair("move")
    assert pair["state"] == "synced" and f"{target} was removed" in pair["reason"], pair
    app.wait_writes(20)
    a.run("cancel", "move")
    app.end()

    # As a leg that failed: opened anew by a retry, by its identity.
    iod = Iod(s, options=("--threads", "1", "--allow-faults"))
    broken, b = s.path("broken"), s.file("b", N)
    iod.call("volume.add", name="w", resource=s.file("a", N, True))
    leg = iod.attach("w", f"fault:error_file={broken}:{b}")
    iod.wait_synced("w", leg)
    with open(broken, "w"):
        pass
    c = Client(iod.nbd_socket, "w")
    c.write(MiB, b"!" * 4096)
    wait_for("it is set aside", lambda: iod.leg("w", leg)["state"] == "degraded")
    os.rename(b, b + ".kept")
    stranger = s.file("b", N)
    e = iod.refused("leg.retry", "not_accessible", volume="w", leg=leg)
    assert "not the storage that was recorded" in e.message, e
    os.unlink(broken)
    c.write(2 * MiB, b"?" * 4096)
    with open(stranger, "rb") as f:
        assert f.read() == bytes(N), "a stranger was written to"
    os.rename(b + ".kept", b)
    iod.call("leg.retry", volume="w", leg=leg)
    iod.wait_synced("w", leg)
    c.flush()
    c.close()
    iod.stop()
    with open(b, "rb") as f, open(s.path("a"), "rb") as g:
        assert f.read() == g.read()
