#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""What comes with a verb is checked whole: unknown members, wrong forms and impossible vehicles are refused, and nothing of it is done; a failed
pair is tried again with the vehicle that is named, from what is there."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from agent import AgentTest  # noqa: E402

with AgentTest() as t:
    for n in ("a", "b"):
        t.iod.add(n, "/nowhere/" + n, 1 << 20)
    t.submit({"name": "s", "pairs": [{"source": f"volume:{n}", "target": t.file(n)} for n in ("a", "b")]})
    t.wait_states("s", "copying", "copying")
    for verb, body, pointer in (("pause", {"pairs": []}, "/pairs"), ("pause", {"pairs": "1"}, "/pairs"), ("pause", {"detach": "yes"}, "/detach"),
                                ("verify", {"sample": 0}, "/sample"), ("verify", {"sample": "8"}, "/sample"), ("verify", {"repair": 1}, "/repair"),
                                ("retry", {"vehicle": 5}, "/vehicle")):
        p = t.refused("POST", f"/sessions/s/{verb}", body)
        assert p.exit == 3 and p.codes() == {pointer: "bad_value"} and p.body["errors"][0]["legal"], p
    for verb, body in (("pause", {"sample": 1}), ("resume", {"vehicle": "host"}), ("verify", {"detach": True})):
        assert t.refused("POST", f"/sessions/s/{verb}", body).exit == 2
    assert t.states("s") == ["copying", "copying"], t.show("s")

    # Not legal comes before anything else.
    assert t.refused("POST", "/sessions/s/retry", {"pairs": ["1"], "vehicle": "teleport"}).exit == 5
    t.iod.leg("a").update(held=True, state="degraded", error="out of space", copied_bytes=1 << 19, done_bytes=1 << 19)
    t.iod.event()
    t.wait_states("s", "failed", "copying")
    p = t.refused("POST", "/sessions/s/retry", {"pairs": ["1"], "vehicle": "teleport"})
    assert p.exit == 3 and p.codes() == {"/pairs/0/vehicle": "vehicle"} and p.body["errors"][0]["legal"] == "auto or host", p
    assert t.states("s")[0] == "failed"
    # The rest went on meanwhile; from what is there: the leg is not attached anew.
    for vehicle in ("host", "auto"):
        doc = t.verb("s", "retry", pairs=["1"], vehicle=vehicle)
        assert doc["pairs"][0]["vehicle"] == "host", doc
        t.wait_states("s", "copying", "copying")
        assert t.iod.count("leg.attach") == 2 and t.iod.count("leg.retry") >= 1
        t.iod.leg("a").update(held=True, state="degraded", error="again")
        t.iod.event()
        t.wait_states("s", "failed", "copying")
    # One whose start failed let its leg go: it is attached anew.
    t.verb("s", "cancel", pairs=["1"])
    t.iod.fail["leg.attach"] = [("held", "another program has it open")]
    t.submit({"name": "r", "pairs": [{"source": "volume:a", "target": t.file("c")}]})
    t.wait_state("r", "failed")
    t.verb("r", "retry", vehicle="host")
    t.wait_states("r", "copying")
