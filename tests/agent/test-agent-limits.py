#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Limits reach dray-iod at once, a session's are shared by the pairs that transfer (what one's own limit keeps it from using the others get), the
tightest of pair, session, vehicle and agent counts, and none lifts them."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from agent import AgentTest, Problem  # noqa: E402

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
    limits("rate", 11 * MiB // 2, 11 * MiB // 2, MiB)
    limits("in_flight_bytes", MiB, MiB, MiB)
    limits("step_bytes", 128 << 10, 128 << 10, 64 << 10)
    limits("steps", 2, 2, 2)
    limits("leg_timeout_ms", 1500, 1500, 1500)
    t.wait_states("l", "copying", "copying", "copying")  # the limits are there before the legs
    t.set("l", limits__rate="30MiB")
    limits("rate", 29 * MiB // 2, 29 * MiB // 2, MiB)
    t.iod.sync("b")
    limits("rate", 29 * MiB, 15 * MiB, MiB)  # b only keeps up
    t.set("l", limits__rate="none", limits__step="none")
    limits("rate", None, None, MiB)
    limits("step_bytes", None, None, 64 << 10)
    # Of each pair alone: the least of what pair, session and agent say.
    t.set("l", limits__steps=5, limits__app_latency="20ms", **{"pairs.3.limits.steps": 3, "pairs.3.limits.app_latency": "50ms"})
    limits("steps", 5, 5, 3)
    limits("app_latency_us", 20000, 20000, 20000)
    t.call("PATCH", "/settings", {"steps": 4, "app_latency": "10ms", "step": "32KiB"})
    limits("steps", 4, 4, 3)
    limits("app_latency_us", 10000, 10000, 10000)
    limits("step_bytes", 32 << 10, 32 << 10, 32 << 10)
    t.call("PATCH", "/settings", {"steps": None, "app_latency": None, "step": None})
    limits("steps", 5, 5, 3)
    t.set("l", limits__app_latency="none", **{"pairs.3.limits.app_latency": "none", "pairs.3.limits.steps": "none"}, limits__steps=2)
    limits("app_latency_us", None, None, None)
    limits("steps", 2, 2, 2)
    assert "app_latency" not in t.show("l")["pairs"][2]["limits"], t.show("l")["pairs"][2]
    # A vehicle's are beside the session's and the agent's.
    t.set("l", **{"limits.vehicle": {"host": {"in_flight": "1MiB"}}})
    limits("in_flight_bytes", MiB // 2, MiB // 2, MiB // 2)
    t.call("PATCH", "/settings", {"vehicle.host.in_flight": "512KiB"})
    limits("in_flight_bytes", MiB // 4, MiB // 2, MiB // 4)
    t.call("PATCH", "/settings", {"vehicle.host.in_flight": "default"})
    t.set("l", **{"limits.vehicle.host.in_flight": "none"})
    limits("in_flight_bytes", 3 * MiB // 2, 3 * MiB // 2, 3 * MiB // 2)
    assert "vehicle" not in t.show("l")["limits"]
    for key, value, pointer, code in (("limits.vehicle", {"lvm": {"in_flight": "1MiB"}}, "/limits/vehicle/lvm", "unknown_key"),
                                      ("limits.vehicle", {"host": {"rate": "1MiB"}}, "/limits/vehicle/host/rate", "unknown_key"),
                                      ("limits.vehicle.host.in_flight", "1KiB", "/limits/vehicle/host/in_flight", "out_of_range"),
                                      ("pairs.4.limits.rate", "1MiB", "/pairs/3/limits/rate", "unknown_key"),
                                      ("pairs.0.limits.rate", "1MiB", "/pairs", "unknown_key"),
                                      ("pairs.2.limits.rate", "fast", "/pairs/1/limits/rate", "bad_value"),
                                      ("pairs.2.target", "/x", "/pairs/1/target", "not_settable"),
                                      ("limits", "none", "/limits", "not_settable"), ("pairs.1.limits", "none", "/pairs/0/limits", "not_settable"),
                                      ("pairs.2.limits.active_pairs", "2", "/pairs/1/limits/active_pairs", "unknown_key")):
        try:
            t.set("l", **{key: value})
        except Problem as p:
            assert p.codes() == {pointer: code}, (key, p)
            e = p.body["errors"][0]
            assert ("by its parts" in e["detail"]) == key.endswith("limits"), e
            assert (e["legal"] == "pairs 1 to 3") == key.startswith(("pairs.4.", "pairs.0.")), e
        else:
            raise AssertionError(f"{key}={value} was taken")
    # dray-iod forgot them in a restart: told again.
    for n in "abc":
        t.iod.volumes[n]["limits"] = {}
    t.iod.restart()
    limits("steps", 2, 2, 2)
    before, lists = t.iod.count("copy.set"), t.iod.count("volume.list")
    t.iod.event()
    t.wait("a list after this one", lambda: t.iod.count("volume.list") > lists)
    t.iod.event()
    t.wait("one that was asked for when the first was looked at", lambda: t.iod.count("volume.list") > lists + 1)
    assert t.iod.count("copy.set") == before, "told again without need"

    # dray-iod carries out calls at once, not one after the other: of one volume none is sent while another is under way, or an older limit could stay.
    t.iod.held["copy.set"] = True
    before = t.iod.count("copy.set")

    def kept(volume):
        with t.iod.lock:
            return [msg["params"] for _, msg in t.iod.kept if msg["params"]["volume"] == volume]

    for steps in (7, 8, 9):
        t.set("l", limits__steps=steps)
        t.wait("told", lambda: kept("a"))
        t.iod.event()
        lists = t.iod.count("volume.list")
        t.wait("looked at again", lambda: t.iod.count("volume.list") > lists + 1)  # pylint: disable=cell-var-from-loop
        for n in "abc":
            assert [p["steps"] for p in kept(n)] == [7], (steps, n, kept(n))
    t.iod.release("copy.set")
    limits("steps", 9, 9, 9)
    assert t.iod.count("copy.set") == before + 6, t.iod.count("copy.set") - before

    # What it could not do (it was busy with the volume) is told again.
    t.iod.fail["copy.set"] = [("busy", "the volume is busy")] * 3
    t.set("l", limits__steps=3)
    limits("steps", 3, 3, 3)
    assert not t.iod.fail["copy.set"] and t.log().count("event=limits-refused") == 3, t.iod.fail

    # Nothing is begun before it has them, also where it refused them first.
    def attached(volume):
        with t.iod.lock:
            return len(t.iod.volumes[volume]["legs"]) > 1

    t.iod.add("d", "/nowhere/d", MiB)
    t.iod.held["copy.set"] = True
    t.submit({"name": "m", "limits": {"rate": "1MiB"}, "pairs": [{"source": "volume:d", "target": t.file("d")}]})
    t.wait("they are told", lambda: kept("d"))
    t.iod.event()
    lists = t.iod.count("volume.list")
    t.wait("looked at again", lambda: t.iod.count("volume.list") > lists + 1)
    assert not attached("d") and t.show("m")["pairs"][0]["state"] == "starting", t.show("m")
    t.iod.fail["copy.set"] = [("busy", "the volume is busy")]
    t.iod.release("copy.set")
    t.wait("it is started", lambda: attached("d"))
    assert t.iod.volumes["d"]["limits"]["rate"] == MiB
    t.wait("it copies", lambda: t.show("m")["state"] == "copying" and not t.show("m")["pairs"][0]["reason"])
