#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""A periodic session of two volumes whose writer alternates between them: each generation is one instant of both, `keep` of them stay, the others' files
go, and a cancel leaves those that are complete and nothing else."""
import os
import re
import signal
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from dray import MiB, Scratch, wait_for

N, KEEP = 4 * MiB, 3

with Scratch() as s:
    a = s.agent()
    names = ("data", "log")
    uris = [a.volume(v, s.file(f"old-{v}", N)) for v in names]
    app = s.start("dray-stamp", "pair", "--uri", uris[0], "--uri2", uris[1], "--flush-every", "20", "--status", s.path("status"))
    wait_for("the application writes", lambda: os.path.exists(s.path("status")))
    backup = s.path("backup")
    os.mkdir(backup)
    a.spec({"name": "night", "mode": "copy", "leg_timeout": "1m", "start": {"every": "1s", "keep": KEEP},
            "pairs": [{"source": "volume:data", "target": backup + "/d-{time}.img"}, {"source": "volume:log", "target": backup}]})

    seen = {}

    def look():
        """Every complete one that is listed, once: both files show one instant."""
        doc = a.show("night")
        complete = [g for g in doc["generations"] if g["complete"]]
        assert len(complete) <= KEEP, doc["generations"]
        for g in complete:
            if g["time"] in seen:
                continue
            stamp = g["time"].replace("-", "").replace(":", "")
            assert g["paths"] == [f"{backup}/d-{stamp}.img", f"{backup}/log-{stamp}.img"], g
            done = subprocess.run(["dray-stamp", "pair-verify", *g["paths"]], check=False)
            if done.returncode:  # it may have been removed while it was looked at
                assert g not in a.show("night")["generations"], g
                continue
            seen[g["time"]] = g["paths"]
        return len(seen) >= KEEP + 3
    wait_for("six generations", look, timeout=60)
    app.send_signal(signal.SIGTERM)
    assert app.wait(timeout=60) == 0
    doc = a.json("cancel", "night")
    assert doc["state"] == "canceled", doc
    doc = a.show("night")
    kept = sorted(p for g in doc["generations"] for p in g["paths"])
    assert all(g["complete"] for g in doc["generations"]) and len(doc["generations"]) == KEEP, doc["generations"]
    assert sorted(os.path.join(backup, f) for f in os.listdir(backup)) == kept, (os.listdir(backup), kept)
    assert re.fullmatch(f"canceled; {KEEP} generations stay", doc["pairs"][0]["reason"]), doc["pairs"][0]["reason"]
    for v in names:
        assert len(a.json("volume", "show", v)["legs"]) == 1
