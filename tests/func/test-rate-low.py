#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""A low rate is kept in small steps: a few KiB now, and not a burst of 256 KiB with a pause of minutes behind it. A rate that is raised again then counts at once. How large
a step is that somebody set stays as it was set."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from agent import AgentTest  # noqa: E402
from dray import MiB, Scratch, wait_for  # noqa: E402

KIB = 1 << 10

# What dray-iod is told.
with AgentTest() as t:
    for n in "ab":
        t.iod.add(n, "/nowhere/" + n, MiB)
    t.submit({"name": "l", "pairs": [{"source": "volume:a", "target": t.file("a")}, {"source": "volume:b", "target": [t.file("b"), t.file("c")]}]})

    def steps(*want, **keys):
        for k, v in keys.items():
            t.set("l", **{k.replace("_", "."): v})
        t.wait(f"steps of {want}; it is {[t.iod.volumes[n]['limits'] for n in 'ab']}",
               lambda: [t.iod.volumes[n]["limits"].get("step_bytes") for n in "ab"] == list(want))

    steps(None, None, limits_rate="none")
    steps(None, 128 * KIB, limits_rate="6MiB")  # 3 MiB for each; of the second one everything is written twice
    steps(64 * KIB, 32 * KIB, limits_rate="2MiB")
    steps(16 * KIB, 16 * KIB, limits_rate="1KiB")
    steps(16 * KIB, 16 * KIB, limits_rate=1)
    steps(128 * KIB, 128 * KIB, limits_step="128KiB")  # as it was said
    steps(16 * KIB, 128 * KIB, pairs_1_limits_step="16KiB")
    steps(16 * KIB, 16 * KIB, limits_step="none", pairs_1_limits_step="none")
    t.set("l", **{"pairs.1.limits.rate": "00:00,0", "limits.rate": "none"})
    steps(None, None)  # none at all, or without a limit
    t.set("l", **{"pairs.1.limits.rate": "none"})
    t.call("PATCH", "/settings", {"rate": "640KiB"})
    steps(32 * KIB, 16 * KIB)
    t.call("PATCH", "/settings", {"rate": None})
    steps(None, None)

# And what comes of it.
with Scratch() as s:
    a = s.agent()
    a.volume("v", s.file("source", "8M", data=True))
    a.spec({"name": "m", "limits": {"rate": "48KiB"}, "pairs": [{"source": "volume:v", "target": s.path("target"), "create": "thin"}]})

    def copied():
        return a.pair("m")["progress"]["bytes_copied"] or 0

    seen = wait_for("part of 256 KiB", lambda: (n := copied()) % (256 * KIB) and n)
    wait_for("more", lambda: copied() > seen)
    a.run("set", "m", "limits.rate=none")
    a.wait("m", "synced")
