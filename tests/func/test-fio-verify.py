#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""fio with verify=crc32c on the export through copy, pause, switch, undo, switch and commit sees no error."""
import json
import os
import signal
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from dray import MiB, SLOW, Scratch, need, same, wait_for

need("fio")
N = 32 * MiB

with Scratch() as s:
    a = s.agent()
    uri = a.volume("checked", s.file("old", N, True))
    out = s.path("fio.json")
    fio = s.start("fio", "--name=checked", "--ioengine=nbd", f"--uri={uri}", "--rw=randwrite", "--bsrange=4k-64k", f"--size={N}", "--iodepth=8",
                  "--verify=crc32c", "--verify_backlog=64", "--verify_fatal=1", "--rate_iops=2000", "--time_based", "--runtime=3600",
                  "--fsync=100", "--output-format=json", f"--output={out}")
    began = time.monotonic()
    a.spec({"name": "move", "leg_timeout": "1m", "switch": {"when": "manual"}, "limits": {"rate": "16MiB"},
            "pairs": [{"source": "volume:checked", "target": s.path("new"), "create": "thin"}]})
    wait_for("it moves", lambda: a.moved("move") > N // 8)
    a.run("pause", "move")
    a.run("resume", "move")
    a.wait("move", "synced")
    for verb in ("switch", "undo", "switch"):
        a.run(verb, "move")
        assert fio.poll() is None, "fio ended early"
        wait_for("a while under load", lambda was=time.monotonic(): time.monotonic() > was + 0.7)
    print(f"through the last switch after {time.monotonic() - began:.1f} s")
    # It verifies what it wrote all the time, 64 writes behind.
    def served():
        counters = a.json("volume", "show", "checked")["counters"]
        return counters["writes"] > 1500 and counters["reads"] > 1500
    wait_for("it has written and read enough", served, 60)
    fio.send_signal(signal.SIGINT)
    assert fio.wait(timeout=60 * SLOW) in (0, 128), fio.returncode  # 128: ended by a signal
    text = open(out).read()
    job = json.loads(text[text.index("{"):])["jobs"][0]
    assert job["error"] == 0 and job["write"]["total_ios"] > 1000 and job["read"]["total_ios"] > 1000, job["error"]
    a.run("commit", "move", "--yes")
    assert same(s.path("old"), s.path("new"))
