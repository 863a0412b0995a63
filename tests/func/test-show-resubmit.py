#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""What `dray show` prints is a document: without its ids and states it can be submitted again, and prints the same."""
import json
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from dray import MiB, Scratch

OUTPUT = {"id", "state", "created", "started", "finished", "reason", "progress", "blackout_us", "predicted_blackout_us", "verified",
          "dirty_bytes", "phase", "targets", "not_paused", "pause_reasons", "generations", "bound_by", "latency_us", "copy_window"}
DOCUMENT = """
name: again
priority: high
limits: {active_pairs: 2, rate: 4MiB}
switch:
  when: manual
  deadline: 1500ms
pairs:
  - source: volume:one
    target: %(new1)s
    create: thin
  - {source: "volume:two", target: ["%(new2)s"], create: thin}
"""


def strip(doc):
    doc = {k: v for k, v in doc.items() if k not in OUTPUT}
    doc["pairs"] = [{k: v for k, v in p.items() if k not in OUTPUT} for p in doc["pairs"]]
    return doc


with Scratch() as s:
    a = s.agent()
    for v in ("one", "two"):
        a.volume(v, s.file(v, 4 * MiB, True))
    names = {"new1": s.path("new1"), "new2": s.path("new2")}
    first = a.json("start", "-", stdin=DOCUMENT % names)
    assert first["id"].startswith("s-")
    shown = a.show("again")
    text = a.run("show", "again", "-o", "yaml").stdout
    assert "rate: 4MiB" in text and "deadline: 1500ms" in text and "priority: high" in text, text
    # The name is taken while the first one lives.
    refused = a.json("start", "-", stdin=json.dumps(strip(shown)), status=3)
    assert any(e["pointer"] == "/name" for e in refused["errors"]), refused
    a.run("cancel", "again")

    # JSON, with what was created last time allowed to be overwritten.
    second = strip(shown)
    for p in second["pairs"]:
        p["overwrite"] = True
    again = a.json("start", "-", stdin=json.dumps(second))
    assert again["id"] != first["id"]
    assert strip(a.show("again")) == second
    a.run("cancel", "again")

    # YAML, line by line: output keys are those of one line, or blocks below one. A pair's dash goes to its first key that is kept.
    keep, skip_below, dash = [], None, None
    for line in a.run("show", "again", "-o", "yaml").stdout.splitlines():
        indent = len(line) - len(line.lstrip(" "))
        begins, key = line[indent:].startswith("- "), line.strip(" -").split(":")[0]
        indent += 2 * begins
        if skip_below is not None and (indent > skip_below or (begins and indent - 2 == skip_below)):
            continue
        skip_below = None
        if begins and ":" in line:
            dash = indent - 2
        if key in OUTPUT:
            skip_below = indent
            continue
        if dash is not None and ":" in line:
            line = line[:dash].replace("-", " ") + "- " + line[dash + 2:]
            dash = None
        keep.append(line)
    third = a.json("start", "-", stdin="\n".join(keep) + "\n")
    assert third["id"] not in (first["id"], again["id"])
    assert strip(a.show("again")) == second
    # An output key other than the id is refused by name.
    refused = a.json("start", "-", stdin=json.dumps(dict(second, name="other", state="copying")), status=3)
    assert any("state" in e["pointer"] for e in refused["errors"]), refused
