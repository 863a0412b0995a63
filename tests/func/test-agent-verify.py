#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""A target that was changed behind dray's back: the verification before the switch finds it, and the pair fails instead of switching;
with repair it is made good and the switch follows."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from agent import AgentTest  # noqa: E402
from dray import same  # noqa: E402

SIZE = 8 << 20


def spoil(path):
    with open(path, "r+b") as f:
        f.seek(3 << 20)
        f.write(b"not what was copied" * 1000)
        f.flush()
        os.fsync(f.fileno())


with AgentTest(fake=False) as t:
    source, target = t.file("source", SIZE, os.urandom(SIZE)), t.file("target", SIZE)
    t.call("POST", "/volumes", {"name": "v", "resource": source})
    t.submit({"name": "s", "pairs": [{"source": "volume:v", "target": target}]})
    t.wait_state("s", "synced")
    assert t.verb("s", "verify")["pairs"][0]["bytes_differing"] == 0
    spoil(target)
    report = t.verb("s", "verify")["pairs"][0]
    assert report["bytes_compared"] == SIZE and report["bytes_differing"] > 0, report
    assert report["ranges"] and report["ranges"][0]["offset"] <= 3 << 20 < report["ranges"][0]["offset"] + report["ranges"][0]["length"], report
    assert t.show("s")["pairs"][0]["verified"] == "differs"
    p = t.refused("POST", "/sessions/s/switch", {})
    assert p.exit == 5 and p.body["code"] == "differs", p
    # Before the switch: refused by failing; never switched.
    t.set("s", verify="full")
    t.set("s", switch__when="synced")
    t.wait_states("s", "failed")
    assert "differ" in t.show("s")["pairs"][0]["reason"] and t.call("GET", "/volumes/v")["primary"] == source
    t.verb("s", "cancel")

    t.submit({"name": "r", "verify": {"mode": "full", "repair": True}, "switch": {"when": "manual"},
              "pairs": [{"source": "volume:v", "target": target, "overwrite": True}]})
    t.wait("verified", lambda: t.show("r")["pairs"][0]["verified"] == "clean")
    spoil(target)
    report = t.verb("r", "verify", repair=True)["pairs"][0]
    assert report["bytes_differing"] > 0, report
    assert t.verb("r", "verify")["pairs"][0]["bytes_differing"] == 0
    assert t.verb("r", "switch")["state"] == "switched"
    t.verb("r", "commit")
    assert same(source, target)
