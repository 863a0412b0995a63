#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""What dray-iod refuses is answered when it is on record, also where dray-iod's word came at the very end of a turn of the agent."""
import os
import sqlite3
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from agent import AgentTest, Problem  # noqa: E402
from dray import SLOW  # noqa: E402

ROUNDS = 12

with AgentTest() as t:
    answers = {}

    def ask(what, method, path, body):
        try:
            answers[what] = t.call(method, path, body)
        except Problem as p:
            answers[what] = p.body["code"]

    def thread(*args):
        th = threading.Thread(target=ask, args=args, daemon=True)
        th.start()
        return th

    # Each round: a call waits for dray-iod; another one is refused by the agent itself, whose record is kept waiting; meanwhile the
    # answer to the first comes, so that it is taken at the end of that turn. Nothing happens afterwards that would begin another turn.
    # Without the rule each round takes until the agent looks around by itself, some seconds; in all it may take what is generous for all.
    end = time.monotonic() + 40 * SLOW
    for n in range(ROUNDS):
        t.iod.held["volume.add"] = True
        t.iod.fail["volume.add"] = [("bad_name", f"volume.add: {n}: no such name")]
        first = thread("first", "POST", "/volumes", {"name": f"n{n}", "resource": t.file("f")})
        t.wait("dray-iod is asked", lambda: t.iod.kept)
        db = sqlite3.connect(os.path.join(t.state, "repository.db"), isolation_level=None)
        db.execute("BEGIN IMMEDIATE")
        second = thread("second", "POST", f"/sessions/none-{n}/pause", {})
        t.wait("the other one is refused", lambda: f"path=/sessions/none-{n} " in t.log())
        t.iod.release("volume.add")
        db.execute("ROLLBACK")
        db.close()
        for th in (first, second):
            th.join(max(0, end - time.monotonic()))
            assert not th.is_alive(), f"round {n}: not answered"
        assert answers == {"first": "bad_name", "second": "not_found"}, answers
