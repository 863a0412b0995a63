#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""What a group leaves behind shows one instant of all its volumes: the copies of mode copy, and the sources after commit: switched."""
import os
import signal
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from dray import MiB, Scratch, wait_for

N, ROUNDS = 4 * MiB, 4

with Scratch() as s:
    a = s.agent()
    names = ("data", "log")
    uris = [a.volume(v, s.file(f"old-{v}", N)) for v in names]
    app = s.start("dray-stamp", "pair", "--uri", uris[0], "--uri2", uris[1], "--flush-every", "20", "--status", s.path("status"))
    wait_for("the application writes", lambda: os.path.exists(s.path("status")))

    def one_instant(*images):
        subprocess.run(["dray-stamp", "pair-verify", *images], check=True)

    for i in range(ROUNDS):
        copies = [s.path(f"copy-{v}-{i}") for v in names]
        a.spec({"name": f"copy{i}", "mode": "copy", "leg_timeout": "1m",
                "pairs": [{"source": f"volume:{v}", "target": c, "create": "thin"} for v, c in zip(names, copies)]}, "--wait")
        doc = a.show(f"copy{i}")
        assert doc["state"] == "completed", doc
        one_instant(*copies)
        for v in names:
            assert a.json("volume", "show", v)["primary"] == s.path(f"old-{v}")

    new = [s.path(f"new-{v}") for v in names]
    a.spec({"name": "move", "leg_timeout": "1m", "switch": {"when": "synced", "commit": "switched"},
            "pairs": [{"source": f"volume:{v}", "target": t, "create": "thin"} for v, t in zip(names, new)]}, "--wait")
    assert a.show("move")["state"] == "committed"
    one_instant(s.path("old-data"), s.path("old-log"))
    app.send_signal(signal.SIGTERM)
    assert app.wait(timeout=60) == 0
    one_instant(*new)
