#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Copies of two volumes under one application, each with a second target, one of which fills up: the others are images of one instant, the bad one is
reported, and nothing of any stays attached or locked."""
import json
import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from dray import MiB, Scratch, wait_for  # noqa: E402

N = 4 * MiB

with Scratch() as s:
    a = s.agent()
    names = ("data", "log")
    uris = [a.volume(v, s.file(v, N)) for v in names]
    status = s.path("status")
    app = s.start("dray-stamp", "pair", "--uri", uris[0], "--uri2", uris[1], "--flush-every", "20", "--size", "4M", "--status", status)
    wait_for("the application writes", lambda: os.path.exists(status))
    bad = s.holdback("bad", N)
    bad.faults("fail write ENOSPC 1000000", "fail zero ENOSPC 1000000")
    a.spec({"name": "c", "mode": "copy", "leg_timeout": "1m", "switch": {"when": "manual"}, "pairs": [
        {"source": "volume:data", "target": [s.path("data-1"), s.path("data-2")], "create": "thin"},
        {"source": "volume:log", "target": [s.file("log-1", N), bad.uri], "overwrite": True}]})
    a.wait("c", "synced")
    wait_for("the bad one is set aside", lambda: a.pair("c", 1)["targets"][1].get("error"))
    doc = a.json("switch", "c")
    assert doc["state"] == "completed", doc
    first, second = doc["pairs"]
    assert [t.get("error") for t in first["targets"]] == [None, None] and "space" in second["targets"][1]["error"], doc
    assert second["targets"][0].get("error") is None, doc
    images = None
    for _ in range(2):
        for v in names:
            volume = a.json("volume", "show", v)
            assert volume["primary"] == s.path(v)
            wait_for("its legs are gone", lambda v=v: len(a.json("volume", "show", v)["legs"]) == 1)
        assert a.json("locks") == []
        # Both pairs of first targets show one instant; what comes later is in none.
        got = [json.loads(subprocess.run(["dray-stamp", "pair-verify", "--size", "4M", s.path("data-" + n), s.path("log-1")], check=True,
                                         stdout=subprocess.PIPE).stdout)["newest"] for n in "12"]
        assert got[0] == got[1] and images in (None, got), (images, got)
        images = got
        wait_for("the application goes on", lambda: json.load(open(status))["newest"] > max(images[0]) + 100)
        a.process.kill()
        a.process.wait()
        a.start()
        assert a.show("c")["state"] == "completed"
    app.terminate()
    assert app.wait(timeout=60) == 0
