#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""`dray estimate`: what a session would take, from what its sources hold and how fast they are read, its limits and windows; nothing is
locked, written or kept. (How near estimates come to what sessions take: bench/estimate.py.)"""
import json
import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from dray import MiB, Scratch

with Scratch() as s:
    a = s.agent()
    sparse = s.path("sparse")
    with open(sparse, "wb") as f:
        f.truncate(1024 * MiB)
        f.seek(512 * MiB)
        f.write(os.urandom(8 * MiB))
        f.flush()
        os.fsync(f.fileno())
    a.volume("v", s.file("old", 32 * MiB, True))
    target = s.file("target", 32 * MiB, True)
    with open(target, "rb") as f:
        before = f.read()
    doc = {"name": "night", "limits": {"rate": "8MiB"}, "pairs": [
        {"source": "volume:v", "target": target, "overwrite": True}, {"source": sparse, "target": s.path("new"), "create": "thin"}]}

    def estimate(status=0, **more):
        with open(s.path("spec.json"), "w") as f:
            json.dump(doc | more, f)
        return a.json("estimate", s.path("spec.json"), status=status)

    e = estimate()
    assert [p["bytes"] for p in e["pairs"]] == [32 * MiB, 8 * MiB] and e["bytes"] == 40 * MiB, e
    assert e["seconds_low"] == e["seconds"] == 5 and 5 < e["seconds_high"] <= 7, e  # the limit binds, not the disk
    assert [p["vehicle"] for p in e["pairs"]] == ["host", "host"] and e["pairs"][0]["source"] == "volume:v", e
    assert any("holes" in line for line in e["assumptions"]) and any("read for a moment" in line for line in e["assumptions"]), e

    free = estimate(limits={})
    assert free["seconds_low"] <= free["seconds"] <= free["seconds_high"] and free["seconds_low"] >= 0, free
    one = estimate(limits={"rate": "8MiB", "active_pairs": 1})
    assert one["pairs"][1]["begins"] == one["pairs"][0]["seconds"] == 4 and one["seconds"] == 5, one
    later = estimate(start={"after": "2h"})
    assert 7200 <= later["seconds"] - e["seconds"] <= 7201 and later["pairs"][0]["begins"] >= 7199, later
    hour = (time.localtime().tm_hour + 3) % 24
    shut = estimate(window=[f"{hour:02}:00-{hour:02}:30"])
    assert 7000 < shut["seconds"] < 12000 + 3600, shut  # (an hour more or less in an odd night)
    never = estimate(limits={"rate": "00:00,0"})
    assert never["seconds"] is None and any("would not end" in line for line in never["assumptions"]), never
    text = a.run("estimate", s.path("spec.json")).stdout
    assert "never" in text and "Assumed:" in text, text

    # What is wrong is told as by `start`; what can't be found is no guess.
    wrong = estimate(status=3, pairs=doc["pairs"] + [{"source": s.path("nowhere"), "target": s.path("x"), "create": "thin"}])
    assert [x["pointer"] for x in wrong["errors"]] == ["/pairs/2/source"], wrong

    assert a.json("list") == [] and a.json("locks") == [] and not os.path.exists(s.path("new"))
    assert not [x for x in a.json("events") if x["session"]], a.json("events")
    with open(target, "rb") as f:
        assert f.read() == before, "an estimate wrote to a target"
