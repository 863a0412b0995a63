#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""commit gives up the way back, retire the old storage: on a terminal they ask, unless --yes or it does no harm; elsewhere they do as they
are told."""
import json
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
    assert not [c for c in a.asked if c[0] == "POST"]
    del a.asked[:]
    for args, answer in ((["commit", "orders"], b"y\n"), (["commit", "orders", "--yes"], None), (["commit", "-y", "orders"], None)):
        status, text = on_terminal(a, answer, *args)
        assert status == 0 and "orders: committed" in text, (status, text)
    assert len([c for c in a.asked if c[0] == "POST"]) == 3
    a.run("commit", "orders")
    assert len([c for c in a.asked if c[0] == "POST"]) == 4

    # What becomes of the old storage by itself is part of the question.
    doc = document("switched")
    doc["switch"] = {"retire": "delete"}
    a.answer("GET", "/v1/sessions/orders", 200, doc)
    status, text = on_terminal(a, b"n\n", "commit", "orders")
    assert status == 1 and "which is retired (delete)" in text, text

    done = document("committed")
    done["switch"] = {"retire": "delete"}
    done["pairs"][0]["retired"] = {"how": "delete", "state": "done", "time": None, "reason": None, "name": None}
    a.answer("GET", "/v1/sessions/orders", 200, done)
    a.answer("POST", "/v1/sessions/orders/retire", 200, done)
    del a.asked[:]
    for args in (["retire", "orders"], ["retire", "orders", "--how", "zero"], ["retire", "orders", "--how", "rename"]):
        status, text = on_terminal(a, b"n\n", *args)
        assert status == 1 and "not retired" in text and (args[-1] if "--how" in args else "delete") in text, (args, text)
    assert not [c for c in a.asked if c[0] == "POST"]
    for args, answer in ((["retire", "orders"], b"y\n"), (["retire", "orders", "--how", "zero", "--yes"], None),
                         (["retire", "orders", "--how", "read-only"], None)):
        status, text = on_terminal(a, answer, *args)
        assert status == 0 and "retired by" in text, (args, text)
    bodies = [json.loads(c[2]) for c in a.asked if c[0] == "POST"]
    assert bodies == [{}, {"how": "zero"}, {"how": "read-only"}], bodies
