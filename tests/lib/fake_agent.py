# SPDX-License-Identifier: BSD-3-Clause
"""An agent that answers what a test tells it to, to look at the command line alone.

with FakeAgent() as a: a.answer("GET", "/v1/sessions", 200, [...]); a.run("list").
An answer may be a list of (status, body) used one after the other, the last one for ever. What was asked is in a.asked.
"""
import http.server
import json
import os
import shutil
import socketserver
import subprocess
import sys
import tempfile
import threading

sys.path.insert(0, os.path.dirname(__file__))
import dray  # noqa: E402,F401  the build folder in PATH


class Handler(http.server.BaseHTTPRequestHandler):
    def serve(self):
        agent = self.server.agent
        n = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(n).decode()
        agent.asked.append((self.command, self.path, body, dict(self.headers)))
        answers = agent.answers.get((self.command, self.path)) or agent.answers.get((self.command, self.path.split("?")[0]))
        if answers is None:
            status, what = 404, {"title": "no such thing", "detail": f"no answer to {self.command} {self.path}", "exit": 4}
        else:
            status, what = answers.pop(0) if len(answers) > 1 else answers[0]
        data = what.encode() if isinstance(what, str) else json.dumps(what).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/problem+json" if status >= 400 else "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST = do_PATCH = do_DELETE = serve

    def address_string(self):
        return "unix"

    def log_message(self, *_):
        pass


class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True

    def handle_error(self, *_):
        pass  # a client that went away, as with Ctrl-C


class FakeAgent:
    def __enter__(self):
        self.dir = tempfile.mkdtemp(prefix="dray-test-")
        self.socket = os.path.join(self.dir, "agent.sock")
        self.answers, self.asked = {}, []
        self.env = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR",)} | {"DRAY_SOCKET": self.socket, "LC_ALL": "C.UTF-8"}
        self.server = Server(self.socket, Handler)
        self.server.agent = self
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()
        shutil.rmtree(self.dir)

    def answer(self, method, path, status, body):
        self.answers[method, path] = [(status, body)]

    def answers_in_turn(self, method, path, *answers):
        self.answers[method, path] = list(answers)

    def run(self, *args, status=0, stdin=None, env=None):
        done = subprocess.run(["dray", *args], capture_output=True, text=True, input=stdin if stdin is not None else "", timeout=30,
                              env=self.env | (env or {}), check=False)
        assert done.returncode == status, f"dray {args}: {done.returncode}, not {status}\n{done.stdout}\n{done.stderr}"
        return done


def document(state, **more):
    """A session's document as an agent would show it."""
    pair = {"source": "volume:orders", "target": "/dev/new", "id": "1", "state": state, "reason": None, "vehicle": "host",
            "progress": more.pop("progress", {"bytes_total": 1 << 30, "bytes_done": 1 << 29, "rate": 100 << 20, "eta_seconds": 5}),
            "dirty_bytes": 0, "blackout_us": 1500, "predicted_blackout_us": 2000, "verified": None, "targets": []}
    pair.update(more.pop("pair", {}))
    return {"name": "orders", "switch": {"when": "synced"}, "pairs": [pair], "id": "s-4k2", "state": state, "reason": None,
            "progress": pair["progress"], **more}
