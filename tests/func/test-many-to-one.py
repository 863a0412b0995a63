#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Several volumes move into slices of one target, at once; what lies outside of the slices stays; undo works; overlaps are refused."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from dray import MiB, Scratch, undisturbed

with Scratch() as s:
    a = s.agent()
    for n in "xy":
        a.volume(n, s.file(n, 4 * MiB, True))
    big = s.file("big", 16 * MiB, True)

    def spec(y_at, **more):
        return undisturbed({"name": "gather", "pairs": [{"source": f"volume:{n}", "overwrite": True,
                                                         "target": {"resource": big, "offset": at * MiB, "length": "4MiB"}}
                                                        for n, at in (("x", 2), ("y", y_at))], **more})

    def read(path, at, size):
        with open(path, "rb") as f:
            f.seek(at)
            return f.read(size)

    outside = [(0, 2), (6, 2), (12, 4)]
    before = [read(big, at * MiB, n * MiB) for at, n in outside]
    refused = a.spec(spec(5), status=3)
    assert [(e["pointer"], e["code"]) for e in refused["errors"]] == [("/pairs/1/target", "same_device")], refused

    doc = a.spec(spec(8, switch={"when": "synced"}), "--wait")
    assert [p["state"] for p in doc["pairs"]] == ["switched", "switched"], doc
    assert doc["pairs"][1]["targets"][0]["offset"] == 8 * MiB, doc
    assert big in a.run("volume", "list").stdout
    # Another session may have another part, and no part of these.
    a.json("migrate", s.file("z", 2 * MiB, True), big, "--name", "all", status=3)
    assert a.spec({"name": "z", "pairs": [{"source": s.path("z"), "target": {"resource": big, "offset": "12M"}, "overwrite": True}]}, "--wait")["state"] == "completed"
    assert read(big, 12 * MiB, 2 * MiB) == read(s.path("z"), 0, 2 * MiB)
    a.run("undo", "gather")
    a.run("switch", "gather")
    a.run("commit", "gather")
    for n, at in (("x", 2), ("y", 8)):
        assert read(big, at * MiB, 4 * MiB) == read(s.path(n), 0, 4 * MiB), n
    assert [read(big, at * MiB, n * MiB) for at, n in outside[:2]] == before[:2]
    assert read(big, 14 * MiB, 2 * MiB) == before[2][2 * MiB:]
    assert a.json("locks") == []
