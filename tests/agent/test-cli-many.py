#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""What a person at a terminal sees of many pairs and of long names: `show` has those that failed or are worked at and says what it left out, rows of
`list` are one line each; what programs read is whole."""
import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from agent import AgentTest  # noqa: E402
from fake_agent import FakeAgent, document  # noqa: E402
from dray import BUILD, SLOW, MiB  # noqa: E402

N = 300


def env():
    return dict(os.environ, DRAY_SOCKET=os.path.join(t.run_dir, "agent.sock"), TERM="dumb", LC_ALL="C.UTF-8")


def piped(*args):
    return subprocess.run([os.path.join(BUILD, "dray"), *args], capture_output=True, text=True, check=True, timeout=60 * SLOW, env=env()).stdout


def terminal(width, *args, socket=None):
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, width, 0, 0))
    p = subprocess.Popen([os.path.join(BUILD, "dray"), *args], stdin=slave, stdout=slave, stderr=slave, env=dict(env(), **({"DRAY_SOCKET": socket} if socket else {})), start_new_session=True)
    os.close(slave)
    data = b""
    while True:
        try:
            part = os.read(master, 65536)
        except OSError:  # the other end is closed
            break
        if not part:
            break
        data += part
    os.close(master)
    assert p.wait(60 * SLOW) == 0, data
    return data.decode().replace("\r\n", "\n")


with FakeAgent() as shown, AgentTest(config="active_pairs: 2\n") as t:
    os.mkdir(t.dir + "/s")
    for i in range(N):
        with open(f"{t.dir}/s/{i}", "wb") as f:
            f.truncate(MiB)
    t.submit({"name": "big", "pairs": [{"source": f"{t.dir}/s/{i}", "target": f"{t.dir}/t{i}", "create": "thin"} for i in range(N)]})
    t.wait("two transfer", lambda: t.states("big").count("copying") == 2, 60)

    # All of it, to who reads it from a pipe, or asks for it.
    whole = piped("show", "big")
    assert whole.count("- source: ") == N and "left out" not in whole
    assert terminal(100, "show", "-o", "yaml", "big").count("- source: ") == N
    assert len(json.loads(terminal(100, "show", "-o", "json", "big"))["pairs"]) == N
    # A person gets the two that are worked at, and the one that failed.
    t.iod.leg(t.show("big")["id"] + ".2").update(state="degraded", held=True, error="No space left on device")
    t.iod.event()
    t.wait("one failed, and the next one transfers", lambda: (s := t.states("big")).count("failed") == 1 and s.count("copying") == 2, 30)
    seen = terminal(100, "show", "big")
    assert re.findall("- source: .*/s/([0-9]+)\n", seen) == ["0", "1", "2"], seen
    assert f"# {N - 3} of {N} pairs are left out: {N - 3} queued\n" in seen, seen
    assert "# dray show -o yaml big   prints all of them\n" in seen and "No space left on device" in seen
    assert seen.startswith("name: big\n")
    # What a verb tells of them is no longer than a screen, and of the failed one first; of one that is named, always.
    said = piped("set", "big", "priority=6").splitlines()
    assert len(said) < 30 and "pair 2: failed: " in said[1] and re.fullmatch("  ... and [0-9]+ more; `dray show big` has them all", said[-1]), said
    said = piped("pause", "big", "--pair", "1").splitlines()
    assert len(said) < 30 and "  pair 1: paused" in said, said
    # Where nothing is to be seen at any: the first ones.
    t.verb("big", "cancel")
    t.wait("it is over", lambda: t.show("big")["state"] in ("canceled", "failed"), 60)
    over = terminal(100, "show", "big")
    assert f"of {N} pairs are left out: " in over and 1 <= over.count("- source: ") <= 3, over[-2000:]
    # Few are shown as they are.
    t.file("x", MiB)
    t.submit({"name": "one", "pairs": [{"source": f"{t.dir}/x", "target": f"{t.dir}/x.copy", "create": "thin"}]})
    small = terminal(100, "show", "one")
    assert "left out" not in small and small.count("- source: ") == 1

    # Long names: a row is a line, and both of them can be told.
    names = ["n" * 120 + "-monday", "n" * 120 + "-friday"]
    for k, name in enumerate(names):
        t.file(f"y{k}", MiB)
        t.submit({"name": name, "pairs": [{"source": f"{t.dir}/y{k}", "target": f"{t.dir}/y{k}.copy", "create": "thin"}]})
    for width in (60, 80, 120):
        rows = terminal(width, "list", "--all").splitlines()
        assert max(len(row) for row in rows) <= max(width, 79), (width, rows)
        assert any("monday" in row and "\u2026" in row for row in rows) and any("friday" in row for row in rows), rows
        assert all(t.show(n)["id"] in "\n".join(rows) for n in names), rows
    assert all(name in piped("list") for name in names)
    assert {d["name"] for d in json.loads(piped("list", "-o", "json"))} >= set(names)
    assert all(name in terminal(400, "list") for name in names)

    # With all that there can be in a row, on a terminal of 80 columns, it is still a line, and says of what holds it back as much as there is room for.
    progress = {"bytes_total": 1023 * MiB, "bytes_done": 102 * MiB, "rate": 100 * MiB, "eta_seconds": 5}
    bound = [{"limit": "rate", "of": "session", "pairs": 2}, {"limit": "in_flight", "of": "vehicle", "pairs": 1}]
    docs = [dict(document("copying", progress=progress, bound_by=bound), id="s-4k2x9y7a", name=name) for name in ("orders", names[0])]
    shown.answer("GET", "/v1/sessions", 200, docs)
    rows = terminal(80, "list", socket=shown.socket).splitlines()
    assert all(len(row) <= 80 for row in rows) and all("by sess" in row and "100 MiB/s" in row for row in rows[1:]), rows
    shown.answer("GET", "/v1/sessions", 200, docs[:1])
    row = terminal(80, "list", socket=shown.socket).splitlines()[1]
    assert len(row) <= 80 and "  by session rate" in row, row
