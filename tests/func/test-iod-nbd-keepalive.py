#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Over TCP an idle connection to an NBD server is asked about now and then: the server's host may vanish without a word."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from dray import Scratch, need, wait_for  # noqa: E402
from iod import Iod  # noqa: E402

need("qemu-nbd")


def rows():
    with open("/proc/net/tcp") as f:
        return [line.split() for line in f.readlines()[1:]]


def connections(port):
    """The timers of the established connections to that port: 2 is the one that asks."""
    return [int(r[5].split(":")[0], 16) for r in rows() if r[2].endswith(f":{port:04X}") and r[3] == "01"]


with Scratch() as s:
    iod = Iod(s)
    server = s.start("qemu-nbd", "--persistent", "--shared=0", "--format=raw", "--bind=127.0.0.1", "--port=0", s.file("a", "1M"))

    def port():
        """Of the socket that it listens on."""
        inodes = set()
        for fd in os.listdir(f"/proc/{server.pid}/fd"):
            try:
                inodes.add(os.readlink(f"/proc/{server.pid}/fd/{fd}"))
            except FileNotFoundError:  # closed meanwhile
                pass
        return next((int(r[1].split(":")[1], 16) for r in rows() if r[3] == "0A" and f"socket:[{r[9]}]" in inodes), None)
    number = wait_for("the server listens", port)
    iod.call("volume.add", name="v", resource=f"nbd://127.0.0.1:{number}/")
    wait_for("all connections are idle and asked about", lambda: set(connections(number)) == {2})
    iod.stop()
