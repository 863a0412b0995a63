#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
# Shows: regular-file: read-only offline discard zero delete rename
"""Files that were migrated are retired in each way: by the document after the commit, and by command; never before, never what is another's."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from dray import Scratch, same, wait_for  # noqa: E402

WAYS = ("read-only", "offline", "discard", "zero", "delete", "rename")


def read(path):
    os.chmod(path, 0o600)
    with open(path, "rb") as f:
        return f.read()


def check(way, source, session_id, data):
    """The source is as that way leaves it."""
    renamed = f"{source}.retired-{session_id}"
    assert os.path.exists(renamed) == (way == "rename") and os.path.exists(source) == (way not in ("delete", "rename")), way
    if way == "read-only":
        assert os.stat(source).st_mode & 0o777 == 0o444
    elif way == "offline":
        assert os.stat(source).st_mode & 0o777 == 0
    if way in ("discard", "zero"):
        assert os.path.getsize(source) == len(data) and not any(read(source))
    elif way == "rename":
        assert read(renamed) == data
    elif way != "delete":
        assert read(source) == data
    assert not [n for n in os.listdir(os.path.dirname(source)) if n.startswith(".dray-retired")]


def retired(doc, n=0):
    return doc["pairs"][n].get("retired")


def code(problem):
    return {e["pointer"]: e["code"] for e in problem["errors"]}


with Scratch() as s:
    a = s.agent()

    # By the document: after the commit, of an online and of an offline pair.
    for way in WAYS:
        online, offline = s.file(f"on-{way}", "2M", True), s.file(f"off-{way}", "2M", True)
        data = [open(p, "rb").read() for p in (online, offline)]
        for p in (online, offline):
            os.chmod(p, 0o644)
        a.volume(way, online)
        doc = {"name": way, "switch": {"when": "synced", "retire": way}, "pairs": [
            {"source": f"volume:{way}", "target": s.file(f"t-{way}", "2M")}, {"source": offline, "target": s.file(f"u-{way}", "2M")}]}
        dry = a.spec(doc, "--dry-run")
        plans = [p["retire"] for p in dry["plan"]["pairs"]]
        assert online in plans[0] and offline in plans[1] and all(way in p or "renamed" in p for p in plans), plans
        assert sum(p in step for p in plans for step in dry["plan"]["switch"]["steps"]) == 2, dry
        a.spec(doc)
        a.wait(way, "switched")
        wait_for("the offline pair", lambda: (retired(a.show(way), 1) or {}).get("state") == "done")
        # The other is switched and not committed: undo is possible, and nothing was done to its source.
        assert retired(a.show(way)) is None and same(online, s.path(f"t-{way}"))
        a.run("undo", way)
        a.run("switch", way)
        problem = a.json("retire", way, "--pair", "1", "--how", "read-only", status=5)
        assert problem["code"] == "not_legal" and "pair 1 is switched" in problem["detail"], problem
        assert same(online, s.path(f"t-{way}"))
        a.run("commit", way, "--yes")
        done = wait_for("both retired", lambda: (d := a.show(way))["finished"] and d)
        for n, source in enumerate((online, offline)):
            r = retired(done, n)
            assert r["state"] == "done" and r["how"] == way and r["time"] and r["reason"] is None, r
            assert r["name"] == (f"{source}.retired-{done['id']}" if way == "rename" else None), r
            if way in ("discard", "zero"):
                assert r["bytes_done"] == r["bytes_total"] == 2 << 20, r
            check(way, source, done["id"], data[n])
        assert open(s.path(f"t-{way}"), "rb").read() == data[0] and open(s.path(f"u-{way}"), "rb").read() == data[1]
        events = [e["event"] for e in a.json("events", way) if e["pair"] == "1"]
        assert events.index("committed") < events.index("retiring") < events.index("retired"), events
        assert not a.json("locks")
        # Done is done.
        before = [e for e in a.json("events", way) if e["pair"]]
        a.run("retire", way, "--yes")
        assert [e for e in a.json("events", way) if e["pair"]] == before

    # By command, with another way after a first one, which goes on from the new name.
    source = s.file("by-hand", "2M", True)
    data = open(source, "rb").read()
    a.volume("by-hand", source)
    doc = a.json("migrate", "volume:by-hand", s.file("t-by-hand", "2M"), "--commit", "switched")
    problem = a.json("retire", "by-hand", status=3)
    assert code(problem) == {"/how": "missing"} and "--how" in problem["detail"], problem
    assert code(a.json("retire", "by-hand", "--how", "shred", status=3)) == {"/how": "bad_value"}
    assert a.json("retire", "by-hand", "--how", "none", status=3)["code"] == "bad_value"
    got = a.json("retire", "by-hand", "--how", "rename", "--yes")
    assert retired(got)["state"] == "done", got
    check("rename", source, doc["id"], data)
    got = a.json("retire", "by-hand", "--how", "delete", "--yes")
    assert retired(got)["how"] == "delete" and not os.path.exists(source + ".retired-" + doc["id"]), got
    assert "deleted" in a.json("retire", "by-hand", "--how", "zero", "--yes", status=5)["detail"]

    # Not before there is something to retire.
    source = s.file("early", "2M", True)
    a.volume("early", source)
    a.spec({"name": "early", "pairs": [{"source": "volume:early", "target": s.file("t-early", "2M")}]})
    a.wait("early", "synced")
    assert a.json("retire", "early", "--how", "delete", "--yes", status=5)["code"] == "not_legal"
    a.run("cancel", "early")
    assert a.json("retire", "early", "--how", "delete", "--yes", status=5)["code"] == "not_legal"
    assert os.path.exists(source)
    copy = a.json("migrate", "volume:early", s.file("c-early", "2M"), "--copy", "--name", "copy")
    assert copy["state"] == "completed"
    assert "stays in use" in a.json("retire", "copy", "--how", "delete", "--yes", status=5)["detail"]

    # Refused at validation, with what would be possible; nothing was touched.
    os.link(source, s.path("early-too"))
    pairs = [{"source": "volume:early", "target": s.file("v-early", "2M")}]
    problem = a.spec({"name": "x", "switch": {"retire": "delete"}, "pairs": pairs}, status=3)
    assert code(problem) == {"/switch/retire": "retire"}, problem
    assert problem["errors"][0]["legal"] == "none, read-only, offline, discard or zero" and "hard link" in problem["errors"][0]["detail"]
    assert problem["errors"][0]["value"] == "delete"
    problem = a.spec({"name": "x", "mode": "copy", "switch": {"retire": "zero"}, "pairs": pairs}, status=3)
    assert code(problem) == {"/switch/retire": "retire"}, problem
    problem = a.spec({"name": "x", "switch": {"retire": "shred"}, "pairs": pairs}, status=3)
    assert code(problem) == {"/switch/retire": "bad_value"}, problem
    os.unlink(s.path("early-too"))

    # A symbolic link: what it leads to was migrated and is retired.
    real = s.file("real", "2M", True)
    os.symlink(real, s.path("link"))
    doc = a.json("migrate", s.path("link"), s.file("t-link", "2M"), "--name", "link")
    a.run("retire", "link", "--how", "delete", "--yes")
    assert not os.path.exists(real) and os.path.islink(s.path("link"))
