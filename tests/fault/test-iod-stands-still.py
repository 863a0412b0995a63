#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""dray-iod stands still for longer than leg_timeout (it is stopped, as by a virtual machine that is paused): no storage is blamed for it. The target isn't set
aside, the source isn't called unreadable, and no byte is copied twice, beside an application."""
import os
import signal
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from dray import MiB, Scratch, wait_for  # noqa: E402
from load import LoadAgent  # noqa: E402

with Scratch() as s:
    # Most of the time requests to the source and mirrored writes to the target are under way. What the disk of this machine does is no part of it, and leg_timeout is
    # longer than the kernel lets anybody wait who is not stopped.
    a = LoadAgent(s, 32 * MiB, a=30)
    target = os.path.join(s.mem, "new")
    with open(target, "wb") as f:
        f.truncate(32 * MiB)
    a.spec({"name": "move", "leg_timeout": "4s", "limits": {"step": "64KiB"}, "switch": {"when": "manual"},
            "pairs": [{"source": "volume:a", "target": f"fault:delay_ms=30:{target}", "overwrite": True}]})
    app = s.stamp(a.uri("a"), "app", "--depth", "16")
    wait_for("it copies", lambda: a.moved("move") > MiB)
    for _ in range(2):
        app.wait_writes(50)
        os.kill(a.iod_pid(), signal.SIGSTOP)
        time.sleep(5.5)  # it stands still
        os.kill(a.iod_pid(), signal.SIGCONT)
    app.wait_writes(50)
    a.ends_with_each_byte_copied_once("move")
    blamed = [e for e in a.json("events", "move") if e["event"] in ("target-degraded", "source-read-failed")]
    assert not blamed, blamed
    app.end()
    app.verify(a.uri("a"))
