#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Nobody has an answer that the record knows nothing of: drayd killed before and after it records a verb's `answered` or `refused`, in the turn
in which it answers. Before: there is no answer. After: there is an event, whether or not an answer came."""
import http.client
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from agent import AgentTest, Problem  # noqa: E402
from dray import SLOW  # noqa: E402

with AgentTest() as t:
    t.iod.add("a", "/nowhere/a", 1 << 20)
    t.submit({"name": "one", "pairs": [{"source": "volume:a", "target": t.file("a")}]})
    t.wait_states("one", "copying")

    def events(after):
        return [e for e in t.call("GET", f"/events?after={after}") if e["event"] in ("asked", "answered", "refused")]

    def crash(point, verb):
        """Whether it answered before it ended, and what it recorded of that."""
        after = t.call("GET", "/events")[-1]["seq"]
        t.terminate()
        os.environ["DRAY_CRASH_AT"] = point
        t.start()
        del os.environ["DRAY_CRASH_AT"]
        t.wait_state("one", {"pause": "copying", "resume": "paused"}.get(verb, t.show("one")["state"]))
        try:
            t.verb("one", verb)
            answered = True
        except Problem:
            answered = True
        except (OSError, http.client.HTTPException):
            answered = False
        assert t.process.wait(30 * SLOW) == 137, t.process.returncode
        t.start()
        return answered, [e["event"] for e in events(after)]

    assert crash("answers-before", "pause") == (False, ["asked"])
    t.wait_state("one", "paused")
    answered, told = crash("answers-after", "resume")
    assert told == ["asked", "answered"], told
    t.wait_states("one", "copying")
    assert crash("answers-before", "undo") == (False, [])
    answered, told = crash("answers-after", "undo")
    assert told == ["refused"], told
