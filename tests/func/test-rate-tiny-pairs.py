#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""A session of many pairs, each of which is through before its own rate is known, has a rate and an ETA all the same."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from dray import MiB, Scratch, wait_for

N = 400

with Scratch() as s:
    a = s.agent()
    for i in range(N):
        s.file(f"old-{i}", 64 << 10, True)
    # A twentieth of a second for each, if the machine lets it.
    a.spec({"name": "many", "limits": {"rate": "1280KiB", "active_pairs": 1}, "pairs": [
        {"source": s.path(f"old-{i}"), "target": s.path(f"new-{i}"), "create": "thin"} for i in range(N)]})

    def told():
        doc = a.show("many")
        assert doc["state"] != "completed"
        p = doc["progress"]
        return 0 < (p["rate"] or 0) < 16 * MiB and (p["eta_seconds"] or 0) > 0 and p["bytes_done"] < N * 65536
    wait_for("it has a rate, and an ETA", told)
    a.run("set", "many", "limits.rate=none", "limits.active_pairs=none")
    a.wait("many", "completed", timeout=120)
    for i in range(N):
        with open(s.path(f"old-{i}"), "rb") as old, open(s.path(f"new-{i}"), "rb") as new:
            assert old.read() == new.read(), i
