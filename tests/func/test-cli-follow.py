#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""migrate, start --wait, watch and wait: what they ask for, where they end and with which status."""
import json
import os
import pty
import select
import signal
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from fake_agent import FakeAgent, document


def session(a, *docs):
    a.answers_in_turn("GET", "/v1/sessions/s-4k2", *[(200, d) for d in docs])
    a.answers_in_turn("GET", "/v1/sessions/orders", *[(200, d) for d in docs])


with FakeAgent() as a:
    # migrate submits one pair and follows it.
    a.answer("POST", "/v1/sessions", 201, document("copying"))
    session(a, document("copying"), document("synced"), document("switching"), document("switched"))
    done = a.run("migrate", "volume:orders", "/dev/new", "--rate", "50MiB", "--create", "thin", "--overwrite", "--priority", "7")
    assert json.loads(a.asked[0][2]) == {
        "name": "orders", "priority": 7, "limits": {"rate": "50MiB"}, "switch": {"when": "synced"},
        "pairs": [{"source": "volume:orders", "target": "/dev/new", "create": "thin", "overwrite": True}]}, a.asked[0]
    assert "orders: switched; blackout 1.5 ms (predicted 2.0 ms)" in done.stdout and "dray undo orders" in done.stdout, done.stdout
    assert not done.stderr  # no terminal, no --progress

    session(a, document("copying"), document("committed", switch={"commit": "switched"}))
    done = a.run("migrate", "/srv/a", "b/c.img", "d.img", "--progress", "-o", "json", "--commit", "switched", "--when", "manual")
    assert json.loads(done.stdout)["state"] == "committed"
    asked = json.loads([body for method, _, body, _ in a.asked if method == "POST"][-1])
    assert asked["name"] == "c.img" and asked["switch"] == {"when": "manual", "commit": "switched"}, asked
    assert asked["pairs"][0] == {"source": "/srv/a", "target": [os.getcwd() + "/b/c.img", os.getcwd() + "/d.img"]}, asked
    for given, when in (("{event: go}", {"event": "go"}), (" {event:go } ", {"event": "go"}), ("{event: 2027}", {"event": "2027"}),
                        ("{event:true}", {"event": "true"}), ("{event: -}", {"event": "-"}), ('{"event": 5}', '{"event": 5}'), ("{event: go", "{event: go"), ("2027-01-01T02:00:00Z",) * 2):
        a.run("migrate", "volume:v", "/b", "--no-wait", "--when", given)
        assert json.loads(a.asked[-1][2])["switch"]["when"] == when, (given, a.asked[-1])
    session(a, document("copying"), document("completed"))
    done = a.run("migrate", "/srv/a", "/srv/b", "--progress")
    assert "switch" not in json.loads([body for method, _, body, _ in a.asked if method == "POST"][-1])
    assert "orders: copying, 50 %, 512 MiB of 1.0 GiB, 100 MiB/s, 5 s left" in done.stderr, done.stderr

    # Commit at once: switched is not the end. Failure is 1, and told.
    session(a, document("switched", switch={"commit": "switched"}), document("committed", switch={"commit": "switched"}))
    assert "committed" in a.run("migrate", "volume:v", "/b").stdout
    for bad in ("failed", "canceled"):
        session(a, document("copying"), document(bad, reason="the target is full"))
        assert "the target is full" in a.run("migrate", "volume:v", "/b", status=1).stdout
        done = a.run("migrate", "volume:v", "/b", "-o", "json", status=1)
        assert json.loads(done.stdout)["state"] == bad and json.loads(done.stderr)["exit"] == 1
    a.run("migrate", "volume:v", "/b", "--no-wait")

    # The same for a document; without --wait it returns at once.
    session(a, document("copying"), document("switched"))
    a.run("start", "-", "--wait", stdin="name: x\n")
    assert "orders: copying, id s-4k2" in a.run("start", "-", stdin="{}").stdout
    assert a.asked[-1][3]["Content-Type"] == "application/json"
    a.answer("POST", "/v1/sessions?dry_run=1", 200, document("queued"))
    assert "nothing is wrong" in a.run("start", "-", "--dry-run", stdin="{}").stdout
    # One pair failed, the rest waits for a person: no use in waiting.
    session(a, document("synced", reason="pair 1 failed", pair={"state": "failed"}))
    a.run("watch", "orders", status=1)

    # All attempts to switch are used up: the operator has to decide.
    session(a, document("copying"), document("synced", reason="the switch failed 3 times, last: past its deadline"))
    assert "deadline" in a.run("migrate", "volume:v", "/b", status=1).stdout

    # watch -o json: a document a line, for each change of state.
    session(a, document("copying"), document("copying"), document("synced"), document("switched"))
    lines = a.run("watch", "orders", "-o", "json").stdout.splitlines()
    assert [json.loads(line)["state"] for line in lines] == ["copying", "synced", "switched"]

    # wait: reached or passed: 0; can't be any more: 1; too late: 7.
    table = [("copying", "copying", 0), ("synced", "copying", 0), ("switched", "synced", 0), ("committed", "switched", 0), ("paused", "copying", 0),
             ("completed", "synced", 0), ("completed", "completed", 0), ("completed", "switched", 1), ("committed", "completed", 1),
             ("canceled", "synced", 1), ("failed", "synced", 1), ("failed", "failed", 0), ("canceled", "canceled", 0), ("switched", "paused", 7),
             ("copying", "synced", 7), ("copying", "paused", 7), ("committed", "paused", 1), ("paused", "synced", 7), ("synced", "failed", 7)]
    for now, wanted, status in table:
        session(a, document(now))
        done = a.run("wait", "orders", wanted, "--timeout", "10ms", status=status)
        assert bool(done.stderr) == bool(status), (now, wanted, done.stderr)
    session(a, document("copying"), document("copying"), document("synced"))
    assert json.loads(a.run("wait", "orders", "synced", "-o", "json").stdout)["state"] == "synced"
    session(a, document("copying"))
    done = a.run("wait", "orders", "synced", "-o", "json", "--timeout", "0.0", status=7)
    assert json.loads(done.stderr)["exit"] == 7 and json.loads(done.stdout)["state"] == "copying"
    a.run("wait", "nobody", "synced", status=4)

    # Ctrl-C detaches; also in the background of a script, where a shell has it ignored.
    for prefix in ([], ["sh", "-c", "trap '' INT; exec \"$@\"", "sh"]):
        session(a, document("copying"))
        asked = len(a.asked)
        p = subprocess.Popen([*prefix, "dray", "watch", "orders"], env=a.env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                             text=True)
        end = time.monotonic() + 20
        while len(a.asked) < asked + 2 and time.monotonic() < end:
            time.sleep(0.01)
        p.send_signal(signal.SIGINT)
        out, err = p.communicate(timeout=20)
        assert p.returncode == 130 and "dray watch orders" in err, (p.returncode, err)

    # On a terminal: a bar that fits, in colour unless NO_COLOR.
    for no_color in ("", "1"):
        session(a, document("copying"), document("switched"))
        master, slave = pty.openpty()
        import fcntl
        import struct
        import termios
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 60, 0, 0))
        p = subprocess.Popen(["dray", "watch", "orders"], env=a.env | {"TERM": "xterm", "NO_COLOR": no_color}, stdin=slave, stdout=slave, stderr=slave)
        os.close(slave)
        data = b""
        while select.select([master], [], [], 20)[0]:
            try:
                got = os.read(master, 65536)
            except OSError:
                break
            if not got:
                break
            data += got
        assert p.wait(timeout=20) == 0
        os.close(master)
        text = data.decode()
        assert "50 %" in text and "100 %" in text and "█" in text, text
        assert ("\033[36m" in text) == (no_color == ""), text
        import re
        for line in re.sub("\033\\[[0-9;]*[A-Za-z]", "", text).replace("\r", "\n").split("\n"):
            assert len(line) < 60 or "%" not in line, line

# An agent that ends, and is gone: a time limit holds, and it is another status than that of an agent that nobody ever saw.
with FakeAgent() as a:
    a.answers_in_turn("GET", "/v1/sessions/late", (200, document("copying")), (503, {"code": "stopping", "detail": "the agent stops", "exit": 6}))
    late = subprocess.Popen(["dray", "wait", "late", "synced", "--timeout", "5"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=a.env)
    a.answers_in_turn("GET", "/v1/sessions/orders", (200, document("copying")), (503, {"code": "stopping", "detail": "the agent stops", "exit": 6}),
                      (200, document("synced")))
    p = subprocess.run(["dray", "wait", "orders", "synced"], capture_output=True, text=True, env=a.env, timeout=60, check=False)
    assert p.returncode == 0 and "answers again" in p.stderr and p.stdout == "orders: synced\n", p
    a.answer("GET", "/v1/sessions/orders", 503, {"code": "stopping", "detail": "the agent stops", "exit": 6})
    a.run("wait", "orders", "synced", status=6)
    _, err = late.communicate(timeout=60)
    assert late.returncode == 7 and err.count("still trying") == 1 and "the agent stops" not in err, (late.returncode, err)
