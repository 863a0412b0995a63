#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Every path and method of docs/openapi.yaml is answered by the agent, docs/API.md has the same ones, and others are refused."""
import os
import re
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from agent import AgentTest  # noqa: E402
from dray import SLOW  # noqa: E402

DOCS = os.path.join(os.path.dirname(__file__), "../../docs")

paths, path = {}, None
with open(os.path.join(DOCS, "openapi.yaml"), encoding="utf-8") as f:
    for line in f:
        if re.match(r"  /\S*:$", line):
            path = line.strip()[:-1]
            paths[path] = set()
        elif m := re.match(r"    (get|post|patch|delete|put):$", line):
            paths[path].add(m[1].upper())
        elif line.startswith("components:"):
            break
assert len(paths) == 18, paths

with open(os.path.join(DOCS, "API.md"), encoding="utf-8") as f:
    told = set(re.findall(r"^\| (GET|POST|PATCH|DELETE) (/\S+) \|", f.read(), re.M))
mine = {(m, p) for p, ms in paths.items() for m in ms}
names = {"{name}": "NAME", "{session}": "ID", "{verb}": "VERB"}
assert told == {(m, re.sub(r"\{\w+\}", lambda x: names[x[0]], p)) for m, p in mine}, told

with AgentTest(auto=True) as t:
    t.iod.add("v", "/nowhere", 1 << 20)
    t.iod.add("w", "/nowhere2", 1 << 20)
    t.submit({"name": "s", "pairs": [{"source": "volume:v", "target": t.file("t")}]})
    t.wait_state("s", "synced")
    assert t.call("GET", "")["paths"] == {p: [m for m in ("GET", "POST", "PATCH", "DELETE") if m in ms] for p, ms in paths.items()}
    real = {"{name}": "w", "{session}": "s", "{verb}": "pause"}
    for p, methods in paths.items():
        url = re.sub(r"\{\w+\}", lambda x: real[x[0]], p)
        for m in ("GET", "POST", "PATCH", "DELETE"):
            if p == "/v1/shutdown" and m == "POST":
                continue
            status, answer = t.request(m, url, {} if m in ("POST", "PATCH") else None)
            here = status not in (404, 405) or (isinstance(answer, dict) and answer.get("code") not in ("not_found", "method"))
            assert here == (m in methods), (m, url, status, answer)
    t.call("POST", "/shutdown", {})
    assert t.process.wait(20 * SLOW) == 0
