#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""SIGTERM to drayd leaves dray-iod serving, and the next drayd adopts it; a dray-iod that dies is started again; shutdown ends both."""
import os
import signal
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from agent import AgentTest  # noqa: E402
from dray import BUILD  # noqa: E402
from nbdclient import Client  # noqa: E402


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as f:
            return f.read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


with AgentTest(fake=False, config="iod_threads: 1\n") as t:
    pid = t.call("GET", "/status")["iod"]["pid"]
    assert t.call("GET", "/status")["iod"]["threads"] == 1
    with open(f"/proc/{pid}/stat") as f:
        session = int(f.read().rsplit(")", 1)[1].split()[3])
    assert session != os.getsid(t.process.pid), "dray-iod is in drayd's session"
    t.call("POST", "/volumes", {"name": "v", "resource": t.file("v")})
    app = Client(t.run_dir + "/nbd.sock", "v")
    app.write(0, b"x" * 4096)

    # A second one on the same state directory, and on the same sockets.
    for dirs in ([t.state, t.dir + "/run2"], [t.dir + "/state2", t.run_dir]):
        second = subprocess.run([os.path.join(BUILD, "drayd"), "--no-iod", "--state-dir", dirs[0], "--run-dir", dirs[1]],
                                capture_output=True, text=True, timeout=60, check=False)
        assert second.returncode == 1 and "another" in second.stderr, second

    t.terminate()
    assert alive(pid) and app.read(0, 4096) == b"x" * 4096
    t.start()
    status = t.call("GET", "/status")["iod"]
    assert status["pid"] == pid and status["starts"] == 0, status
    t.kill()
    app.write(4096, b"y" * 4096)
    t.start()
    assert t.call("GET", "/status")["iod"]["pid"] == pid

    os.kill(pid, signal.SIGKILL)
    new = t.wait("another dray-iod", lambda: t.call("GET", "/status")["iod"]["pid"] not in (None, pid)
                 and t.call("GET", "/status")["iod"]["pid"])
    assert [v["name"] for v in t.call("GET", "/volumes")] == ["v"]

    app = Client(t.run_dir + "/nbd.sock", "v")
    assert app.read(0, 8192) == b"x" * 4096 + b"y" * 4096
    t.wait("the client is seen", lambda: t.call("GET", "/volumes/v")["clients"] == 1)
    p = t.refused("DELETE", "/volumes/v")
    assert p.exit == 5, p
    p = t.refused("POST", "/shutdown", {"force": False})
    assert p.exit == 5 and alive(new), p
    app.close()
    t.wait("the client is gone", lambda: t.call("GET", "/volumes/v")["clients"] == 0)
    t.call("DELETE", "/volumes/v")
    assert t.refused("GET", "/volumes/v").exit == 4
    t.call("POST", "/shutdown", {})
    assert t.process.wait(20) == 0
    t.wait("dray-iod ends", lambda: not alive(new))
