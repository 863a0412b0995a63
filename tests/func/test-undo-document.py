#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""After an undo the document says that a person switches next (H19), and what was copied stays told."""
import json
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from dray import MiB, Scratch, undisturbed

with Scratch() as s:
    a = s.agent()
    a.volume("v", s.file("old", 4 * MiB, True))
    doc = a.spec(undisturbed({"name": "x", "switch": {"when": "synced"}, "pairs": [{"source": "volume:v", "target": [s.file("b", 4 * MiB), s.file("c", 4 * MiB)]}]}),
                 "--wait")
    assert doc["state"] == "switched" and doc["pairs"][0]["progress"]["bytes_copied"] == 8 * MiB, doc
    doc = a.json("undo", "x")
    for _ in range(2):
        assert doc["state"] == "synced" and doc["switch"]["when"] == "manual", doc
        assert doc["pairs"][0]["progress"]["bytes_copied"] == 8 * MiB, doc
        a.process.kill()
        a.process.wait()
        a.start()
        doc = a.show("x")
    def apply(doc):
        with open(s.path("spec"), "w", encoding="utf-8") as f:
            json.dump(doc, f)
        a.run("apply", s.path("spec"))

    # Applied as it is shown it is left at that. Said anew, it is done at once: by a document, also the one of the submit, and by set.
    apply(doc | {"priority": "high"})
    doc = a.show("x")
    assert doc["state"] == "synced" and doc["switch"]["when"] == "manual" and doc["priority"] == "high", doc
    apply(doc | {"switch": {"when": "synced"}})
    a.wait("x", "switched")
    a.run("undo", "x")
    apply(doc | {"switch": {"when": "synced"}})
    a.wait("x", "switched")
    a.run("undo", "x")
    apply({"name": "x", "leg_timeout": doc["leg_timeout"], "pairs": [{k: doc["pairs"][0][k] for k in ("source", "target")}]})
    doc = a.show("x")
    assert doc["state"] == "synced" and doc["switch"]["when"] == "manual" and doc["priority"] == "normal", doc
    a.run("set", "x", "switch.when=synced")
    a.wait("x", "switched")
    # An offline pair that is done has no rate any more.
    doc = a.json("migrate", s.file("o", 4 * MiB, True), s.path("p"), "--create", "full", "--rate", "16MiB")
    assert doc["state"] == "completed" and doc["pairs"][0]["progress"]["rate"] == doc["pairs"][0]["progress"]["eta_seconds"] == 0, doc
    if os.geteuid():
        os.chmod(s.dir, 0o500)
        refused = a.json("migrate", s.path("old"), s.path("new"), "--create", "thin", status=3)
        os.chmod(s.dir, 0o700)
        assert refused["errors"][-1]["code"] == "not_accessible", refused
