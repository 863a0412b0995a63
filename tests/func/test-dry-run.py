#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""A dry run tells the vehicles and why, the order and what waits, the locks and the switch, as text and as JSON; nothing is touched, locked or
recorded; what the session then does is what was told."""
import json
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from dray import MiB, Scratch

with Scratch() as s:
    a = s.agent()
    for n in "abc":
        a.volume(n, s.file(n, 4 * MiB, True))
    doc = {"name": "night", "limits": {"active_pairs": 2, "rate": "1"}, "switch": {"when": "synced", "deadline": "500ms"}, "verify": "sample",
           "pairs": [{"source": "volume:a", "target": s.path("made"), "create": "thin"},
                     {"source": "volume:b", "target": [s.file("t1", 8 * MiB), {"resource": s.file("t2", 8 * MiB, b"x" * 9999), "offset": MiB,
                                                                             "length": 4 * MiB}], "overwrite": True},
                     {"source": s.file("off", MiB, True), "target": s.file("t3", MiB)}]}
    files = {n: (os.stat(s.path(n)).st_mtime_ns, os.stat(s.path(n)).st_atime_ns) for n in ("t1", "t2", "t3", "off")}
    got = a.spec(doc, "--dry-run")
    plan = got["plan"]
    assert got["name"] == "night" and not got.get("id"), got

    pairs = plan["pairs"]
    assert [p["id"] for p in pairs] == ["1", "2", "3"] and [p["order"] for p in pairs] == [1, 2, 3], pairs
    assert [p["waits"] is None for p in pairs] == [True, True, False] and "active_pairs" in pairs[2]["waits"], pairs
    for p in pairs:
        assert p["vehicle"] == "host" and [v["name"] for v in p["vehicles"] if v["chosen"]] == ["host"], p
        assert all(v["why"] for v in p["vehicles"]) and p["bytes_total"], p
    assert [p["online"] for p in pairs] == [True, True, False]
    assert pairs[0]["targets"] == [{"resource": s.path("made"), "role": "successor", "create": "thin", "overwrites": None}]
    assert [t["role"] for t in pairs[1]["targets"]] == ["successor", "copy"] and pairs[1]["targets"][1]["offset"] == MiB

    assert plan["switch"]["groups"] == [["1", "2"]] and plan["switch"]["one_instant"] and plan["switch"]["deadline_ms"] == 500
    assert plan["switch"]["commit"] == "manual" and plan["switch"]["retire"] == "none"
    steps = " ".join(plan["switch"]["steps"])
    assert "one instant" in steps and "500 ms" in steps and "undo" in steps and "without a switch" in steps, steps
    alone = a.spec({**doc, "switch": {"when": "pair", "commit": "24h"}}, "--dry-run")["plan"]["switch"]
    assert alone["groups"] == [["1"], ["2"]] and not alone["one_instant"] and alone["commit"] == "24h", alone

    text = a.run("start", "-", "--dry-run", stdin=json.dumps(doc)).stdout
    for word in ("pair 1", "pair 3", "vehicle host: chosen", "starts later: waits for 1 of 2", s.path("made"), "Locks:", "target", "one instant", "made thin"):
        assert word in text, (word, text)

    # Nothing came of it.
    assert a.json("list") == [] and a.json("locks") == [] and not os.path.exists(s.path("made"))
    assert {n: (os.stat(s.path(n)).st_mtime_ns, os.stat(s.path(n)).st_atime_ns) for n in files} == files
    assert all(len(a.json("volume", "show", n)["legs"]) == 1 for n in "abc")
    assert not [e for e in a.json("events") if e["session"]]

    # What is wrong is told as without it; the plan of another one knows who is before it.
    assert a.spec({**doc, "pairs": [{"source": "volume:z", "target": s.path("t3")}]}, "--dry-run", status=3)["errors"][0]["code"] == "not_found"
    a.spec(doc)
    locks = a.json("locks")
    told = {(x["resource"], x["identity"], x["pair"], x["role"]) for x in plan["locks"]}
    assert {(x["resource"], x["identity"], x["pair"], x["role"]) for x in locks} == told, (locks, told)
    assert [p["state"] == "queued" for p in a.show("night")["pairs"]] == [False, False, True]
    refused = a.spec({"name": "other", "pairs": [{"source": "volume:c", "target": s.path("t1")}]}, "--dry-run", status=3)
    assert refused["errors"][0]["code"] == "locked" and "night" in refused["errors"][0]["detail"], refused
    assert a.json("locks") == locks
