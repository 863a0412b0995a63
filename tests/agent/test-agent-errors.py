#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""dray-iod refuses each step once: the pair or the session fails as on_error says, the rest goes on, nothing is left behind."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from agent import AgentTest  # noqa: E402


def spec(t, name, volumes, **more):
    return {"name": name, "pairs": [{"source": f"volume:{v}", "target": t.file(f"{name}-{v}")} for v in volumes], **more}


with AgentTest() as t:
    for n in "abcdefgh":
        t.iod.add(n, "/nowhere/" + n, 1 << 20)

    # A vehicle that does not start: that pair alone; its locks stay until retry or cancel.
    t.iod.fail["leg.attach"] = [("not_accessible", "it is on fire")]
    t.submit(spec(t, "pair", "ab"))
    t.wait_states("pair", "failed", "copying")
    doc = t.show("pair")
    assert "on fire" in doc["pairs"][0]["reason"] and doc["state"] == "copying" and "on fire" in doc["reason"], doc
    assert {lock["pair"] for lock in t.call("GET", "/locks")} == {"1", "2"}
    t.verb("pair", "retry")
    t.wait_states("pair", "copying", "copying")
    assert t.show("pair")["pairs"][0]["reason"] is None
    t.iod.sync("a", "b")
    t.wait_state("pair", "synced")
    t.verb("pair", "cancel")

    # on_error: session: the others are canceled.
    t.iod.fail["leg.attach"] = [None, ("not_accessible", "it is on fire")]
    t.submit(spec(t, "session", "cd", on_error="session"))
    t.wait_states("session", "canceled", "failed")
    assert t.show("session")["state"] == "failed"
    assert {lock["pair"] for lock in t.call("GET", "/locks")} == {"2"}
    t.verb("session", "cancel")
    assert t.call("GET", "/locks") == [] and len(t.iod.volumes["c"]["legs"]) == 1

    # The only target is given up while it is copied: failed; retry goes on from what is there.
    t.submit(spec(t, "held", "e"))
    t.wait_states("held", "copying")
    t.iod.leg("e").update(held=True, state="degraded", error="No space left on device")
    t.iod.event()
    t.wait_states("held", "failed")
    assert "No space left" in t.show("held")["pairs"][0]["reason"]
    t.verb("held", "retry")
    t.wait_states("held", "copying")
    assert t.iod.count("leg.retry") == 1 and not t.iod.leg("e")["held"]
    t.iod.sync("e")
    t.wait_state("held", "synced")

    # The switch is rolled back: a failed verb, still synced, on the source; again, and it is through.
    t.iod.fail["switch"] = [("deadline", "volume e: not drained after 2 s", {"suspended": True})]
    p = t.refused("POST", "/sessions/held/switch", {})
    assert p.exit == 1 and "not drained" in str(p), p
    assert t.show("held")["state"] == "synced"
    assert t.verb("held", "switch")["state"] == "switched"
    # Undo with a dirty way back: refused, with what is missing.
    t.iod.leg("e", 0).update(synced=False, dirty_bytes=4096, state="copying")
    t.iod.event()
    t.wait("seen", lambda: t.show("held")["pairs"][0].get("undo_dirty_bytes") == 4096)
    p = t.refused("POST", "/sessions/held/undo", {})
    assert p.exit == 5 and p.body["undo_dirty_bytes"] == 4096, p
    # A commit that is refused at first is tried again by itself.
    t.iod.fail["commit"] = [("unsettled", "a write is under way")]
    p = t.refused("POST", "/sessions/held/commit", {})
    assert p.exit == 1 and "tried again" in str(p), p
    t.wait_state("held", "committed")
    assert t.call("GET", "/locks") == []

    # An automatic switch that fails `attempts` times waits for a person.
    t.iod.fail["switch"] = [("deadline", "too slow", {"suspended": True})] * 2
    t.submit(spec(t, "auto", "f", switch={"when": "synced", "attempts": 2}))
    t.wait_states("auto", "copying")
    t.iod.sync("f")
    t.wait("two attempts", lambda: t.iod.count("switch") >= 4 and t.states("auto") == ["synced"])
    doc = t.show("auto")
    assert "failed 2 times" in doc["reason"] and "too slow" in doc["reason"], doc
    assert t.verb("auto", "switch")["state"] == "switched"

    # A pause that can't be done is told, and done later.
    t.submit(spec(t, "slow", "g"))
    t.wait_states("slow", "copying")
    t.iod.fail["leg.pause"] = [("io", "not now")]
    assert t.refused("POST", "/sessions/slow/pause", {}).exit == 1
    t.wait_states("slow", "paused")
    t.verb("slow", "cancel")

    # A second target that can't be attached, and one that is given up: the first goes on, the document says so.
    t.iod.fail["leg.attach"] = [None, ("not_accessible", "the second is on fire"), None]
    t.submit({"name": "fan", "pairs": [{"source": "volume:h", "target": [t.file(f"fan{i}") for i in range(3)]}]})
    t.wait_states("fan", "copying")
    targets = t.show("fan")["pairs"][0]["targets"]
    assert [x["role"] for x in targets] == ["successor", "copy", "copy"] and "on fire" in str(targets[1]), targets
    third = t.iod.volumes["h"]["legs"][-1]
    third.update(held=True, state="degraded", error="No space left on device", synced=False)
    t.iod.sync("h")
    t.wait_state("fan", "synced")
    assert "No space" in str(t.show("fan")["pairs"][0]["targets"][2]), t.show("fan")
    assert t.verb("fan", "switch")["state"] == "switched"
    assert [e["detail"].split(":")[-1] for e in t.call("GET", "/events?session=fan") if e["event"] == "target-failed"] == [
        " the second is on fire", " No space left on device"]
