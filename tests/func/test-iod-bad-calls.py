#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Bad input on the control socket is answered and never harms: unknown names, wrong types, no JSON, too long a line, a reader that never reads."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from dray import Scratch, wait_for
from iod import Iod, Rpc, RpcError


def code(call):
    try:
        call()
    except RpcError as e:
        return e.code
    raise AssertionError("not refused")


with Scratch() as s:
    iod = Iod(s)
    iod.call("volume.add", name="v", resource=s.file("a", "1M"))
    assert code(lambda: iod.call("volume.explode")) == -32601
    assert code(lambda: iod.call("volume.get", name="v", nmae="v")) == -32602
    assert code(lambda: iod.call("volume.get")) == -32602
    assert code(lambda: iod.call("volume.get", name=7)) == -32602
    assert code(lambda: iod.call("leg.attach", volume="v", resource="x", role="king")) == -32602
    assert code(lambda: iod.call("switch", members=[{"volume": "v", "leg": 2, "epoch": 1, "x": 1}], deadline_ms=1, token="t")) == -32602
    assert code(lambda: iod.call("switch", members=[], deadline_ms=1, token="t")) == -32602
    assert code(lambda: iod.call("switch", members=[{"volume": "v", "leg": 2, "epoch": 9}], deadline_ms=9, token="t")) == -32002
    assert code(lambda: iod.call("leg.detach", volume="v", leg=9)) == -32001
    assert code(lambda: iod.call("leg.detach", volume="v", leg=1)) == -32003
    assert code(lambda: iod.call("copy.set", volume="v", step_bytes=-1)) == -32602

    # Before hello there is nothing but hello; with another version there is nothing at all.
    r = Rpc(iod.control, hello=False)
    assert code(lambda: r.call("status")) == -32002
    assert code(lambda: r.call("hello", version=2)) == -32002
    assert r.call("hello", version=1)["version"] == 1

    # A batch and an unknown version of JSON-RPC are answered; the connection stays.
    r.sock.sendall(b'[]\n{"jsonrpc": "1.0", "id": 5, "method": "status"}\n\n{"jsonrpc": "2.0", "method": "status"}\n')
    assert r.line()["error"]["code"] == -32600
    got = r.line()
    assert (got["id"], got["error"]["code"]) == (5, -32600)
    assert r.call("status")["volumes"] == 1

    # What is no JSON, or too long, gets one error with id null and is closed.
    for bad in (b"hello\n", b'{"jsonrpc": "2.0", "id": 1, "id": 2}\n', b"\xff\xfe{}\n", b"x" * (5 << 20)):
        r = Rpc(iod.control)
        try:
            r.sock.sendall(bad)
        except (BrokenPipeError, ConnectionResetError):
            pass
        try:
            got = r.line()
            assert got["id"] is None and got["error"]["code"] == -32700, got
            assert r.file.read(1) == b""
        except ConnectionResetError:
            assert len(bad) > 4 << 20

    # A group as large as it may be, with names as long as they may be, is a call like others.
    r = Rpc(iod.control)
    for method, rest in (("switch", {"leg": 2, "epoch": 1}), ("split", {"legs": [2]})):
        try:
            r.call(method, token="large", deadline_ms=1000, members=[{"volume": f"{i:05}" + "n" * 123, **rest} for i in range(10000)])
            raise AssertionError("there is no such volume")
        except RpcError as e:
            assert e.kind == "not_found" and e.code == -32001, e
    assert r.call("status")["volumes"] == 1
    r.close()

    # Many calls at once on one connection are all answered, in whatever order.
    r = Rpc(iod.control)
    ids = {r.send("volume.get", name="v") for _ in range(500)}
    while ids:
        ids.remove(r.line()["id"])

    # Half a call and a subscriber that reads nothing hold up nobody.
    half = Rpc(iod.control)
    half.sock.sendall(b'{"jsonrpc": "2.0", "id": 1, "meth')
    deaf = Rpc(iod.control)
    deaf.call("events.subscribe")
    for n in range(30):
        iod.call("volume.add", name=f"n{n}", resource=s.file(f"n{n}", "1M"))
        iod.call("volume.remove", name=f"n{n}")
    assert iod.call("status")["volumes"] == 1
    half.close()
    deaf.call("status")
    assert any(e["event"] == "volume-removed" and e["volume"] == "n29" for e in deaf.events), deaf.events[-3:]
    # An answer still comes to a client that has closed its sending side.
    import socket
    r = Rpc(iod.control)
    n = r.send("status")
    r.sock.shutdown(socket.SHUT_WR)
    assert r.answer(n)["volumes"] == 1
    iod.stop()
