#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""The server of the storage that is in use dies and forgets what it had acknowledged and not made durable: as the source of a migration, and as
its target after the switch. It is given to it again before anything else; the application sees no error, nothing older than it wrote, and both
sides are the same at the end."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from dray import MiB, Scratch, same, wait_for  # noqa: E402

N = 24 * MiB

with Scratch() as s:
    a = s.agent()
    old, new = s.holdback("old", N, "--writeback", "0"), s.holdback("new", N, "--writeback", "30")
    app = s.stamp(a.volume("v", old.uri), "app", "--depth", "4", "--rate", "500", "--flush-every", "150", "--zero-percent", "10", "--fua-percent", "5",
                  "--blocks-max", "4", "--no-reconnect")

    def forgets(disk, power_loss):
        app.wait_writes(60)
        if power_loss:  # it goes on at once, all connections are cut
            disk.power_loss()
        else:
            disk.kill()
            disk.start()
        app.wait_writes(60)
        got = app.status()
        assert not got["bad"] and not got["errors"], got

    forgets(old, False)  # there is no other leg yet
    forgets(old, True)
    a.spec({"name": "m", "leg_timeout": "1h", "switch": {"when": "manual"}, "limits": {"rate": "8MiB"},
            "pairs": [{"source": "volume:v", "target": new.uri, "overwrite": True}]})
    wait_for("it moves", lambda: a.moved("m") > MiB)
    forgets(old, False)
    a.run("set", "m", "limits.rate=none")
    a.wait("m", "synced")
    forgets(old, True)
    forgets(old, False)
    a.run("verify", "m")
    a.run("switch", "m")
    for power_loss in (False, True):
        forgets(new, power_loss)
    wait_for("the way back is in sync", lambda: all(leg["state"] in ("primary", "mirror") for leg in a.json("volume", "show", "v")["legs"]))
    a.run("verify", "m")
    a.run("undo", "m")
    forgets(old, False)
    wait_for("synced", lambda: a.show("m")["state"] == "synced")
    a.run("verify", "m")
    a.run("switch", "m")
    app.end()
    app.verify(a.uri("v"))
    a.run("commit", "m", "--yes")
    a.run("shutdown", "--force")
    for disk in (old, new):
        disk.process.terminate()
        disk.process.wait()
    assert same(old.file, new.file)
    app.verify(new.file)
