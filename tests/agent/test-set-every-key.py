#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Whatever `dray set` takes leaves a document that can be read again: every key is set in every kind of session, to what is legal for the key by itself. It is refused, or
the session can be set again, applied as it is shown, and is there after a restart of the agent as it was before."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from agent import AgentTest, Problem  # noqa: E402

MiB = 1 << 20
VALUES = {
    "priority": [1, "high"], "start": ["now", "2031-01-01T00:00:00Z", {"after": "2h"}, {"event": "go"}, {"every": "2h", "keep": 3}, {"every": "24h", "at": "02:00"}],
    "window": [["19:00-07:00"], "none"], "max_duration": ["8h", "none"],
    "limits.active_pairs": [1, "none"], "limits.rate": ["1MiB", "08:00,20M 19:00,off", "none"], "limits.in_flight": ["1MiB", "none"],
    "limits.step": ["64KiB", "none"], "limits.steps": [2, "none"], "limits.app_latency": ["5ms", "none"],
    "limits.vehicle": [{"host": {"active_pairs": 1}}, "none"], "limits.vehicle.host.active_pairs": [2, "none"], "limits.vehicle.host.in_flight": ["1MiB", "none"],
    "switch.when": ["manual", "synced", "pair", "2031-01-01T00:00:00Z", {"event": "go"}], "switch.window": [["02:00-04:00"], "none"],
    "switch.deadline": ["1s"], "switch.attempts": [5], "switch.on_failure": ["fail", "wait"], "switch.commit": ["switched", "24h", "manual"],
    "switch.retire": ["none", "read-only", "offline", "discard", "zero", "delete", "rename"], "switch.partial": [True, False],
    "switch.accept_bad_ranges": [True, False], "on_error": ["session", "pair"], "verify": ["none", "sample", "full", {"mode": "full", "repair": True}],
    "pairs.1.limits.rate": ["1MiB", "none"], "pairs.1.limits.in_flight": ["1MiB", "none"], "pairs.1.limits.step": ["64KiB", "none"],
    "pairs.1.limits.steps": [3, "none"], "pairs.1.limits.app_latency": ["7ms", "none"],
}

with AgentTest() as t:
    for v in ("move", "copy", "periodic", "later"):
        t.iod.add(v, t.file(f"source-{v}"), MiB)
    os.mkdir(f"{t.dir}/backup")
    kinds = {
        "move": {"pairs": [{"source": "volume:move", "target": t.file("a")}]},
        "copy": {"mode": "copy", "switch": {"when": "manual"}, "pairs": [{"source": "volume:copy", "target": t.file("b")}]},
        "periodic": {"mode": "copy", "start": {"every": "1h"}, "pairs": [{"source": "volume:periodic", "target": f"{t.dir}/backup"}]},
        "later": {"start": "2030-01-01T00:00:00Z", "pairs": [{"source": "volume:later", "target": t.file("c")}]},
        "offline": {"start": {"event": "never"}, "pairs": [{"source": t.file("d"), "target": t.file("e")}]},
    }
    for kind, doc in kinds.items():
        t.submit({"name": kind, **doc})

    def submitted(doc):
        """The document as it was submitted, and changed since."""
        keys = ("name", "priority", "start", "window", "max_duration", "limits", "mode", "switch", "on_error", "verify")
        return {k: doc[k] for k in keys if k in doc} | {"pairs": [{k: p[k] for k in ("source", "target", "limits") if k in p} for p in doc["pairs"]]}

    def all_of_them():
        return {kind: submitted(t.show(kind)) for kind in kinds}

    refused = {kind: set() for kind in kinds}
    for key, values in VALUES.items():
        for value in values:
            for kind in kinds:
                before = submitted(t.show(kind))
                try:
                    t.call("PATCH", f"/sessions/{kind}", {key: value})
                except Problem as p:
                    assert p.status == 422 and all(e["detail"] and (e["legal"] or e["code"] == "replaced") for e in p.body["errors"]), (kind, key, value, p)
                    assert submitted(t.show(kind)) == before, (kind, key, value)
                    refused[kind].add(key)
                    continue
                t.call("PATCH", f"/sessions/{kind}", {"switch.attempts": 3})
                t.call("POST", "/apply", submitted(t.show(kind)))
        before = all_of_them()
        t.kill()
        t.start()
        assert all_of_them() == before, key
    # And not for the reason that little is taken.
    start = {"start"}
    assert refused["move"] - {"switch.retire"} == start, refused  # it has begun; a volume's source may be of any kind
    assert refused["periodic"] == {"start", "switch.when", "switch.retire"}, refused
    assert "switch.when" not in refused["copy"] and "start" in refused["later"], refused  # one of them: {every: ...}
    p = t.refused("PATCH", "/sessions/periodic", {"switch.when": "synced", "priority": 3})
    assert p.codes() == {"/switch/when": "bad_value"} and t.show("periodic")["priority"] != 3, p
