#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Clients whose writes, zeroes and trims overlap in flight leave both legs equal: while it is copied, mirrored, and after the switch."""
import os
import random
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from dray import MiB, Scratch, need, same, undisturbed, wait_for
from nbdclient import Client, NbdError

need("fio")
N = 8 * MiB


def trim_and_zero(sock, stop, failed):
    c, rng = Client(sock, "busy"), random.Random(7)
    try:
        while not stop.is_set():
            offset = rng.randrange(0, N, 512)
            length = min(rng.randrange(512, 2 * MiB, 512), N - offset)
            (c.trim if rng.random() < 0.5 else c.zero)(offset, length)
        c.close()
    except (NbdError, ConnectionError) as e:
        failed.append(e)


with Scratch() as s:
    a = s.agent()
    uri = a.volume("busy", s.file("old", N, True))
    loads = [s.start("fio", f"--name=w{i}", "--ioengine=nbd", f"--uri={uri}", "--rw=randwrite", "--norandommap", "--bsrange=512-128k", "--blockalign=512",
                     f"--size={N}", "--iodepth=16", "--time_based", "--runtime=600", log=f"fio{i}.log") for i in range(2)]
    stop, failed = threading.Event(), []
    trimmer = threading.Thread(target=trim_and_zero, args=(a.nbd_socket, stop, failed))
    trimmer.start()
    try:
        a.spec(undisturbed({"name": "move", "switch": {"when": "manual"}, "limits": {"rate": "4MiB"},
                            "pairs": [{"source": "volume:busy", "target": s.path("new"), "create": "thin"}]}))
        wait_for("it moves", lambda: a.moved("move") > N // 4)
        a.run("set", "move", "limits.rate=none")
        a.wait("move", "synced")
        for verb in ("switch", "undo", "switch"):
            a.run(verb, "move")
            written = a.json("volume", "show", "busy").get("counters", {}).get("writes")
            if written is not None:
                wait_for("writes go on", lambda written=written: a.json("volume", "show", "busy")["counters"]["writes"] > written + 200)
    finally:
        stop.set()
        trimmer.join()
    for load in loads:
        assert load.poll() is None, "fio ended early"
        load.terminate()
        load.wait()
    assert not failed, failed
    a.run("commit", "move", "--yes")
    assert same(s.path("old"), s.path("new"))
