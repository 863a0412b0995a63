#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""drayd is killed soon after its very first start, before any hook had ended: the next one tells of what happened in between."""
import json
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from agent import AgentTest  # noqa: E402
from dray import MiB  # noqa: E402

with AgentTest(start=False) as t:
    hooks, out, wait = (os.path.join(t.dir, name) for name in ("hooks.d", "out", "wait"))
    os.makedirs(hooks + "/pair-canceled", 0o755)
    path = hooks + "/pair-canceled/note"
    with open(path, "w", encoding="utf-8") as f:
        f.write(f"#!/bin/sh\nread -r line\nwhile [ -e {wait} ]; do sleep 0.05; done\necho \"$line\" >>{out}\n")
    os.chmod(path, 0o755)
    open(wait, "w", encoding="utf-8").close()
    t.config = f"hooks_dir: {hooks}\nactive_pairs: 1\nhook_timeout: 60s\n"
    t.start()
    for name in "ab":
        with open(f"{t.dir}/{name}", "wb") as f:
            f.truncate(MiB)
    t.submit({"name": "m", "pairs": [{"source": f"{t.dir}/{name}", "target": f"{t.dir}/to-{name}", "create": "thin"} for name in "ab"]})
    t.call("POST", "/sessions/m/cancel", {})
    t.wait("both are canceled", lambda: t.show("m")["state"] == "canceled")
    t.wait("the first is told of", lambda: t.call("GET", "/status")["agent"]["hooks"]["running"])
    t.kill()
    os.unlink(wait)
    t.start()

    def told():
        with open(out, encoding="utf-8") as f:
            return {json.loads(line)["pair"] for line in f if line.endswith("\n")}
    t.wait("both are told of", lambda: os.path.exists(out) and told() == {"1", "2"})
