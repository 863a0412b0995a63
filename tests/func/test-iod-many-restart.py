#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""After a restart all volumes are served, also where there are more of them than dray-iod has threads for; one whose storage is away for a
long time keeps no other waiting, and is served when it is back."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from dray import Scratch, wait_for  # noqa: E402
from iod import Iod  # noqa: E402

N = int(os.environ.get("DRAY_SCALE_VOLUMES", 1100))

with Scratch() as s:
    iod = Iod(s)
    os.mkdir(s.path("f"))
    for i in range(N):
        with open(s.path(f"f/{i}"), "wb") as f:
            f.truncate(65536)
    sent = answered = 0
    while answered < N:
        while sent < N and sent - answered < 32:
            iod.rpc.send("volume.add", name=f"v{sent}", resource=s.path(f"f/{sent}"))
            sent += 1
        got = iod.rpc.line()
        assert "error" not in got, got
        answered += "result" in got
    iod.process.kill()
    iod.process.wait()
    os.rename(s.path("f/7"), s.path("away"))
    iod.start()

    def served():
        return {v["name"] for v in iod.call("volume.list") if v["served"]}

    wait_for("all are served but one", lambda: len(served()) >= N - 1, 60, every=0.5)
    wait_for("it says why", lambda: "No such file" in (iod.volume("v7")["reason"] or ""))
    assert "v7" not in served()
    os.rename(s.path("away"), s.path("f/7"))
    iod.wait_served("v7")
print(N, "volumes")
