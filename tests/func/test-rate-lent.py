#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""What a pair can't use of a rate, since its disk is slow, others get, of its own session and of another, each by its part; the sum stays below the
whole; and it is given back when the pair can use it. What is lent is not recorded: the shares are."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from dray import MiB, Scratch, wait_for  # noqa: E402
from load import LoadAgent  # noqa: E402

with Scratch() as s:
    a = LoadAgent(s, 64 * MiB, slow=250, fast=0, other=0)

    def now(volume, key="rate_now"):
        return a.volume_limit(volume, key) / MiB

    def uses(what, test, *volumes):
        """What they move comes to be so; never more than the whole, and a step or two."""
        def so():
            r = a.rates(volumes)
            assert sum(r) < 1.5 * 1.25 + 0.3, r
            return test(r) and r
        print(what, wait_for(what, so, 60))

    # One step of 64 KiB each half a second: an eighth of a MiB a second. The others could do much more than there is.
    a.run("settings", "rate=1536KiB")
    a.begin("two", ("slow", "fast"), priority=5, limits={"step": "64KiB"})
    a.run("set", "two", "--pair", "1", "limits.steps=1")
    wait_for("what the slow one can't use is lent", lambda: now("fast") > 1.2)
    assert now("fast", "rate") == now("slow", "rate") == 0.75, "the shares, which are on record"
    uses("1.5 MiB/s for a slow and a fast one:", lambda r: r[0] < 0.3 and r[1] > 0.9, "slow", "fast")
    wait_for("what holds them back", lambda: [(p.get("bound_by", {}).get("limit"), p.get("bound_by", {}).get("of")) for p in a.show("two")["pairs"]] == [
        ("steps", "pair"), ("rate", "agent")])

    # Another session, three times as important: it has three quarters.
    a.begin("three", ["other"], priority=9, limits={"step": "64KiB"})
    a.run("set", "two", "priority=3")
    wait_for("by priority", lambda: 1.05 < now("other") < 1.2)
    wait_for("the rest of its own session's", lambda: 0.19 < now("fast") < 0.375)
    uses("... and another session:", lambda r: r[2] > 2 * r[1], "slow", "fast", "other")
    # The other way round, in mid-copy.
    a.run("set", "three", "priority=1")
    wait_for("by priority", lambda: 0.3 < now("other") < 0.45)
    a.run("cancel", "three")

    # It has become faster: its share is its own again, in a second or so.
    wait_for("lent", lambda: now("fast") > 1.2)
    a.run("set", "two", "pairs.1.limits.steps=none")
    wait_for("given back", lambda: now("slow") == 0.75 and now("fast") < 0.9)
    uses("both can use it:", lambda r: r[0] > 0.3, "slow", "fast")

    # Of a rate of the session alone the same. (In this order: without any rate the rest is copied in a moment.)
    a.run("set", "two", "limits.rate=1MiB", "pairs.1.limits.steps=1")
    a.run("settings", "rate=none")
    wait_for("lent in the session", lambda: now("fast") > 0.8)
    wait_for("it is the session's", lambda: a.show("two")["pairs"][1].get("bound_by", {}).get("key") == "limits.rate")
    a.run("cancel", "two")
