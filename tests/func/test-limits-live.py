#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Every limit set in mid-copy, of pair, session, vehicle and agent: it is kept to, `bound_by` says that it is the one that binds, and whose it is, and
no byte is copied twice. The tightest counts; lifted, it is gone. (app_latency: test-limits-latency.py.)"""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from dray import MiB, Scratch, wait_for  # noqa: E402
from load import LoadAgent, below  # noqa: E402

with Scratch() as s:
    # How fast the copy is follows from how many steps there are, and of what size: 3 MiB/s each where nothing holds it back.
    a = LoadAgent(s, 160 * MiB, "vehicle: {host: {active_pairs: 7}}\n", a=40, b=40)
    a.begin("two", "ab", limits={"step": "32KiB"})
    a.wait_copying("two")

    def binds(*args, **kw):
        a.binds("two", *args, **kw)

    binds("none")

    # Rates. What one pair's own keeps it from using the other gets.
    binds("rate", "session", "limits.rate", MiB, set_=["limits.rate=1MiB"])
    below(1, sum(a.rates("ab")))
    binds("rate", "agent", "rate", 640 << 10, settings=["rate=640KiB"])
    below(0.625, sum(a.rates("ab")))
    binds("rate", "pair", "pairs.1.limits.rate", 128 << 10, which=[0], set_=["--pair", "1", "limits.rate=128KiB"])
    binds("rate", "agent", which=[1])

    def lent():
        r = a.rates("ab", 2)
        below(0.125, r[0])
        below(0.625, sum(r))
        return r[1] > 0.35

    wait_for("the other has what is left, more than half", lent, 60)
    assert a.show("two")["pairs"][0]["limits"] == {"rate": "128KiB"}
    wait_for("the session says both", lambda: sorted((b["limit"], b["of"], b["pairs"]) for b in a.show("two").get("bound_by") or []) == [
        ("rate", "agent", 1), ("rate", "pair", 1)])
    binds("rate", "session", "limits.rate", 0, set_=["limits.rate=00:00,0"])
    a.run("settings", "rate=default")
    binds("none", set_=["limits.rate=none", "pairs.1.limits.rate=none"])
    assert "limits" not in a.show("two")["pairs"][0]

    # Steps: one of 32 KiB takes 80 ms here.
    binds("steps", "session", "limits.steps", 1, set_=["limits.steps=1"])
    for r in a.rates("ab"):
        below(0.4, r)
    binds("steps", "pair", "pairs.2.limits.steps", 2, which=[1], set_=["limits.steps=3", "pairs.2.limits.steps=2"])
    binds("steps", "session", "limits.steps", 3, which=[0])
    binds("steps", "agent", "steps", 1, settings=["steps=1"])
    a.run("settings", "steps=default")
    # A number above what is ever under way is no error, and no limit.
    binds("none", set_=["limits.steps=200", "pairs.2.limits.steps=none"])
    a.run("set", "two", "limits.steps=none")
    # The size of one, which is what they are fast by.
    a.run("set", "two", "limits.steps=1", "limits.step=16KiB")
    wait_for("small steps", lambda: a.volume_limit("a", "step_bytes") == 16384)
    below(0.2, a.rates("a")[0])
    a.run("set", "two", "limits.step=64KiB")
    a.run("settings", "step=32KiB")
    wait_for("the agent's", lambda: a.volume_limit("a", "step_bytes") == 32768)
    a.run("set", "two", "limits.steps=none", "limits.step=32KiB")
    a.run("settings", "step=none")

    # Bytes in flight, which the pairs share.
    binds("in_flight", "session", "limits.in_flight", 256 << 10, set_=["limits.in_flight=256KiB"])
    below(4 * 0.8, sum(a.rates("ab")))
    binds("in_flight", "vehicle", "limits.vehicle.host.in_flight", 128 << 10, set_=["limits.vehicle={host: {in_flight: 128KiB}}"])
    below(2 * 0.8, sum(a.rates("ab")))
    binds("in_flight", "pair", "pairs.2.limits.in_flight", 64 << 10, which=[1],
          set_=["limits.vehicle=none", "limits.in_flight=none", "pairs.2.limits.in_flight=64KiB"])
    binds("none", which=[0])
    binds("in_flight", "agent", "in_flight", 96 << 10, settings=["in_flight=96KiB"], which=[0])
    binds("in_flight", "vehicle", "vehicle.host.in_flight", 80 << 10, settings=["vehicle.host.in_flight=80KiB"], which=[0])
    # From here on the copy is as slow as it can be without a limit that binds: what it is asked takes its time on a slow machine.
    a.run("set", "two", "limits.step=16KiB")
    a.run("settings", "in_flight=default", "vehicle.host.in_flight=default")
    binds("none", set_=["pairs.2.limits.in_flight=none"])

    # Places.
    for set_, settings, of, key in ((["limits.active_pairs=1"], [], "session", "limits.active_pairs"),
                                    (["limits.vehicle.host.active_pairs=1"], [], "vehicle", "limits.vehicle.host.active_pairs"),
                                    ([], ["active_pairs=1"], "agent", "active_pairs"),
                                    ([], ["vehicle.host.active_pairs=1"], "vehicle", "vehicle.host.active_pairs")):
        binds("active_pairs", of, key, 1, which=[1], set_=set_, settings=settings)
        p = a.pairs("two")
        assert [x["state"] for x in p] == ["copying", "queued"] and key in p[1]["reason"], p
        if set_:
            a.run("set", "two", set_[0].split("=")[0] + "=none")
        else:
            a.run("settings", settings[0].split("=")[0] + "=default")
        a.wait_copying("two")
    assert a.json("settings")["vehicle.host.active_pairs"] == {"value": 7, "source": "file", "live": True, "legal": "a number from 1 to 100000, or none"}
    binds("none")

    # What is shown goes back in by `apply`, and by nothing else.
    doc = wait_for("it is shown", lambda: (d := a.show("two")).get("bound_by") and d["pairs"][0].get("bound_by") and d)
    spec = s.path("spec")
    with open(spec, "w") as f:
        f.write(a.run("show", "two", "-o", "yaml").stdout)
    assert a.json("apply", spec)["id"] == doc["id"]
    doc = a.json("start", "-", stdin=f"name: x\nbound_by: {{limit: rate}}\npairs: [{{source: 'volume:a', target: {s.path('x')}}}]\n", status=3)
    assert [e["detail"] for e in doc["errors"] if e["pointer"] == "/bound_by"] == [
        '"bound_by" is written by the agent and can\'t be submitted: leave it out'], doc

    for p in a.ends_with_each_byte_copied_once("two"):
        assert "bound_by" not in p, p
    assert "bound_by" not in a.show("two")
