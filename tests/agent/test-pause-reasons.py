#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Why something is paused is a set, and each reason is lifted by its own end alone (H20): for every reason there is, on the session or on one
pair, an operator's pause and resume leave it, and a resume does not get past it. (What ends max_duration: test-max-duration.) The reasons that
nothing sets are put on record by hand."""
import json
import os
import sqlite3
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from agent import AgentTest  # noqa: E402

REASONS = {"user": 1, "window": 2, "max_duration": 4, "error": 8}

with AgentTest() as t:
    t.iod.add("a", "/nowhere/a", 1 << 20)
    t.iod.add("b", "/nowhere/b", 1 << 20)
    t.submit({"name": "one", "pairs": [{"source": "volume:a", "target": t.file("a")}, {"source": "volume:b", "target": t.file("b")}]})
    t.wait_states("one", "copying", "copying")

    def record(table, where, change):
        """Changes what is on record while drayd is away."""
        t.terminate()
        db = sqlite3.connect(os.path.join(t.state, "repository.db"))
        key = "seq" if table == "sessions" else "pair"
        for row, text in db.execute(f"SELECT {key}, document FROM {table} WHERE {where}").fetchall():
            document = json.loads(text)
            document["pause_reasons"] = change(document["pause_reasons"])
            db.execute(f"UPDATE {table} SET document = ? WHERE {key} = ?", (json.dumps(document), row))
        db.commit()
        db.close()
        t.start()

    def reasons(i=None):
        doc = t.show("one")
        return (doc if i is None else doc["pairs"][i]).get("pause_reasons", [])

    def begin(word):
        if word == "window":
            hour = time.localtime().tm_hour
            t.set("one", window=f"{(hour + 11) % 24:02}:00-{(hour + 12) % 24:02}:00")
        else:
            record("sessions", "1", lambda bits: bits | REASONS[word])

    def end(word):
        if word == "window":
            t.set("one", window="none")
        else:
            record("sessions", "1", lambda bits: bits & ~REASONS[word])

    for word in ("window", "error"):
        # Of the session: the operator's pause comes and goes, the other one stays, and nothing is copied.
        t.verb("one", "pause")
        assert reasons() == ["user"]
        begin(word)
        assert sorted(reasons()) == sorted(["user", word]), reasons()
        for _ in range(2):
            t.verb("one", "resume")
            assert reasons() == [word] and t.states("one") == ["paused", "paused"], t.show("one")
            t.verb("one", "pause")
            assert sorted(reasons()) == sorted(["user", word])
        # It ends: the operator's holds.
        end(word)
        assert reasons() == ["user"] and t.states("one") == ["paused", "paused"]
        t.verb("one", "resume")
        t.wait_states("one", "copying", "copying")
        # Of one pair.
        t.verb("one", "pause", pairs=["1"])
        record("pairs", "pair = 1", lambda bits, w=word: bits | REASONS[w])
        t.verb("one", "resume", pairs=["1"])
        assert reasons(0) == [word] and t.states("one") == ["paused", "copying"], t.show("one")
        t.verb("one", "pause")
        t.wait_states("one", "paused", "paused")
        t.verb("one", "resume")
        t.wait_states("one", "paused", "copying")
        assert reasons(0) == [word] and reasons() == [], t.show("one")
        record("pairs", "pair = 1", lambda bits, w=word: bits & ~REASONS[w] | REASONS["user"])
        t.verb("one", "resume", pairs=["1"])
        t.wait_states("one", "copying", "copying")

    # A session's pause and one pair's are two: the resume of the session does not begin what is paused by itself, or it does by name.
    t.verb("one", "pause", pairs=["1"])
    t.verb("one", "pause")
    t.verb("one", "resume", pairs=["2"])
    t.wait_states("one", "paused", "copying")
    t.verb("one", "resume")
    t.wait_states("one", "copying", "copying")
