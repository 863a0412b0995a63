#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Bad sectors of a source (H17): the copy finds them by bisection and goes around them, everything else is on the target; they are
listed, over kill -9 too; the switch is refused unless as many bytes are accepted; afterwards they read as errors until overwritten, over a restart
as well; an undo gives back what the source can read again."""
import json
import os
import shutil
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from dray import MiB, Scratch, wait_for
from iod import Iod
from nbdclient import Client, NbdError

BAD = [(1 * MiB + 8192, 4096), (3 * MiB + 512, 1024), (5 * MiB - 4096, 8192)]  # the last one lies in two regions
FAULTS = [f"fail read EIO 1000000 {at} {n}" for at, n in BAD]


def bad(iod):
    return [(r["offset"], r["length"]) for r in iod.volume("v")["bad_ranges"]]


def read(iod, at, n):
    c = Client(iod.nbd_socket, "v")
    try:
        return c.read(at, n)
    except NbdError as e:
        assert "EIO" in str(e) or "5" in str(e), e
        return None
    finally:
        c.close()


with Scratch() as s:
    disk, target = s.holdback("disk", "8M"), s.file("b", "8M")
    data = bytearray(os.urandom(8 * MiB))
    with open(disk.file, "wb") as f:
        f.write(data)
    disk.faults(*FAULTS)
    iod = Iod(s)
    iod.call("volume.add", name="v", resource=disk.uri)
    iod.patient("v")
    assert bad(iod) == []
    leg = iod.attach("v", target)
    iod.wait_synced("v", leg)
    v = iod.volume("v")
    assert bad(iod) == BAD, v["bad_ranges"]
    total = sum(n for _, n in BAD)
    assert v["bad_bytes"] == v["bad_behind_bytes"] == total and not any(r["lost"] for r in v["bad_ranges"]), v
    # All that can be read is there, and zeroes where not.
    want = bytearray(data)
    for at, n in BAD:
        want[at:at + n] = bytes(n)
    with open(target, "rb") as f:
        assert f.read() == want
    # A verification compares the rest and says what it left out.
    iod.call("verify.start", volume="v", leg=leg)
    got = wait_for("it is verified", lambda: (x := iod.leg("v", leg)["verify"]) and not x["running"] and x)
    assert got["differing_bytes"] == 0 and got["skipped_bytes"] == total and got["compared_bytes"] == 8 * MiB - total, got
    # The primary is asked, and nobody stands in for it with zeroes.
    for at, n in BAD:
        assert read(iod, at, n) is None
    assert read(iod, 0, 4096) == data[:4096]
    # It survives.
    iod.kill()
    iod.start()
    iod.wait_served("v")
    iod.wait_synced("v", leg)
    assert bad(iod) == BAD

    def switch(token, leg, accept):
        return iod.call("switch", token=token, deadline_ms=60000,
                        members=[{"volume": "v", "leg": leg, "epoch": iod.volume("v")["epoch"], "accept_bad_bytes": accept}])

    source = iod.volume("v")["primary"]
    for accept in (0, total - 512):
        e = iod.refused("switch", "bad_ranges", token=f"no-{accept}", deadline_ms=60000,
                        members=[{"volume": "v", "leg": leg, "epoch": iod.volume("v")["epoch"], "accept_bad_bytes": accept}])
        assert e.data["bad_bytes"] == total and e.data["outcome"] == "refused", e
    assert iod.volume("v")["primary"] == source
    # What is overwritten is not bad any more: on both legs.
    c = Client(iod.nbd_socket, "v")
    at, n = BAD[1]
    c.write(at, b"1" * 512)
    data[at:at + 512] = b"1" * 512
    left = [BAD[0], (at + 512, 512), BAD[2]]
    assert bad(iod) == left, bad(iod)
    total -= 512
    switch("yes", leg, total)
    v = iod.volume("v")
    assert v["primary"] == leg and v["bad_bytes"] == total and v["bad_behind_bytes"] == 0 and all(r["lost"] for r in v["bad_ranges"]), v
    for at, n in left:
        assert read(iod, at, n) is None and read(iod, at - 512, 1024) is None
    assert read(iod, BAD[1][0], 512) == b"1" * 512
    if shutil.which("nbdinfo"):
        told = json.loads(subprocess.check_output(["nbdinfo", "--map", "--json", iod.uri()]))
        for at, n in left:
            assert all(x["type"] == 0 for x in told if x["offset"] < at + n and at < x["offset"] + x["length"]), (at, n, told)
    c.close()
    iod.kill()
    iod.start()
    iod.wait_served("v")
    assert bad(iod) == left
    assert read(iod, BAD[0][0], 4096) is None
    # Overwritten, in part by a zero: these read again.
    c = Client(iod.nbd_socket, "v")
    c.write(BAD[0][0], b"2" * 4096)
    c.zero(BAD[2][0], 4096)
    data[BAD[0][0]:BAD[0][0] + 4096] = b"2" * 4096
    data[BAD[2][0]:BAD[2][0] + 4096] = bytes(4096)
    assert read(iod, BAD[0][0], 4096) == b"2" * 4096 and read(iod, BAD[2][0], 4096) == bytes(4096)
    left = [(BAD[1][0] + 512, 512), (BAD[2][0] + 4096, 4096)]
    assert bad(iod) == left
    iod.kill()
    iod.start()
    iod.wait_served("v")
    assert bad(iod) == left
    # The old source recovers: an undo needs nobody's consent, and gives its data back.
    disk.faults()
    iod.wait_synced("v", source)
    switch("undo", source, 0)
    for at, n in left:
        assert read(iod, at, n) == data[at:at + n]
    assert read(iod, 0, 8 * MiB) == data
    # Looked at once more, they are copied, and gone from the list.
    iod.wait_synced("v", leg)
    iod.call("leg.retry", volume="v", leg=leg)
    wait_for("the list is empty", lambda: bad(iod) == [] and iod.leg("v", leg)["synced"])
    switch("again", leg, 0)
    assert read(iod, 0, 8 * MiB) == data
    iod.stop()
    with open(target, "rb") as f:
        assert f.read() == data
