#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""The sources of a session of 200 pairs are retired: a few at once, the others say why they wait, all are in the phase `retiring`; drayd is
killed half-way; at the end each was retired once, and by its own name."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from dray import SLOW, Scratch, wait_for  # noqa: E402

N, SIZE, AT_ONCE, KILLED_AT = 200, 16384, 4, 100


def content(path):
    with open(path, "rb") as f:
        return f.read()


with Scratch() as s:
    a = s.agent()
    stall = s.path("stall")
    open(stall, "w").close()
    a.process.kill()
    a.process.wait()
    a.env.update(DRAY_STALL_AT=f"retire-begun:{stall}", DRAY_CRASH_AT=f"retire-acted:{KILLED_AT}")
    a.start()
    del a.env["DRAY_STALL_AT"], a.env["DRAY_CRASH_AT"]
    sources = [s.file(f"s{n}", SIZE, True) for n in range(N)]
    data = [content(path) for path in sources]
    doc = a.spec({"name": "many", "limits": {"active_pairs": 16}, "switch": {"retire": "rename"},
                  "pairs": [{"source": source, "target": s.file(f"t{n}", SIZE)} for n, source in enumerate(sources)]})
    renamed = [f"{source}.retired-{doc['id']}" for source in sources]

    # As many as are retired at once stand at the point where nothing was touched yet; none passes it.
    def all_moved():
        d = a.show("many")
        return all(p["state"] == "completed" for p in d["pairs"]) and d
    d = wait_for("all pairs moved", all_moved, 120)
    assert d["state"] == "completed" and d["finished"] is None and d["phase"] == "retiring", {k: d[k] for k in d if k != "pairs"}
    assert {(p["phase"], p["retired"]["state"]) for p in d["pairs"]} == {("retiring", "pending")}
    wait_for("all but those under way wait", lambda: sum(
        p["retired"]["reason"] == "waits for others that are being retired" for p in a.show("many")["pairs"]) == N - AT_ONCE)
    assert not any(map(os.path.exists, renamed)) and len(a.json("locks")) == N

    os.unlink(stall)
    assert a.process.wait(60 * SLOW) == 137
    by_then = sum(map(os.path.exists, renamed))
    assert KILLED_AT <= by_then < N, by_then
    a.start()
    d = wait_for("the end", lambda: (d := a.show("many"))["finished"] and d, 120)
    assert d["state"] == "completed" and d["phase"] is None and d["reason"] is None, {k: d[k] for k in d if k != "pairs"}
    assert {(p["phase"], p["retired"]["state"]) for p in d["pairs"]} == {(None, "done")}
    assert [p["retired"]["name"] for p in d["pairs"]] == renamed
    assert [content(path) for path in renamed] == data and [content(s.path(f"t{n}")) for n in range(N)] == data
    assert not any(map(os.path.exists, sources)) and not a.json("locks")
    told = sorted((e["pair"], e["event"]) for e in a.json("events", "many") if e["event"] in ("retiring", "retired", "retire-failed"))
    assert told == sorted((str(n + 1), event) for n in range(N) for event in ("retiring", "retired")), told[:10]
