#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""After a restart of dray-iod its list of volumes and its answer about a switch come in one go: the outcome is judged by that list, not
by what was seen before the restart."""
import os
import signal
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from agent import AgentTest, Problem  # noqa: E402

with AgentTest(auto=True) as t:
    for n in ("a", "b"):
        t.iod.add(n, "/nowhere/" + n, 1 << 20)
    t.submit({"name": "s", "mode": "copy", "switch": {"when": "manual"},
              "pairs": [{"source": f"volume:{n}", "target": t.file(n)} for n in ("a", "b")]})
    t.wait_state("s", "synced")
    t.iod.held["split"] = True
    answer = []

    def switch():
        try:
            answer.append(t.verb("s", "switch"))
        except Problem as p:
            answer.append(p)

    thread = threading.Thread(target=switch)
    thread.start()
    t.wait("the call", lambda: any(msg["method"] == "split" for _, msg in t.iod.kept))
    # It is done, but nobody hears of it.
    for n in ("a", "b"):
        t.iod.volumes[n]["legs"].pop()
    t.iod.held.update({"volume.list": True, "switch.status": True})
    t.iod.restart()
    t.wait("both questions", lambda: {msg["method"] for _, msg in t.iod.kept} == {"volume.list", "switch.status"})
    t.process.send_signal(signal.SIGSTOP)
    t.iod.held.pop("split")
    t.iod.release("volume.list")
    t.iod.release("switch.status")
    t.process.send_signal(signal.SIGCONT)
    thread.join(60)
    assert t.states("s") == ["completed", "completed"], t.show("s")
    assert isinstance(answer[0], dict), answer
