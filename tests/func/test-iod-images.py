#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""A switch with two targets: the second is an image of that instant, whole and let go; a split takes images and leaves the volume as it was."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from dray import Scratch, same
from iod import Iod
from nbdclient import Client

MiB = 1 << 20
with Scratch() as s:
    iod = Iod(s)
    a, b, c, d = s.file("a", "8M", data=True), s.file("b", "8M"), s.file("c", "8M"), s.file("d", "8M")
    iod.call("volume.add", name="v", resource=a)
    iod.patient()
    first = iod.attach("v", b)
    second = iod.attach("v", c, role="copy")
    iod.wait_synced("v", first)
    iod.wait_synced("v", second)
    client = Client(iod.nbd_socket, "v")
    client.write(MiB, b"before" * 512 + b"." * 1024)
    got = iod.switch("t", ("v", first))
    assert got["members"][0]["images"] == [{"leg": second, "error": None}], got
    assert sorted(x["id"] for x in iod.volume()["legs"]) == [1, first]
    assert same(a, c)
    client.write(2 * MiB, b"after" * 512 + b"." * 1536)
    client.flush()
    assert not same(b, c)

    image = iod.attach("v", d, role="copy")
    iod.wait_synced("v", image)
    iod.refused("split", "unsupported", token="s0", deadline_ms=600000, members=[{"volume": "v", "legs": [image]}])
    iod.call("commit", volume="v", leg=1)
    epoch = iod.volume()["epoch"]
    got = iod.call("split", token="s1", deadline_ms=600000, members=[{"volume": "v", "legs": [image]}])
    assert got["outcome"] == "switched" and got["members"][0]["images"] == [{"leg": image, "error": None}], got
    assert same(b, d)
    v = iod.volume()
    assert [x["id"] for x in v["legs"]] == [first] and v["epoch"] == epoch
    client.write(3 * MiB, b"later" * 512 + b"." * 1536)
    client.flush()
    assert not same(b, d)
    client.close()
    iod.stop()
