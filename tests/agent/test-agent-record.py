#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""A repository that can't be written: nothing is acted on that was not recorded; what was started is halted; it goes on when it can."""
import os
import sqlite3
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from agent import AgentTest  # noqa: E402

with AgentTest() as t:
    for n in "abc":
        t.iod.add(n, "/nowhere/" + n, 1 << 20)
    db = sqlite3.connect(t.state + "/repository.db", isolation_level=None, timeout=30)

    def blocked():
        db.execute("BEGIN IMMEDIATE")

    def free():
        db.execute("ROLLBACK")

    # A submit: refused, no locks, no session, nothing asked of dray-iod.
    blocked()
    p = t.refused("POST", "/sessions", {"name": "a", "pairs": [{"source": "volume:a", "target": t.file("a")}]})
    assert p.exit == 1 and "repository" in str(p), p
    free()
    assert t.call("GET", "/locks") == [] and t.call("GET", "/sessions") == [] and t.iod.count("leg.attach") == 0

    # A start that can't be recorded after the vehicle was called: halted, and failed as soon as that can be recorded.
    t.iod.held["leg.attach"] = True
    t.submit({"name": "b", "pairs": [{"source": "volume:b", "target": t.file("b")}]})
    t.wait("the call", lambda: t.iod.kept)
    blocked()
    t.iod.release("leg.attach")
    t.wait("halted", lambda: t.iod.count("leg.detach") == 1)
    assert len(t.iod.volumes["b"]["legs"]) == 1
    free()
    t.wait_state("b", "failed")
    assert "recorded" in t.show("b")["pairs"][0]["reason"]
    t.verb("b", "retry")
    t.wait_states("b", "copying")

    # A verb: refused, and nothing was done.
    blocked()
    p = t.refused("POST", "/sessions/b/cancel", {})
    assert p.exit == 1, p
    free()
    assert t.states("b") == ["copying"] and len(t.iod.volumes["b"]["legs"]) == 2

    # A switch whose outcome can't be recorded: it is, as soon as it can be.
    t.iod.sync("b")
    t.wait_state("b", "synced")
    t.iod.held["switch"] = True
    thread = threading.Thread(target=lambda: t.verb("b", "switch"))
    thread.start()
    t.wait("the call", lambda: t.iod.kept)
    blocked()
    t.iod.release("switch")
    t.wait("it is tried", lambda: "record-failed" in t.log().split("switching")[-1])
    free()
    t.wait_state("b", "switched")
    thread.join(20)
