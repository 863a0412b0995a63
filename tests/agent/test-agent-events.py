#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Events can be followed as they happen, from any point, of one session; the metrics and the health are in their formats."""
import os
import re
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from agent import AgentTest, UnixConnection  # noqa: E402

with AgentTest() as t:
    t.iod.add("a", "/nowhere/a", 1 << 20)
    t.iod.add("b", "/nowhere/b", 1 << 20)
    t.submit({"name": "one", "pairs": [{"source": "volume:a", "target": t.file("a")}]})
    t.wait_states("one", "copying")

    c = UnixConnection(t.run_dir + "/agent.sock", 30)
    c.request("GET", "/v1/events?session=one&follow=1")
    r = c.getresponse()
    assert r.status == 200 and r.headers["Content-Type"] == "text/event-stream"

    def next_event():
        fields = {}
        while True:
            line = r.fp.readline() if not r.chunked else r.readline()
            assert line, "the stream ended"
            line = line.decode().rstrip("\n")
            if not line and fields:
                return fields
            if line and not line.startswith(":"):
                key, value = line.split(": ", 1)
                fields[key] = value

    first = next_event()
    assert first["event"] == "submitted", first
    while True:
        e = next_event()
        if '"after":"copying"' in e["data"] and '"pair":"1"' in e["data"]:
            break
    t.submit({"name": "two", "pairs": [{"source": "volume:b", "target": t.file("b")}]})  # another's events don't come
    t.iod.sync("a")
    e = next_event()
    assert '"after":"synced"' in e["data"] and e["event"] == "state", e
    last = int(e["id"])
    t.verb("one", "cancel")
    assert '"after":"synced"' in next_event()["data"]  # the session's
    e = next_event()
    assert e["event"] == "asked" and '"detail":"cancel"' in e["data"], e
    assert '"after":"canceled"' in next_event()["data"]
    c.close()

    rest = t.call("GET", f"/events?session=one&after={last}")
    assert rest and all(e["seq"] > last and e["session"] == t.show("one")["id"] for e in rest), rest
    assert len(t.call("GET", "/events?limit=2")) == 2
    assert t.refused("GET", "/events?session=nobody&follow=1").exit == 4
    every = t.call("GET", "/events")
    assert [e["seq"] for e in every] == sorted({e["seq"] for e in every})
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", every[0]["time"]), every[0]

    t.wait_states("two", "copying")
    status, text = t.request("GET", "/metrics")
    assert status == 200
    for line in text.splitlines():
        assert re.fullmatch(r'#( HELP| TYPE) .*|[a-z_]+(\{([a-z_]+="[^"]*",?)+\})? -?\d+', line), line
    assert 'dray_pairs{state="copying"} 1' in text and "dray_iod_up 1" in text, text
    t.iod.stop()
    t.wait("it is seen", lambda: t.request("GET", "/healthz")[0] == 503)
    assert t.request("GET", "/v1/nothing")[0] == 404 and t.request("PUT", "/v1/status")[0] == 405
