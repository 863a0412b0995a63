#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""What nobody uses is completed as soon as it is copied: where switch says when, the document warns that this has no say, at the submit and when it is
set. Beside a volume, which is switched then, there is nothing to warn of."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from dray import MiB, Scratch

with Scratch() as s:
    a = s.agent()
    files = [s.file(f"source{i}", MiB, True) for i in range(3)]

    def spec(name, source, **switch):
        return {"name": name, "start": {"event": "go"}, "switch": switch, "pairs": [{"source": source, "target": s.path("target-" + name), "create": "thin"}]}

    def warned(doc):
        return [(w["pointer"], w["code"]) for w in doc.get("warnings") or []]

    when, window = ("/switch/when", "no_switch"), ("/switch/window", "no_switch")
    assert warned(a.spec(spec("both", files[0], when={"event": "later"}, window=["02:00-02:01"]))) == [when, window]
    assert warned(a.spec(spec("none", files[1], when="synced"))) == []
    a.run("set", "none", "switch.when=2099-01-01T00:00:00Z")
    assert warned(a.show("none")) == [when]
    a.run("set", "none", "switch.when=2099-01-01T00:00:01Z", "priority=low")
    assert warned(a.show("none")) == [when], "told twice"
    assert [e["after"] for e in a.json("events", "none") if e["event"] == "warning"] == ["no_switch"]
    a.volume("v", files[2])
    assert warned(a.spec(spec("volume", "volume:v", when={"event": "later"}, window=["02:00-02:01"]))) == []
    a.run("event", "go")
    for name in "both", "none":
        a.wait(name, "completed")
