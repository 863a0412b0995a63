#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""The test server nbd-holdback is the disk it claims to be: what was not flushed is lost with the power, the rest is not."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from dray import MiB, Scratch, wait_for
from nbdclient import FUA, Client, NbdError

A, B, C = b"a" * 4096, b"b" * 4096, b"c" * 4096
ZERO = bytes(4096)


def must_fail(errno, call, *args):
    try:
        call(*args)
    except NbdError as e:
        assert e.errno == errno, e.errno
    else:
        raise AssertionError(f"expected error {errno}")


with Scratch() as s:
    disk = s.holdback("disk", MiB, "--writeback", "0")
    c = Client(disk.socket)
    assert c.size == MiB

    # Held writes are read back, also by another connection, but are not in the file.
    c.write(0, A)
    c.write(4096 + 512, B[:1024])
    assert Client(disk.socket).read(0, 4096) == A
    assert c.read(4096, 4096) == bytes(512) + B[:1024] + bytes(2560)
    assert open(disk.file, "rb").read(8192) == bytes(8192)
    # A flush brings them there, FUA its own range only.
    c.flush()
    assert open(disk.file, "rb").read(4096) == A
    c.write(8192, B)
    c.write(12288, C, FUA)
    assert open(disk.file, "rb").read()[8192:16384] == ZERO + C
    c.zero(0, 4096)
    assert c.read(0, 4096) == ZERO

    # Power loss: connections end, the held writes are gone, the flushed ones are not; the server goes on.
    disk.power_loss()
    try:
        wait_for("the connection ends", lambda: c.read(0, 512) is None)
    except ConnectionError:
        pass
    c = Client(disk.socket)
    assert c.read(0, 4096) == A and c.read(8192, 4096) == ZERO and c.read(12288, 4096) == C

    # The same by kill -9.
    c.write(0, B)
    c.write(4096, B)
    c.flush()
    c.write(0, C)
    disk.kill()
    disk.start()
    c = Client(disk.socket)
    assert c.read(0, 4096) == B and c.read(4096, 4096) == B

    # Faults: counted, by place, and a failed flush that loses what it had.
    disk.faults("fail write EIO 2", "fail read EIO 9 8192 4096")
    must_fail(5, c.write, 0, A)
    must_fail(5, c.write, 0, A)
    c.write(0, A)
    must_fail(5, c.read, 8192, 512)
    assert c.read(4096, 4096) == B
    disk.faults("fail flush EIO 1", "drop-on-flush-error")
    must_fail(5, c.flush)
    c.flush()
    assert c.read(0, 4096) == B
    disk.faults()
    must_fail(28, c.write, MiB - 512, A)
    must_fail(22, c.read, MiB, 512)

    # With write-back by chance some held writes survive, some don't.
    disk.kill()
    disk.options = ("--writeback", "50")
    disk.start()
    c = Client(disk.socket)
    for i in range(128):
        c.write(i * 4096, A)
    disk.kill()
    kept = sum(open(disk.file, "rb").read()[i * 4096:][:4096] == A for i in range(128))
    assert 20 < kept < 108, kept
