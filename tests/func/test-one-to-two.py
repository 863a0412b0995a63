#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""One source, two targets: the first takes over, the second is a copy of the switch's instant; a second one that fails half-way
does not hold up the first, and the document says so."""
import json
import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from dray import MiB, SLOW, Scratch, same, undisturbed, wait_for

N = 16 * MiB

with Scratch() as s:
    a = s.agent()

    # Two volumes under one application, so that it can be seen whether the second targets show one instant.
    names = ("data", "log")
    uris = [a.volume(v, s.file(f"old-{v}", N)) for v in names]
    status = s.path("status")
    app = s.start("dray-stamp", "pair", "--uri", uris[0], "--uri2", uris[1], "--flush-every", "20", "--size", "4M", "--status", status)
    wait_for("the application writes", lambda: os.path.exists(status))
    a.spec(undisturbed({"name": "fan", "switch": {"when": "synced"},
                        "pairs": [{"source": f"volume:{v}", "target": [s.path(f"new-{v}"), s.path(f"second-{v}")], "create": "thin"} for v in names]}), "--wait")
    doc = a.show("fan")
    assert doc["state"] == "switched", doc
    for v, p in zip(names, doc["pairs"]):
        roles = [(t["resource"], t["role"]) for t in p["targets"]]
        assert roles == [(s.path(f"new-{v}"), "successor"), (s.path(f"second-{v}"), "copy")], roles
        assert a.json("volume", "show", v)["primary"] == s.path(f"new-{v}")
    seconds = [s.path(f"second-{v}") for v in names]
    pair_verify = ["dray-stamp", "pair-verify", "--size", "4M"]
    at_switch = json.loads(subprocess.run([*pair_verify, *seconds], check=True, stdout=subprocess.PIPE).stdout)
    print("the second targets:", at_switch)
    wait_for("more writes", lambda: json.load(open(status))["newest"] > at_switch["newest"][0] + 500)
    app.terminate()
    assert app.wait(timeout=60 * SLOW) == 0
    a.run("commit", "fan", "--yes")
    at_end = json.loads(subprocess.run([*pair_verify, *(s.path(f"new-{v}") for v in names)], check=True, stdout=subprocess.PIPE).stdout)
    assert at_end["newest"][0] > at_switch["newest"][0] + 400
    for v in names:
        assert same(s.path(f"old-{v}"), s.path(f"new-{v}"))

    # Again, with a second target that runs out of space on the way: so slowly that it is not through before.
    bad = s.holdback("bad", N)
    app = s.stamp(a.volume("two", s.file("old2", N, True)), "app2", "--depth", "4", "--rate", "1000", "--no-reconnect")
    a.spec(undisturbed({"name": "limp", "switch": {"when": "manual"}, "limits": {"rate": "1MiB"},
                        "pairs": [{"source": "volume:two", "target": [s.path("new2"), bad.uri], "create": "thin", "overwrite": True}]}))
    wait_for("a part of it", lambda: a.moved("limp") > 256 * 1024)
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
