#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""The agent's log_level is dray-iod's from the moment it is set, and after a restart of either of them."""
import json
import os
import signal
import socket
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from dray import Scratch, wait_for

with Scratch() as s:
    a = s.agent()

    def ask(*calls):
        """What dray-iod answers to hello and these."""
        with socket.socket(socket.AF_UNIX) as c:
            c.settimeout(30)
            c.connect(os.path.join(a.run_dir, "iod.sock"))
            f, got = c.makefile("rw"), []
            for i, (method, params) in enumerate([("hello", {"version": 1}), *calls]):
                f.write(json.dumps({"jsonrpc": "2.0", "id": i, "method": method, "params": params}) + "\n")
                f.flush()
                got.append(json.loads(f.readline()))
            return got

    def level():
        return ask()[0]["result"]["log_level"]

    assert level() == "info"
    a.run("settings", "log_level=debug")
    wait_for("dray-iod follows", lambda: level() == "debug")
    killed = a.iod_pid()
    os.kill(killed, signal.SIGKILL)
    wait_for("another one", lambda: a.iod_pid() not in (None, killed) and a.json("status")["iod"]["connected"])
    wait_for("it is told", lambda: level() == "debug")
    a.process.kill()
    a.process.wait()
    ask(("log.level", {"level": "error"}))
    assert level() == "error"
    a.start()
    wait_for("it is told again", lambda: level() == "debug")
    assert "error" in ask(("log.level", {"level": "loud"}))[1] and level() == "debug"
