#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""A document with everything wrong: all of it is said at once, status 3, and nothing was touched, locked or recorded."""
import hashlib
import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from dray import MiB, Scratch, need

os.environ["PATH"] += ":/usr/sbin:/sbin"
need("mkfs.ext4")


def digest(path):
    with open(path, "rb") as f:
        return hashlib.sha256(f.read()).hexdigest()


with Scratch() as s:
    a = s.agent()
    for i in range(4):
        a.volume(f"v{i}", s.file(f"old{i}", 4 * MiB, True))
    small, with_fs, good = s.file("small", 1 * MiB), s.file("with-fs", 4 * MiB), s.file("good", 4 * MiB)
    subprocess.run(["mkfs.ext4", "-q", "-F", with_fs], check=True)
    link = s.path("link")
    os.symlink(good, link)
    files = [small, with_fs, good] + [s.path(f"old{i}") for i in range(4)]
    before = {f: digest(f) for f in files}
    names = sorted(os.listdir(s.dir))

    document = f"""
name: wrong
limits:
  rate: 5 parsecs
colour: blue
pairs:
  - source: {s.path('missing')}
    target: {s.path('never-made')}
    create: thin
  - {{source: "volume:v0", target: {small}}}
  - {{source: "volume:v1", target: {with_fs}}}
  - {{source: "volume:v2", target: {good}}}
  - {{source: "volume:v3", target: {link}}}
  - {{source: "volume:nowhere", target: {s.path('never-made-2')}, create: thin}}
  - source: volume:v0
    target: {s.path('never-made-3')}
    create: thin
    vehicle: broomstick
"""
    done = a.run("start", "-", "-o", "json", stdin=document, status=3)
    import json
    problem = json.loads(done.stderr)
    errors = problem["errors"]
    for e in errors:
        print(e["pointer"], e.get("line"), e["code"], e["detail"])

    def said(pointer, *words):
        hits = [e for e in errors if e["pointer"].startswith(pointer)]
        assert any(all(w in str(e) for w in words) for e in hits), (pointer, words, hits)

    said("/limits/rate", "parsecs")
    said("/colour", "colour")
    said("/pairs/0/source", "missing")
    said("/pairs/1/target", "too_small")
    said("/pairs/2/target", "ext4")
    assert any(e["pointer"].startswith(("/pairs/3/target", "/pairs/4/target")) for e in errors), "one file under two spellings"
    said("/pairs/5/source", "nowhere")
    said("/pairs/6/vehicle", "broomstick")
    assert any(e["pointer"].startswith(("/pairs/1/source", "/pairs/6/source")) for e in errors), "one volume in two pairs"
    assert len([e for e in errors if e["code"] == "same_device"]) == 2, "each is told once"
    lines = {e["pointer"]: e.get("line") for e in errors}
    assert lines.get("/colour") == 5 and lines.get("/limits/rate") == 4, lines

    # The same for people: on stderr, one line each.
    done = a.run("start", "-", stdin=document, status=3)
    assert not done.stdout and all(w in done.stderr for w in ("parsecs", "colour", "missing", "ext4", "broomstick")), done.stderr

    # Nothing was touched, locked or recorded.
    assert {f: digest(f) for f in files} == before
    assert [n for n in sorted(os.listdir(s.dir)) if not n.endswith(".log")] == [n for n in names if not n.endswith(".log")]
    assert a.json("locks") == [] and a.json("list") == []
    for i in range(4):
        assert len(a.json("volume", "show", f"v{i}")["legs"]) == 1

    # What can't be read at all says where.
    refused = a.json("start", "-", stdin="name: x\npairs:\n  - {source: [\n", status=3)
    assert refused["code"] == "syntax" and refused["errors"][0]["line"] >= 3, refused
    # A volume of this very dray-iod is neither a source nor a target.
    own = a.uri("v0")
    refused = a.spec({"name": "loop", "pairs": [{"source": "volume:v2", "target": own}, {"source": own, "target": good}]}, status=3)
    assert [e["code"] for e in refused["errors"]] == ["self_export", "self_export"] and a.json("locks") == [], refused
    # And the good part alone is taken.
    a.spec({"name": "right", "pairs": [{"source": "volume:v2", "target": good}]})
