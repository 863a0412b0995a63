# SPDX-License-Identifier: BSD-3-Clause
"""A dray-iod of its own in a scratch directory, and its control protocol.

    with Scratch() as s:
        iod = Iod(s)
        iod.call("volume.add", name="v", resource=s.file("a", "8M", data=True))
        leg = iod.attach("v", s.file("b", "8M"))
        iod.wait_synced("v", leg)
"""
import json
import os
import signal
import socket

from dray import SLOW, wait_for


class RpcError(Exception):
    def __init__(self, error):
        super().__init__(f"{error['code']}: {error['message']} {error['data']}")
        self.code, self.message, self.data, self.kind = error["code"], error["message"], error["data"], error["data"]["kind"]


class Rpc:
    """One connection. Notifications that come between are kept in .events."""

    def __init__(self, path, hello=True, timeout=60):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(timeout * SLOW)
        self.sock.connect(path)
        self.file = self.sock.makefile("rb")
        self.id, self.events = 0, []
        if hello:
            self.hello = self.call("hello", version=1)

    def send(self, method, **params):
        self.id += 1
        self.sock.sendall(json.dumps({"jsonrpc": "2.0", "id": self.id, "method": method, "params": params}).encode() + b"\n")
        return self.id

    def line(self):
        text = self.file.readline()
        if not text:
            raise ConnectionError("dray-iod closed the connection")
        return json.loads(text)

    def answer(self, id_):
        while True:
            got = self.line()
            if "method" in got:
                self.events.append(got["params"])
            elif got["id"] == id_:
                if "error" in got:
                    raise RpcError(got["error"])
                return got["result"]

    def call(self, method, **params):
        return self.answer(self.send(method, **params))

    def close(self):
        self.file.close()
        self.sock.close()


class Iod:
    def __init__(self, scratch, name="iod", options=("--threads", "2"), env=None, start=True):
        self.s, self.name, self.options, self.rpc = scratch, name, options, None
        self.state, self.run_dir = scratch.path(name + "-state"), scratch.path(name + "-run")
        self.control, self.nbd_socket = os.path.join(self.run_dir, "iod.sock"), os.path.join(self.run_dir, "nbd.sock")
        if start:
            self.start(env)

    def start(self, env=None):
        self.process = self.s.start(os.environ["DRAY_IOD"], "--state-dir", self.state, "--run-dir", self.run_dir, *self.options,
                                    log=self.name + ".log", env=dict(os.environ, **(env or {})))

        def answers():
            assert self.process.poll() is None, f"dray-iod ended with status {self.process.returncode}"
            try:
                return Rpc(self.control)
            except (FileNotFoundError, ConnectionError):
                return None

        self.rpc = wait_for("dray-iod answers", answers)
        return self

    def call(self, method, **params):
        return self.rpc.call(method, **params)

    def refused(self, method, kind, **params):
        """The call has to fail with this kind; returns the error."""
        try:
            got = self.call(method, **params)
        except RpcError as e:
            assert e.kind == kind, f"{method}: {e}, expected {kind}"
            return e
        raise AssertionError(f"{method} was not refused: {got}")

    def volume(self, name="v"):
        return self.call("volume.get", name=name)

    def leg(self, name, leg):
        return next((x for x in self.volume(name)["legs"] if x["id"] == leg), None)

    def attach(self, volume, resource, **params):
        return self.call("leg.attach", volume=volume, resource=resource, **params)["leg"]

    def wait_synced(self, volume, leg, timeout=30):
        wait_for(f"leg {leg} of {volume} is synced", lambda: self.leg(volume, leg)["synced"], timeout)

    def wait_served(self, *volumes, timeout=30):
        wait_for("the volumes are served", lambda: all(self.volume(v)["served"] for v in volumes), timeout)

    def patient(self, *volumes):
        """No target of these (none: "v") is set aside for being slow: how slow this machine's disk is now is no part of the test."""
        for v in volumes or ("v",):
            self.call("copy.set", volume=v, leg_timeout_ms=3600000)

    def retry(self, volume, leg):
        """leg.retry, when nothing else opens the leg at this moment."""
        def done():
            try:
                self.call("leg.retry", volume=volume, leg=leg)
            except RpcError as e:
                if e.kind != "busy":
                    raise
                return False
            return True
        wait_for(f"leg {leg} of {volume} is tried again", done)

    def switch(self, token, *members, deadline_ms=600000):
        """members: (volume, leg). The deadline is longer than any machine takes: a test of deadlines names its own."""
        return self.call("switch", token=token, deadline_ms=deadline_ms,
                         members=[{"volume": v, "leg": leg, "epoch": self.volume(v)["epoch"]} for v, leg in members])

    def uri(self, volume="v"):
        return f"nbd+unix:///{volume}?socket={self.nbd_socket}"

    def stop(self):
        """SIGTERM: it has to end in order."""
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(timeout=40 * SLOW) == 0, self.process.returncode

    def kill(self):
        self.process.kill()
        self.process.wait()

    def wait_crash(self):
        """It has to end at the point it was told of."""
        assert self.process.wait(timeout=40 * SLOW) == 137, self.process.returncode
