#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""commit gives up the way back: on a terminal it asks, unless --yes; elsewhere it does as it is told."""
import os
import pty
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from fake_agent import FakeAgent, document


def on_terminal(a, answer, *args):
    """Runs dray on a terminal of its own; returns its exit status and what it wrote."""
    pid, fd = pty.fork()
    if pid == 0:
        os.execvpe("dray", ["dray", *args], a.env | {"TERM": "dumb"})
    text = b""
    if answer:
        while b"[y/N]" not in text:
            text += os.read(fd, 4096)
        os.write(fd, answer)
    while True:
        try:
            got = os.read(fd, 4096)
        except OSError:
            break
        if not got:
            break
        text += got
    os.close(fd)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), text.decode()


with FakeAgent() as a:
    a.answer("POST", "/v1/sessions/orders/commit", 200, document("committed"))
    for no in (b"n\n", b"\n", b"\x04"):
        status, text = on_terminal(a, no, "commit", "orders")
        assert status == 1 and "no way back" in text and "not committed" in text, (status, text)
    assert not a.asked
    for args, answer in ((["commit", "orders"], b"y\n"), (["commit", "orders", "--yes"], None), (["commit", "-y", "orders"], None)):
        status, text = on_terminal(a, answer, *args)
        assert status == 0 and "orders: committed" in text, (status, text)
    assert len(a.asked) == 3
    a.run("commit", "orders")
    assert len(a.asked) == 4
