#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""The units of drayd and dray-iod: what they start is started as they say, with other directories; a restart of the agent as systemd does it leaves
dray-iod alone, and dray-iod comes back by itself; it looks at what the agent saw also where nobody names the file (H9)."""
import configparser
import json
import os
import shlex
import signal
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from dray import BUILD, MiB, SLOW, Scratch, wait_for


class Unit(configparser.RawConfigParser):
    optionxform = staticmethod(str)


def unit(name):
    u = Unit(strict=True)
    u.read(os.path.join(BUILD, "systemd", name))
    return u


agent, iod = unit("drayd.service"), unit("dray-iod.service")
for u, other in ((agent, "dray-iod"), (iod, "drayd")):
    for key, value in u["Unit"].items():
        assert other not in value or key in ("Wants", "After", "Documentation"), f"{key}={value}: what happens to one must not happen to the other"
    assert u["Service"]["Type"] == "notify" and u["Service"]["RuntimeDirectoryPreserve"] == "yes"
assert agent["Service"]["KillMode"] == "process" and iod["Service"]["Restart"] == "on-failure"

with Scratch() as s:
    def command(u, program):
        words = shlex.split(u["Service"]["ExecStart"])
        assert os.path.basename(words[0]) == program and words[-1].startswith("$DRAY"), words
        words = [w.replace("/var/lib/dray", s.path("state")).replace("/run/dray", s.path("run")) for w in words[1:-1]]
        return [os.path.join(BUILD, program), *words]

    os.mkdir(s.path("state"))
    a = s.agent(start=False)
    a.env = dict(os.environ, DRAY_SOCKET=s.path("run/agent.sock"))
    a.run_dir, a.state = s.path("run"), s.path("state")

    def status():
        done = a.run("status", "-o", "json", status=None)
        return json.loads(done.stdout)["iod"] if done.returncode == 0 else {"connected": False, "pid": None}

    def volumes():
        """As soon as dray-iod has said which there are, which comes a moment after it is known."""
        done = a.run("volume", "list", "-o", "json", status=None)
        return json.loads(done.stdout) if done.returncode == 0 else []

    i = s.start(*command(iod, "dray-iod"), log="iod.log")
    d = s.start(*command(agent, "drayd"), log="agent.log")
    wait_for("they know each other", lambda: status()["connected"] and a.run("volume", "list", status=None).returncode == 0)
    assert status()["pid"] == i.pid
    a.run("volume", "add", "v", s.file("old", MiB))
    d.terminate()
    assert d.wait(60 * SLOW) == 0
    d = s.start(*command(agent, "drayd"), log="agent.log")
    wait_for("the agent is back", lambda: status()["connected"])
    assert status()["pid"] == i.pid and i.poll() is None
    i.kill()
    i.wait()
    i = s.start(*command(iod, "dray-iod"), log="iod.log")
    wait_for("dray-iod is back", lambda: status()["pid"] == i.pid and any(v["served"] for v in volumes()))

    # An older state directory, and a unit in which --seen was forgotten.
    with open(s.path("state/volumes-seen")) as f:
        name, uuid, epoch = f.read().split()
    d.terminate()
    d.wait(60 * SLOW)
    i.send_signal(signal.SIGTERM)
    i.wait(60 * SLOW)
    with open(s.path("state/volumes-seen"), "w") as f:
        f.write(f"{name} {uuid} {int(epoch) + 1}\n")
    words = command(iod, "dray-iod")
    at = words.index("--seen")
    i = s.start(*words[:at], *words[at + 2:], log="iod.log")

    def told():
        with open(s.path("iod.log")) as f:
            return "the agent saw epoch" in f.read()
    wait_for("the volume is not served", told)
    i.terminate()
    i.wait(60 * SLOW)
