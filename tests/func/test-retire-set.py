#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""How sources are retired is changed while a session runs: validated like at submit, for all of its sources, all or nothing, durable, and not once a
retire has begun. And `dray migrate --retire` says it from the start."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from dray import MiB, Scratch, wait_for  # noqa: E402


def content(path):
    with open(path, "rb") as f:
        return f.read()


def told(problem):
    return [(e["pointer"], e["code"], e["value"], e["legal"]) for e in problem["errors"]]


with Scratch() as s:
    a = s.agent()

    def set_(session, *keys, **kw):
        return a.json("set", session, *keys, **kw)

    def how(session):
        return a.show(session).get("switch", {}).get("retire")

    def retired(session, n=0):
        return a.show(session)["pairs"][n].get("retired")

    def settled(session):
        return wait_for(f"the end of {session}", lambda: (d := a.show(session))["finished"] and d)

    # Said late, and taken back; it outlives drayd.
    for name in ("late", "back"):
        a.volume(name, s.file(name, MiB, True))
        a.spec({"name": name, "switch": {"retire": "zero"} if name == "back" else {}, "pairs": [{"source": f"volume:{name}", "target": s.file(f"t-{name}", MiB)}]})
        a.wait(name, "synced")
    data = content(s.path("late"))
    assert set_("late", "switch.retire=rename")["switch"]["retire"] == "rename"
    set_("back", "switch.retire=none")
    a.process.kill()
    a.process.wait()
    a.start()
    assert (how("late"), how("back")) == ("rename", "none")
    for name in ("late", "back"):
        a.wait(name, "synced")
        a.run("switch", name)
    set_("late", "switch.retire=rename")  # switched, not committed: nothing has begun
    for name in ("late", "back"):
        a.run("commit", name, "--yes")
    doc = settled("late")
    assert retired("late")["state"] == "done" and content(f"{s.path('late')}.retired-{doc['id']}") == data
    settled("back")
    assert retired("back") is None and os.path.exists(s.path("back"))
    assert "set" in [e["event"] for e in a.json("events", "late")]

    # All sources are looked at, and nothing of the command is done when one of them can't.
    one, two, slices = s.file("one", MiB, True), s.file("two", MiB, True), s.file("slices", 34 * MiB, True)
    os.link(two, two + "-too")
    a.volume("one", one)
    a.volume("two", two)
    a.spec({"name": "all", "limits": {"rate": "64K"}, "switch": {"retire": "read-only"}, "pairs": [
        {"source": "volume:one", "target": s.file("t-one", MiB)}, {"source": "volume:two", "target": s.file("t-two", MiB)}]})
    before = a.show("all")["switch"], a.show("all")["limits"], a.json("events", "all")
    problem = set_("all", "limits.rate=1MiB", "switch.retire=delete", status=3)
    legal = "none, read-only, offline, discard or zero"
    assert told(problem) == [("/switch/retire", "retire", "delete", legal)] and "pair 2: " in problem["errors"][0]["detail"], problem
    problem = set_("all", "limits.rate=1MiB", "switch.retire=shred", status=3)
    assert [t[:3] for t in told(problem)] == [("/switch/retire", "bad_value", "shred")], problem
    assert (a.show("all")["switch"], a.show("all")["limits"]) == before[:2]
    assert [e for e in a.json("events", "all") if e["event"] == "set"] == []
    os.unlink(two + "-too")
    set_("all", "limits.rate=1MiB", "switch.retire=delete")
    assert how("all") == "delete"
    # The first source's name is another file's now.
    os.rename(two, two + ".aside")
    s.file("two", MiB, True)
    problem = set_("all", "switch.retire=zero", status=3)
    assert [(e["pointer"], e["code"]) for e in problem["errors"]] == [("/pairs/1/source", "replaced")] and how("all") == "delete", problem
    os.unlink(two)
    problem = set_("all", "switch.retire=zero", status=3)
    assert [(e["pointer"], e["code"]) for e in problem["errors"]] == [("/pairs/1/source", "not_found")], problem
    os.rename(two + ".aside", two)
    a.run("cancel", "all")

    # A slice, which at that rate takes minutes, and an NBD export that is in use: what it can is told by who has it.
    export = s.holdback("export", 4 * MiB, "--no-trim")
    a.volume("export", export.uri)
    a.spec({"name": "kinds", "switch": {}, "limits": {"rate": "64K"}, "pairs": [
        {"source": {"resource": slices, "offset": MiB, "length": 32 * MiB}, "target": s.file("t-slice", 32 * MiB)},
        {"source": "volume:export", "target": s.path("t-export"), "create": "thin"}]})
    problem = set_("kinds", "switch.retire=rename", status=3)
    assert told(problem) == [("/switch/retire", "retire", "rename", "none, discard or zero"), ("/switch/retire", "retire", "rename", "none or zero")], problem
    problem = set_("kinds", "switch.retire=discard", status=3)
    assert told(problem) == [("/switch/retire", "retire", "discard", "none or zero")], problem
    set_("kinds", "switch.retire=zero")
    a.run("cancel", "kinds")

    # A copy's source stays in use.
    a.spec({"name": "copy", "mode": "copy", "limits": {"rate": "1"}, "pairs": [{"source": "volume:one", "target": s.file("c-one", MiB)}]})
    problem = set_("copy", "switch.retire=zero", status=3)
    assert told(problem) == [("/switch/retire", "retire", "zero", "none")], problem
    a.run("cancel", "copy")

    # Not once a retire has begun; a pair that was committed before stays as it is.
    for name, first in (("begun", {"retire": "read-only"}), ("before", {})):
        offline = s.file(f"off-{name}", MiB, True)
        a.volume(name, s.file(name, MiB, True))
        a.spec({"name": name, "switch": first, "pairs": [{"source": offline, "target": s.file(f"u-{name}", MiB)},
                                                         {"source": f"volume:{name}", "target": s.file(f"t-{name}", MiB)}]})
        wait_for("the offline pair", lambda name=name: a.show(name)["pairs"][0]["state"] == "completed")
        wait_for("the other", lambda name=name: a.show(name)["pairs"][1]["state"] == "synced")
    wait_for("it is retired", lambda: (retired("begun") or {}).get("state") == "done")
    problem = set_("begun", "switch.retire=rename", status=5)
    assert problem["code"] == "not_legal" and "pair 1 (read-only) has begun" in problem["detail"], problem
    assert how("begun") == "read-only"
    set_("before", "switch.retire=rename")
    a.run("switch", "before")
    a.run("commit", "before", "--yes")
    doc = settled("before")
    assert retired("before") is None and os.path.exists(s.path("off-before")), doc
    assert retired("before", 1)["state"] == "done" and os.path.exists(f"{s.path('before')}.retired-{doc['id']}"), doc

    # From the start, on the command line.
    source = s.file("cli", MiB, True)
    doc = a.json("migrate", source, s.file("t-cli", MiB), "--retire", "rename", "--name", "cli")
    settled("cli")
    assert retired("cli")["state"] == "done" and os.path.exists(f"{source}.retired-{doc['id']}"), doc
    problem = a.json("migrate", s.file("cli2", MiB), s.file("t-cli2", MiB), "--retire", "burn", status=3)
    assert [(e["pointer"], e["code"]) for e in problem["errors"]] == [("/switch/retire", "bad_value")], problem
