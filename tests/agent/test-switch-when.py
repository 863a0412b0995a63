#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""When a session is switched: each pair as it is ready, at a time, on an event, in a window; what it waits for is told, and all of it
outlives a restart of the agent."""
import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from agent import AgentTest  # noqa: E402


def rfc(t):
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(t))


def minutes(t):
    return time.strftime("%H:%M", time.gmtime(t))


os.environ["TZ"] = "UTC"
with AgentTest() as t:
    def submit(name, when, *volumes, **switch):
        for v in volumes:
            t.iod.add(v, "/nowhere/" + v, 1 << 20)
        return t.submit({"name": name, "switch": {"when": when, **switch},
                         "pairs": [{"source": f"volume:{v}", "target": t.file(v)} for v in volumes]})

    def restart():
        t.kill()
        t.start()

    # Each as it is ready; none waits for the others.
    submit("each", "pair", "a", "b")
    t.wait_states("each", "copying", "copying")
    t.iod.sync("b")
    t.wait_states("each", "copying", "switched")
    t.iod.sync("a")
    assert t.wait_state("each", "switched")["switch"]["when"] == "pair"

    # A time in the past is now; one that comes is told, and set anew.
    submit("past", "2020-01-01T00:00:00Z", "c")
    t.wait_states("past", "copying")
    t.iod.sync("c")
    t.wait_state("past", "switched")
    far = rfc(time.time() + 86400)
    submit("timed", far, "d", "e")
    t.wait_states("timed", "copying", "copying")
    t.iod.sync("d", "e")
    doc = t.wait_state("timed", "synced")
    assert doc["switch"]["when"] == far and doc["reason"] == f"to be switched at {far}", doc["reason"]
    restart()
    assert t.show("timed")["reason"] == f"to be switched at {far}"
    # Where its window is closed at that time it will be later, which is told from the beginning.
    day = (int(time.time()) // 86400 + 3) * 86400
    t.set("timed", switch__when=rfc(day + 3 * 3600 + 1800), switch__window=["05:00-06:00"])
    assert t.show("timed")["reason"] == f"to be switched at {rfc(day + 5 * 3600)}, when its window (switch.window) opens", t.show("timed")["reason"]
    t.set("timed", switch__window=["03:00-04:00"])
    assert t.show("timed")["reason"] == f"to be switched at {rfc(day + 3 * 3600 + 1800)}", t.show("timed")["reason"]
    t.set("timed", switch__window="none")
    t.set("timed", switch__when=rfc(time.time() + 2))
    assert t.wait_state("timed", "switched")["reason"] is None

    # An event: for those who wait for it when it comes, once they are in sync; late pairs are waited for.
    t.call("POST", "/events", {"name": "batch-done"})
    submit("evented", {"event": "batch-done"}, "f", "g")
    t.wait_states("evented", "copying", "copying")
    t.iod.sync("f")
    t.wait_states("evented", "synced", "copying")
    assert t.call("POST", "/events", {"name": "other"}) == {"name": "other", "sessions": []}
    assert t.call("POST", "/events", {"name": "batch-done"})["sessions"] == [t.show("evented")["id"]]
    restart()
    t.wait("dray-iod", lambda: t.states("evented") == ["synced", "copying"])
    t.iod.sync("g")
    t.wait_state("evented", "switched")
    assert t.refused("POST", "/events", {"name": "a b"}).exit == 3
    assert t.refused("POST", "/events", {"name": "a", "x": 1}).exit == 2
    assert [e["actor"] for e in t.call("GET", "/events?session=evented") if e["event"] == "event"] == [f"uid:{os.getuid()}"]
    # An undo takes the event back, too: a person is next.
    t.verb("evented", "undo")
    assert t.call("POST", "/events", {"name": "batch-done"})["sessions"] == []
    doc = t.set("evented", switch__when='{event: again}')
    assert doc["switch"]["when"] == {"event": "again"}, doc
    t.wait("it waits for the event", lambda: t.show("evented")["reason"] == "waits for the event again to be switched")
    t.call("POST", "/events", {"name": "again"})
    t.wait_state("evented", "switched")

    # A window: closed it holds the automatic switch and the command, not the undo.
    now = time.time()
    closed, opens = f"{minutes(now + 7200)}-{minutes(now + 10800)}", rfc((now + 7200) // 60 * 60)
    submit("night", "synced", "h", window=[closed])
    t.wait_states("night", "copying")
    t.iod.sync("h")
    doc = t.wait_state("night", "synced")
    assert doc["reason"] == f"waits for its window (switch.window) to be switched: it opens at {opens}", doc["reason"]
    p = t.refused("POST", "/sessions/night/switch", {})
    assert p.exit == 5 and p.body["code"] == "window" and opens in p.body["detail"], p
    t.set("night", switch__when="manual")
    doc = t.set("night", switch__window=f"{minutes(now - 3600)}-{minutes(now + 3600)}")
    assert doc["state"] == "synced" and doc["reason"] is None, doc
    assert t.verb("night", "switch")["state"] == "switched"
    t.set("night", switch__window=closed)
    assert t.verb("night", "undo")["state"] == "synced"
    doc = t.set("night", switch__window="none", switch__when="synced")
    assert "window" not in doc["switch"], doc
    t.wait_state("night", "switched")

    # A test period: told, ended by an undo or by saying manual, over a restart it goes on.
    submit("test", "synced", "i", "j", commit="24h")
    t.wait_states("test", "copying", "copying")
    t.iod.sync("i", "j")
    doc = t.wait_state("test", "switched")
    due = [doc["commit_due"]] + [p["commit_due"] for p in doc["pairs"]]
    assert len(set(due)) == 1 and rfc(now + 86390) < due[0] < rfc(time.time() + 86410), due
    restart()
    assert t.wait_state("test", "switched")["commit_due"] == due[0]
    assert "commit_due" not in t.set("test", switch__commit="manual")
    assert "commit_due" not in t.verb("test", "undo")
    t.set("test", switch__commit="24h")
    t.verb("test", "switch")
    t.verb("test", "undo", pairs=["2"])
    t.set("test", switch__commit="2s")
    t.wait_states("test", "committed", "synced")
    restart()
    assert t.states("test") == ["committed", "synced"]
    t.set("test", switch__commit="24h")
    t.verb("test", "switch")
    assert t.states("test")[1] == "switched"
    t.set("test", switch__commit="2s")
    t.kill()
    t.start()
    t.wait_state("test", "committed")
    assert [e["pair"] for e in t.call("GET", "/events?session=test") if e["event"] == "committed"] == ["1", "2"]
    assert t.refused("PATCH", "/sessions/night", {"switch.commit": "soon"}).codes() == {"/switch/commit": "bad_value"}
