#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Every limit set in mid-copy, of pair, session, vehicle and agent: it is kept to, `bound_by` says that it is the one that binds, and whose it is, and
no byte is copied twice. The tightest counts; lifted, it is gone."""
import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from dray import MiB, Scratch, wait_for

N = 224 * MiB

with Scratch() as s:
    config = s.path("drayd.yaml")
    with open(config, "w") as f:
        f.write("allow_faults: true\nvehicle: {host: {active_pairs: 7}}\n")
    a = s.agent(options=("--config", config))
    block = os.urandom(MiB)
    for v in "ab":
        with open(os.path.join(s.mem, v), "wb") as f:
            for _ in range(N // MiB):
                f.write(block)
        # Whatever is asked of it takes 40 ms, however much is asked: how fast the copy is follows from how many steps there are.
        a.volume(v, f"fault:delay_ms=40:{s.mem}/{v}")
    a.spec({"name": "two", "limits": {"step": "64KiB"}, "switch": {"when": "manual"},
            "pairs": [{"source": f"volume:{v}", "target": os.path.join(s.mem, v + ".new"), "create": "thin"} for v in "ab"]})
    last = [0, 0]

    def pairs():
        got = a.show("two")["pairs"]
        for i, p in enumerate(got):
            done = p["progress"]["bytes_done"] or 0
            assert done >= last[i], (i, done, last)
            last[i] = done
        return got

    def binds(limit, of=None, key=None, value=None, which=(0, 1), set_=(), settings=()):
        """After what is set it is this that binds these pairs."""
        if set_:
            a.run("set", "two", *set_)
        if settings:
            a.run("settings", *settings)
        began = time.monotonic()
        seen = []

        def so():
            seen[:] = [p.get("bound_by") or {} for p in pairs()]
            return all(seen[i].get("limit") == limit and seen[i].get("of") == of and (key is None or seen[i].get("key") == key) and
                       (value is None or seen[i].get("value") == value) for i in which)

        try:
            wait_for("bound", so)
        except AssertionError:
            raise AssertionError(f"{limit} of {of} ({key}, {value}) should bind {which}; it is {seen}") from None
        print(f"{' '.join([*set_, *settings]):60} {limit}, {of}: told after {time.monotonic() - began:.2f} s")

    def rates(seconds=1.5):
        """MiB/s of each pair that was begun, by dray-iod's own count."""
        def count():
            return [a.json("volume", "show", v)["paced_bytes"] for v in "ab"]
        t0, before = time.monotonic(), count()
        time.sleep(seconds)  # a measurement, not a wait
        after, t1 = count(), time.monotonic()
        return [(y - x) / MiB / (t1 - t0) for x, y in zip(before, after)]

    def below(limit, got):
        assert got <= limit * 1.3 + 0.2, (got, limit)

    wait_for("both copy", lambda: all(p["state"] == "copying" for p in pairs()))
    binds("none")

    # Rates. What one pair's own keeps it from using the other gets.
    binds("rate", "session", "limits.rate", MiB, set_=["limits.rate=1MiB"])
    below(1, sum(rates()))
    binds("rate", "agent", "rate", 640 << 10, settings=["rate=640KiB"])
    below(0.625, sum(rates()))
    binds("rate", "pair", "pairs.1.limits.rate", 128 << 10, which=[0], set_=["--pair", "1", "limits.rate=128KiB"])
    binds("rate", "agent", which=[1])

    def lent():
        r = rates(2)
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

    # Steps: one of 64 KiB takes 80 ms here.
    binds("steps", "session", "limits.steps", 1, set_=["limits.steps=1"])
    r = rates()
    below(0.8, r[0])
    below(0.8, r[1])
    binds("steps", "pair", "pairs.2.limits.steps", 2, which=[1], set_=["limits.steps=3", "pairs.2.limits.steps=2"])
    binds("steps", "session", "limits.steps", 3, which=[0])
    binds("steps", "agent", "steps", 1, settings=["steps=1"])
    a.run("settings", "steps=default")
    # A number above what is ever under way is no error, and no limit.
    binds("none", set_=["limits.steps=200", "pairs.2.limits.steps=none"])
    a.run("set", "two", "limits.steps=none")
    # The size of one, which is what they are fast by.
    a.run("set", "two", "limits.steps=1", "limits.step=16KiB")
    wait_for("small steps", lambda: a.json("volume", "show", "a")["limits"]["step_bytes"] == 16384)
    below(0.2, rates()[0])
    a.run("settings", "step=32KiB")
    a.run("set", "two", "limits.steps=none", "limits.step=64KiB")
    wait_for("the agent's", lambda: a.json("volume", "show", "a")["limits"]["step_bytes"] == 32768)
    a.run("settings", "step=none")

    # Bytes in flight, which the pairs share.
    binds("in_flight", "session", "limits.in_flight", 256 << 10, set_=["limits.in_flight=256KiB"])
    below(4 * 0.8, sum(rates()))
    binds("in_flight", "vehicle", "limits.vehicle.host.in_flight", 128 << 10, set_=["limits.vehicle={host: {in_flight: 128KiB}}"])
    below(2 * 0.8, sum(rates()))
    binds("in_flight", "pair", "pairs.2.limits.in_flight", 64 << 10, which=[1],
          set_=["limits.vehicle=none", "limits.in_flight=none", "pairs.2.limits.in_flight=64KiB"])
    binds("none", which=[0])
    binds("in_flight", "agent", "in_flight", 96 << 10, settings=["in_flight=96KiB"], which=[0])
    binds("in_flight", "vehicle", "vehicle.host.in_flight", 80 << 10, settings=["vehicle.host.in_flight=80KiB"], which=[0])
    a.run("settings", "in_flight=default", "vehicle.host.in_flight=default")
    binds("none", set_=["pairs.2.limits.in_flight=none"])

    # Places.
    for set_, settings, of, key in ((["limits.active_pairs=1"], [], "session", "limits.active_pairs"),
                                    (["limits.vehicle.host.active_pairs=1"], [], "vehicle", "limits.vehicle.host.active_pairs"),
                                    ([], ["active_pairs=1"], "agent", "active_pairs"),
                                    ([], ["vehicle.host.active_pairs=1"], "vehicle", "vehicle.host.active_pairs")):
        binds("active_pairs", of, key, 1, which=[1], set_=set_, settings=settings)
        p = pairs()
        assert [x["state"] for x in p] == ["copying", "queued"] and key in p[1]["reason"], p
        if set_:
            a.run("set", "two", set_[0].split("=")[0] + "=none")
        else:
            a.run("settings", settings[0].split("=")[0] + "=default")
        wait_for("both copy again", lambda: all(x["state"] == "copying" for x in pairs()))
    assert a.json("settings")["vehicle.host.active_pairs"] == {"value": 7, "source": "file", "live": True, "legal": "a number from 1 to 100000, or none"}
    binds("none")

    # The latency that the application is to have: less than the disk can do, and so the copy has the least of a window.
    app = s.stamp(a.uri("a"), "app", "--depth", "1", "--rate", "40")
    app.wait_writes(20)
    binds("app_latency", "session", "limits.app_latency", 5000, which=[0], set_=["limits.app_latency=5ms"])
    binds("app_latency", "pair", "pairs.1.limits.app_latency", 4000, which=[0], set_=["pairs.1.limits.app_latency=4ms"])
    binds("app_latency", "agent", "app_latency", 3000, which=[0], settings=["app_latency=3ms"])
    binds("app_latency", "neighbour", which=[1])  # nobody works there, but it is the same disk
    app.end()
    binds("none")
    a.run("settings", "app_latency=none")
    a.run("set", "two", "limits.app_latency=none", "pairs.1.limits.app_latency=none")

    # What is shown goes back in by `apply`, and by nothing else.
    doc = a.show("two")
    assert "bound_by" in doc and "bound_by" in doc["pairs"][0]
    spec = s.path("spec")
    with open(spec, "w") as f:
        f.write(a.run("show", "two", "-o", "yaml").stdout)
    assert a.json("apply", spec)["id"] == doc["id"]
    doc = a.json("start", "-", stdin=f"name: x\nbound_by: {{limit: rate}}\npairs: [{{source: 'volume:a', target: {s.path('x')}}}]\n", status=3)
    assert [e["detail"] for e in doc["errors"] if e["pointer"] == "/bound_by"] == [
        '"bound_by" is written by the agent and can\'t be submitted: leave it out'], doc

    a.run("set", "two", "limits.step=1MiB")
    a.wait("two", "synced", 120)
    done = a.show("two")
    assert "bound_by" not in done and "bound_by" not in done["pairs"][0]
    for p in done["pairs"]:
        assert p["progress"]["bytes_recopied"] == 0 and p["progress"]["bytes_copied"] + p["progress"]["bytes_skipped"] == N, p["progress"]
