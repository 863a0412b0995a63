#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Two volumes under one application switch together, come back with an undo, and go again; nothing is lost on either."""
import json
import os
import signal
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from dray import MiB, Scratch, same, wait_for

N = 16 * MiB

with Scratch() as s:
    a = s.agent()
    uris = [a.volume(v, s.file(f"old-{v}", N, True)) for v in ("data", "log")]
    status = s.path("status")
    app = s.start("dray-stamp", "pair", "--uri", uris[0], "--uri2", uris[1], "--status", status, "--flush-every", "50", "--rate", "1000",
                  stdout=subprocess.PIPE)

    def newest():
        try:
            return json.load(open(status))["newest"]
        except FileNotFoundError:
            return 0

    def more(n):
        was = newest()
        wait_for(f"{n} more writes", lambda: app.poll() is not None or newest() >= was + n)
        assert app.poll() is None

    more(10)
    a.spec({"name": "both", "leg_timeout": "1m", "switch": {"when": "manual", "deadline": "1m"},
            "pairs": [{"source": f"volume:{v}", "target": s.path(f"new-{v}"), "create": "thin"} for v in ("data", "log")]})
    a.wait("both", "synced")
    more(100)
    for verb, state, n in (("switch", "switched", 1000), ("undo", "synced", 200), ("switch", "switched", 200)):
        a.run(verb, "both")
        doc = a.show("both")
        assert doc["state"] == state, doc["state"]
        blackouts = [p["blackout_us"] for p in doc["pairs"]]
        print(verb, blackouts)
        assert all(0 <= us < 60_000_000 for us in blackouts), blackouts  # the deadline
        primaries = {a.json("volume", "show", v)["primary"] for v in ("data", "log")}
        want = "new" if verb == "switch" else "old"
        assert primaries == {s.path(f"{want}-{v}") for v in ("data", "log")}, primaries
        more(n)
    app.send_signal(signal.SIGTERM)
    got = json.loads(app.communicate(timeout=60)[0])
    assert app.returncode == 0 and got["bad"] == 0 and got["errors"] == 0 and got["reconnects"] == 0, got
    a.run("commit", "both", "--yes")
    assert a.show("both")["state"] == "committed"
    for v in ("data", "log"):
        assert same(s.path(f"old-{v}"), s.path(f"new-{v}"))
    subprocess.run(["dray-stamp", "pair-verify", s.path("new-data"), s.path("new-log")], check=True)
