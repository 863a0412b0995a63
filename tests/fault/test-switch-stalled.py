#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""A switch while a server is stopped is answered, not waited for: refused when it is the target's, given up at its deadline when
it is the source's. Nothing is stuck after it: the next switch works."""
import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from dray import SLOW, Scratch, same
from iod import Iod, RpcError
from nbdclient import WRITE, Client, NbdError


def one(stopped):
    with Scratch() as s:
        iod = Iod(s)
        disk, file = s.holdback("disk", "8M"), s.file("file", "8M")
        a, b = (disk.uri, file) if stopped == "source" else (file, disk.uri)
        iod.call("volume.add", name="v", resource=a)
        iod.call("copy.set", volume="v", leg_timeout_ms=300 * SLOW)
        leg = iod.attach("v", b)
        app = s.stamp(iod.uri(), "app", "--fill", "--rate", "300", "--size", str(4 << 20), "--no-reconnect")
        app.wait_writes(50)
        iod.wait_synced("v", leg)
        disk.stop()
        if stopped == "source":
            # A request has to be stuck there: else nothing of the source is needed, and the switch away from it works (H18).
            c = Client(iod.nbd_socket, "v")
            write = c.send(WRITE, 6 << 20, 4096, b"w" * 4096)
            try:
                raise AssertionError(c.read(8 << 20, 4096))
            except NbdError:  # of what is not there; so the one before it was taken
                pass
        began = time.monotonic()
        try:
            raise AssertionError(iod.switch("t", ("v", leg), deadline_ms=500))
        except RpcError as e:
            assert e.code == -32004, e
        took = time.monotonic() - began
        disk.go_on()
        if stopped == "source":
            c.receive(write, WRITE)
            c.close()
        iod.patient("v")
        app.wait_writes(50)
        iod.wait_synced("v", leg)
        assert iod.switch("u", ("v", leg))["outcome"] == "switched"
        app.wait_writes(50)
        iod.wait_synced("v", 1)
        app.end()
        iod.stop()
        disk.process.terminate()
        disk.process.wait()
        assert same(disk.file, file)
        print(f"{stopped}: answered after {took:.1f} s")


one("target")
one("source")
