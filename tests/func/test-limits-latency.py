#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""app_latency of pair, session and agent, set in mid-copy beside an application: the tightest binds, and what works on the same disk is held back as its
neighbour; lifted, or the application gone, nothing is. What the application writes is mirrored meanwhile: no byte is copied twice."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from dray import MiB, Scratch  # noqa: E402
from load import LoadAgent  # noqa: E402

with Scratch() as s:
    a = LoadAgent(s, 96 * MiB, a=40, b=40)
    # A target that is slower than leg_timeout is set aside, and misses what is written meanwhile. No target here is to be called slow since the machine is.
    # At a low rate until the application is there.
    a.begin("two", "ab", limits={"step": "16KiB", "rate": "64KiB"}, leg_timeout="10m")
    a.wait_copying("two")

    # Less than the disk can do: the copy has the least of a window.
    app = s.stamp(a.uri("a"), "app", "--depth", "1", "--rate", "40")
    app.wait_writes(20)
    a.binds("two", "app_latency", "session", "limits.app_latency", 5000, which=[0], set_=["limits.app_latency=5ms", "limits.rate=none"])
    a.binds("two", "app_latency", "pair", "pairs.1.limits.app_latency", 4000, which=[0], set_=["pairs.1.limits.app_latency=4ms"])
    a.binds("two", "app_latency", "agent", "app_latency", 3000, which=[0], settings=["app_latency=3ms"])
    a.binds("two", "app_latency", "neighbour", which=[1])  # nobody works there, but it is the same disk
    app.end()
    a.binds("two", "none")
    a.run("settings", "app_latency=none")
    a.run("set", "two", "limits.app_latency=none", "pairs.1.limits.app_latency=none")

    a.ends_with_each_byte_copied_once("two")
    assert not [e for e in a.json("events", "two") if e["event"] == "target-degraded"]
    app.verify(a.uri("a"))
