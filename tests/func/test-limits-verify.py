#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Limits hold for a verification as for a copy: pairs that are compared share a rate, of the session and of the agent, also with pairs that are copied, and
`bound_by` says what holds them back. Set in the middle of it, nothing is compared twice."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from agent import UnixConnection  # noqa: E402
from dray import MiB, Scratch, wait_for  # noqa: E402
from load import LoadAgent, below  # noqa: E402

N = 48 * MiB


def metrics(a):
    c = UnixConnection(a.socket, 60)
    c.request("GET", "/metrics")
    return c.getresponse().read().decode().splitlines()


with Scratch() as s:
    a = LoadAgent(s, N, a=80, b=80, c=80)
    a.begin("two", "ab")
    a.wait("two", "synced", 120)
    a.run("set", "two", "limits.step=32KiB", "limits.rate=256KiB")
    verify = s.start("dray", "verify", "two", env=a.env)
    wait_for("both are compared", lambda: [p.get("phase") for p in a.pairs("two")] == ["verifying"] * 2)
    a.binds("two", "rate", "session", "limits.rate", 256 << 10)
    wait_for("the session says so", lambda: a.show("two").get("bound_by") == [
        {"limit": "rate", "of": "session", "key": "limits.rate", "value": 256 << 10, "pairs": 2}])
    below(0.25, sum(a.rates("ab")))
    wait_for("the metrics say so", lambda: f'dray_session_bound_pairs{{session="two",id="{a.show("two")["id"]}",limit="rate",of="session"}} 2' in metrics(a))

    # Of the agent's, beside another session's copy. (In this order: on a slow machine all is compared before the next command was given.)
    a.run("settings", "rate=512KiB")
    a.begin("one", "c", limits={"step": "32KiB"})
    a.wait_copying("one")
    a.binds("two", "rate", "agent", "rate", 512 << 10, set_=["limits.rate=none"])
    a.binds("one", "rate", "agent", "rate", 512 << 10)
    below(0.5, sum(a.rates("abc")))
    a.run("cancel", "one")
    wait_for("the copy's part comes back", lambda: a.volume_limit("a", "rate") == 256 << 10)
    a.run("set", "two", "limits.steps=1", "limits.step=16KiB")
    a.binds("two", "steps", "session", "limits.steps", 1, settings=["rate=none"])
    a.binds("two", "none", set_=["limits.steps=none"])
    a.run("set", "two", "limits.step=1MiB")
    wait_for("compared", lambda: verify.poll() is not None, 60)
    assert verify.returncode == 0, verify.returncode
    for p in a.pairs("two"):
        assert p["verification"]["bytes_compared"] == N and "bound_by" not in p, p
    assert "bound_by" not in a.show("two")
    a.run("cancel", "two")
