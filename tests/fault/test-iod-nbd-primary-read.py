#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""The server of a volume's primary dies while another leg is in sync: reads are answered by that leg, while a write that came before them still waits
for the server to return. What has no other leg waits, too, and nobody sees an error."""
import os
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from dray import SLOW, Scratch, need, same, wait_for  # noqa: E402
from iod import Iod  # noqa: E402
from nbdclient import Client  # noqa: E402

need("qemu-nbd")
with Scratch() as s:
    iod = Iod(s)
    a, b = s.file("a", "8M", data=True), s.file("b", "8M")

    def serve():
        return s.qemu_nbd("a", a)[0]

    def later(call):
        got = []
        t = threading.Thread(target=lambda: got.append(call()))
        t.start()
        return t, got

    server, uri = s.qemu_nbd("a", a)
    iod.call("volume.add", name="v", resource=uri)
    writer, reader, other = (Client(iod.nbd_socket, "v") for _ in range(3))
    with open(a, "rb") as f:
        data = f.read()
    server.kill()
    server.wait()
    alone, got = later(lambda: reader.read(0, 65536))  # there is no other leg yet
    server = serve()
    alone.join(30 * SLOW)
    assert got == [data[:65536]]
    leg = iod.attach("v", b)
    iod.wait_synced("v", leg)
    server.kill()
    server.wait()
    write, written = later(lambda: writer.write(0, b"2" * 4096))
    wait_for("the write is under way", lambda: iod.leg("v", leg)["mirrored_bytes"])
    assert other.read(4 << 20, 1 << 20) == data[4 << 20:5 << 20]
    assert not written, "the read was kept waiting for the server as long as the write"
    server = serve()
    write.join(30 * SLOW)
    assert written == [None]
    writer.flush()
    assert other.read(0, 8192) == b"2" * 4096 + data[4096:8192]
    for c in (writer, reader, other):
        c.close()
    iod.stop()
    server.terminate()
    server.wait()
    assert same(a, b)
