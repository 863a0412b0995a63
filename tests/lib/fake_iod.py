# SPDX-License-Identifier: BSD-3-Clause
"""A dray-iod that moves nothing: docs/PROTOCOL.md in memory, for tests of the agent's logic and of each answer it may get.

    iod = FakeIod(run_dir)                # listens on run_dir/iod.sock, on a thread of its own
    iod.add("orders", "/tmp/x", 64 << 20)
    iod.fail["leg.attach"] = [("io", "no such luck")]    # the next answers to a call
    iod.held["switch"] = True             # calls are kept back until iod.release("switch")
    iod.sync("orders")                    # all legs are synced now
    iod.restart()                         # a new incarnation; volumes and legs stay, tokens don't
"""
import json
import os
import socket
import threading
import time
import uuid

CODES = {"not_found": -32001, "busy": -32002, "deadline": -32004, "dirty": -32004, "stale_token": -32004}


class Refused(Exception):
    def __init__(self, kind, message, code=None, errno=-5, **data):
        super().__init__(message)
        self.error = {"code": code or CODES.get(kind, -32000), "message": message, "data": {"kind": kind, "errno": errno, **data}}


def identity(resource):
    """As the agent's own probe names a file, near enough for tests that don't depend on it."""
    return f"fake:{resource if isinstance(resource, str) else resource['resource']}"


class FakeIod:
    def __init__(self, run_dir, auto=False):
        os.makedirs(run_dir, exist_ok=True)
        self.path = os.path.join(run_dir, "iod.sock")
        self.lock = threading.RLock()
        self.volumes, self.tokens, self.calls = {}, {}, []
        self.fail, self.held, self.kept, self.log_level = {}, {}, [], "info"
        self.auto = auto            # legs are synced as soon as they are attached and not paused
        self.incarnation = uuid.uuid4().hex
        self.conns, self.server = set(), None
        self.listen()

    # ---- the life of the process ----
    def listen(self):
        if os.path.exists(self.path):
            os.unlink(self.path)
        self.server = socket.socket(socket.AF_UNIX)
        self.server.bind(self.path)
        self.server.listen(8)
        threading.Thread(target=self._accept, args=(self.server,), daemon=True).start()

    def stop(self):
        with self.lock:
            server, self.server = self.server, None
            if server:
                server.shutdown(socket.SHUT_RDWR)
                server.close()
                os.unlink(self.path)
            for c in list(self.conns):
                c.close()
            self.conns.clear()
            self.kept.clear()

    def restart(self):
        self.stop()
        with self.lock:
            self.incarnation = uuid.uuid4().hex
            self.tokens.clear()
        self.listen()

    def drop(self):
        """Ends all connections, as a network would: the process goes on."""
        with self.lock:
            for c in list(self.conns):
                c.close()
            self.conns.clear()

    def _accept(self, server):
        while True:
            try:
                conn, _ = server.accept()
            except OSError:
                return
            c = Conn(self, conn)
            with self.lock:
                self.conns.add(c)
            threading.Thread(target=c.run, daemon=True).start()

    # ---- what tests do to it ----
    def add(self, name, resource, size=64 << 20, hidden=False, **_):
        with self.lock:
            if name in self.volumes:
                raise Refused("exists", f"volume {name} exists")
            leg = self._leg(0, "source", resource, "", size)
            leg.update(state="primary", synced=True, dirty_bytes=0, done_bytes=size)
            v = {"name": name, "uuid": uuid.uuid4().hex, "hidden": hidden, "resource": resource, "size_bytes": size, "block_bytes": 512,
                 "region_bytes": 1 << 20, "uri": f"nbd+unix:///{name}", "epoch": 1, "primary": 0, "clients": 0, "served": True,
                 "reason": None, "suspended": False, "in_doubt": False, "legs": [leg], "limits": {}, "predicted_blackout_us": 1500,
                 "latency_us": {}, "counters": {"reads": 0, "writes": 0}, "last_switch": None, "next_leg": 1}
            self.volumes[name] = v
            return v

    def leg(self, volume, n=1):
        """The nth leg of a volume (0: the first one ever)."""
        with self.lock:
            return next(leg for leg in self.volumes[volume]["legs"] if leg["id"] == n)

    def sync(self, *volumes):
        with self.lock:
            for name in volumes or list(self.volumes):
                for leg in self.volumes[name]["legs"]:
                    if leg["state"] in ("copying", "mirror") and not leg["held"]:
                        leg.update(state="mirror", synced=True, dirty_bytes=0, done_bytes=leg["size_bytes"],
                                   copied_bytes=leg["size_bytes"])
            self.event("leg-synced")

    def event(self, event="leg-state", **more):
        with self.lock:
            for c in list(self.conns):
                c.send({"jsonrpc": "2.0", "method": "event", "params": {"event": event, "volume": None, "leg": None, **more}})

    def release(self, method):
        """Answers what was kept back of a call, now."""
        with self.lock:
            self.held.pop(method, None)
            kept, self.kept = [k for k in self.kept if k[1]["method"] == method], [k for k in self.kept if k[1]["method"] != method]
        for conn, msg in kept:
            conn.answer(msg)

    def count(self, method):
        with self.lock:
            return sum(1 for m, _ in self.calls if m == method)

    # ---- the calls ----
    def _leg(self, id_, role, resource, tag, size):
        return {"id": id_, "tag": tag, "resource": resource, "identity": identity(resource), "role": role, "state": "copying",
                "synced": False, "paused": False, "held": False, "size_bytes": size, "dirty_bytes": size, "doubt_bytes": 0,
                "done_bytes": 0, "recorded_bytes": 0, "copied_bytes": 0, "skipped_bytes": 0, "zeroed_bytes": 0, "compared_bytes": 0,
                "recopied_bytes": 0, "mirrored_bytes": 0, "unsettled": 0, "error": None, "degraded_ms": 0, "verify": None}

    def _volume(self, p, key="volume"):
        v = self.volumes.get(p[key])
        if not v:
            raise Refused("not_found", f"no volume {p[key]}")
        return v

    def _find(self, p):
        v = self._volume(p)
        for leg in v["legs"]:
            if leg["id"] == p["leg"]:
                return v, leg
        raise Refused("not_found", f"volume {v['name']} has no leg {p['leg']}")

    def call(self, method, p):
        with self.lock:
            self.calls.append((method, p))
            if self.fail.get(method):
                why = self.fail[method].pop(0)
                if why:
                    raise Refused(*why[:2], **(why[2] if len(why) > 2 else {}))
            return getattr(self, "do_" + method.replace(".", "_"))(p)

    def do_hello(self, p):
        assert p == {"version": 1}
        return {"version": 1, "incarnation": self.incarnation, "pid": os.getpid(), "boot_id": "fake", "state_dir": "/nowhere",
                "nbd_socket": "/nowhere", "backend": "fake", "threads": 1, "log_level": self.log_level}

    def do_log_level(self, p):
        self.log_level = p["level"]
        return {}

    def do_events_subscribe(self, p):
        return {}

    def do_volume_list(self, p):
        return list(self.volumes.values())

    def do_volume_add(self, p):
        size = 64 << 20
        r = p["resource"] if isinstance(p["resource"], str) else p["resource"]["resource"]
        if os.path.exists(r):
            size = os.path.getsize(r)
        v = self.add(p["name"], p["resource"], size, p.get("hidden", False))
        v["legs"][0]["identity"] = file_identity(r)
        return v

    def do_volume_remove(self, p):
        self._volume(p, "name")
        del self.volumes[p["name"]]
        return {}

    def do_leg_attach(self, p):
        v = self._volume(p)
        leg = self._leg(v["next_leg"], p["role"], p["resource"], p["tag"], v["size_bytes"])
        v["next_leg"] += 1
        leg["paused"] = p.get("paused", False)
        v["legs"].append(leg)
        if self.auto:
            self.sync(v["name"])
        return {"leg": leg["id"], "volume": v}

    def do_volume_accept(self, p):
        if p["name"] not in self.volumes:
            raise Refused("not_found", f"there is no volume {p['name']}")
        return self.volumes[p["name"]]

    def do_leg_detach(self, p):
        v, leg = self._find(p)
        v["legs"].remove(leg)
        return {}

    def do_leg_pause(self, p):
        _, leg = self._find(p)
        leg["paused"] = p["paused"]
        return {}

    def do_leg_retry(self, p):
        _, leg = self._find(p)
        leg.update(held=False, error=None, state="copying")
        return {}

    def do_copy_set(self, p):
        self._volume(p)["limits"] = {k: v for k, v in p.items() if k != "volume"}
        return self._volume(p)["limits"]

    def do_switch(self, p):
        if p["token"] in self.tokens:
            return self.tokens[p["token"]]
        out = []
        for m in p["members"]:
            v, leg = self._find(m)
            if v["epoch"] != m["epoch"]:
                raise Refused("stale_token", f"volume {v['name']} is at epoch {v['epoch']}", volume=v["name"], suspended=False)
            if not leg["synced"]:
                raise Refused("dirty", f"volume {v['name']}: {leg['dirty_bytes']} bytes are dirty", volume=v["name"], suspended=True)
        for m in p["members"]:
            v, leg = self._find(m)
            old = next(x for x in v["legs"] if x["state"] == "primary")
            old.update(state="mirror", role="source" if leg["role"] != "source" else "successor")
            leg["state"] = "primary"
            for x in list(v["legs"]):
                if x["role"] == "copy":
                    v["legs"].remove(x)
            if p.get("commit"):
                v["legs"].remove(old)
            v["primary"] = leg["id"]
            v["epoch"] += 1
            out.append({"volume": v["name"], "epoch": v["epoch"], "primary": leg["id"], "blackout_us": 1234, "suspended_us": 1000})
        self.tokens[p["token"]] = {"outcome": "switched", "members": out}
        return self.tokens[p["token"]]

    def do_split(self, p):
        if p["token"] in self.tokens:
            return self.tokens[p["token"]]
        for m in p["members"]:
            v = self._volume(m)
            v["legs"] = [x for x in v["legs"] if x["id"] not in m["legs"]]
        self.tokens[p["token"]] = {"outcome": "switched", "members": []}
        return self.tokens[p["token"]]

    def do_switch_status(self, p):
        return self.tokens.get(p["token"], {"outcome": "unknown"})

    def do_commit(self, p):
        return self.do_leg_detach(p)

    def do_verify_start(self, p):
        v, leg = self._find(p)
        leg["verify"] = {"running": False, "compared_bytes": v["size_bytes"], "differing_bytes": 0, "repaired_bytes": 0, "ranges": []}
        return {}

    def do_shutdown(self, p):
        return {}


def file_identity(path):
    """The identity line that the agent's storage probe gives this file: asked of the agent's own helper where there is one."""
    return f"fake:{path}"


class Conn:
    def __init__(self, iod, sock):
        self.iod, self.sock, self.wlock = iod, sock, threading.Lock()
        self.greeted = False

    def close(self):
        try:
            self.sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.sock.close()

    def send(self, msg):
        with self.wlock:
            try:
                self.sock.sendall(json.dumps(msg).encode() + b"\n")
            except OSError:
                pass

    def run(self):
        buf = b""
        while True:
            try:
                part = self.sock.recv(65536)
            except OSError:
                return
            if not part:
                return
            buf += part
            while b"\n" in buf:
                line, buf = buf.split(b"\n", 1)
                msg = json.loads(line)
                assert self.greeted or msg["method"] == "hello", msg
                self.greeted = True
                with self.iod.lock:
                    keep = self.iod.held.get(msg["method"])
                    if keep:
                        self.iod.kept.append((self, msg))
                if not keep:
                    self.answer(msg)

    def answer(self, msg):
        try:
            result = {"result": self.iod.call(msg["method"], msg.get("params", {}))}
        except Refused as e:
            result = {"error": e.error}
        except Exception as e:  # a bug of this file: tell the test
            result = {"error": {"code": -32603, "message": repr(e)}}
            print(f"fake dray-iod: {msg}: {e!r}", flush=True)
        with self.iod.lock:
            text = {"jsonrpc": "2.0", "id": msg["id"], **result}
            self.send(text)
