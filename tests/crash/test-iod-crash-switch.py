#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""dray-iod dies at each named point of a group switch: after the restart both volumes are on the same side, the epoch says which, and both legs hold all that was acknowledged."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from dray import Scratch, same, wait_for
from iod import Iod
from nbdclient import Client


def one(point, side):
    with Scratch() as s:
        iod = Iod(s)
        files = {v: (s.file(v + "a", "4M", data=True), s.file(v + "b", "4M")) for v in ("v", "w")}
        legs, clients = {}, {}
        for v, (a, b) in files.items():
            iod.call("volume.add", name=v, resource=a)
            legs[v] = iod.attach(v, b)
        iod.patient(*files)
        for v in files:
            iod.wait_synced(v, legs[v])
        iod.stop()
        iod.start({"DRAY_CRASH_AT": point})
        for v in files:
            iod.wait_synced(v, legs[v])
            c = Client(iod.nbd_socket, v)
            c.write(1 << 20, (v + point).encode().ljust(4096, b"."))
            c.flush()
        try:
            iod.switch("t", *legs.items())
            raise AssertionError(f"{point} was not reached")
        except (ConnectionError, OSError):
            pass
        iod.wait_crash()
        iod.start()
        iod.wait_served("v", "w")
        for v in files:
            got = iod.volume(v)
            want = (2, legs[v]) if side == "new" else (1, 1)
            assert (got["epoch"], got["primary"]) == want, (point, v, got["epoch"], got["primary"])
            c = Client(iod.nbd_socket, v)
            assert c.read(1 << 20, 4096) == (v + point).encode().ljust(4096, b".")
            c.write(2 << 20, b"z" * 4096)
            c.flush()
            c.close()
        status = iod.call("switch.status", token="t")["outcome"]
        assert status == ("switched" if side == "new" else "unknown"), status
        for v in files:
            other = 1 if side == "new" else legs[v]
            iod.wait_synced(v, other)
        # It goes on from there: the switch, or the way back.
        iod.switch("u", *[(v, 1 if side == "new" else legs[v]) for v in files])
        iod.stop()
        for v, (a, b) in files.items():
            assert same(a, b), (point, v)


for point, side in (("epoch-before", "old"), ("epoch-torn", "old"), ("epoch-after", "new"), ("apply-before", "new"),
                    ("apply-after", "new"), ("switch-done", "new")):
    one(point, side)
    print(point, "ok")
