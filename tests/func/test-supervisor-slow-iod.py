#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""A dray-iod that takes long to come up is started once, not again and again; and none is started beside one that has the state directory and
does not listen yet."""
import fcntl
import json
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from dray import BUILD, Scratch, wait_for

with Scratch() as s:
    slow = s.path("slow-iod")
    with open(slow, "w") as f:
        f.write(f"#!/bin/sh\necho start >>{s.path('starts')}\nsleep 2\nexec {BUILD}/dray-iod \"$@\"\n")
    os.chmod(slow, 0o755)
    os.environ["DRAY_IOD"] = slow
    a = s.agent()

    def starts():
        with open(s.path("starts")) as f:
            return len(f.readlines())

    assert starts() == 1, starts()
    with open(s.path("agent.log")) as f:
        assert f.read().count("event=iod-started") == 1
    a.run("shutdown", "--force")
    a.process.wait()

    # As if another drayd had started it a moment ago.
    lock = open(os.path.join(a.state, "iod", "lock"), "r+")  # pylint: disable=consider-using-with
    fcntl.flock(lock, fcntl.LOCK_EX)
    a.process = s.start("drayd", "--state-dir", a.state, "--run-dir", a.run_dir, log="agent.log", env=a.env)

    def status():
        done = a.run("status", "-o", "json", status=None)
        return json.loads(done.stdout)["iod"] if done.returncode == 0 else {}

    wait_for("it says who has it", lambda: f"process {os.getpid()}" in json.dumps(status()))
    assert starts() == 1, starts()
    lock.close()
    wait_for("one is started", lambda: status().get("connected"), 40)
    assert starts() == 2, starts()
