#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""A volume has moved to an NBD server, and that server dies and returns: the application waits, and sees no error."""
import os
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from dray import SLOW, Scratch, listens, need, wait_for
from iod import Iod
from nbdclient import Client

need("nbdkit")
MiB = 1 << 20
with Scratch() as s:
    iod = Iod(s)
    a, b, sock = s.file("a", "8M", data=True), s.file("b", "8M"), s.path("b.sock")

    def serve():
        if os.path.exists(sock):
            os.unlink(sock)
        p = s.start("nbdkit", "-f", "-U", sock, "file", b)
        wait_for("nbdkit listens", lambda: listens(sock))
        return p

    server = serve()
    iod.call("volume.add", name="v", resource=a)
    leg = iod.attach("v", f"nbd+unix:///?socket={sock}")
    iod.wait_synced("v", leg)
    iod.switch("t", ("v", leg))
    iod.call("commit", volume="v", leg=1)
    c = Client(iod.nbd_socket, "v")
    c.write(0, b"1" * 4096)
    c.flush()
    server.kill()
    server.wait()
    done = []
    t = threading.Thread(target=lambda: done.append(c.write(4096, b"2" * 4096)))
    t.start()
    wait_for("the write waits", lambda: iod.call("status")["clients"] == 1)
    assert not done
    server = serve()
    t.join(30 * SLOW)
    assert done == [None]
    c.flush()
    assert c.read(0, 8192) == b"1" * 4096 + b"2" * 4096
    c.close()
    iod.stop()
    with open(b, "rb") as f:
        assert f.read(8192) == b"1" * 4096 + b"2" * 4096
