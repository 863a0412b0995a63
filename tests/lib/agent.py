# SPDX-License-Identifier: BSD-3-Clause
"""drayd with a fake or a real dray-iod, spoken to over its API: what the tests of the agent share.

    with AgentTest() as t:                 # a fake dray-iod: t.iod
        t.iod.add("orders", t.file("a", 1 << 20))
        doc = t.submit({"name": "x", "pairs": [{"source": "volume:orders", "target": t.file("b", 1 << 20)}]})
        t.wait_state("x", "synced")
"""
import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(__file__))
from dray import BUILD, SLOW, children_using, end_process, patient  # noqa: E402
from fake_iod import FakeIod  # noqa: E402


class Problem(Exception):
    def __init__(self, status, body):
        super().__init__(f"{status}: {json.dumps(body, indent=1)}")
        self.status, self.body = status, body

    @property
    def exit(self):
        return self.body.get("exit")

    def codes(self):
        """{pointer: code} of all problems."""
        return {e["pointer"]: e["code"] for e in self.body.get("errors", [])}


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path, timeout):
        super().__init__("localhost", timeout=timeout)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class AgentTest:
    def __init__(self, fake=True, config="", auto=False, start=True):
        self.dir = tempfile.mkdtemp(prefix="dray-agent-")
        self.state, self.run_dir = os.path.join(self.dir, "state"), os.path.join(self.dir, "run")
        self.iod = FakeIod(self.run_dir, auto) if fake else None
        self.config = config
        self.process = None
        if start:
            self.start()

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if kind not in (None, SystemExit):
            for name in ("agent.log", "state/iod.log"):
                path = os.path.join(self.dir, name)
                if os.path.exists(path):
                    with open(path, errors="replace") as f:
                        print(f"--- {name}\n" + "".join(f.readlines()[-60:]), file=sys.stderr)
        ended = None
        if kind is None and self.process and self.process.poll() is None:
            self.process.terminate()  # an orderly end, where the sanitizers look for what was lost
            try:
                ended = self.process.wait(20 * SLOW)
            except subprocess.TimeoutExpired:
                ended = "too late"
        self.kill()
        log = self.log() if ended else ""
        for pid in children_using(self.run_dir):
            end_process(pid)
        if self.iod:
            self.iod.stop()
        shutil.rmtree(self.dir, ignore_errors=True)
        assert not ended, f"drayd ended with status {ended}: {log[-6000:]}"

    # ---- the process ----
    def start(self, *options):
        args = [os.path.join(BUILD, "drayd"), "--state-dir", self.state, "--run-dir", self.run_dir, *options]
        if self.iod:
            args.append("--no-iod")
        if self.config:
            path = os.path.join(self.dir, "drayd.yaml")
            with open(path, "w") as f:
                f.write(self.config)
            args += ["--config", path]
        with open(os.path.join(self.dir, "agent.log"), "ab") as log:
            self.process = subprocess.Popen(args, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.wait("the agent and dray-iod answer", self.healthy)

    def healthy(self):
        if self.process.poll() is not None:
            raise AssertionError(f"drayd ended with status {self.process.returncode}")
        try:
            return self.request("GET", "/healthz")[0] == 200
        except OSError:
            return False

    def kill(self):
        if self.process and self.process.poll() is None:
            self.process.kill()
        if self.process:
            self.process.wait()

    def terminate(self):
        self.process.terminate()
        assert self.process.wait(20 * SLOW) == 0, self.process.returncode

    def log(self):
        with open(os.path.join(self.dir, "agent.log"), encoding="utf-8") as f:
            return f.read()

    def file(self, name, size=1 << 20, data=b""):
        path = os.path.join(self.dir, name)
        with open(path, "wb") as f:
            f.write(data)
            f.truncate(size)
        return path

    # ---- the API ----
    def request(self, method, path, body=None, timeout=60, headers=None):
        c = UnixConnection(os.path.join(self.run_dir, "agent.sock"), timeout * SLOW)
        try:
            data = body if isinstance(body, (str, bytes, type(None))) else json.dumps(body)
            c.request(method, path, data, headers or {})
            r = c.getresponse()
            text = r.read().decode()
            kind = r.headers.get("Content-Type", "")
            return r.status, json.loads(text) if "json" in kind and text else text
        finally:
            c.close()

    def call(self, method, path, body=None, **kw):
        status, answer = self.request(method, "/v1" + path, body, **kw)
        if status >= 400:
            raise Problem(status, answer)
        return answer

    def submit(self, doc, **kw):
        return self.call("POST", "/sessions", doc if self.iod else patient(doc), **kw)

    def show(self, session):
        return self.call("GET", f"/sessions/{session}")

    def verb(self, session, verb, **body):
        return self.call("POST", f"/sessions/{session}/{verb}", body)

    def set(self, session, **keys):
        return self.call("PATCH", f"/sessions/{session}", {k.replace("__", "."): v for k, v in keys.items()})

    def refused(self, *args, **kw):
        """The problem that a call ends with."""
        try:
            got = self.call(*args, **kw)
        except Problem as p:
            return p
        raise AssertionError(f"not refused: {got}")

    # ---- waiting ----
    def wait(self, what, test, timeout=20):
        end = time.monotonic() + timeout * SLOW
        while True:
            got = test()
            if got:
                return got
            if time.monotonic() > end:
                raise AssertionError(f"waited {timeout * SLOW} s for: {what}")
            time.sleep(0.02)

    def states(self, session):
        return [p["state"] for p in self.show(session)["pairs"]]

    def wait_state(self, session, state, timeout=20):
        """Waits for the session's state and returns the document."""
        last = {}

        def test():
            last.update(self.show(session))
            return last["state"] == state and last
        try:
            return dict(self.wait(f"{session} {state}", test, timeout))
        except AssertionError as e:
            raise AssertionError(f"{e}; it is {json.dumps(last, indent=1)}") from None

    def wait_states(self, session, *states, timeout=20):
        self.wait(f"{session} {states}; it is {self.states(session)}", lambda: tuple(self.states(session)) == states, timeout)
