#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Volumes come and go; what must be refused is, by its kind; all of it is there after a restart."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from dray import Scratch, wait_for
from iod import Iod, Rpc, RpcError
from nbdclient import Client

with Scratch() as s:
    iod = Iod(s)
    a, b = s.file("a", "8M", data=True), s.file("b", "4M")
    v = iod.call("volume.add", name="v", resource=a)
    assert (v["size_bytes"], v["epoch"], v["primary"], v["served"]) == (8 << 20, 1, 1, True), v
    iod.refused("volume.add", "exists", name="v", resource=b)
    iod.refused("volume.add", "exists", name="w", resource=os.path.relpath(a, s.dir))  # where it was started
    iod.refused("volume.add", "not_found", name="w", resource=s.path("missing"))
    for bad in ("", ".x", "a/b", "-x", "x" * 129):
        iod.refused("volume.add", "bad_name", name=bad, resource=b)
    iod.refused("volume.add", "self_export", name="w", resource=iod.uri("v"))
    iod.refused("volume.get", "not_found", name="w")
    assert [x["name"] for x in iod.call("volume.list")] == ["v"]

    # A slice that overlaps one that is served is refused.
    iod.call("volume.add", name="s1", resource={"resource": b, "offset": 0, "length": 1 << 20})
    iod.refused("volume.add", "exists", name="s3", resource={"resource": b, "offset": 1 << 19, "length": 1 << 20})

    iod.call("volume.add", name="h", resource=s.file("h", "1M"), hidden=True)
    assert iod.volume("h")["uri"] is None
    # One that is still being added may come to nothing: "exists" only says what a list shows.
    disk, other = s.holdback("slow", "1M"), Rpc(iod.control)
    disk.stop()
    first = other.send("volume.add", name="slow", resource=disk.uri, hidden=True)

    def known():
        try:
            return iod.volume("slow")["reason"]
        except RpcError as e:
            assert e.kind == "not_found", e

    assert "being added" in wait_for("it is being added", known)
    iod.refused("volume.add", "busy", name="slow", resource=b)
    assert "slow" not in [x["name"] for x in iod.call("volume.list")]
    disk.go_on()
    other.answer(first)
    iod.refused("volume.add", "exists", name="slow", resource=b)
    iod.call("volume.remove", name="slow")

    c = Client(iod.nbd_socket, "v")
    c.write(0, b"x" * 4096)
    assert iod.volume("v")["clients"] == 1
    iod.refused("volume.remove", "connected", name="v")
    # A client counts from the moment it is let in.
    for _ in range(20):
        wait_for("no client", lambda: iod.volume("s1")["clients"] == 0)
        guest = Client(iod.nbd_socket, "s1")
        iod.refused("volume.remove", "connected", name="s1")
        guest.close()
    iod.stop()

    iod.start()
    iod.wait_served("v", "s1", "h")
    c = Client(iod.nbd_socket, "v")
    assert c.read(0, 4096) == b"x" * 4096
    iod.call("volume.remove", name="v", force=True)
    iod.call("volume.remove", name="s1")
    assert sorted(x["name"] for x in iod.call("volume.list")) == ["h"]
    assert not os.path.exists(os.path.join(iod.state, "volumes/v"))
    iod.call("volume.add", name="v", resource=a)
    iod.stop()
