#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Limits reach dray-iod at once, a session's are shared by the pairs that transfer, and none lifts them."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from agent import AgentTest  # noqa: E402

MiB = 1 << 20

with AgentTest() as t:
    for n in "abc":
        t.iod.add(n, "/nowhere/" + n, MiB)

    def limits(key, *want):
        t.wait(f"{key} {want}; it is {[t.iod.volumes[n]['limits'] for n in 'abc']}",
               lambda: [t.iod.volumes[n]["limits"].get(key) for n in "abc"] == list(want))

    t.submit({"name": "l", "limits": {"rate": "12MiB", "in_flight": "3MiB", "step": "128KiB", "steps": 2}, "leg_timeout": "1500ms",
              "pairs": [{"source": "volume:a", "target": t.file("a")}, {"source": "volume:b", "target": t.file("b")},
                        {"source": "volume:c", "target": t.file("c"), "limits": {"rate": "1MiB", "step": "64KiB"}}]})
    limits("rate", 4 * MiB, 4 * MiB, MiB)
    limits("in_flight_bytes", MiB, MiB, MiB)
    limits("step_bytes", 128 << 10, 128 << 10, 64 << 10)
    limits("steps", 2, 2, 2)
    limits("leg_timeout_ms", 1500, 1500, 1500)
    t.set("l", limits__rate="30MiB")
    limits("rate", 10 * MiB, 10 * MiB, MiB)
    t.iod.sync("b")
    limits("rate", 15 * MiB, 15 * MiB, MiB)
    t.set("l", limits__rate="none", limits__step="none")
    limits("rate", None, None, MiB)
    limits("step_bytes", None, None, 64 << 10)
    # dray-iod forgot them in a restart: told again.
    for n in "abc":
        t.iod.volumes[n]["limits"] = {}
    t.iod.restart()
    limits("steps", 2, 2, 2)
    before = t.iod.count("copy.set")
    t.iod.event()
    t.wait("a few lists", lambda: t.iod.count("volume.list") > 3)
    assert t.iod.count("copy.set") == before, "told again without need"
