#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""The agent's, a session's and a pair's rate hold together, measured in bytes that were begun; what one can't use others get; priority is a share."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from dray import MiB, Scratch, wait_for  # noqa: E402
from load import LoadAgent, below  # noqa: E402

with Scratch() as s:
    a = LoadAgent(s, 64 * MiB, a=0, b=0, c=0, d=0)
    a.run("settings", "rate=2400KiB")
    step = {"step": "32KiB"}
    a.begin("low", "ab", priority=2, limits={**step, "rate": "2000KiB"})
    a.run("set", "low", "pairs.2.limits.rate=100KiB")
    a.begin("high", "c", priority=8, limits=step)

    def rates(volumes):
        for name in sessions:
            a.wait_copying(name)
        r = a.rates(volumes, 3)
        return [x * MiB / 1024 for x in r]  # KiB/s

    def kept(limit, got):
        below(limit / 1024, got / 1024)

    def shares(**want):
        """What dray-iod was told, in KiB/s."""
        wait_for(f"shares of {want}", lambda: all(abs(a.volume_limit(v, "rate") / 1024 - kib) < 1 for v, kib in want.items()))

    sessions = ["low", "high"]
    shares(a=380, b=100, c=1920)
    r = rates("abc")
    print("agent 2400, low 2 : high 8, one pair of low at most 100:", r)
    kept(2400, sum(r))
    kept(100, r[1])
    kept(2400 * 2 / 10, r[0] + r[1])
    kept(2400 * 8 / 10, r[2])
    assert r[2] > 500, r  # it moves

    a.run("set", "high", "limits.rate=200KiB")
    shares(a=1900, b=100, c=200)  # what high can't use, and the other pair, up to the session's own
    r = rates("abc")
    print("high at most 200: the rest is low's, up to its own 2000, and of that what its slow pair can't use is the other's:", r)
    kept(200, r[2])
    kept(2000, r[0] + r[1])
    kept(2400, sum(r))
    assert r[0] > 2400 * 2 / 10, r

    a.run("set", "high", "limits.rate=none")
    a.run("settings", "rate=1500KiB")
    a.begin("late", "d", priority=5, limits=step)
    sessions.append("late")
    shares(a=100, b=100, c=800, d=500)
    r = rates("abcd")
    print("another session, and less in all:", r)
    kept(1500, sum(r))
    assert r[3] > 50, r
    a.run("settings", "rate=none")
    for name in sessions:
        a.run("cancel", name)
