#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""A difference that was found is not forgotten: not by a verification that looks at less and finds nothing, nor by one that is ended before its end, a
target that had to catch up, a retry, or a restart of the agent. Nothing is switched until all of it was compared, or repaired."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from dray import MiB, SLOW, Scratch, undisturbed, wait_for  # noqa: E402

SIZE = 32 * MiB

with Scratch() as s:
    a = s.agent()
    source, target, disk = s.file("source", SIZE, True), s.path("target"), s.holdback("disk", SIZE)
    a.volume("v", source)
    a.spec(undisturbed({"name": "m", "pairs": [{"source": "volume:v", "target": [disk.uri, target], "create": "full"}]}))
    a.wait("m", "synced")
    with open(target, "r+b", buffering=0) as f:  # where no sample looks
        f.seek(SIZE // 2 + 4096)
        f.write(os.urandom(4096))
        os.fsync(f.fileno())
    assert a.json("verify", "m", status=1)["pairs"][0]["bytes_differing"] == 4096

    def stays(why):
        assert a.pair("m")["verified"] == "differs", why
        got = a.json("switch", "m", status=5)
        assert got["code"] == "differs", (why, got)

    stays("it was found")
    assert a.json("verify", "m", "--sample", "1000000")["pairs"][0]["bytes_differing"] == 0
    stays("a sample")
    assert a.json("verify", "m", "--sample", "1000000", "--repair")["pairs"][0]["bytes_differing"] == 0
    stays("a sample that repairs")

    disk.faults("delay read 2000")  # half a minute, which nobody waits for
    verify = s.start("dray", "verify", "m", log="verify.log", env=a.env)
    wait_for("it runs", lambda: a.pair("m").get("phase") == "verifying")
    stays("one that runs")
    a.run("pause", "m")
    assert verify.wait(60 * SLOW) == 1
    with open(s.path("verify.log")) as f:
        assert "ended by a pause" in f.read()
    disk.faults()
    a.run("resume", "m")
    a.wait("m", "synced")
    stays("one that was ended")

    a.run("pause", "m", "--detach")
    app = s.stamp(a.uri("v"), "app", "--size", str(MiB))
    app.wait_writes(20)
    app.end()
    a.run("resume", "m")
    a.wait("m", "synced")
    stays("it had to catch up")

    a.process.terminate()
    a.process.wait()
    a.start()
    wait_for("synced", lambda: a.show("m")["state"] == "synced")
    stays("a restart")

    a.run("set", "m", "verify=full")
    wait_for("it failed", lambda: a.show("m")["state"] == "failed")
    a.run("set", "m", "verify=none")
    a.run("retry", "m")
    a.wait("m", "synced")
    stays("a retry")

    assert a.json("verify", "m", "--repair", status=1)["pairs"][0]["bytes_repaired"] == 4096
    assert a.pair("m")["verified"] == "clean"
    a.run("switch", "m")
