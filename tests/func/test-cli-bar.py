#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""The bar fits every terminal, also one that changes its size, whatever names and reasons hold; lists align with wide characters."""
import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
import unicodedata

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from fake_agent import FakeAgent, document

os.environ["LC_ALL"] = "C.UTF-8"


def columns(text):
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def lines_of(data):
    return re.sub("\033\\[[0-9;]*[A-Za-z]", "", data.decode()).replace("\r", "\n").split("\n")


def watch(a, widths, doc, last):
    """What was drawn at the first of these widths, and at the others, often enough to be over what was drawn before; then the session comes to its last document."""
    a.answer("GET", "/v1/sessions/orders", 200, doc)
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, widths[0], 0, 0))
    p = subprocess.Popen(["dray", "watch", "orders"], env=a.env | {"TERM": "xterm", "LC_ALL": "C.UTF-8"}, stdin=slave, stdout=slave, stderr=slave,
                         start_new_session=True)
    data, pieces, at, end = b"", [], 0, time.monotonic() + 60
    os.set_blocking(master, False)
    while p.poll() is None and time.monotonic() < end:
        if select.select([master], [], [], 0.05)[0]:
            data += os.read(master, 65536)
        if data.count(b"\033[J") < (3 if at else 1):
            continue
        if at + 1 == len(widths):
            a.answer("GET", "/v1/sessions/orders", 200, last)
        else:
            pieces.append(data)
            data, at = b"", at + 1
            fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, widths[at], 0, 0))
            p.send_signal(signal.SIGWINCH)
    assert p.wait(timeout=20) == 0
    os.close(slave)
    while select.select([master], [], [], 1)[0]:
        try:
            data += os.read(master, 65536)
        except OSError:
            break
    os.close(master)
    return pieces + [data]


with FakeAgent() as a:
    wide = "注文データベース-äöü-" + "x" * 60
    state = {"phase": "copying", "progress": {"bytes_total": 1 << 40, "bytes_done": 1 << 39, "rate": 123456789, "eta_seconds": 4321, "dirty_rate": 1 << 20}}
    two = [{"id": "1", "state": "copying", **state}, {"id": "2", "state": "queued", "reason": "wartet auf 容量 " * 20, "progress": {}}]
    for width in (1, 5, 19, 40, 60, 81, 200):
        for name in ("orders", wide):
            d = document("copying", name=name, **state) | {"pairs": two}
            out = watch(a, [width], d, document("switched", name=name))[0]
            for line in lines_of(out.split(b"switched; blackout")[0].rsplit(b"\n", 1)[0]):
                assert columns(line) <= max(width - 1, 1), (width, line)
            if width >= 81:
                assert "50 %" in out.decode() and "118 MiB/s" in out.decode() and "wartet auf" in out.decode(), out.decode()
    # It becomes narrower: what was drawn takes more rows now, and is gone over.
    d = document("copying", name="orders", **state) | {"pairs": two}
    pieces = watch(a, [120, 40], d, document("switched"))
    ups = [int(n) for n in re.findall(rb"\033\[(\d+)A", b"".join(pieces))]
    assert max(ups) == 9 and ups[-1] == 3, ups  # three lines of nearly 120 columns, on 40

    # What it suffers from and what it does is said.
    bad = [{"id": "1", "state": "copying", "targets": [{"resource": "/dev/x", "state": "degraded", "error": "timed out"}], **state}]
    out = watch(a, [120], document("copying", **(state | {"phase": "recovering"})) | {"pairs": bad}, document("switched"))[0].decode()
    assert "recovering" in out and "pair 1: target /dev/x is degraded: timed out" in out and "1.0 MiB/s written anew" in out, out
    waits = [{"id": "1", "state": "queued", "reason": "waits for 1 of 2 active pairs\033[31m of the agent", "progress": {}}]
    out = watch(a, [120], document("copying") | {"pairs": waits}, document("switched"))[0].decode()
    assert "waits for 1 of 2 active pairs?[31m of the agent" in out, out
    a.answers_in_turn("GET", "/v1/sessions/orders", (200, document("synced", phase="verifying")), (200, document("switched")))
    err = subprocess.run(["dray", "watch", "orders"], env=a.env, capture_output=True, text=True, check=True).stderr
    assert "orders: synced (verifying), 100 %" in err and "\033" not in err and "\r" not in err, err

    a.answer("GET", "/v1/sessions", 200, [document("copying", name="orders"), document("synced", name="注文データ", phase="verifying"),
                                          document("paused", name="e\u0301cole")])
    rows = subprocess.run(["dray", "list"], env=a.env | {"LC_ALL": "C.UTF-8"}, capture_output=True, text=True, check=True).stdout.splitlines()
    assert len({columns(row[:row.index("s-4k2")]) for row in rows[1:]}) == 1, rows
    assert rows[2].endswith("verifying"), rows
