#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""drayd's own settings: unknown keys and bad values are refused with their line; what is good is in force."""
import os
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from agent import AgentTest  # noqa: E402
from dray import BUILD  # noqa: E402

DRAYD = os.path.join(BUILD, "drayd")


def refused(text, *words):
    with tempfile.TemporaryDirectory() as d:
        with open(d + "/c.yaml", "w") as f:
            f.write(text)
        done = subprocess.run([DRAYD, "--no-iod", "--state-dir", d + "/s", "--run-dir", d + "/r", "--config", d + "/c.yaml"],
                              capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 2, done
        for word in words:
            assert word in done.stderr, (word, done.stderr)
        assert not os.path.exists(d + "/s"), "something was made"


refused("active_pairs: 2\ncolour: red\n", "c.yaml:2", "unknown key colour", "active_pairs")
refused("\nactive_pairs: none\n", "c.yaml:2", "active_pairs", "a number")
refused("active_pairs: 0\n", "a number from 1")
refused("rate: fast\n", "bytes per second")
refused("rate: [1, 2]\n", "c.yaml:1")
refused("log_level: loud\n", "error, warn, info or debug")
refused("[1, 2]\n", "KEY: VALUE")
refused("a: {b\n", "YAML")
for bad in (["--colour"], ["extra"], ["--config"]):
    assert subprocess.run([DRAYD, *bad], capture_output=True, check=False).returncode == 2
done = subprocess.run([DRAYD, "--config", "/nonexistent"], capture_output=True, text=True, check=False)
assert done.returncode == 2 and "/nonexistent" in done.stderr
assert subprocess.run([DRAYD, "--version"], capture_output=True, text=True, check=True).stdout.startswith("drayd ")
assert "--state-dir" in subprocess.run([DRAYD, "--help"], capture_output=True, text=True, check=True).stdout

with AgentTest(config="active_pairs: 1   # of all sessions\nrate: 8MiB\nlog_level: debug\n") as t:
    for n in "abc":
        t.iod.add(n, "/nowhere/" + n, 1 << 20)
        t.submit({"name": n, "priority": {"a": "low", "b": "low", "c": "high"}[n],
                  "pairs": [{"source": f"volume:{n}", "target": t.file(n)}]})
    assert [t.states(n) for n in "abc"][1:] == [["queued"], ["queued"]]
    reason = t.show("b")["pairs"][0]["reason"]
    assert reason == "waits for 1 of 1 active pairs of the agent (active_pairs of its configuration); 1 pair before it", reason
    t.wait("the agent's rate", lambda: t.iod.volumes["a"]["limits"].get("rate") == 8 << 20)
    t.iod.sync("a")
    t.wait_states("c", "copying")  # high before low
    assert t.states("b") == ["queued"]
