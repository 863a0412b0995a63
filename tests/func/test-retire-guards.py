#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""What stands against a retire is found at the moment of acting, told, and leaves the pair committed and its source as it was: a process that
has it open, a volume it serves, another session, another file of its name. And what is free and what is locked while one is under way."""
import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from dray import SLOW, Scratch, wait_for  # noqa: E402


def retired(doc, n=0):
    return doc["pairs"][n]["retired"]


def content(path):
    with open(path, "rb") as f:
        return f.read()


with Scratch() as s:
    a = s.agent()

    # Somebody reads it. The session ends all the same, says so, and is tried again by command.
    source, target = s.file("held", "1M", True), s.file("t-held", "1M")
    data = content(source)
    a.volume("held", source)
    reader = subprocess.Popen(["sleep", "600"], stdin=open(source, "rb"))
    s.processes.append(reader)
    done = a.run("start", "-", "--wait", status=1, stdin=f"{{name: held, switch: {{when: synced, commit: switched, retire: delete}}, "
                 f"pairs: [{{source: 'volume:held', target: '{target}'}}]}}")
    doc = a.show("held")
    assert doc["state"] == "committed" and doc["finished"] and retired(doc)["state"] == "failed", doc
    assert f"process {reader.pid} (sleep) has it open" in retired(doc)["reason"] and "sleep" in done.stdout, (doc, done)
    assert "its source is not retired: " in a.run("list").stdout
    assert content(source) == data and [e["event"] for e in a.json("events", "held")].count("retire-failed") == 1
    assert not a.json("locks")
    reader.kill()
    reader.wait()
    a.process.terminate()
    assert a.process.wait(20 * SLOW) == 0
    a.start()  # the session was over before
    assert retired(a.json("retire", "held", "--yes"))["state"] == "done" and not os.path.exists(source)
    assert a.show("held")["reason"] is None

    # While one is under way its source is locked, and nothing else of the session.
    go_on = s.path("stall")
    open(go_on, "w").close()
    a.process.kill()
    a.process.wait()
    a.env["DRAY_STALL_AT"] = f"retire-begun:{go_on}"
    a.start()
    source, target = s.file("slow", "1M", True), s.file("t-slow", "1M")
    a.volume("slow", source)
    a.spec({"name": "slow", "switch": {"when": "synced", "commit": "switched", "retire": "zero"},
            "pairs": [{"source": "volume:slow", "target": target}]})
    doc = wait_for("pending", lambda: (d := a.show("slow"))["pairs"][0].get("retired") and d)
    assert doc["state"] == "committed" and doc["finished"] is None and retired(doc)["state"] == "pending", doc
    assert doc["phase"] == doc["pairs"][0]["phase"] == "retiring", doc
    # Of a move of what nobody uses, too.
    moved, to = s.file("moved", "1M", True), s.file("t-moved", "1M")
    a.spec({"name": "moved", "switch": {"retire": "rename"}, "pairs": [{"source": moved, "target": to}]})
    doc2 = wait_for("pending", lambda: (d := a.show("moved"))["pairs"][0].get("retired") and d)
    assert doc2["state"] == "completed" and doc2["finished"] is None and retired(doc2)["state"] == "pending", doc2
    assert doc2["phase"] == doc2["pairs"][0]["phase"] == "retiring", doc2
    assert a.run("wait", "slow", "committed").returncode == 0
    assert sorted((lock["resource"], lock["role"], lock["session"]) for lock in a.json("locks")) == sorted([
        (source, "source", doc["id"]), (moved, "source", doc2["id"])])
    problem = a.spec({"name": "other", "pairs": [{"source": s.file("o", "1M"), "target": source, "overwrite": True}]}, status=3)
    assert problem["errors"][0]["code"] == "locked" and doc["id"] in problem["errors"][0]["detail"], problem
    assert "zero" in a.json("retire", "slow", "--how", "delete", "--yes", status=5)["detail"]
    problem = a.spec({"name": "slow", "pairs": [{"source": "volume:slow", "target": s.file("u", "1M")}]}, status=3)
    assert problem["errors"][0]["code"] == "exists", problem  # its name is in use until it is over
    again = a.spec({"name": "slow-again", "pairs": [{"source": "volume:slow", "target": s.file("u", "1M")}]})
    assert again["state"] != "failed"
    waiting = s.start("dray", "retire", "slow", "--yes", env=a.env, log="waiting.log")
    os.unlink(go_on)
    wait_for("the end", lambda: a.show("slow")["finished"])
    doc2 = wait_for("the end of the other", lambda: (d := a.show("moved"))["finished"] and d)
    assert doc2["phase"] is None and retired(doc2)["state"] == "done" and os.path.exists(f"{moved}.retired-{doc2['id']}"), doc2
    assert waiting.wait(60 * SLOW) == 0 and not any(content(source)) and retired(a.show("slow"))["state"] == "done"
    a.wait("slow-again", "synced")
    a.run("cancel", "slow-again")

    # A leg of a volume again; locked by another session; another file; gone.
    source, target = s.file("again", "1M", True), s.file("t-again", "1M")
    data = content(source)
    doc = a.json("migrate", source, target, "--name", "again")
    a.volume("again", source)
    got = a.json("retire", "again", "--how", "zero", "--yes", status=1)
    assert "a leg of volume again" in got["detail"], got
    assert a.show("again")["state"] == "completed" and content(source) == data
    a.run("volume", "remove", "again")
    a.spec({"name": "locker", "limits": {"rate": "1"}, "pairs": [{"source": source, "target": s.file("t2-again", "1M")}]})
    got = a.json("retire", "again", "--how", "rename", "--yes", status=3)
    assert got["code"] == "locked" and os.path.exists(source), got
    a.run("cancel", "locker")
    os.rename(source, source + ".old")
    new = s.file("again", "1M", True)
    mine = content(new)
    for how in ("read-only", "offline", "discard", "zero", "delete", "rename"):
        got = a.json("retire", "again", "--how", how, "--yes", status=3)
        assert [e["code"] for e in got["errors"]] == ["replaced"], (how, got)
    assert content(new) == mine and os.stat(new).st_mode & 0o200
    os.unlink(new)
    got = a.json("retire", "again", "--how", "delete", "--yes", status=3)
    assert [e["code"] for e in got["errors"]] == ["not_found"], got
    os.rename(source + ".old", source)
    a.run("retire", "again", "--how", "delete", "--yes")
    assert not os.path.exists(source) and content(target) == data
