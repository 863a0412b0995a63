#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Over TCP an idle connection to an NBD server is asked about now and then: the server's host may vanish without a word."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from dray import Scratch, need, tcp_port, wait_for  # noqa: E402
from iod import Iod  # noqa: E402

need("qemu-nbd")


def connections(port):
    """The timers of the established connections to that port: 2 is the one that asks."""
    with open("/proc/net/tcp") as f:
        return [int(r[5].split(":")[0], 16) for r in map(str.split, f.readlines()[1:]) if r[2].endswith(f":{port:04X}") and r[3] == "01"]


with Scratch() as s:
    iod = Iod(s)
    server = s.start("qemu-nbd", "--persistent", "--shared=0", "--format=raw", "--bind=127.0.0.1", "--port=0", s.file("a", "1M"))
    number = wait_for("the server listens", lambda: tcp_port(server.pid))
    iod.call("volume.add", name="v", resource=f"nbd://127.0.0.1:{number}/")
    wait_for("all connections are idle and asked about", lambda: set(connections(number)) == {2})
    iod.stop()
