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
    # So slow a limit that it binds on any machine.
    doc = {"name": "night", "limits": {"rate": "64KiB"}, "pairs": [
        {"source": "volume:v", "target": target, "overwrite": True}, {"source": sparse, "target": s.path("new"), "create": "thin"}]}

    def estimate(status=0, **more):
        with open(s.path("spec.json"), "w") as f:
            json.dump(doc | more, f)
        return a.json("estimate", s.path("spec.json"), status=status)

    e = estimate()
    assert [p["bytes"] for p in e["pairs"]] == [32 * MiB, 8 * MiB] and e["bytes"] == 40 * MiB, e
    assert e["seconds_low"] == e["seconds"] == 640 and 640 < e["seconds_high"] <= 700, e
    assert any("how fast the targets are" in line for line in e["assumptions"]), e
    assert [p["vehicle"] for p in e["pairs"]] == ["host", "host"] and e["pairs"][0]["source"] == "volume:v", e
    assert any("holes" in line for line in e["assumptions"]) and any("read for a moment" in line for line in e["assumptions"]), e

    free = estimate(limits={})
    assert free["seconds_low"] <= free["seconds"] <= free["seconds_high"] and free["seconds_low"] >= 0, free
    one = estimate(limits={"rate": "64KiB", "active_pairs": 1})
    assert one["pairs"][1]["begins"] == one["pairs"][0]["seconds"] == 512 and one["seconds"] == 640, one
    later = estimate(start={"after": "2h"})
    assert 7200 <= later["seconds"] - e["seconds"] <= 7201 and later["pairs"][0]["begins"] >= 7199, later
    hour = (time.localtime().tm_hour + 3) % 24
    shut = estimate(window=[f"{hour:02}:00-{hour:02}:30"])
    assert 7000 < shut["seconds"] < 12000 + 3600, shut  # (an hour more or less in an odd night)
    # What goes to two targets is limited as what it is: twice as much.
    both = {"source": sparse, "target": [s.path("one"), s.path("two")], "create": "thin"}
    twice = estimate(pairs=[both])
    assert twice["bytes"] == 8 * MiB and twice["seconds_low"] == 256 and any("each of them" in x for x in twice["assumptions"]), twice
    # A server that tells what it holds: another agent's.
    other = s.agent(name="other")
    thin = estimate(pairs=[{"source": other.volume("thin", s.file("behind", 256 * MiB, b"x" * 2 * MiB)), "target": s.path("n"), "create": "thin"}])
    assert thin["bytes"] == 2 * MiB, thin
    # Of one that ends never, when it is in sync.
    every = estimate(mode="copy", start={"every": "24h", "at": "02:00"}, pairs=[{"source": "volume:v", "target": s.path("g-{time}.img")}])
    assert every["seconds_low"] == 512 and any("generations" in x for x in every["assumptions"]), every
    empty = estimate(pairs=[{"source": s.file("empty", MiB), "target": s.path("e"), "create": "thin"}])
    assert empty["bytes"] == 0 and not any("not measured" in x for x in empty["assumptions"]), empty
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
