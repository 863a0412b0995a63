#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""A second dray-iod on a state directory is refused and says who holds it; a strange disk under an old name is not opened; unreadable records are not guessed."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
import subprocess

from dray import SLOW, Scratch, wait_for
from iod import Iod, RpcError


def refused(iod, text):
    done = subprocess.run([os.environ["DRAY_IOD"], "--state-dir", iod.state, "--run-dir", iod.run_dir + "2"], capture_output=True,
                          text=True, timeout=60 * SLOW, check=False)
    assert done.returncode == 1 and text in done.stderr, done


with Scratch() as s:
    iod = Iod(s)
    a, b = s.file("a", "4M", data=True), s.file("b", "4M")
    iod.call("volume.add", name="v", resource=a)
    leg = iod.attach("v", b)
    iod.wait_synced("v", leg)
    refused(iod, f"pid={iod.process.pid}")
    assert iod.call("status")["volumes"] == 1
    iod.stop()

    # Another file under the secondary's name: served without it, and it is not touched.
    os.rename(b, b + ".real")
    s.file("b", "4M")
    iod.start()
    iod.wait_served("v")
    got = iod.leg("v", leg)
    assert got["state"] == "degraded" and "recorded" in got["error"], got
    try:
        iod.retry("v", leg)
        raise AssertionError("it is taken for the right one")
    except RpcError as e:
        assert e.kind == "not_accessible", e
    iod.refused("switch", "degraded", token="t", deadline_ms=1000, members=[{"volume": "v", "leg": leg, "epoch": 1}])
    with open(b, "rb") as f:
        assert f.read() == bytes(4 << 20)
    os.rename(b + ".real", b)
    iod.retry("v", leg)
    iod.wait_synced("v", leg)
    iod.stop()

    # Another one under the primary's: not served, and it says why; the right one comes back: served.
    os.rename(a, a + ".real")
    s.file("a", "4M")
    iod.start()
    wait_for("the reason is told", lambda: "recorded" in (iod.volume()["reason"] or ""))
    assert iod.volume()["served"] is False
    iod.refused("leg.attach", "not_served", volume="v", resource=s.file("c", "4M"))
    os.rename(a + ".real", a)
    iod.wait_served("v")
    iod.stop()

    # One slot destroyed: the other is the record before. Both: nothing is guessed.
    for slot in ("epochs.0", "epochs.1"):
        with open(os.path.join(iod.state, slot), "r+b") as f:
            f.write(b"garbage!")
    refused(iod, "cannot be known")
    assert os.path.exists(os.path.join(iod.state, "volumes/v/volume.json"))
