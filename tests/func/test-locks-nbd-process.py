#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""One NBD server by its unix socket and by its TCP port, under several names of the host: one storage, in one document, between sessions, and
for a volume. Another export of it is another storage; so is one of the same name that another process serves."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from dray import BUILD, MiB, Scratch, tcp_port, wait_for

with Scratch() as s:
    wrapper = s.path("iod-tcp")
    with open(wrapper, "w") as f:
        f.write(f"#!/bin/sh\nexec {BUILD}/dray-iod --tcp 127.0.0.1:0 \"$@\"\n")
    os.chmod(wrapper, 0o755)
    os.environ["DRAY_IOD"] = wrapper
    server = s.agent(name="server")
    os.environ["DRAY_IOD"] = os.path.join(BUILD, "dray-iod")
    port = wait_for("it listens", lambda: tcp_port(server.iod_pid()))
    other, a = s.agent(name="other"), s.agent()
    for v in "xy":
        server.volume(v, s.file("of-" + v, 2 * MiB))
    other.volume("x", s.file("others", 2 * MiB))
    for v in "vwz":
        a.volume(v, s.file(v, MiB, True))
    os.symlink(server.nbd_socket, s.path("link"))
    names = [server.uri("x"), f"nbd+unix:///x?socket={s.path('link')}", f"nbd://127.0.0.1:{port}/x", f"nbd://localhost:{port}/x",
             f"nbd://LOCALHOST:{port}/x"]

    def one(name, target, volume):
        return {"name": name, "pairs": [{"source": f"volume:{volume}", "target": target, "overwrite": True}]}

    for first in (names[0], names[2]):
        a.spec(one("first", first, "v"))
        a.wait("first", "synced")
        assert len(a.json("locks")) == 3, a.json("locks")
        for name in names:
            got = a.spec(one("second", name, "w"), status=3)["errors"]
            assert [e["code"] for e in got] == ["locked"] and "first" in got[0]["detail"], (name, got)
            got = a.json("volume", "add", "u", name, status=3)["errors"]
            assert [e["code"] for e in got] == ["locked"], (name, got)
        a.spec(one("same-name", other.uri("x"), "w"))
        a.spec(one("other-export", f"nbd://127.0.0.1:{port}/y", "z"))
        for name in ("first", "same-name", "other-export"):
            a.run("cancel", name)
    got = a.spec({"name": "both", "pairs": [{"source": "volume:v", "target": names[0], "overwrite": True},
                                           {"source": "volume:w", "target": names[2], "overwrite": True}]}, status=3)["errors"]
    assert [(e["pointer"], e["code"]) for e in got] == [("/pairs/1/target", "same_device")], got
    assert a.json("locks") == []
