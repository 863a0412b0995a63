#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""An NBD server that does not answer, without closing anything, is named in the log, with what can be seen of the connection; when it goes on, so
does what waits for it."""
import os
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from dray import Scratch, wait_for  # noqa: E402
from iod import Iod  # noqa: E402
from nbdclient import Client  # noqa: E402

with Scratch() as s:
    iod = Iod(s)
    disk = s.holdback("disk", 1 << 20)
    iod.call("volume.add", name="v", resource=disk.uri)
    c = Client(iod.nbd_socket, "v")

    def said():
        with open(s.path("iod.log")) as f:
            return [line for line in f if "event=nbd-silent" in line]
    c.write(0, b"1" * 4096)
    assert not said()
    disk.stop()
    done = []
    t = threading.Thread(target=lambda: done.append(c.write(0, b"2" * 4096)))
    t.start()
    wait_for("it is said", said, timeout=60)
    assert disk.uri in said()[0] and "1 request on one connection" in said()[0], said()
    assert not done
    disk.go_on()
    t.join(60)
    assert done == [None] and c.read(0, 4096) == b"2" * 4096
    c.close()
    iod.stop()
