#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""A rate by the time of day, of a session and of a pair: it reaches dray-iod when its time comes, over a clock that is put back for the winter, a
restart, and one that is set; 0 stops the copy, which says so; off is no limit; dray set changes it at once."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from agent import AgentTest  # noqa: E402
from clock import Clock  # noqa: E402

MiB = 1 << 20
os.environ["TZ"] = "CET-1CEST,M3.5.0,M10.5.0/3"

with AgentTest(config="allow_faults: true\n", start=False) as t:
    clock = Clock(t.dir, "2027-10-30T05:30:00Z")  # a Saturday, half past seven
    t.start()
    for v in "abc":
        t.iod.add(v, "/nowhere/" + v, MiB)

    def rates(*want):
        t.wait(f"rates of {want}; they are {[t.iod.volumes[v].get('limits') for v in 'abc']}",
               lambda: [(t.iod.volumes[v].get("limits") or {}).get("rate", "-") for v in "abc"] == list(want))

    table = "08:00,20M 19:00,off 02:30,0"
    doc = t.submit({"name": "r", "limits": {"rate": table},
                    "pairs": [{"source": "volume:a", "target": t.file("a")}, {"source": "volume:b", "target": t.file("b")},
                              {"source": "volume:c", "target": t.file("c"), "limits": {"rate": "00:00,3M 12:00,1M"}}]})
    assert doc["limits"]["rate"] == table and doc["pairs"][2]["limits"]["rate"] == "00:00,3M 12:00,1M", doc
    t.wait_states("r", "copying", "copying", "copying")
    rates(0, 0, 0)
    clock.set("2027-10-30T05:59:58Z")
    # At eight, by itself; shared by the pairs as any rate, what one with its own can't use is the others'.
    rates(17 * MiB // 2, 17 * MiB // 2, 3 * MiB)
    clock.set("2027-10-30T10:00:00Z")
    rates(19 * MiB // 2, 19 * MiB // 2, MiB)
    clock.set("2027-10-30T17:00:00Z")
    rates(None, None, MiB)
    # Half past two comes twice that night: the first time is enough, and so is the second. Two o'clock between them is before it.
    clock.set("2027-10-31T00:29:00Z")
    rates(None, None, 3 * MiB)
    for at, want in (("00:30:00", 0), ("01:00:00", None), ("01:30:00", 0)):
        clock.set(f"2027-10-31T{at}Z")
        rates(want, want, 3 * MiB if want is None else 0)
    doc = t.show("r")
    assert doc["state"] == "copying" and doc["reason"] == "limits.rate is 0 until 2027-10-31T07:00:00Z", doc
    assert {p["reason"] for p in doc["pairs"]} == {doc["reason"]} and t.states("r") == ["copying"] * 3, doc
    # An agent that was away tells what holds now.
    t.kill()
    clock.set("2027-10-31T12:00:00Z")
    t.start()
    rates(19 * MiB // 2, 19 * MiB // 2, MiB)
    assert t.show("r")["reason"] is None
    # A clock that is put back.
    clock.set("2027-10-31T08:00:00Z")
    rates(17 * MiB // 2, 17 * MiB // 2, 3 * MiB)
    # Changed on the way.
    doc = t.set("r", limits__rate="09:00,6M 10:00,9M")
    assert doc["limits"]["rate"] == "09:00,6M 10:00,9M", doc
    rates(2 * MiB, 2 * MiB, 2 * MiB)
    t.set("r", limits__rate="9M")
    rates(3 * MiB, 3 * MiB, 3 * MiB)
    t.set("r", limits__rate="07:00,off")
    rates(None, None, 3 * MiB)
    assert "limits" not in t.set("r", limits__rate="none")
    t.set("r", limits__rate="00:00,0")
    rates(0, 0, 0)
    assert t.show("r")["reason"] == "limits.rate is 0"
    t.set("r", limits__rate="none")
    rates(None, None, 3 * MiB)
    for rate, code in (("08:00,20M 08:00,1M", "bad_value"), ("25:00,1M", "bad_value"), ("08:00 20M", "bad_value"), ("08:00,1Q", "bad_value"),
                       ("off", "bad_value"), ("08:00,9999999P", "out_of_range")):
        p = t.refused("PATCH", "/sessions/r", {"limits.rate": rate})
        assert p.exit == 3 and p.codes() == {"/limits/rate": code} and p.body["errors"][0]["legal"], p
