#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""`dray apply`: the document that `show` prints, edited, changes its session within a second and without losing progress: limits of the session and of
single pairs, and what else `set` could; a key that is left out gets its default. What can't be changed is refused, all of it at once,
and then nothing is changed."""
import json
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from dray import MiB, Scratch, wait_for

N = 64 * MiB

with Scratch() as s:
    a = s.agent()
    for v in "ab":
        a.volume(v, s.file("old-" + v, N, True))
    a.spec({"name": "move", "limits": {"rate": "4MiB", "steps": 2}, "priority": "high", "switch": {"when": "manual"}, "pairs": [
        {"source": f"volume:{v}", "target": s.path("new-" + v), "create": "full"} for v in "ab"]})
    wait_for("it moves", lambda: a.moved("move") > MiB and a.moved("move", 1) > MiB)
    spec = s.path("spec")

    def apply(text, status=0):
        with open(spec, "w") as f:
            f.write(text)
        done = a.run("apply", spec, "-o", "json", status=status)
        return json.loads(done.stdout if status == 0 else done.stderr)

    def limits(volume):
        return a.json("volume", "show", volume)["limits"]

    # As it is printed: nothing to change.
    shown = a.run("show", "move", "-o", "yaml").stdout
    before = len(a.json("events", "move"))
    assert apply(shown)["state"] == "copying"
    assert [e["event"] for e in a.json("events", "move")[before:] if e["event"] == "set"] == []

    moved = a.moved("move")
    doc = a.json("show", "move")
    doc["limits"] = {"rate": "384KiB"}  # the copy outlasts all of this
    doc["priority"] = "low"
    doc["pairs"][0]["limits"] = {"rate": "64KiB", "step": "64KiB", "app_latency": "20ms"}
    doc["switch"]["deadline"] = "500ms"
    after = apply(json.dumps(doc))
    assert after["limits"] == {"rate": "384KiB"} and after["priority"] == "low" and after["pairs"][0]["limits"]["rate"] == "64KiB", after
    wait_for("it is in force", lambda: limits("a")["rate"] == 64 << 10 and limits("b")["rate"] == 320 << 10)
    assert limits("a")["step_bytes"] == 65536 and limits("a")["app_latency_us"] == 20000 and limits("b")["app_latency_us"] is None, limits("a")
    wait_for("the number of steps is its own again", lambda: limits("b")["steps"] == 0 or limits("b")["steps"] == 8)
    assert a.moved("move") >= moved and a.show("move")["switch"]["deadline"] == "500ms"
    told = [(e["pair"], e["detail"]) for e in a.json("events", "move") if e["event"] == "set"]
    assert (None, "limits.rate=384KiB") in told and (None, "limits.steps=none") in told, told
    assert any(pair == "1" and detail.startswith("limits={") for pair, detail in told), told

    # It is kept: over a kill of the agent, too.
    a.process.kill()
    a.process.wait()
    a.start()
    doc = a.json("show", "move")
    assert doc["pairs"][0]["limits"]["rate"] == "64KiB" and doc["limits"] == {"rate": "384KiB"}, doc

    # Left out: the default, and the pair's limits are the session's.
    least = {"name": "move", "switch": {"when": "manual"}, "pairs": [{k: v for k, v in p.items() if k in ("source", "target", "create")}
                                                                     for p in doc["pairs"]]}
    after = apply(json.dumps(least | {"limits": {"rate": "4MiB"}}))
    assert "limits" not in after["pairs"][0] and after["priority"] == "normal" and after["switch"]["deadline"] == "2s", after
    wait_for("they share it", lambda: limits("a")["rate"] == limits("b")["rate"] == 2 * MiB)

    # What can't be changed, with all that is wrong, and nothing of it is done.
    wrong = json.loads(json.dumps(least)) | {"limits": {"rate": "9MiB"}, "mode": "copy", "leg_timeout": "3s"}
    wrong["pairs"][0]["target"] = s.path("elsewhere")
    wrong["pairs"][1]["overwrite"] = True
    p = apply(json.dumps(wrong), 3)
    assert {e["pointer"]: e["code"] for e in p["errors"]} == {"/mode": "not_settable", "/leg_timeout": "not_settable",
                                                            "/pairs/0/target": "not_settable", "/pairs/1/overwrite": "not_settable"}, p
    assert {e["pointer"]: e["value"] for e in p["errors"]} == {"/mode": "copy", "/leg_timeout": "3s", "/pairs/0/target": s.path("elsewhere"),
                                                             "/pairs/1/overwrite": "true"}, p
    assert all("limits.rate" in e["legal"] for e in p["errors"]), p
    p = apply(json.dumps(least | {"pairs": least["pairs"][:1]}), 3)
    assert [e["pointer"] for e in p["errors"]] == ["/pairs"], p
    p = apply(json.dumps(least | {"colour": "red", "limits": {"rate": "quick"}}), 3)
    assert {e["pointer"] for e in p["errors"]} == {"/colour", "/limits/rate"}, p
    assert apply(json.dumps(least | {"name": "nobody"}), 4)["code"] == "not_found"
    assert apply(": [", 3)["errors"][0]["code"] == "syntax"
    assert a.show("move")["limits"] == {"rate": "4MiB"}

    # A default that is written out is no change, neither is it to leave one out; nor is `now`, or nothing, for what has begun by another start.
    n = len(a.json("events", "move"))
    spelt = least | {"limits": {"rate": "4MiB"}, "mode": "move", "checkpoint": True, "leg_timeout": "1s", "start": "now", "on_error": "pair",
                     "priority": "normal", "pairs": [p | {"overwrite": False, "format": "auto", "vehicle": "auto"} for p in least["pairs"]]}
    assert apply(json.dumps(spelt))["limits"] == {"rate": "4MiB"}
    a.volume("c", s.file("old-c", MiB))
    begun = {"name": "begun", "start": {"event": "go"}, "switch": {"when": "manual"},
             "pairs": [{"source": "volume:c", "target": s.path("new-c"), "create": "thin", "overwrite": True}]}
    a.spec(begun)
    a.run("event", "go")
    a.run("wait", "begun", "synced")
    del begun["start"]
    del begun["switch"]
    for more in ({}, {"start": "now"}, {"start": {"event": "go"}}):
        after = apply(json.dumps(begun | more | {"priority": "high"}))
        assert after["start"] == {"event": "go"} and after["priority"] == "high", after
    p = apply(json.dumps(begun | {"start": {"event": "other"}}), 3)
    assert {e["pointer"]: e["code"] for e in p["errors"]} == {"/start": "not_settable"}, p
    del begun["pairs"][0]["overwrite"]  # which is false then, and was not
    p = apply(json.dumps(begun), 3)
    assert {e["pointer"]: e["code"] for e in p["errors"]} == {"/pairs/0/overwrite": "not_settable"}, p
    assert [e["detail"] for e in a.json("events", "move")[n:] if e["event"] == "set"] == []

    a.run("cancel", "move")
    p = apply(json.dumps(least), 5)
    assert p["code"] == "not_legal", p
