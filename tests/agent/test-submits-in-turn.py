#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""A submit that had to wait for an earlier one, whose resource does not answer, goes on as soon as that one is answered."""
import os
import socket
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from agent import AgentTest, Problem  # noqa: E402
from dray import SLOW  # noqa: E402

ROUNDS = 10

with AgentTest() as t:
    server = socket.socket(socket.AF_UNIX)
    server.bind(t.dir + "/silent.sock")
    server.listen(8)
    server.settimeout(20 * SLOW)
    t.iod.add("a", "/nowhere/a", 1 << 20)
    got = {}

    def submit(name, source, target):
        try:
            got[name] = t.submit({"name": name, "start": {"after": "9d"}, "pairs": [{"source": source, "target": target}]})
        except Problem as p:
            got[name] = p

    # Nothing follows from either of them that would have the agent look around. Without the rule the second waits until it does that by
    # itself, up to ten seconds in each round; all together may take what is generous for them.
    end = time.monotonic() + 40 * SLOW
    for n in range(ROUNDS):
        first = threading.Thread(target=submit, args=("first", "volume:a", f"nbd+unix:///?socket={t.dir}/silent.sock"), daemon=True)
        first.start()
        client, _ = server.accept()
        lists = t.iod.count("volume.list")
        second = threading.Thread(target=submit, args=(f"second-{n}", t.file(f"s{n}"), t.file(f"t{n}")), daemon=True)
        second.start()
        t.wait("the second one has been looked at", lambda: t.iod.count("volume.list") > lists)
        client.close()
        for th in (first, second):
            th.join(max(0, end - time.monotonic()))
            assert not th.is_alive(), f"round {n}: not answered"
        assert isinstance(got["first"], Problem) and got["first"].codes() == {"/pairs/0/target": "unreachable"}, got["first"]
        assert got[f"second-{n}"]["state"] == "scheduled", got
