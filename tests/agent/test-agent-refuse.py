#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Everything that is wrong with a document is told at once, with nothing touched and nothing locked."""
import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from agent import AgentTest  # noqa: E402

with AgentTest() as t:
    for n in "abcdefg":
        t.iod.add(n, "/nowhere/" + n, 1 << 20)
    good, small, fs = t.file("good"), t.file("small", 4096), t.file("fs")
    link = t.file("x") + "-link"
    os.symlink(good, link)
    subprocess.run(["mke2fs", "-q", "-F", fs], check=True)
    doc = {"name": "bad", "colour": "red", "limits": {"rate": "10 parsecs"}, "pairs": [
        {"source": "volume:nope", "target": t.file("t0")},
        {"source": "volume:a", "target": small},
        {"source": "volume:b", "target": fs},
        {"source": "volume:c", "target": good},
        {"source": "volume:d", "target": link},
        {"source": "volume:e", "target": t.file("t5"), "vehicle": "donkey"},
        {"source": "volume:e", "target": t.file("t6")},
        {"source": t.dir + "/missing", "target": t.file("t7")},
        {"source": "volume:f", "target": t.dir + "/none/t8", "create": "thin"},
    ]}
    p = t.refused("POST", "/sessions", doc)
    assert (p.status, p.exit) == (422, 3), p
    codes = p.codes()
    want = {"/colour": "unknown_key", "/limits/rate": "bad_unit", "/pairs/0/source": "not_found", "/pairs/1/target": "too_small",
            "/pairs/2/target": "signature", "/pairs/4/target": "same_device", "/pairs/6/source": "same_device",
            "/pairs/7/source": "not_found", "/pairs/8/target": "not_found"}
    for pointer, code in want.items():
        if pointer == "/limits/rate":
            assert pointer in codes, codes
        else:
            assert codes.get(pointer) == code, (pointer, code, codes)
    assert "/pairs/5/vehicle" in codes and "/pairs/3/target" not in codes, codes
    assert "ext2" in str(p) or "ext" in str(p), p
    assert t.call("GET", "/locks") == [] and t.call("GET", "/sessions") == []
    assert t.iod.count("leg.attach") == 0
    assert not os.path.exists(t.dir + "/none")

    # What can't be read at all, with the line.
    p = t.refused("POST", "/sessions", "name: x\npairs: [\n", headers={"Content-Type": "application/yaml"})
    assert (p.status, p.exit, p.body["errors"][0]["code"]) == (400, 3, "syntax") and p.body["errors"][0]["line"], p

    # Two sessions and one device, under two names; and a name in use.
    t.submit({"name": "first", "pairs": [{"source": "volume:a", "target": good}]})
    p = t.refused("POST", "/sessions", {"name": "first", "pairs": [{"source": "volume:a", "target": link}]})
    assert p.codes() == {"/name": "exists", "/pairs/0/source": "locked", "/pairs/0/target": "locked"}, p
    assert "first" in str(p)
    assert t.iod.count("leg.attach") <= 1

    # overwrite lets a signature pass; a dry run leaves nothing.
    ok = {"name": "second", "pairs": [{"source": "volume:b", "target": fs, "overwrite": True}]}
    locks = t.call("GET", "/locks")
    assert t.call("POST", "/sessions?dry_run=1", ok)["name"] == "second"
    assert t.call("GET", "/locks") == locks and len(t.call("GET", "/sessions")) == 1
    t.submit(ok)

    # A submit with an id can be repeated; another document with it is refused.
    once = {"name": "third", "id": "s-abc123", "pairs": [{"source": "volume:c", "target": t.file("t9")}]}
    assert t.submit(once)["id"] == t.submit(once)["id"] == "s-abc123"
    p = t.refused("POST", "/sessions", {**once, "name": "fourth"})
    assert p.codes()["/id"] == "exists", p
    t.verb("third", "cancel")
    assert t.submit(once)["state"] == "canceled"
    p = t.refused("POST", "/sessions", {**once, "priority": "high"})
    assert p.codes() == {"/id": "exists"}, p

    assert t.refused("GET", "/sessions/nobody").exit == 4
    assert t.refused("GET", "/sessions/nobody").body["errors"] == []
    assert t.refused("POST", "/sessions/first/pause", {"pairs": ["7"]}).exit == 4
    assert t.refused("POST", "/sessions/first/fly", {}).exit == 4
    p = t.refused("PATCH", "/sessions/first", {"priority": "high", "limits.rate": "ten"})
    assert p.exit == 3 and t.show("first").get("priority") != "high", p
