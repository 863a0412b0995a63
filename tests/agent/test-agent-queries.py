#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""What a request asks for in its address and can't have is refused, not passed over: an argument given twice, a limit of what has no end; and
a value of the wrong type is told from one that is missing."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from agent import AgentTest  # noqa: E402

with AgentTest() as t:
    for path, words in (("/events?limit=1&limit=2", "limit is given twice"),
                        ("/events?session=a&after=0&session=b", "session is given twice"),
                        ("/sessions?state=copying&state=copying", "state is given twice"),
                        ("/events?follow=1&limit=5", "limit does not go with follow")):
        p = t.refused("GET", path)
        assert (p.status, p.exit, p.body["code"]) == (400, 2, "bad_value") and words in p.body["detail"], p
    assert t.call("GET", "/events?limit=5&after=0") == t.call("GET", "/events?limit=5")[:5]

    for body, want in (({}, {"/name": "missing", "/resource": "missing"}),
                       ({"name": 7, "resource": 1}, {"/name": "wrong_type", "/resource": "wrong_type"}),
                       ({"name": None, "resource": []}, {"/name": "wrong_type", "/resource": "wrong_type"})):
        assert t.refused("POST", "/volumes", body).codes() == want, body
