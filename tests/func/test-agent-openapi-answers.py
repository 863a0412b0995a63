#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Every answer, good or bad, that the agent gives with a real dray-iod is what docs/openapi.yaml says, to the last member."""
import json
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from agent import AgentTest, UnixConnection  # noqa: E402
from dray import SLOW  # noqa: E402
from openapi import Invalid, OpenApi  # noqa: E402

MiB = 1 << 20
api = OpenApi()

# The validator itself.
for value, schema, good in (("a", {"type": "string", "enum": ["a"]}, True), ("b", {"enum": ["a"]}, False), (None, {"type": "string"}, False),
                            (None, {"type": "string", "nullable": True}, True), (True, {"type": "integer"}, False), (1.5, {"type": "integer"}, False),
                            ({"a": 1}, {"type": "object", "additionalProperties": False}, False), ({}, {"type": "object", "required": ["a"]}, False),
                            ([1, "x"], {"type": "array", "items": {"type": "integer"}}, False), (1, {"oneOf": [{"type": "integer"}, {"type": "number"}]}, False),
                            ("2026-11-26", {"type": "string", "format": "date-time"}, False)):
    try:
        api.check(value, schema, "test")
        assert good, (value, schema)
    except Invalid:
        assert not good, (value, schema)

with AgentTest(fake=False) as t:
    def ask(method, path, body=None, status=None, headers=None, text=None):
        c = UnixConnection(os.path.join(t.run_dir, "agent.sock"), 60 * SLOW)
        c.request(method, path, text if text is not None else None if body is None else json.dumps(body), headers or {})
        r = c.getresponse()
        data, kind = r.read().decode(), r.headers.get("Content-Type", "")
        c.close()
        if r.status == 405:
            assert r.headers["Allow"], path
        answer = json.loads(data) if "json" in kind and data else data
        api.check_answer(method, path, r.status, kind, answer)
        assert status is None or r.status == status, (method, path, r.status, answer)
        return answer

    def state(session):
        return ask("GET", f"/v1/sessions/{session}", status=200)["state"]

    for method in ("PUT", "POST", "DELETE", "PATCH", "OPTIONS"):
        for path in api.doc["paths"]:
            if method.lower() not in api.doc["paths"][path]:
                ask(method, path.replace("{", "").replace("}", ""), status=405)
    for path in ("/", "/v2/status", "/v1/", "/v1/nothing", "/v1/sessions/", "/v1/sessions/a/b/c", "/metric"):
        ask("GET", path, status=404)
    for method, path in (("GET", "/v1/status?colour=red"), ("GET", "/v1/sessions?limit=x"), ("GET", "/v1/sessions?state=fine"),
                         ("GET", "/v1/events?after=-1"), ("POST", "/v1/sessions?dry_run=maybe"), ("GET", "/v1/locks?session=a"),
                         ("GET", "/metrics?x=1"), ("DELETE", "/v1/volumes/a?force=yes")):
        assert ask(method, path, status=400)["code"] in ("unknown_key", "bad_value")

    files = {n: t.file(n, 8 * MiB, os.urandom(8 * MiB)) for n in "abc"}
    for n, path in files.items():
        ask("POST", "/v1/volumes", {"name": n, "resource": path}, 201)
    ask("POST", "/v1/volumes", {"name": "a", "resource": files["a"]}, 422)
    ask("POST", "/v1/volumes", {"name": "x"}, 422)
    ask("POST", "/v1/volumes", text="[", status=400)
    ask("GET", "/v1/volumes", status=200)
    ask("GET", "/v1/volumes/a", status=200)
    ask("GET", "/v1/volumes/none", status=404)
    ask("DELETE", "/v1/volumes/none", status=404)
    ask("POST", "/v1/volumes/none/release", {}, 404)
    ask("POST", "/v1/volumes/none/accept", {}, 404)
    ask("POST", "/v1/volumes/a/release", {})

    doc = {"name": "one", "limits": {"rate": "64KiB", "active_pairs": 1}, "switch": {"deadline": "1m"}, "pairs": [
        {"source": "volume:a", "target": [t.file("a1", 8 * MiB), t.file("a2", 9 * MiB)]}, {"source": files["c"] + ".off", "target": t.file("c1", 8 * MiB)}]}
    t.file("c.off", 8 * MiB, b"x")
    ask("POST", "/v1/sessions?dry_run=1", doc, 200)
    ask("POST", "/v1/estimate", doc, 200)
    ask("POST", "/v1/estimate", doc | {"limits": {"rate": "00:00,0"}}, 200)
    ask("POST", "/v1/estimate", text=": [", status=400)
    ask("POST", "/v1/estimate", {"name": "bad", "priority": 99, "pairs": []}, 422)
    ask("POST", "/v1/sessions", text=": [", status=400)
    ask("POST", "/v1/sessions", {"name": "bad", "priority": 99, "pairs": [{"source": "volume:no", "target": "/nowhere/x"}], "colour": 1}, 422)
    ask("POST", "/v1/sessions", doc | {"id": "s-one"}, 201)
    ask("POST", "/v1/sessions", doc | {"id": "s-one"}, 200)
    ask("GET", "/v1/sessions", status=200)
    ask("GET", "/v1/sessions?state=copying&limit=1", status=200)
    ask("GET", "/v1/sessions/one", status=200)
    ask("GET", "/v1/sessions/one", headers={"Accept": "application/yaml"}, status=200)
    ask("GET", "/v1/sessions/none", status=404)
    ask("GET", "/v1/locks", status=200)
    ask("DELETE", "/v1/volumes/a", status=409)
    ask("PATCH", "/v1/sessions/one", {}, 400)
    ask("PATCH", "/v1/sessions/one", {"limits.rate": "fast"}, 422)
    ask("PATCH", "/v1/sessions/none", {"priority": 1}, 404)
    for verb in ("switch", "undo", "commit", "retry", "resume", "verify", "retire"):
        ask("POST", f"/v1/sessions/one/{verb}", {"how": "rename"} if verb == "retire" else {}, 409)
    ask("POST", "/v1/apply", doc, 200)
    ask("POST", "/v1/apply", doc | {"priority": 3}, 200)
    ask("POST", "/v1/apply", doc | {"mode": "copy"}, 422)
    ask("POST", "/v1/apply", doc | {"name": "none"}, 404)
    ask("POST", "/v1/apply", text=": [", status=400)
    ask("POST", "/v1/sessions/one/dance", {}, 404)
    ask("POST", "/v1/sessions/none/pause", {}, 404)
    ask("POST", "/v1/sessions/one/pause", {"colour": 1}, 400)
    ask("POST", "/v1/sessions/one/pause", {"pairs": ["9"]}, 404)
    ask("POST", "/v1/sessions/one/pause", {}, 200)
    ask("GET", "/v1/sessions/one", status=200)
    ask("POST", "/v1/sessions/one/resume", {}, 200)
    ask("PATCH", "/v1/sessions/one", {"limits.rate": "none"}, 200)
    t.wait("synced", lambda: state("one") == "synced", 60)
    assert "pairs" in ask("POST", "/v1/sessions/one/verify", {}, 200)
    ask("POST", "/v1/sessions/one/switch", {}, 200)
    ask("POST", "/v1/sessions/one/pause", {}, 409)
    ask("GET", "/v1/volumes", status=200)
    ask("POST", "/v1/sessions/one/undo", {}, 200)
    t.wait("synced", lambda: state("one") == "synced", 60)
    ask("POST", "/v1/sessions/one/switch", {}, 200)
    ask("POST", "/v1/sessions/one/commit", {}, 200)
    ask("GET", "/v1/sessions/one", status=200)
    ask("PATCH", "/v1/sessions/one", {"priority": 1}, 409)
    ask("POST", "/v1/sessions", {"name": "two", "limits": {"rate": "1MiB"}, "pairs": [{"source": "volume:b", "target": t.file("b1", 8 * MiB)}]}, 201)
    ask("POST", "/v1/sessions/two/cancel", {}, 200)
    ask("GET", "/v1/sessions", status=200)
    ask("DELETE", "/v1/volumes/b", status=204)

    ask("GET", "/v1", status=200)
    ask("GET", "/v1/status", status=200)
    ask("GET", "/v1/settings", status=200)
    ask("PATCH", "/v1/settings", {"rate": "99MiB", "hook_timeout": "1500ms"}, 200)
    ask("PATCH", "/v1/settings", {}, 400)
    ask("PATCH", "/v1/settings", {"rate": "fast"}, 422)
    ask("GET", "/v1/vehicles", status=200)
    events = ask("GET", "/v1/events?limit=1000", status=200)
    assert len(events) > 20
    ask("GET", "/v1/events?session=none", status=404)
    ask("POST", "/v1/events", {"name": "lunch"}, 200)
    ask("POST", "/v1/events", {}, None)
    ask("GET", "/metrics", status=200)
    ask("GET", "/healthz", status=200)
    ask("POST", "/v1/shutdown", {"colour": 1}, 400)
    ask("POST", "/v1/shutdown", {}, 202)
    assert t.process.wait(20 * SLOW) == 0

    # Every status below 400 that the document has was seen; of the others as many as can be brought about here.
    unseen = [(p, m, s) for p, methods in api.doc["paths"].items() for m, o in methods.items() if m != "parameters"
              for s in o["responses"] if s != "default" and int(s) < 400 and (p, m.upper(), int(s)) not in api.used]
    # (A lost state directory has tests of its own.)
    assert unseen == [(f"/v1/volumes/{{name}}/{verb}", "post", "200") for verb in ("release", "accept")], unseen
