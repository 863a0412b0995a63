#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""A session with offline pairs can be canceled while one of them is being split off (of many there is always one): that one ends as it turns
out, completed or canceled, the others are canceled. It may be split already and only on its way out of dray-iod: then it is completed."""
import os
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from agent import AgentTest  # noqa: E402

for fails in (False, True):
    with AgentTest(config="active_pairs: 2\n") as t:
        doc = {"name": "s", "pairs": [{"source": t.file(f"a{i}"), "target": t.file(f"b{i}")} for i in range(4)]}
        sid = t.submit(doc)["id"]
        t.wait("two transfer", lambda: t.states("s").count("copying") == 2)
        t.iod.held["split"] = True
        if fails:
            t.iod.fail["split"] = [("dirty", "not to be")]
        t.iod.sync(sid + ".1")
        t.wait("it is being split off", lambda: t.states("s")[0] == "switching")
        answers = []
        caller = threading.Thread(target=lambda: answers.append(t.request("POST", "/v1/sessions/s/cancel", {})))
        caller.start()
        t.wait("the others are canceled", lambda: t.states("s")[1:] == ["canceled"] * 3)
        assert t.states("s")[0] == "switching"
        t.iod.release("split")
        caller.join()
        assert answers[0][0] == 200, answers
        t.wait("its end", lambda: t.states("s")[0] == ("canceled" if fails else "completed"))
        t.wait("locks", lambda: t.call("GET", "/locks") == [])

with AgentTest() as t:
    sid = t.submit({"name": "s", "pairs": [{"source": t.file(f"a{i}"), "target": t.file(f"b{i}")} for i in range(2)]})["id"]
    t.wait("both transfer", lambda: t.states("s") == ["copying"] * 2)
    t.iod.held["volume.remove"] = True
    t.iod.sync(sid + ".1")
    t.wait("it is split off, and its volume about to go", lambda: any(msg["method"] == "volume.remove" for _, msg in t.iod.kept))
    assert t.states("s")[0] == "switching"
    answers = []
    caller = threading.Thread(target=lambda: answers.append(t.request("POST", "/v1/sessions/s/cancel", {})))
    caller.start()
    t.wait("it is taken on", lambda: any(e["event"] == "asked" for e in t.call("GET", "/events?session=s")))
    t.iod.held["volume.remove"] = False
    t.iod.release("volume.remove")
    caller.join()
    assert answers[0][0] == 200, answers
    t.wait_states("s", "completed", "canceled")
    t.wait("locks", lambda: t.call("GET", "/locks") == [])
