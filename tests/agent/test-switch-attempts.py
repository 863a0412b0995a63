#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""A switch that fails is rolled back for all, tried again a number of times, and then left to a person or failed, as the document says; a command begins
anew; a pair that is not ready says how much is missing, and failed ones are left out only where that was allowed."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from agent import AgentTest  # noqa: E402

LATE = ("deadline", "switch: rolled back: volume b: the deadline passed", {"volume": "b", "suspended": True, "outcome": "rolled_back"})

with AgentTest() as t:
    def submit(name, volumes, **more):
        for v in volumes:
            t.iod.add(v, "/nowhere/" + v, 1 << 20)
        t.submit({"name": name, "pairs": [{"source": f"volume:{v}", "target": t.file(v)} for v in volumes], **more})
        t.wait_states(name, *["copying"] * len(volumes))

    def failures(name):
        return [e["pair"] for e in t.call("GET", f"/events?session={name}") if e["event"] == "switch-failed"]

    # One member's deadline takes all back; each time, in both pairs; then it waits for a person.
    t.iod.fail["switch"] = [LATE, LATE, LATE]
    submit("wait", "ab", switch={"when": "synced", "attempts": 2})
    t.iod.sync("a", "b")
    t.wait("two attempts", lambda: len(failures("wait")) == 4)
    doc = t.wait_state("wait", "synced")
    assert failures("wait") == ["1", "2"] * 2 and "failed 2 times" in doc["reason"] and "deadline" in doc["reason"], doc["reason"]
    assert all("deadline passed" in p["reason"] for p in doc["pairs"]) and t.iod.count("switch") == 2
    t.kill()
    t.start()
    t.wait("dray-iod", lambda: t.call("GET", "/status")["iod"]["connected"])
    p = t.refused("POST", "/sessions/wait/switch", {})
    assert p.exit == 1 and "deadline passed" in p.body["detail"], p
    # A person's command is taken back, and begins anew: the automatic ones come again, and now it works.
    t.wait_state("wait", "switched")
    steps = [e["after"] for e in t.call("GET", "/events?session=wait") if e["event"] == "state" and e["pair"] == "1"]
    assert steps[-9:] == ["synced"] + ["switching", "synced"] * 3 + ["switching", "switched"], steps
    assert t.show("wait")["reason"] is None

    # ... or it fails, and a retry leads on.
    t.iod.fail["switch"] = [LATE]
    submit("fail", "cd", switch={"when": "synced", "attempts": 1, "on_failure": "fail"})
    t.iod.sync("c", "d")
    t.wait_states("fail", "failed", "failed")
    assert "the switch failed 1 times" in t.show("fail")["pairs"][0]["reason"] and t.call("GET", "/locks")
    t.verb("fail", "retry")
    t.wait_state("fail", "switched")

    # By pair: one that can't does not use up the attempts of the others.
    t.iod.fail["switch"] = [LATE, LATE]
    submit("each", "ef", switch={"when": "pair", "attempts": 2})
    t.iod.sync("e")
    t.wait("its attempts", lambda: failures("each") == ["1", "1"])
    t.iod.sync("f")
    t.wait_states("each", "synced", "switched")
    t.verb("each", "switch", pairs=["1"])

    # Not ready: which, and how much is missing. Others may be switched by name.
    submit("some", "ghi")
    t.iod.sync("g", "h")
    t.wait_states("some", "synced", "synced", "copying")
    p = t.refused("POST", "/sessions/some/switch", {})
    assert p.exit == 5 and "pair 3 is copying" in p.body["detail"], p
    t.iod.leg("h").update(synced=False, dirty_bytes=8192)
    t.iod.event()
    t.wait_states("some", "synced", "copying", "copying")
    p = t.refused("POST", "/sessions/some/switch", {"pairs": ["2"]})
    assert p.exit == 5 and "pair 2 is copying" in p.body["detail"], p
    t.iod.sync("h")
    t.wait_states("some", "synced", "synced", "copying")
    t.verb("some", "switch", pairs=["1"])
    t.wait_states("some", "switched", "synced", "copying")
    assert t.show("some")["state"] == "copying"
    # A failed pair holds the others, until partial says otherwise.
    t.set("some", switch__when="synced")
    t.iod.leg("i").update(held=True, state="degraded", error="out of space")
    t.iod.event()
    t.wait_states("some", "switched", "synced", "failed")
    t.wait("it says why it waits", lambda: "pair 3: " in t.show("some")["reason"] and "switch.partial=true" in t.show("some")["reason"])
    assert t.refused("POST", "/sessions/some/switch", {}).body["code"] == "partial"
    t.set("some", switch__partial="true")
    t.wait_states("some", "switched", "switched", "failed")
    # Prediction: as dray-iod has it, kept current.
    t.iod.volumes["g"]["predicted_blackout_us"] = 777
    t.iod.event()
    t.wait("it is told", lambda: t.show("some")["pairs"][0]["predicted_blackout_us"] == 777)
