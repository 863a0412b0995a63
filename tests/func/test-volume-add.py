#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""volume add: a relative path is the caller's; each refusal names the member that is wrong, and its value."""
import json
import os
import subprocess
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from agent import UnixConnection  # noqa: E402
from dray import SLOW, Scratch, wait_for  # noqa: E402

with Scratch() as s:
    a = s.agent()
    old = s.file("old", "1M")
    subprocess.run(["dray", "volume", "add", "v", "old"], cwd=s.dir, env=a.env, check=True, stdout=subprocess.DEVNULL)
    assert a.json("volume", "show", "v")["primary"] == old
    other = s.file("other", "1M")
    os.link(old, s.path("hard"))
    for name, resource, pointer, code, value in (
            ("v", other, "/name", "exists", "v"), ("a b", other, "/name", "bad_name", "a b"), (".", other, "/name", "bad_name", "."),
            ("w", s.path("hard"), "/resource", "exists", s.path("hard")), ("w", s.path("none"), "/resource", "not_found", s.path("none")),
            ("w", s.dir, "/resource", "bad_resource", s.dir), ("w", s.file("empty", 0), "/resource", "too_small", s.path("empty")),
            ("w", a.uri("v"), "/resource", "self_export", a.uri("v"))):
        refused = a.json("volume", "add", name, resource, status=3)
        e = refused["errors"]
        assert [(x["pointer"], x["code"], x["value"]) for x in e] == [(pointer, code, value)], refused
    # All that is wrong is told at once, whoever finds it, each where it is.
    def problems(**body):
        try:
            socket = UnixConnection(a.socket, 60 * SLOW)
            socket.request("POST", "/v1/volumes", json.dumps(body))
            answer = socket.getresponse()
            assert answer.status == 422, (answer.status, answer.read())
            e = json.loads(answer.read())["errors"]
            assert all(x["detail"] and x["legal"] for x in e), e
            return {x["pointer"]: (x["code"], x["value"]) for x in e}
        finally:
            socket.close()
    none = s.path("none")
    assert problems(name="a b", resource=none) == {"/name": ("bad_name", "a b"), "/resource": ("not_found", none)}
    assert problems(name="n" * 5000, resource=s.dir, block_bytes=1e3) == {
        "/name": ("bad_name", "n" * 5000), "/resource": ("bad_resource", s.dir), "/block_bytes": ("bad_value", "1000.0")}
    assert problems(name=5, resource=[], block_bytes="x", size=1) == {
        "": ("unknown_key", "size"), "/name": ("wrong_type", "5"), "/resource": ("wrong_type", "[]"), "/block_bytes": ("bad_value", "x")}
    assert problems(resource={"resource": other, "offset": "1M", "length": -512, "size": 5}) == {
        "/name": ("missing", None), "/resource/offset": ("wrong_type", "1M"), "/resource/length": ("out_of_range", "-512"),
        "/resource": ("unknown_key", "size")}
    assert problems(name="w", resource={"offset": 0}) == {"/resource/resource": ("missing", None)}
    assert problems(name="w", resource="old") == {"/resource": ("bad_value", "old")}
    # What is only tried is no volume, for those who look meanwhile, nor for the agent when it tells what was wrong.
    end, seen = threading.Event(), set()

    def look():
        while not end.is_set():
            seen.update(v["name"] for v in a.json("volume", "list"))

    watcher = threading.Thread(target=look, daemon=True)
    watcher.start()
    wait_for("somebody looks", lambda: seen)
    for i in range(6):  # each waits for a lock that it does not get
        refused = a.json("volume", "add", f"w{i}", s.path("hard"), status=3)
        assert [(x["pointer"], x["code"]) for x in refused["errors"]] == [("/resource", "exists")], refused
    end.set()
    watcher.join()
    assert seen == {"v"}, seen
    # A volume may be named like a session's id; its session may not.
    a.volume("s-1", other)
    doc = a.json("migrate", "volume:s-1", s.file("new-s", "1M"))
    assert doc["state"] == "switched" and doc["name"] == "move-s-1", doc
    a.run("commit", "move-s-1")
    # A source without bytes is refused before anything is started.
    refused = a.json("migrate", s.path("empty"), s.path("new"), "--create", "thin", status=3)
    assert refused["errors"][0]["pointer"] == "/pairs/0/source" and a.json("locks") == [] and not os.path.exists(s.path("new")), refused
