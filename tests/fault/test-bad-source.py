#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""A source with bad sectors, as its administrator sees it (H17): the pair becomes synced, the document lists what can't be read, an automatic
switch waits and says why, a command is refused with the figures (409, status 5) until they are accepted; afterwards these read as
errors; after an undo and a retry of a source that recovered, nothing is bad and nothing is lost."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from dray import MiB, Scratch, same, wait_for
from nbdclient import Client, NbdError

BAD = [(2 * MiB, 4096), (5 * MiB + 8192, 512)]
TOTAL = sum(n for _, n in BAD)


def readable(a, at):
    c = Client(a.nbd_socket, "v")
    try:
        return c.read(at, 512)
    except NbdError:
        return None
    finally:
        c.close()


def events(a):
    return [e["event"] for e in a.json("events", "move")]


with Scratch() as s:
    a = s.agent()
    disk, target = s.holdback("disk", "8M"), s.path("new")
    data = os.urandom(8 * MiB)
    with open(disk.file, "wb") as f:
        f.write(data)
    disk.faults(*[f"fail read EIO 1000000 {at} {n}" for at, n in BAD])
    a.volume("v", disk.uri)
    a.spec({"name": "move", "leg_timeout": "1h", "switch": {"when": "synced"}, "pairs": [{"source": "volume:v", "target": target, "create": "thin"}]})
    a.wait("move", "synced")
    doc = wait_for("it says what it waits for", lambda: (d := a.show("move"))["reason"] and d)
    assert doc["state"] == "synced" and doc["reason"].startswith("bad ranges: pair 1") and str(TOTAL) in doc["reason"], doc["reason"]
    pair = doc["pairs"][0]
    assert pair["bad_bytes"] == TOTAL and [(r["offset"], r["length"]) for r in pair["bad_ranges"]] == BAD, pair
    assert not any(r["lost"] for r in pair["bad_ranges"])
    # Nobody waits for ever for a switch that will not come.
    a.run("watch", "move", status=1)
    refused = a.json("switch", "move", status=5)
    assert refused["status"] == 409 and refused["code"] == "bad_ranges" and refused["bad_bytes"] == TOTAL, refused
    got = events(a)
    assert "bad-ranges" in got and "source-read-failed" in got, got
    # The list is in the document over a restart of the agent, too, and so is the refusal.
    a.process.terminate()
    a.process.wait()
    a.start()
    assert a.pair("move")["bad_bytes"] == TOTAL
    assert a.json("switch", "move", status=5)["code"] == "bad_ranges"
    # By command, as they are now.
    a.run("set", "move", "switch.when=manual")
    a.run("switch", "move", "--accept-bad")
    pair = a.pair("move")
    assert pair["state"] == "switched"
    pair = wait_for("the document says what was left behind", lambda: (p := a.pair("move")) and all(r["lost"] for r in p.get("bad_ranges", [])) and p)
    assert pair["bad_bytes"] == TOTAL, pair
    assert readable(a, BAD[0][0]) is None and readable(a, BAD[1][0]) is None and readable(a, 0) == data[:512]
    # Back, to a source that has recovered: its data is there again, and after another look also on the target.
    a.run("undo", "move")
    disk.faults()
    assert readable(a, BAD[0][0]) == data[BAD[0][0]:BAD[0][0] + 512]
    assert a.json("switch", "move", status=5)["code"] == "bad_ranges"
    a.run("retry", "move", "--pair", "1")
    wait_for("nothing is bad any more", lambda: (p := a.pair("move")) and "bad_bytes" not in p and "bad_ranges" not in p and
             p["state"] == "synced")
    assert a.pair("move")["progress"]["bytes_copied"] <= 8 * MiB + 2 * MiB
    a.run("switch", "move")
    assert readable(a, BAD[0][0]) == data[BAD[0][0]:BAD[0][0] + 512]
    a.run("commit", "move", "--yes")
    assert same(target, disk.file)

    # By the document: nobody has to be asked. And a copy, whose image would have zeroes there, is refused as well.
    disk.faults(f"fail read EIO 1000000 {BAD[0][0]} 4096")
    a.volume("w", disk.uri)
    a.spec({"name": "by-document", "switch": {"when": "synced", "accept_bad_ranges": True},
            "pairs": [{"source": "volume:w", "target": s.path("new2"), "create": "thin"}]})
    a.wait("by-document", "switched")
    assert a.pair("by-document")["bad_bytes"] == 4096
    a.run("commit", "by-document", "--yes")
    a.run("volume", "remove", "w")
    a.spec({"name": "copy", "mode": "copy", "pairs": [{"source": disk.uri, "target": s.path("new3"), "create": "thin"}]})
    doc = wait_for("the copy waits", lambda: (d := a.show("copy"))["state"] == "synced" and d["reason"] and d)
    assert doc["reason"].startswith("bad ranges:"), doc
    a.run("set", "copy", "switch.accept_bad_ranges=true")
    a.wait("copy", "completed")
    assert a.pair("copy")["bad_bytes"] == 4096, a.pair("copy")

    # A verification says what it could not compare, and is done nevertheless.
    a.volume("x", disk.uri)
    a.spec({"name": "verified", "verify": "full", "switch": {"when": "manual"},
            "pairs": [{"source": "volume:x", "target": s.path("new4"), "create": "thin"}]})
    a.wait("verified", "synced")
    report = a.json("verify", "verified")["pairs"][0]
    assert report["bytes_differing"] == 0 and report["bytes_skipped"] == 4096 and report["bytes_compared"] == 8 * MiB - 4096, report
    a.run("switch", "verified", "--accept-bad")
