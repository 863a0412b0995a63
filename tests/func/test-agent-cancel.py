#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""A cancel is not lost to what ends meanwhile, and leaves what was done told."""
import os
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from agent import AgentTest  # noqa: E402
from dray import Scratch, wait_for  # noqa: E402

with AgentTest() as t:
    for n in "bca":
        t.iod.add(n, "/nowhere/" + n, 1 << 20)
    assert [v["name"] for v in t.call("GET", "/volumes")] == ["a", "b", "c"]
    # The target is refused after the cancel was asked for: canceled all the same, nothing stays locked.
    t.iod.held["leg.attach"] = True
    t.iod.fail["leg.attach"] = [("not_accessible", "it is on fire")]
    t.submit({"name": "x", "pairs": [{"source": "volume:a", "target": t.file("b")}]})
    t.wait("the attach is asked for", lambda: t.iod.kept)
    answers = []
    cancel = threading.Thread(target=lambda: answers.append(t.verb("x", "cancel")))
    cancel.start()
    t.wait("the cancel is on record", lambda: [e for e in t.call("GET", "/events?session=x") if (e["event"], e["detail"]) == ("asked", "cancel")])
    assert not answers, "it can't be canceled yet"
    t.iod.release("leg.attach")
    cancel.join()
    assert answers[0]["state"] == t.show("x")["state"] == "canceled", answers
    assert t.call("GET", "/locks") == []
    assert not [e for e in t.call("GET", "/events?session=x") if "failed" in (e["before"], e["after"])]

    # A session whose pairs are all canceled left none out.
    t.submit({"name": "y", "pairs": [{"source": f"volume:{n}", "target": t.file("t" + n)} for n in "abc"]})
    t.wait_states("y", "copying", "copying", "copying")
    assert t.verb("y", "cancel", pairs=["2"])["reason"] == "left out, canceled: pair 2"
    assert t.verb("y", "cancel", pairs=["3"])["reason"] == "left out, canceled: pairs 2, 3"
    assert t.verb("y", "cancel")["reason"] is None

with Scratch() as s:
    a = s.agent()
    a.volume("v", s.file("old", "8M", True))
    a.spec({"name": "y", "limits": {"rate": "1MiB", "step": "64KiB"}, "pairs": [{"source": "volume:v", "target": s.file("new", "8M")}]})
    wait_for("something is copied", lambda: a.pair("y")["progress"]["bytes_copied"])
    doc = a.json("pause", "y")
    assert doc["pause_reasons"] == doc["pairs"][0]["pause_reasons"] == ["user"], doc
    before = doc["pairs"][0]["progress"]["bytes_copied"]
    after = a.json("cancel", "y")["pairs"][0]
    assert after["progress"]["bytes_copied"] >= before > 0 and after["progress"]["bytes_done"] >= before, after
    assert after["targets"][0]["state"] == "detached" and after["progress"]["rate"] is None, after
