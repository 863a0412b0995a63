#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""The news that a target was set aside may overtake a list of volumes that was made before: that list says "copying", with more copied, and is
no recovery. The one after a retry is."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from agent import AgentTest  # noqa: E402

with AgentTest() as t:
    t.call("POST", "/volumes", {"name": "v", "resource": t.file("source")})
    t.submit({"name": "s", "pairs": [{"source": "volume:v", "target": t.file("target")}]})
    t.wait_states("s", "copying")  # the pair: its session is copying from the moment it starts, before there is a leg
    volume = "v"

    def events(name):
        return [e for e in t.call("GET", "/events?session=s") if e["event"] == name]

    def leg(**what):
        with t.iod.lock:
            t.iod.leg(volume).update(what)

    leg(copied_bytes=1 << 16)
    t.iod.event("leg-synced", volume=volume, leg=1)  # any news has the list read
    t.wait("that is seen", lambda: t.show("s")["pairs"][0]["progress"]["bytes_copied"] == 1 << 16)
    t.iod.event(volume=volume, leg=1, state="degraded", error="write failed: Input/output error")
    t.wait("it is told", lambda: events("target-degraded"))
    leg(copied_bytes=1 << 17)
    t.iod.event("leg-synced", volume=volume, leg=1)
    t.wait("that is seen", lambda: t.show("s")["pairs"][0]["progress"]["bytes_copied"] == 1 << 17)
    assert not events("target-recovered"), events("target-recovered")

    t.iod.event(volume=volume, leg=1, state="copying", error="")
    leg(copied_bytes=1 << 18)
    t.iod.event("leg-synced", volume=volume, leg=1)
    t.wait("it is well again", lambda: events("target-recovered"))
    assert "1 attempts" in events("target-recovered")[0]["detail"], events("target-recovered")
