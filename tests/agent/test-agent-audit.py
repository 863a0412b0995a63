#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Who asked for what and what became of it is on record; followers miss nothing, over a cut, a slow reader and a restart of drayd."""
import json
import os
import signal
import socket
import subprocess
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from agent import AgentTest, UnixConnection  # noqa: E402
from dray import BUILD, SLOW  # noqa: E402

ME = f"uid:{os.getuid()}"

with AgentTest() as t:
    for n in "abc":
        t.iod.add(n, "/nowhere/" + n, 1 << 20)
    doc = t.submit({"name": "one", "pairs": [{"source": "volume:a", "target": t.file("a")}, {"source": "volume:b", "target": t.file("b")}]})
    t.wait_states("one", "copying", "copying")

    def events(*words, after=0):
        return [e for e in t.call("GET", f"/events?after={after}") if e["event"] in words]

    def told(n, *words):
        """The last n of these, once they are there."""
        return t.wait(f"{n} of {words}", lambda: len(events(*words)) >= n and events(*words))

    # A verb: asked together with what it wants, before what comes of it; answered when it is done.
    t.verb("one", "pause", pairs=["1"])
    a, b = told(2, "asked", "answered")
    assert (a["event"], a["actor"], a["session"], a["before"], a["detail"]) == ("asked", ME, doc["id"], "copying", 'pause {"pairs":["1"]}'), a
    assert (b["event"], b["actor"], b["session"], b["detail"]) == ("answered", ME, doc["id"], "pause: done"), b
    between = [e for e in t.call("GET", f"/events?after={a['seq']}") if e["seq"] < b["seq"]]
    assert [(e["event"], e["after"], e["actor"]) for e in between][0] == ("state", "paused", ME), between

    # Fulfilled already: no event at all, but in the log.
    n = t.call("GET", "/events")[-1]["seq"]
    t.verb("one", "pause", pairs=["1"])
    assert t.call("GET", f"/events?after={n}") == [], t.call("GET", f"/events?after={n}")
    assert t.log().count("event=request") >= 3 and f"actor={ME} pid={os.getpid()} gid={os.getgid()} method=POST path=/sessions/one" in t.log(), t.log()

    # Refused: by whom, what, why. The same again within seconds is in the log only.
    for _ in range(3):
        t.refused("POST", "/sessions/one/undo", {})
    r = told(1, "refused")
    assert len(r) == 1 and r[0]["actor"] == ME and r[0]["session"] == doc["id"] and r[0]["detail"].startswith("undo: not_legal: undo is not legal"), r
    t.refused("POST", "/sessions", {"name": "bad", "colour": 1, "pairs": []})
    t.refused("DELETE", "/volumes/a")
    t.refused("PATCH", "/settings", {"rate": "fast"})
    t.refused("PATCH", "/sessions/one", {"limits.rate": "fast"})
    r = told(5, "refused")
    assert [e["detail"].split(":")[0] for e in r[1:]] == ["POST /sessions", "DELETE /volumes/a", "PATCH /settings", "PATCH /sessions/one"], r
    t.call("POST", "/sessions?dry_run=1", {"name": "dry", "pairs": [{"source": "volume:c", "target": t.file("c")}]})
    t.refused("POST", "/sessions?dry_run=1", {"name": "dry"})
    assert len(events("refused")) == 5 and not [e for e in t.call("GET", "/events") if e["detail"] and "dry" in e["detail"]]

    # One that fails: what was asked, and how it ended.
    t.iod.sync("b")
    t.verb("one", "resume")
    t.wait_states("one", "copying", "synced")
    t.iod.sync("a")
    t.wait_state("one", "synced")
    t.iod.fail["switch"] = [("deadline", "too late")]
    t.refused("POST", "/sessions/one/switch", {})
    last = told(1, "switch-failed") and t.wait("the answer", lambda: [e for e in events("answered") if e["detail"].startswith("switch: ")])
    assert "not_switched" in last[0]["detail"] and "too late" in last[0]["detail"], last
    assert [e["detail"] for e in events("asked")][-1] == "switch", events("asked")

    # ---- following ----
    def follow(path, headers=None, timeout=30):
        c = UnixConnection(t.run_dir + "/agent.sock", timeout * SLOW)
        c.request("GET", "/v1/events?follow=1" + path, headers=headers or {})
        return c, c.getresponse()

    def read_ids(r, until):
        ids = []
        while not ids or ids[-1] < until:
            line = r.readline()
            assert line, "the stream ended"
            if line.startswith(b"id: "):
                ids.append(int(line[4:]))
        return ids

    newest = t.call("GET", "/events")[-1]["seq"]
    c, r = follow(f"&after={newest}")
    assert r.status == 200 and r.readline() == b":\n"  # at once, with nothing to tell
    c.close()
    c, r = follow("&after=1", {"Last-Event-ID": str(newest - 3)})  # the header knows better
    assert read_ids(r, newest)[0] == newest - 2
    c.close()
    for path, headers, status in (("", {"Last-Event-ID": "x"}, 400), ("&after=x", {}, 400), ("&colour=red", {}, 400), ("&limit=-1", {}, 400),
                                  ("&session=", {}, 400), ("&session=nobody", {}, 404)):
        c, r = follow(path, headers)
        assert r.status == status and json.loads(r.read())["status"] == status, (path, r.status)
        c.close()

    # Many of them, and one that does not read, with more than a socket holds: nobody waits for it, and it misses nothing.
    slow = socket.socket(socket.AF_UNIX)
    slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    slow.connect(t.run_dir + "/agent.sock")
    slow.sendall(b"GET /v1/events?follow=1 HTTP/1.1\r\nHost: x\r\n\r\n")
    many = [follow(f"&after={newest}") for _ in range(30)]
    for i in range(300):
        t.set("one", limits__rate=f"{i + 1}MiB")
    end = events("set")[-1]["seq"]
    want = list(range(newest + 1, end + 1))
    for c, r in many:
        assert read_ids(r, end) == want
        c.close()
    data = b""
    slow.settimeout(30 * SLOW)
    while f"id: {end}\n".encode() not in data:
        got = slow.recv(65536)
        assert got
        data += got
    assert [int(line[4:]) for line in data.splitlines() if line.startswith(b"id: ")] == list(range(1, end + 1))
    slow.close()

    # Too many: refused, and others still get through.
    held = []
    t.wait("the places of those before", lambda: t.call("GET", "/status")["agent"]["followers"] == 0)
    while len(held) < 200:
        c, r = follow(f"&after={end}")
        held.append(c)
        if r.status != 200:
            break
    assert r.status == 503 and len(held) == 129, (r.status, len(held))
    assert t.call("GET", "/status")["agent"]["pid"] == t.process.pid
    for c in held:
        c.close()

    # dray events --follow goes on over a restart and a kill of drayd, without a gap and without a double.
    env = dict(os.environ, DRAY_SOCKET=t.run_dir + "/agent.sock")
    t.wait("their places are free again", lambda: t.call("GET", "/status")["agent"]["followers"] == 0)
    p = subprocess.Popen([os.path.join(BUILD, "dray"), "events", "-f", "-o", "json", "--after", str(newest)], env=env, stdout=subprocess.PIPE,
                         stderr=subprocess.PIPE, text=True)
    lines = []

    def read():
        for line in p.stdout:
            lines.append(json.loads(line)["seq"])
    reader = threading.Thread(target=read)
    reader.start()
    t.wait("it follows", lambda: lines and lines[-1] >= end)
    t.terminate()
    t.start()
    t.set("one", priority=3)
    t.wait("it is back", lambda: lines[-1] >= events("set")[-1]["seq"])
    t.kill()
    t.start()
    t.set("one", priority=4)
    t.wait("it is back", lambda: lines[-1] >= events("set")[-1]["seq"])
    assert lines == list(range(newest + 1, lines[-1] + 1)), lines[-20:]
    p.send_signal(signal.SIGTERM)
    p.wait(20 * SLOW)
    reader.join(20 * SLOW)
    p.stderr.close()
    p.stdout.close()
