#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""One source, two targets: the first takes over, the second is a copy of the switch's instant; a second one that fails half-way
does not hold up the first, and the document says so."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from dray import MiB, Scratch, same, wait_for

N = 16 * MiB

with Scratch() as s:
    a = s.agent()
    app = s.stamp(a.volume("one", s.file("old", N, True)), "app", "--depth", "4", "--rate", "1000", "--no-reconnect")
    app.wait_writes(200)
    # commit: switched leaves the source as an image of the same instant: what the second target must be equal to.
    a.spec({"name": "fan", "switch": {"when": "synced", "commit": "switched"},
            "pairs": [{"source": "volume:one", "target": [s.path("new"), s.path("second")], "create": "thin"}]}, "--wait")
    doc = a.show("fan")
    assert doc["state"] == "committed", doc
    roles = [(t["resource"], t["role"]) for t in doc["pairs"][0]["targets"]]
    assert roles == [(s.path("new"), "successor"), (s.path("second"), "copy")], roles
    assert a.json("volume", "show", "one")["primary"] == s.path("new")
    app.wait_writes(200)
    assert same(s.path("old"), s.path("second"))
    app.end()
    app.verify(s.path("new"))

    # Again, with a second target that runs out of space half-way.
    bad = s.holdback("bad", N)
    app = s.stamp(a.volume("two", s.file("old2", N, True)), "app2", "--depth", "4", "--rate", "1000", "--no-reconnect")
    a.spec({"name": "limp", "switch": {"when": "manual"}, "limits": {"rate": "8MiB"},
            "pairs": [{"source": "volume:two", "target": [s.path("new2"), bad.uri], "create": "thin", "overwrite": True}]})
    wait_for("half-way", lambda: a.pair("limp")["progress"]["bytes_done"] > N // 4)
    bad.faults("fail write ENOSPC 1000000", "fail zero ENOSPC 1000000")
    wait_for("the second target is set aside", lambda: a.pair("limp")["targets"][1]["state"] in ("degraded", "detached"))
    a.run("set", "limp", "limits.rate=none")
    a.wait("limp", "synced")
    a.run("switch", "limp")
    doc = a.show("limp")
    assert doc["state"] == "switched", doc
    said = str(doc["pairs"][0].get("reason")) + str(doc["pairs"][0]["targets"][1])
    assert "space" in said, said
    print(said)
    app.wait_writes(200)
    app.end()
    app.verify(s.path("new2"))
    assert a.json("volume", "show", "two")["primary"] == s.path("new2")
