#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Errors of the command line: each has its exit status, is told to people in lines and to programs as problem+json on stderr."""
import json
import os
import socket as sockets
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from fake_agent import FakeAgent, document

with FakeAgent() as a:
    # Wrong usage never reaches the agent.
    for args in (["frobnicate"], ["--frob"], ["list", "--frob"], ["show"], ["show", "a", "b"], ["wait", "a", "nowhere"], ["pause", "-z", "a"],
                 ["wait", "a", "synced", "--timeout", "soon"], ["set", "a", "rate"], ["set", "a", "x=1", "x=2"], ["list", "-o", "xml"],
                 ["list", "--state", "happy"], ["list", "--limit", "x"], ["start"], ["start", "x", "--wait=1"], ["pause", "a", "--pair"],
                 ["volume"], ["volume", "eat"], ["help", "frobnicate"], ["events", "--after", "x"], []):
        done = a.run(*args, status=2)
        assert done.stderr and not done.stdout, args
    problem = json.loads(a.run("list", "--frob", "-o", "json", status=2).stderr)
    assert problem["exit"] == 2 and "--frob" in problem["detail"] and problem["code"] == "usage", problem
    for n in ("0", "000", "", "-1", "1x", "1" * 19):  # 0 would be all of them to the agent
        assert f'dray list: --limit: "{n}" is not a number from 1 to 999999999999999999' in a.run("list", "-n", n, status=2).stderr, n
    assert not a.asked

    # What the agent says.
    problem = {"type": "about:blank", "title": "refused", "status": 422, "code": "validation", "exit": 3,
               "detail": "2 problems in the document", "errors": [
                   {"pointer": "/limits/rate", "line": 4, "value": "10MB", "code": "bad_unit", "detail": "\"10MB\" is not a size", "legal": "64MiB"},
                   {"pointer": "/pairs/1/target", "line": None, "value": "/dev/b", "code": "locked", "detail": "in use", "legal": None}]}
    a.answer("POST", "/v1/sessions", 422, problem)
    done = a.run("start", "-", status=3, stdin="name: x\n")
    assert not done.stdout
    assert "line 4: limits.rate: \"10MB\" is not a size (legal: 64MiB)" in done.stderr, done.stderr
    assert "pair 2: target: \"/dev/b\": in use" in done.stderr, done.stderr
    done = a.run("start", "-", "-o", "json", status=3, stdin="name: x\n")
    assert json.loads(done.stderr) == problem and not done.stdout
    spec = os.path.join(a.dir, "move.yaml")
    with open(spec, "w") as f:
        f.write("name: x\n")
    assert f"{spec}:4: limits.rate" in a.run("start", spec, status=3).stderr
    assert a.asked[-1][2] == "name: x\n" and a.asked[-1][3]["Content-Type"] == "application/yaml"
    a.run("start", os.path.join(a.dir, "missing.yaml"), status=3)

    for status, http in ((4, 404), (5, 409), (1, 500), (7, 504), (3, 400)):
        a.answer("POST", "/v1/sessions/orders/pause", http, {"title": "no", "detail": "because", "exit": status})
        assert "because" in a.run("pause", "orders", status=status).stderr
        a.answer("POST", "/v1/sessions/orders/pause", http, {"title": "no", "detail": "because"})  # the status alone will do
        a.run("pause", "orders", status=status)
        a.answer("POST", "/v1/sessions/orders/pause", http, "<html>")
        a.run("pause", "orders", status=status)
    a.answer("GET", "/v1/sessions", 200, "not json")
    a.run("list", status=1)

    # A name is escaped on its way.
    a.answer("GET", "/v1/sessions/a%20b%3F", 200, document("copying"))
    a.run("show", "a b?", "-o", "json")
    socket = a.socket

# Nobody there.
with FakeAgent() as a:
    for args in (["list"], ["watch", "orders"], ["events", "--follow"], ["migrate", "/a", "/b"]):
        done = a.run(*args, status=6, env={"DRAY_SOCKET": socket})
        assert socket in done.stderr and "drayd" in done.stderr, done.stderr
    problem = json.loads(a.run("status", "-o", "json", "--socket", "/nowhere/agent.sock", status=6).stderr)
    assert problem["exit"] == 6 and problem["code"] == "unreachable"
    assert "too long" in a.run("status", "--socket=/" + "x" * 200, status=6).stderr
    # A socket that a killed agent left, and one that is none of ours: told in words of sockets.
    left = os.path.join(a.dir, "left.sock")
    with sockets.socket(sockets.AF_UNIX) as s:
        s.bind(left)
    assert "nobody listens there (is drayd running?)" in a.run("status", "--socket", left, status=6).stderr
    os.mkdir(os.path.join(a.dir, "locked"), 0)
    done = a.run("status", "--socket", os.path.join(a.dir, "locked", "agent.sock"), status=6)
    os.chmod(os.path.join(a.dir, "locked"), 0o700)
    assert ("no such socket" if os.geteuid() == 0 else "Permission denied") in done.stderr, done.stderr
    # The agent's own directory is the default.
    run = os.path.join(a.dir, "dray")
    os.symlink(a.dir, run)
    if os.geteuid() != 0:
        a.answer("GET", "/v1/sessions", 200, [])
        a.run("list", env={"DRAY_SOCKET": "", "XDG_RUNTIME_DIR": a.dir})
