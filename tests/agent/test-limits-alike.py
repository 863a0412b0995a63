#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""A limit that agent, session, vehicle and pair all have may have the same values at each of them, and what it may not have is refused with the same code, and the
same words for what is legal: whoever moves a limit from one level to another finds nothing new."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from agent import AgentTest, Problem  # noqa: E402

# Per limit: what is legal, at the very ends, and what is not.
SIZE, TIME = (["16KiB", "16384", 16384, "16GiB", "none"], ["16383", "15KiB", 0, "16385M", "17G", -1, "16KB", "16 K", "99999999999999999999", "", "some"]), \
    (["1ms", "10m", 600, "none"], ["0", "0ms", "601s", "1us", "1.5s", "-1s", "99999999999999999999h", "soon"])
KINDS = {
    "in_flight": SIZE,
    "vehicle.host.in_flight": SIZE,
    "step": (["16KiB", "64MiB", 65536, "none"], ["8KiB", "48KiB", "128M", "16KB", "0", "wide"]),
    "steps": ([1, 256, "256", "none"], [0, 257, "1K", -1, "many", "1.5"]),
    "app_latency": TIME,
    "vehicle.host.active_pairs": ([1, "10000", "none"], [0, "0", "2.5", "2K", -3, "many"]),
    "rate": ([1, "1", "1KiB", "8191P", "none"], [0, "0", -1, "10MB", "9000P", "fast"]),
}


def of_refusal(p):
    e, = p.body["errors"]
    assert p.status == 422 and p.exit == 3 and e["detail"] and e["legal"], p
    return e["code"], e["legal"]


with AgentTest() as t:
    def fails(call, *args, **kw):
        try:
            call(*args, **kw)
        except Problem as p:
            return of_refusal(p)
        return None

    t.iod.add("orders", t.file("orders", 64 << 20))
    t.submit({"name": "m", "pairs": [{"source": "volume:orders", "target": t.file("target", 64 << 20)}]})

    def agent(key, value):
        return fails(t.call, "PATCH", "/settings", {key: value})

    def session(key, value):
        return fails(t.set, "m", **{f"limits.{key}": value})

    def pair(key, value):
        return fails(t.set, "m", **{f"pairs.1.limits.{key}": value})

    def submitted(key, value):
        path = [*("limits." + key).split(".")]
        doc = {"name": "never", "pairs": [{"source": "volume:orders", "target": t.file("other", 64 << 20)}]}
        at = doc
        for k in path[:-1]:
            at = at.setdefault(k, {})
        at[path[-1]] = value
        try:
            t.submit(doc)
        except Problem as p:
            # It can't be submitted in any case, the volume being in a session.
            e = [e for e in p.body["errors"] if e["pointer"] == "/" + "/".join(path)]
            return (e[0]["code"], e[0]["legal"]) if e else None
        raise AssertionError("one volume is in two sessions")

    for key, (good, bad) in KINDS.items():
        levels = [agent, session, submitted] + ([pair] if "vehicle" not in key else [])
        for value in good:
            got = {f.__name__: f(key, value) for f in levels}
            assert not any(got.values()), (key, value, got)
        for value in bad:
            got = {f.__name__: f(key, value) for f in levels}
            assert all(got.values()), (key, value, got)
            assert len({code for code, _ in got.values()}) == 1, (key, value, got)
            # The words are the same, but for those that belong to one of them alone: a rate may be a timetable, a session's pairs are fewer.
            if key not in ("rate", "vehicle.host.active_pairs", "steps"):
                assert len({legal for _, legal in got.values()}) == 1, (key, value, got)
            assert all("none" in legal for _, legal in got.values()), (key, value, got)
        for f in (agent, session) + ((pair,) if pair in levels else ()):
            assert f(key, "none") is None
