#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""drayd killed, dray-iod restarted, an answer lost, at each step: the session goes on from what is there, nothing is done twice."""
import http.client
import os
import sqlite3
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from agent import AgentTest  # noqa: E402


def again(t):
    t.kill()
    t.start()


def ask(t, session, verb, calls=1):
    """A verb whose answer will never come: its calls to dray-iod are kept back."""
    def run():
        try:
            t.request("POST", f"/v1/sessions/{session}/{verb}", {})
        except (OSError, http.client.HTTPException):
            pass
    threading.Thread(target=run).start()
    t.wait("the calls", lambda: len(t.iod.kept) == calls)


with AgentTest() as t:
    for n in "abcdef":
        t.iod.add(n, "/nowhere/" + n, 1 << 20)

    def submit(name, volumes, **more):
        t.submit({"name": name, "pairs": [{"source": f"volume:{v}", "target": t.file(f"{name}-{v}")} for v in volumes], **more})

    # Killed while dray-iod is attaching: the leg is found by its tag, not attached twice.
    t.iod.held["leg.attach"] = True
    submit("one", "a")
    t.wait("the call", lambda: t.iod.kept)
    t.kill()
    t.iod.release("leg.attach")
    t.start()
    t.wait_states("one", "copying")
    assert t.iod.count("leg.attach") == 1 and len(t.iod.volumes["a"]["legs"]) == 2

    # Killed while copying, and while paused.
    again(t)
    t.wait_states("one", "copying")
    t.verb("one", "pause")
    again(t)
    assert t.show("one")["state"] == "paused" and t.show("one")["pause_reasons"] == ["user"]
    t.verb("one", "resume")
    t.wait_states("one", "copying")

    # dray-iod restarts: its legs come back by themselves.
    t.iod.restart()
    t.iod.sync("a")
    t.wait_state("one", "synced")
    assert t.iod.count("leg.attach") == 1

    # The answer to a switch is lost with the connection; it had happened.
    t.iod.held["switch"] = True
    out = {}
    thread = threading.Thread(target=lambda: out.update(t.verb("one", "switch")))
    thread.start()
    t.wait("the call", lambda: t.iod.kept)
    with t.iod.lock:  # it has happened before the agent is back to ask
        t.iod.drop()
        t.iod.release("switch")
    thread.join(60)
    assert out["state"] == "switched" and t.iod.volumes["a"]["epoch"] == 2, out

    # Killed between the intent and the outcome of an undo; it had happened.
    t.iod.held["switch"] = True
    ask(t, "one", "undo")
    t.kill()
    t.iod.release("switch")
    t.start()
    t.wait_state("one", "synced")
    assert t.iod.volumes["a"]["epoch"] == 3

    # The same with a switch, and dray-iod restarted too: not carried out, so back to synced; it was by a person, and is not repeated.
    for happened in (False, True):
        t.iod.held["switch"] = True
        ask(t, "one", "switch")
        t.kill()
        if happened:
            t.iod.release("switch")
        t.iod.restart()
        t.iod.held.clear()
        t.start()
        t.wait_state("one", "switched" if happened else "synced")
    assert t.iod.volumes["a"]["epoch"] == 4

    # Killed in the middle of a commit.
    t.iod.held["commit"] = True
    ask(t, "one", "commit")
    t.kill()
    t.iod.release("commit")
    t.start()
    t.wait_state("one", "committed")
    assert t.call("GET", "/locks") == [] and t.iod.count("commit") == 1

    # Killed in the middle of a cancel of two.
    submit("two", "bc")
    t.wait_states("two", "copying", "copying")
    t.iod.held["leg.detach"] = True
    ask(t, "two", "cancel", calls=2)
    t.kill()
    t.iod.held.clear()
    t.start()
    t.wait_state("two", "canceled")
    assert t.call("GET", "/locks") == [] and all(len(t.iod.volumes[v]["legs"]) == 1 for v in "bc")

    # A volume whose dray-iod went back to an older state is not touched.
    t.iod.volumes["a"]["epoch"] = 1
    submit("three", "a")
    t.wait("told", lambda: "epoch" in (t.show("three")["pairs"][0]["reason"] or ""))
    assert len(t.iod.volumes["a"]["legs"]) == 1
    assert "epoch" in t.call("GET", "/volumes/a")["reason"]

# The host was restarted: running pairs begin again from what is there; one that lost its locks has failed.
with AgentTest() as t:
    for n in "ab":
        t.iod.add(n, "/nowhere/" + n, 1 << 20)
    t.submit({"name": "boot", "pairs": [{"source": f"volume:{v}", "target": t.file(v)} for v in "ab"]})
    t.wait_states("boot", "copying", "copying")
    t.kill()
    t.iod.restart()
    db = sqlite3.connect(t.state + "/repository.db")
    db.execute("UPDATE meta SET value = 'another' WHERE key = 'boot_id'")
    db.execute("DELETE FROM locks WHERE pair = 2")
    db.execute("INSERT INTO ids VALUES('s-gone')")
    db.execute("INSERT INTO sessions(id, name, state, live, document, work) SELECT 's-gone', 'gone', 'canceled', 0, '{}', '{}'")
    db.execute("INSERT INTO locks(identity, resource, start, end, session, pair, role, since) VALUES('x', 'x', 0, 9, 's-gone', 1, 'target', 1)")
    db.commit()
    db.close()
    t.start()
    t.wait_states("boot", "copying", "failed")
    doc = t.show("boot")
    assert "not locked" in doc["pairs"][1]["reason"], doc
    steps = [(e["before"], e["after"], e["detail"]) for e in t.call("GET", "/events?session=boot") if e["event"] == "state" and e["pair"] == "1"]
    assert steps[-2:] == [("copying", "starting", "the host was restarted"), ("starting", "copying", None)], steps
    assert t.iod.count("leg.attach") == 2
    assert {lock["session"] for lock in t.call("GET", "/locks")} == {doc["id"]}, "a lock of a session that is over"
