#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Very many events at once (a session with that many pairs is canceled): a hook is told of each, in order, none is lost over a kill of drayd, and what
waits in memory is bounded. DRAY_SCALE_EVENTS=12000 is the full one."""
import json
import os
import re
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from agent import AgentTest  # noqa: E402
from dray import MiB, kill_hooks  # noqa: E402

N = int(os.environ.get("DRAY_SCALE_EVENTS", 400))

with AgentTest(start=False) as t:
    hooks, out = os.path.join(t.dir, "hooks.d"), os.path.join(t.dir, "out")
    os.makedirs(hooks + "/pair-canceled", 0o755)
    path = hooks + "/pair-canceled/note"
    with open(path, "w", encoding="utf-8") as f:
        f.write(f"#!/bin/sh\nread -r line\nwhile [ -e {t.dir}/wait ]; do sleep 0.05; done\n"
                f"[ ! -e {t.dir}/part ] || [ $(wc -l <{out}) -lt {N // 3} ] || sleep 1000\necho \"$line\" >>{out}\n")
    os.chmod(path, 0o755)
    t.config = f"hooks_dir: {hooks}\nactive_pairs: 1\nhook_timeout: 60s\n"
    t.start()

    def told():
        if not os.path.exists(out):
            return []
        with open(out, encoding="utf-8") as f:
            return [json.loads(line)["seq"] for line in f if line.endswith("\n")]

    def waiting():
        return int(re.search("^dray_hooks_waiting_events ([0-9]+)$", t.request("GET", "/metrics")[1], re.M)[1])

    os.mkdir(t.dir + "/s")
    for i in range(N):
        with open(f"{t.dir}/s/{i}", "wb") as f:
            f.truncate(MiB)
    for name in (out, t.dir + "/wait", t.dir + "/part"):
        open(name, "w", encoding="utf-8").close()
    t.submit({"name": "big", "pairs": [{"source": f"{t.dir}/s/{i}", "target": f"{t.dir}/t{i}", "create": "thin"} for i in range(N)]}, timeout=240)
    t.call("POST", "/sessions/big/cancel", {}, timeout=240)
    t.wait("all are canceled", lambda: t.show("big")["state"] == "canceled", 120)
    t.wait("the first is told of", lambda: t.call("GET", "/status")["agent"]["hooks"]["running"] and waiting(), 30)
    t.wait("what waits is in memory, as far as there is room", lambda: waiting() >= min(N, 10000), 60)
    assert waiting() < 10000 + 500, waiting()
    os.unlink(t.dir + "/wait")
    t.wait("a part is told", lambda: len(told()) >= N // 3, 600)
    t.kill()
    kill_hooks(hooks)
    os.unlink(t.dir + "/part")
    t.start()
    t.wait("all are told", lambda: waiting() == 0 and len(set(told())) == N, 1200)
    events = []
    while True:
        page = t.call("GET", f"/events?limit=10000&after={events[-1]['seq'] if events else 0}")
        events += page
        if not page:
            break
    wanted = [e["seq"] for e in events if e["event"] == "state" and e["after"] == "canceled"]
    got = told()
    assert len(wanted) == N and sorted(set(got)) == wanted
    # In order: only the kill may have some told again, from a place before it.
    back = [k for k in range(1, len(got)) if got[k] <= got[k - 1]]
    assert len(back) <= 1, [got[k - 2:k + 2] for k in back]
    print(N, "events,", len(got) - N, "told again")
