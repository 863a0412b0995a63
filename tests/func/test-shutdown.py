#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""dray shutdown returns when both programs have ended, also where dray-iod was just killed and is being started again; what can't be
understood ends nothing."""
import os
import signal
import socket
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from dray import SLOW, Scratch, wait_for
from agent import UnixConnection
from nbdclient import Client

with Scratch() as s:
    a = s.agent()
    a.volume("v", s.file("old", "1M"))
    for body, status in (('{"force": "yes"}', 422), ('{"force": 1}', 422), ('{"forced": true}', 400), ('{"force": true', 400)):
        c = UnixConnection(a.socket, 60 * SLOW)
        c.request("POST", "/v1/shutdown", body)
        assert c.getresponse().status == status, body
        c.close()
    assert a.process.poll() is None and a.json("status")["iod"]["connected"]
    client = Client(a.nbd_socket, "v")
    assert "connected" in a.run("shutdown", status=5).stderr
    client.sock.close()
    wait_for("the client is gone", lambda: a.json("status")["iod"]["clients"] == 0)
    for kill in (False, True):
        if kill:
            a.start()
            os.kill(a.iod_pid(), signal.SIGKILL)
        a.run("shutdown")
        for sock in ("agent.sock", "nbd.sock", "iod.sock"):
            try:
                socket.socket(socket.AF_UNIX).connect(os.path.join(a.run_dir, sock))
                raise AssertionError(f"{sock} still answers")
            except (FileNotFoundError, ConnectionRefusedError):
                pass
        assert a.process.wait(60 * SLOW) == 0
