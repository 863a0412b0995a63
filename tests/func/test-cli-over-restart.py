#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""watch and events --follow go on over a drayd that is killed, or ended in order, and started again (wait, which tells nothing before its end:
test-cli-follow)."""
import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from dray import MiB, SLOW, Scratch, wait_for

with Scratch() as s:
    a = s.agent()
    a.volume("v", s.file("old", 8 * MiB, True))

    def begin(*args):
        with open(s.path(f"{args[0]}.out"), "w") as out, open(s.path(f"{args[0]}.err"), "w") as err:
            return subprocess.Popen(["dray", *args], stdin=subprocess.DEVNULL, stdout=out, stderr=err, env=a.env)

    def said(command, kind="err"):
        with open(s.path(f"{command}.{kind}")) as f:
            return f.read()

    spec = {"name": "move", "limits": {"rate": "16KiB"}, "switch": {"when": "synced", "commit": "switched"},
            "pairs": [{"source": "volume:v", "target": s.path("new"), "create": "thin"}]}
    a.spec(spec)
    began = {"watch": begin("watch", "move"), "events": begin("events", "--follow")}
    wait_for("it is watched", lambda: "move: " in said("watch"))
    wait_for("events are followed", lambda: a.run("settings", "active_pairs=31") and said("events", "out"))
    for i in range(2):
        started = said("events", "out").count("agent-started")
        (a.process.terminate if i else a.process.kill)()
        a.process.wait()
        for command in ("watch", "events"):
            wait_for(f"{command} says so", lambda c=command, i=i: said(c).count("does not answer; still trying") > i)
        a.start()
        wait_for("watch goes on", lambda i=i: said("watch").count("answers again") > i)
        wait_for("events go on", lambda n=started: said("events", "out").count("agent-started") > n)
    assert [c for c, p in began.items() if p.poll() is not None] == []
    a.run("set", "move", "limits.rate=none")
    assert began["watch"].wait(60 * SLOW) == 0, said("watch")
    wait_for("the events of the end", lambda: '-> committed' in said("events", "out"))
    lines = said("events", "out").splitlines()
    assert len(lines) == len(set(lines)), "an event was told twice"
    began["events"].terminate()
    began["events"].wait()
