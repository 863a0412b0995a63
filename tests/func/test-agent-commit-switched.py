#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""commit: switched lets the old sources go with the switch: two volumes written in turn leave images of one instant, and no lock."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from dray import MiB, SLOW, Scratch, same, wait_for  # noqa: E402

N = 8 * MiB

with Scratch() as s:
    a = s.agent()
    old = [s.file(f"old{i}", N, True) for i in range(2)]
    app = s.start("dray-stamp", "pair", "--uri", a.volume("data", old[0]), "--uri2", a.volume("log", old[1]), "--flush-every", "20",
                  "--status", s.path("status"))
    wait_for("the application writes", lambda: os.path.exists(s.path("status")))
    a.spec({"name": "both", "leg_timeout": "1m", "switch": {"when": "synced", "commit": "switched"},
            "pairs": [{"source": f"volume:{v}", "target": [s.path(v), s.path(v + "2")], "create": "thin"} for v in ("data", "log")]},
           "--wait")
    doc = a.show("both")
    assert doc["state"] == "committed" and a.json("locks") == [], doc
    for v in ("data", "log"):
        assert len(a.json("volume", "show", v)["legs"]) == 1
    app.terminate()
    assert app.wait(timeout=60 * SLOW) == 0
    # The second targets and the old sources: the same instant, and one at which the pair was consistent.
    assert same(old[0], s.path("data2")) and same(old[1], s.path("log2"))
    s.start("dray-stamp", "pair-verify", *old, log="verify.log")
    assert s.processes[-1].wait(60) == 0
    # After a restart of dray-iod the old sources are no legs.
    a.run("shutdown", "--force")
    a.process.wait(20)
    a.start()
    for v in ("data", "log"):
        got = a.json("volume", "show", v)
        assert len(got["legs"]) == 1 and got["primary"] == s.path(v), got
