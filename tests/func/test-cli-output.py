#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""What the commands print, for people and with -o json, and what they ask the agent for."""
import json
import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from fake_agent import FakeAgent, document

with FakeAgent() as a:
    volume = {"name": "orders", "size": 1 << 30, "uri": "nbd+unix:///orders?socket=/run/dray/nbd.sock", "primary": "/dev/old",
              "legs": [{"resource": "/dev/old", "role": "source", "state": "primary", "dirty_bytes": 0}]}
    a.answer("POST", "/v1/volumes", 201, volume)
    a.answer("GET", "/v1/volumes", 200, [volume])
    a.answer("GET", "/v1/volumes/orders", 200, volume)
    a.answer("DELETE", "/v1/volumes/orders", 204, "")
    assert a.run("volume", "add", "orders", "/dev/old").stdout == volume["uri"] + "\n"
    assert json.loads(a.asked[-1][2]) == {"name": "orders", "resource": "/dev/old"}
    assert json.loads(a.run("volume", "add", "orders", "/dev/old", "-o", "json").stdout) == volume
    out = a.run("volume", "list").stdout
    assert out.splitlines()[0].split() == ["NAME", "SIZE", "LEGS", "PRIMARY", "URI"] and "1.0 GiB" in out, out
    assert json.loads(a.run("volume", "list", "-o", "json").stdout) == [volume]
    assert json.loads(a.run("-o", "json", "volume", "show", "orders").stdout) == volume
    assert "  - resource: /dev/old\n" in a.run("volume", "show", "orders").stdout
    assert json.loads(a.run("volume", "remove", "orders", "-o", "json").stdout) == {}
    assert a.asked[-1][0] == "DELETE"

    doc = document("copying")
    a.answer("GET", "/v1/sessions", 200, [doc, document("paused", name="ünïcode")])
    rows = a.run("list").stdout.splitlines()
    assert rows[0].split() == ["NAME", "ID", "STATE", "DONE", "OF", "RATE", "REASON"]
    assert rows[1].index("s-4k2") == rows[2].index("s-4k2") and "100 MiB/s" in rows[1], rows
    # What holds a session back is told in the last column, beside what else there is to say.
    bound = [{"limit": "rate", "of": "session", "key": "limits.rate", "value": 1 << 20, "pairs": 2}, {"limit": "in_flight", "of": "vehicle", "pairs": 1},
             {"limit": "steps", "of": "pair", "value": 1, "pairs": 1}, {"limit": "steps", "of": "pair", "value": 2, "pairs": 1}]
    for by, reason, said in ((bound[:1], "", "by session rate"), (bound, "", "by session rate, vehicle in_flight, pair steps"), (bound[:1], "pair 2 failed", "pair 2 failed; by session rate"),
                             ([{"limit": "app_latency", "of": "default"}], "", "by application"), ([{"limit": "app_latency", "of": "neighbour"}], "", "by neighbour"),
                             ([{"limit": "app_latency", "of": "agent"}], "", "by agent app_latency"), ([{"limit": "none"}], "", "by storage"),
                             ([{"limit": "active_pairs", "of": "agent"}], "", "by agent active_pairs"), ([{"limit": "active_pairs", "of": "agent"}], "it waits", "it waits"), ([{"limit": "rate", "of": "pair", "value": 0}], "limits.rate is 0", "limits.rate is 0")):
        a.answer("GET", "/v1/sessions", 200, [document("copying", bound_by=by, reason=reason)])
        row = a.run("list").stdout.splitlines()[1]
        assert row.endswith("100 MiB/s  " + said), row
    a.run("list", "--state", "copying", "-n", "3")
    assert a.asked[-1][1] == "/v1/sessions?state=copying&limit=3"

    a.answer("GET", "/v1/sessions/orders", 200, doc)
    assert json.loads(a.run("show", "orders", "-o", "json").stdout) == doc
    a.answer("GET", "/v1/sessions/orders", 200, "name: orders\nstate: copying\n")
    assert a.run("show", "orders").stdout == "name: orders\nstate: copying\n"
    assert a.asked[-1][3]["Accept"] == "application/yaml"

    for verb, state in (("pause", "paused"), ("resume", "copying"), ("cancel", "canceled"), ("switch", "switched"), ("undo", "synced"),
                        ("commit", "committed"), ("retry", "copying")):
        a.answer("POST", f"/v1/sessions/orders/{verb}", 200, document(state))
        assert f"orders: {state}" in a.run(verb, "orders").stdout
        assert json.loads(a.asked[-1][2]) == {}
        assert json.loads(a.run(verb, "orders", "-o", "json", "--pair", "2", "-p3").stdout)["state"] == state
        assert json.loads(a.asked[-1][2]) == {"pairs": ["2", "3"]}
    assert "blackout 1.5 ms" in a.run("undo", "orders").stdout
    assert "  pair 1: committed\n" in a.run("commit", "orders", "--pair", "1").stdout
    a.answer("POST", "/v1/sessions/orders/pause", 200, document("paused", not_paused=["2"]))
    assert "not paused: pair 2" in a.run("pause", "orders", "--detach").stdout
    assert json.loads(a.asked[-1][2]) == {"detach": True}

    a.answer("PATCH", "/v1/sessions/orders", 200, doc)
    a.run("set", "orders", "limits.rate=50MiB", "priority=high", "window=[\"19:00-07:00\"]", "x==")
    assert json.loads(a.asked[-1][2]) == {"limits.rate": "50MiB", "priority": "high", "window": "[\"19:00-07:00\"]", "x": "="}

    figures = {"bytes_compared": 1 << 20, "bytes_differing": 0, "bytes_repaired": 0, "ranges": []}
    report = {"pairs": [{"id": "1", **figures, "targets": [{"resource": "/dev/sdb", **figures}]}]}
    a.answer("POST", "/v1/sessions/orders/verify", 200, report)
    assert "1.0 MiB" in a.run("verify", "orders").stdout
    figures = {"bytes_differing": 512, "ranges": [{"offset": 4096, "length": 512}]}
    report["pairs"][0].update(figures)
    report["pairs"][0]["targets"][0].update(figures)
    a.answer("POST", "/v1/sessions/orders/verify", 200, report)
    assert "at 4096" in a.run("verify", "orders", status=1).stdout
    assert json.loads(a.run("verify", "orders", "-o", "json", status=1).stdout) == report

    event = {"time": "2026-11-23T02:00:00Z", "session": "s-4k2", "pair": "1", "event": "state", "actor": "uid 0", "before": "copying", "after": "synced",
             "detail": ""}
    a.answer("GET", "/v1/events", 200, [event])
    assert "pair 1: state copying -> synced (uid 0)" in a.run("events", "orders", "--after", "5").stdout
    assert a.asked[-1][1] == "/v1/events?session=orders&after=5"
    assert json.loads(a.run("events", "-o", "json").stdout) == [event]
    a.answer("GET", "/v1/events?&follow=1", 200, f": hello\n\nid: 1\ndata: {json.dumps(event)}\n\ndata: {json.dumps(event)}\n\n")
    assert len(a.run("events", "--follow").stdout.splitlines()) == 2
    assert [json.loads(line) for line in a.run("events", "-f", "-o", "json").stdout.splitlines()] == [event, event]

    a.answer("GET", "/v1/status", 200, {"iod": {"pid": 7}})
    assert a.run("status").stdout == "iod:\n  pid: 7\n" and json.loads(a.run("status", "-o", "json").stdout) == {"iod": {"pid": 7}}
    vehicle = {"name": "host", "what": "copies here", "online": True, "remote": False, "undo": True, "available": True, "reason": None}
    a.answer("GET", "/v1/vehicles", 200, [vehicle])
    assert "host  yes        copies here  online, undo\n" in a.run("vehicles").stdout
    assert json.loads(a.run("vehicles", "-o", "json").stdout) == [vehicle]
    lock = {"resource": "/dev/b", "identity": "block:8:16", "session": "s-4k2", "pair": "1", "role": "target", "since": "2026-11-23T02:00:00Z"}
    a.answer("GET", "/v1/locks", 200, [lock])
    assert a.run("locks").stdout.splitlines()[1].split() == ["/dev/b", "s-4k2", "1", "target", "2026-11-23T02:00:00Z"]
    assert json.loads(a.run("locks", "-o", "json").stdout) == [lock]
    a.answer("POST", "/v1/shutdown", 202, {})
    a.run("shutdown", "--force")
    assert json.loads(a.asked[-1][2]) == {"force": True}

    # Help, of everything, on stdout.
    assert a.run("--help").stdout == a.run("help").stdout and "dray migrate volume:orders" in a.run("--help").stdout
    for more in ("help", "--help", "-h"):
        assert a.run("help", more).stdout == a.run("help").stdout
    assert a.run("help", "migrate").stdout == a.run("migrate", "--help").stdout == a.run("migrate", "-h", "a", "b", "c", "--rate", "1").stdout
    assert "--rate SIZE" in a.run("help", "migrate").stdout
    assert "volume add" in a.run("volume", "--help").stdout and "RESOURCE" in a.run("help", "volume", "add").stdout
    assert a.run("--version").stdout.startswith("dray ")
    # What can't be written is not success.
    with open("/dev/full", "w") as full:
        assert subprocess.run(["dray", "locks"], stdout=full, env=a.env, check=False).returncode == 1
