#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Outside its window a session makes no generation, though its volumes are in sync, for it would move data: the moment is late, the document says until when, and one
is made when the window opens. Who asks for one gets it at any time."""
import os
import sys

os.environ["TZ"] = "UTC"
sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from agent import AgentTest
from clock import Clock

N = 2 << 20

with AgentTest(fake=False, config="allow_faults: true\n", start=False) as t:
    clock = Clock(t.dir, "2026-11-23T20:10:00Z")
    t.start()
    t.call("POST", "/volumes", {"name": "orders", "resource": t.file("orders", N, os.urandom(N))})
    backup = os.path.join(t.dir, "backup")
    os.mkdir(backup)
    t.submit({"name": "night", "mode": "copy", "start": {"every": "1h", "at": "00:30", "keep": 9}, "window": ["20:00-22:00"],
              "pairs": [{"source": "volume:orders", "target": backup}]})

    def made():
        return [g["time"][11:16] for g in t.show("night")["generations"] if g["complete"]]

    def settled(*times):
        def test():
            doc = t.show("night")
            return doc["state"] == "synced" and doc["phase"] == "mirroring" and made() == list(times) and doc
        try:
            return t.wait(f"the generations of {times}", test)
        except AssertionError as e:
            raise AssertionError(f"{e}: {t.show('night')}") from None

    settled()
    clock.pass_to("2026-11-23T20:30:20Z")
    settled("20:30")
    clock.pass_to("2026-11-23T21:30:20Z")
    doc = settled("20:30", "21:30")
    # The next moment is outside: it is told, and the host that wakes up after it does not make it up.
    assert doc["reason"] == "the next generation is due at 2026-11-23T22:30:00Z, and made when the window opens, at 2026-11-24T20:00:00Z", doc["reason"]
    clock.pass_to("2026-11-24T09:00:20Z")
    t.wait("it is late", lambda: t.show("night")["reason"] ==
           "the generation that was due at 2026-11-23T22:30:00Z waits for the window, which opens at 2026-11-24T20:00:00Z")
    doc = settled("20:30", "21:30")
    assert doc["start_due"] == "2026-11-23T22:30:00Z" and "pause_reasons" not in doc, doc
    # By hand.
    t.verb("night", "switch")
    assert made()[2:] == ["09:00"], made()
    # The window opens: one, and no more.
    clock.pass_to("2026-11-24T20:00:20Z")
    doc = settled("20:30", "21:30", "09:00", "20:00")
    assert doc["start_due"] == "2026-11-24T20:30:00Z" and doc["reason"] == "the next generation is due at 2026-11-24T20:30:00Z", doc
