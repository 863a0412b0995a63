#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""With the real dray-iod: an offline move and copy complete by themselves and leave no volume behind; a copy of two live volumes is
split at one moment; the source stays what it was."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from agent import AgentTest  # noqa: E402
from dray import same  # noqa: E402

SIZE = 4 << 20

with AgentTest(fake=False) as t:
    data = os.urandom(SIZE)
    a, b = t.file("a", SIZE, data), t.file("b", SIZE, data[::-1])
    out = os.path.join(t.dir, "out")
    t.submit({"name": "off", "leg_timeout": "1m", "pairs": [{"source": a, "target": out, "create": "thin"},
                                                            {"source": b, "target": [t.file("b1", SIZE), t.file("b2", SIZE)]}]})
    doc = t.wait_state("off", "completed")
    assert same(a, out) and same(b, os.path.join(t.dir, "b1")) and same(b, os.path.join(t.dir, "b2"))
    assert doc["progress"]["bytes_copied"] == 3 * SIZE and doc["progress"]["bytes_recopied"] == 0, doc["progress"]
    assert t.call("GET", "/volumes") == [] and t.call("GET", "/locks") == []
    assert t.call("GET", "/status")["iod"]["volumes"] == 0

    for name, path in (("va", a), ("vb", b)):
        t.call("POST", "/volumes", {"name": name, "resource": path})
    t.submit({"name": "copy", "mode": "copy", "leg_timeout": "1m", "pairs": [
        {"source": "volume:va", "target": t.file("ca", SIZE)},
        {"source": "volume:vb", "target": t.file("cb", 2 * SIZE)}]})
    doc = t.wait_state("copy", "completed")
    assert same(a, os.path.join(t.dir, "ca")) and same(b, os.path.join(t.dir, "cb"), SIZE)
    assert [len(v["legs"]) for v in t.call("GET", "/volumes")] == [1, 1] and t.call("GET", "/locks") == []
    assert [v["primary"] for v in t.call("GET", "/volumes")] == [a, b]
    assert all(p["targets"][0]["state"] == "detached" for p in doc["pairs"]), doc

    # A copy that waits for a person.
    t.submit({"name": "held", "mode": "copy", "switch": {"when": "manual"}, "verify": "full",
              "pairs": [{"source": "volume:va", "target": t.file("da", SIZE)}]})
    t.wait_state("held", "synced")
    doc = t.wait("verified", lambda: t.show("held")["pairs"][0]["verified"] and t.show("held"))
    assert doc["pairs"][0]["verified"] == "clean", doc
    report = t.verb("held", "verify")
    report = report["pairs"][0]
    assert (report["id"], report["bytes_compared"], report["bytes_differing"], report["ranges"]) == ("1", SIZE, 0, []), report
    assert t.verb("held", "switch")["state"] == "completed"
    assert same(a, os.path.join(t.dir, "da"))
