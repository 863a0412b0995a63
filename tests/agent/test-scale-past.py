#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Thousands of past sessions: none of them is read at the start, a list takes summaries and says what it left out, a name is found by an index,
and retention removes them with their events, but never their ids, nor what is still needed."""
import json
import os
import sqlite3
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from agent import AgentTest, Problem  # noqa: E402
from dray import BUILD, SLOW  # noqa: E402

N = 10000 if SLOW == 1 else 2000


def work():
    return t.call("GET", "/status")["agent"]["work"]


def dray(*args):
    return subprocess.run([os.path.join(BUILD, "dray"), *args], capture_output=True, text=True, check=True, timeout=60 * SLOW,
                          env=dict(os.environ, DRAY_SOCKET=os.path.join(t.run_dir, "agent.sock")))


def multiply(db):
    """The one past session, N times, with an event each; those with even numbers ended in 2001, the others just now."""
    seq, document, work_, summary, finished = db.execute(
        "SELECT seq, document, work, summary, finished FROM sessions WHERE name = 'first'").fetchone()
    pairs = db.execute("SELECT pair, state, document, work FROM pairs WHERE session = ?", (seq,)).fetchall()
    for i in range(N):
        sid, name, end = f"s-past{i}", f"past-{i % (N - 1)}", 1000000000 + i if i % 2 == 0 else finished
        doc, show = json.loads(document), json.loads(summary)
        doc["id"] = show["id"] = sid
        doc["doc"]["name"] = show["name"] = name
        db.execute("INSERT INTO ids VALUES(?)", (sid,))
        cur = db.execute("INSERT INTO sessions(id, name, state, live, document, work, open, finished, summary) VALUES(?,?,'completed',0,?,?,0,?,?)",
                         (sid, name, json.dumps(doc), work_, end, json.dumps(show)))
        db.executemany("INSERT INTO pairs VALUES(?,?,?,?,?)", [(cur.lastrowid, *p) for p in pairs])
        db.execute("INSERT INTO events(time_ms, session, pair, event, actor) VALUES(1, ?, 0, 'submitted', 'uid:0')", (sid,))
    db.commit()


with AgentTest(auto=True) as t:
    t.iod.add("v", "/nowhere", 1 << 20)
    t.submit({"name": "first", "pairs": [{"source": t.file("a"), "target": t.file("b")}]})
    t.wait_state("first", "completed")
    t.submit({"name": "live", "pairs": [{"source": "volume:v", "target": t.file("c")}]})
    t.wait_state("live", "synced")
    t.terminate()
    base = sqlite3.connect(os.path.join(t.state, "repository.db"))
    multiply(base)
    t.start()
    w = work()
    assert w["sessions_loaded"] == 1 and w["summaries_read"] == 0, w
    status = t.call("GET", "/status")["agent"]["sessions"]
    assert status == {"live": 1, "all": N + 2}, status
    metrics = t.request("GET", "/metrics")[1]
    assert f'dray_sessions{{state="completed"}} {N + 1}\n' in metrics and f'dray_pairs{{state="completed"}} {N + 1}\n' in metrics

    # Lists: from summaries, as many as are shown (and one more, to know whether there are more), no document.
    done = dray("list", "-o", "json")
    names = [d["name"] for d in json.loads(done.stdout)]
    assert len(names) == 101 and names[0] == "live" and names[-1] == f"past-{(N - 1) % (N - 1)}" and "left out" in done.stderr, (names[:3], done.stderr)
    w = work()
    assert w["sessions_loaded"] == 1 and w["summaries_read"] == 101, w
    done = dray("list", "--all", "-o", "json")
    everything = json.loads(done.stdout)
    assert len(everything) == N + 2 and not done.stderr and work()["sessions_loaded"] == 1
    assert [d["name"] for d in everything[:2]] == ["first", "live"]
    assert json.loads(dray("list", "--state", "synced", "-o", "json").stdout)[0]["name"] == "live"

    # Page by page.
    got, after = [], everything[0]["id"]
    for _ in range(3):
        page = t.call("GET", f"/sessions?after={after}&limit=7")
        got += [d["id"] for d in page]
        after = got[-1]
    assert got == [d["id"] for d in everything[1:22]], got
    assert [d["id"] for d in t.call("GET", "/sessions?limit=3")] == [d["id"] for d in everything[-3:]]
    assert [d["id"] for d in t.call("GET", "/sessions?limit=0")] == [d["id"] for d in everything]

    # A name is the newest one's; it is loaded when it is shown, and let go of again.
    before = work()["sessions_loaded"]
    assert t.show("past-0")["id"] == f"s-past{N - 1}" and t.show("s-past0")["name"] == "past-0"
    assert t.show("past-17")["pairs"][0]["state"] == "completed"
    assert work()["sessions_loaded"] == before + 3
    assert [e["event"] for e in t.call("GET", "/events?session=s-past3")] == ["submitted"]
    for verb, code in (("pause", "not_legal"), ("cancel", "not_legal")):
        try:
            t.verb("past-17", verb)
            raise AssertionError(verb)
        except Problem as p:
            assert p.body["code"] == code, p
    try:
        t.show("no-such")
        raise AssertionError("found")
    except Problem as p:
        assert p.exit == 4, p

    # Retention, by age: half of them ended in 2001. With them go their events; ids stay used.
    t.call("PATCH", "/settings", {"keep_for": "3650d"})
    t.wait("the old ones are gone", lambda: t.call("GET", "/status")["agent"]["sessions"]["all"] == N // 2 + 2, 120)
    assert t.call("GET", "/events?limit=100000")[-1]["event"] == "session-removed"
    assert base.execute("SELECT count(*) FROM events WHERE session = 's-past0'").fetchone() == (0,)
    assert base.execute("SELECT count(*) FROM pairs").fetchone() == (N // 2 + 2,)
    assert base.execute("SELECT count(*) FROM events WHERE event = 'session-removed'").fetchone() == (N // 2,)
    try:
        t.submit({"id": "s-past0", "name": "again", "pairs": [{"source": t.file("d"), "target": t.file("e")}]})
        raise AssertionError("an id was used again")
    except Problem as p:
        assert p.codes() == {"/id": "exists"}, p
    # By number, and not the live one.
    t.call("PATCH", "/settings", {"keep_sessions": 3})
    t.wait("three are left", lambda: t.call("GET", "/status")["agent"]["sessions"]["all"] == 4, 120)
    assert {d["name"] for d in t.call("GET", "/sessions")} >= {"live", f"past-{N - 3}"}
    t.verb("live", "switch")
    assert t.show("live")["state"] == "switched" and [lock["session"] for lock in t.call("GET", "/locks")]
    t.call("PATCH", "/settings", {"keep_sessions": 0})
    t.wait("only it", lambda: [d["name"] for d in t.call("GET", "/sessions")] == ["live"], 60)
    # The next start finds the same.
    t.terminate()
    t.start()
    assert [d["name"] for d in t.call("GET", "/sessions")] == ["live"]
    base.close()
