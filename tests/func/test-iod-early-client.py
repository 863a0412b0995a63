#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""A client that comes back right after a restart of dray-iod, before its volume is served again, is not told that there is no such export: it is
let in when the volume is there. If that takes too long, it is told; a volume that nobody knows is refused at once."""
import os
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from dray import MiB, Scratch, wait_for  # noqa: E402
from nbdclient import Client, NbdError  # noqa: E402

with Scratch() as s:
    a = s.agent()
    disk = s.holdback("disk", MiB)
    a.volume("v", disk.uri)
    sock = a.uri("v").split("socket=")[1]
    c = Client(sock, "v")
    c.write(4096, b"w" * 4096)
    c.flush()
    c.close()

    def restart():
        before = a.iod_pid()
        os.kill(before, 9)
        wait_for("dray-iod is back", lambda: a.iod_pid() not in (None, before))

    disk.stop()
    restart()
    got = []

    def come_back():
        try:
            got.append(Client(sock, "v").read(4096, 4096))
        except (NbdError, ConnectionError) as e:
            got.append(e)
    early = threading.Thread(target=come_back)
    early.start()
    try:
        Client(sock, "nobody")
        raise AssertionError("a volume that does not exist was served")
    except NbdError as e:
        assert e.args, e
    time.sleep(0.3)
    assert not got, got  # still made to wait
    disk.go_on()
    early.join()
    assert got == [b"w" * 4096], got

    # One that does not come: told after a few seconds, and asked for again with success when it is there.
    disk.stop()
    restart()
    come_back()
    assert isinstance(got[1], NbdError), got
    disk.go_on()
    wait_for("it is served again", lambda: come_back() or got[-1] == b"w" * 4096)
