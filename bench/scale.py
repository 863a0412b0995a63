#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""What many of a thing cost: pairs of one session, volumes, sessions that are over.

    make bench-scale                 or: bench/scale.py [--only session,verbs,online,idle,past] [--pairs 1000,3000,10000]
                                         [--volumes 200,2000] [--past 0,10000] [--dir SCRATCH] [--rounds N]

Nothing absolute is judged: machines differ and are never quiet. What counts is the cost of one at the greater number over that at the smaller
one, which should be about 1 where a thing costs by what changed, and not by what exists. Real drayd and dray-iod, files of 4 KiB.

  session  an offline session of N pairs: time to be accepted, to its end, and of both programs' processors, for each pair; `dray list`,
           `dray show` and /metrics while it runs
  online   a session of N volumes: added, mirrored, switched together, committed
  verbs    pause, resume and cancel of a session of N pairs
  idle     what waits costs: the processor time of one pass over dray-iod's news while N pairs are queued, or N volumes are mirrored
  past     `dray list` beside N sessions that are over
"""
import argparse
import http.client
import json
import os
import shutil
import socket
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time

BUILD = os.path.abspath(os.environ.get("DRAY_BUILD") or os.path.join(os.path.dirname(__file__), "../build"))
MiB = 1 << 20
args = argparse.ArgumentParser()
args.add_argument("--only", default="session,verbs,online,idle,past")
args.add_argument("--pairs", default="1000,3000,10000")
args.add_argument("--volumes", default="200,2000")
args.add_argument("--idle-pairs", default="100,10000")
args.add_argument("--past", default="0,10000")
args.add_argument("--active", type=int, default=48)
args.add_argument("--seconds", type=float, default=20, help="how long idle ones are watched")
args.add_argument("--rounds", type=int, default=5, help="of what is done again and again, such as a list")
args.add_argument("--dir", default=os.path.join(BUILD, "bench"))
args.add_argument("--keep", action="store_true", help="leave the directories")
args = args.parse_args()
TICK = os.sysconf("SC_CLK_TCK")
rows = []


def numbers(text):
    return [int(x) for x in text.split(",")]


class Connection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=1200)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class Agent:
    """drayd, and the dray-iod that it starts, in a directory of their own."""

    def __init__(self, config=""):
        os.makedirs(args.dir, exist_ok=True)
        self.dir = tempfile.mkdtemp(prefix="scale-", dir=args.dir)
        self.run = tempfile.mkdtemp(prefix="dray-scale-")  # a socket's name is short
        self.process = None
        with open(self.dir + "/drayd.yaml", "w", encoding="utf-8") as f:
            f.write(f"active_pairs: {args.active}\nlog_level: warn\n{config}")
        self.start()

    def start(self):
        env = dict(os.environ, DRAY_IOD=os.path.join(BUILD, "dray-iod"))
        env.pop("DRAY_CHECK_RECORD", None)
        with open(self.dir + "/drayd.log", "ab") as log:
            self.process = subprocess.Popen([os.path.join(BUILD, "drayd"), "--config", self.dir + "/drayd.yaml", "--state-dir",
                                             self.dir + "/state", "--run-dir", self.run], stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=env)
        self.wait("it answers", lambda: os.path.exists(self.run + "/agent.sock") and self.get("/healthz", raw=True)[0] == 200, 60)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.cli("shutdown", "--force", check=False)
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
        if not args.keep:
            shutil.rmtree(self.dir, ignore_errors=True)
            shutil.rmtree(self.run, ignore_errors=True)

    def get(self, path, body=None, method=None, raw=False):
        c = Connection(self.run + "/agent.sock")
        try:
            c.request(method or ("POST" if body is not None else "GET"), path if raw else "/v1" + path, body)
            r = c.getresponse()
            text = r.read()
        except OSError:
            if raw:
                return 0, b""
            raise
        finally:
            c.close()
        if raw:
            return r.status, text
        if r.status >= 400:
            raise RuntimeError(f"{path}: {r.status}: {text.decode()[:4000]}")
        return json.loads(text)

    def cli(self, *argv, check=True, **kw):
        kw.setdefault("stdout", subprocess.PIPE)
        return subprocess.run([os.path.join(BUILD, "dray"), *argv], check=check, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL,
                              env=dict(os.environ, DRAY_SOCKET=self.run + "/agent.sock"), **kw)

    def wait(self, what, test, seconds):
        end = time.monotonic() + seconds
        while not (got := test()):
            if self.process.poll() is not None:
                raise RuntimeError(f"drayd ended with {self.process.returncode}")
            if time.monotonic() > end:
                raise RuntimeError(f"waited {seconds} s: {what}")
            time.sleep(0.5)
        return got

    def head(self, name):
        """The session's document without its pairs."""
        return next(d for d in self.get("/sessions?limit=1000") if d["name"] == name)

    def wait_state(self, name, *states, seconds=3600):
        return self.wait(f"{name} is {states}", lambda: (d := self.head(name))["state"] in states and d, seconds)

    def iod_pid(self):
        with open(self.dir + "/state/iod/lock", encoding="utf-8") as f:
            return int(f.read().split("pid=")[1].split()[0])

    def cpu(self):
        """Seconds of processor of drayd and of dray-iod."""
        return [cpu_seconds(self.process.pid), cpu_seconds(self.iod_pid())]

    def counters(self):
        return self.get("/status")["agent"]["work"]


def cpu_seconds(pid):
    with open(f"/proc/{pid}/stat", encoding="utf-8") as f:
        fields = f.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def resident(pid):
    with open(f"/proc/{pid}/status", encoding="utf-8") as f:
        return next(int(line.split()[1]) // 1024 for line in f if line.startswith("VmRSS"))


def files(directory, n, size=4096):
    os.makedirs(directory)
    for i in range(n):
        with open(f"{directory}/{i}", "wb") as f:
            f.write(f"{i:08}".encode() * (size // 8))


def timed(fn):
    began = time.monotonic()
    fn()
    return time.monotonic() - began


def median_ms(fn):
    return statistics.median(timed(fn) for _ in range(args.rounds)) * 1000


def row(what, n, value, unit, base=None):
    rows.append((what, n, value, unit))
    ratio = f"{value / base:8.2f}" if base else " " * 8
    print(f"{what:<58} {n:>7} {value:12.3f} {unit:<12} {ratio}", flush=True)


def series(what, unit):
    """A function that prints one more of it, with its ratio to the first."""
    first = []

    def more(n, value):
        row(what, n, value, unit, first[0] if first and first[0] else None)
        first.append(value)
    return more


# ---- one session ----

def session():
    accepted, ran = series("accepted, a pair", "ms"), series("run to the end, a pair", "ms")
    cpu_d, cpu_i = series("processor of drayd, a pair", "ms"), series("processor of dray-iod, a pair", "ms")
    size_d = series("memory of drayd when it is accepted, a pair", "KiB")
    calls = {what: series(what, "ms") for what in ("dray list", "dray show", "dray show -o json", "dray metrics (GET /metrics)")}
    for n in numbers(args.pairs):
        with Agent() as a:
            files(a.dir + "/s", n)
            os.mkdir(a.dir + "/d")
            doc = json.dumps({"name": "big", "pairs": [{"source": f"{a.dir}/s/{i}", "target": f"{a.dir}/d/{i}", "create": "thin"}
                                                       for i in range(n)]})
            before, began = a.cpu(), time.monotonic()
            a.get("/sessions", doc)
            accepted(n, (time.monotonic() - began) * 1000 / n)
            size_d(n, resident(a.process.pid) * 1024 / n)
            calls["dray list"](n, median_ms(lambda: a.cli("list")))
            calls["dray show"](n, median_ms(lambda: a.cli("show", "big")))
            calls["dray show -o json"](n, median_ms(lambda: a.cli("show", "big", "-o", "json")))
            calls["dray metrics (GET /metrics)"](n, median_ms(lambda: a.get("/metrics", raw=True)))
            end = a.wait_state("big", "completed", "failed")
            took, after = time.monotonic() - began, a.cpu()
            assert end["state"] == "completed", end
            ran(n, took * 1000 / n)
            cpu_d(n, (after[0] - before[0]) * 1000 / n)
            cpu_i(n, (after[1] - before[1]) * 1000 / n)
            for i in range(n):
                with open(f"{a.dir}/d/{i}", "rb") as f:
                    assert f.read() == f"{i:08}".encode() * 512, i


# ---- volumes ----

def add_volumes(a, n):
    files(a.dir + "/s", n)
    os.mkdir(a.dir + "/d")
    for i in range(n):
        a.get("/volumes", json.dumps({"name": f"v{i}", "resource": f"{a.dir}/s/{i}"}))


def online():
    added, mirrored = series("volume add", "ms"), series("mirrored, a volume", "ms")
    switched, blackout = series("switched together, a volume", "ms"), series("longest blackout, a volume", "us")
    committed, stopped = series("committed, a volume", "ms"), series("killed and served again, a volume", "ms")
    listed = series("dray volume list", "ms")
    for n in numbers(args.volumes):
        with Agent() as a:
            began = time.monotonic()
            add_volumes(a, n)
            added(n, (time.monotonic() - began) * 1000 / n)
            listed(n, median_ms(lambda: a.cli("volume", "list")))
            doc = json.dumps({"name": "many", "switch": {"when": "manual", "deadline": "30s"},
                              "pairs": [{"source": f"volume:v{i}", "target": f"{a.dir}/d/{i}", "create": "thin"} for i in range(n)]})
            began = time.monotonic()
            a.get("/sessions", doc)
            a.wait_state("many", "synced")
            mirrored(n, (time.monotonic() - began) * 1000 / n)
            began = time.monotonic()
            os.kill(a.iod_pid(), 9)
            a.wait("all are served", lambda: (v := a.get("/volumes")) and len(v) == n and all(x["served"] for x in v), 600)
            stopped(n, (time.monotonic() - began) * 1000 / n)
            a.wait_state("many", "synced")
            began = time.monotonic()
            a.get("/sessions/many/switch", "{}")
            switched(n, (time.monotonic() - began) * 1000 / n)
            blackout(n, (a.head("many").get("blackout_us") or 0) / n)
            began = time.monotonic()
            a.get("/sessions/many/commit", "{}")
            a.wait_state("many", "committed", "completed")
            committed(n, (time.monotonic() - began) * 1000 / n)


# ---- what waits ----

def watch(a, n, drayd, iod, unit="ms/s"):
    """The processor time of both for one second of waiting."""
    before, began = a.cpu(), time.monotonic()
    time.sleep(args.seconds)
    took, after = time.monotonic() - began, a.cpu()
    drayd(n, (after[0] - before[0]) * 1000 / took)
    iod(n, (after[1] - before[1]) * 1000 / took)


def slow_pair(a, i, rate="4KiB"):
    path = f"{a.dir}/slow{i}"
    with open(path, "wb") as f:
        f.write(os.urandom(4 * MiB))
    return {"source": path, "target": path + ".copy", "create": "thin", "limits": {"rate": rate, "step": "16KiB"}}


def verbs():
    """All pairs of a session at once, all but two of which are queued."""
    took = {verb: series(f"{verb}, a queued pair", "ms") for verb in ("pause", "resume", "cancel")}
    for n in numbers(args.pairs):
        with Agent() as a:
            files(a.dir + "/s", n)
            os.mkdir(a.dir + "/d")
            a.get("/settings", json.dumps({"active_pairs": 2}), method="PATCH")
            slow = [slow_pair(a, i) for i in range(2)]
            a.get("/sessions", json.dumps({"name": "big", "pairs": slow + [{"source": f"{a.dir}/s/{i}", "target": f"{a.dir}/d/{i}", "create": "thin"}
                                                                         for i in range(n)]}))
            a.wait_state("big", "copying")
            for verb in took:
                took[verb](n, timed(lambda v=verb: a.get(f"/sessions/big/{v}", "{}")) * 1000 / n)
            a.wait_state("big", "canceled")


def idle():
    queue_d, queue_i = series("queued pairs beside a slow copy: drayd", "ms/s"), series("queued pairs beside a slow copy: dray-iod", "ms/s")
    for n in numbers(args.idle_pairs):
        with Agent() as a:
            files(a.dir + "/s", n)
            os.mkdir(a.dir + "/d")
            a.get("/settings", json.dumps({"active_pairs": 2}), method="PATCH")
            a.get("/sessions", json.dumps({"name": "slow", "priority": "high", "pairs": [slow_pair(a, 0), slow_pair(a, 1)]}))
            a.get("/sessions", json.dumps({"name": "big", "pairs": [{"source": f"{a.dir}/s/{i}", "target": f"{a.dir}/d/{i}",
                                                                      "create": "thin"} for i in range(n)]}))
            a.wait_state("slow", "copying")
            time.sleep(2)
            watch(a, n, queue_d, queue_i)
    mirror_d, mirror_i = series("mirrored volumes beside a slow copy: drayd", "ms/s"), series("mirrored volumes beside a slow copy: dray-iod", "ms/s")
    for n in numbers(args.volumes):
        with Agent() as a:
            add_volumes(a, n)
            a.get("/sessions", json.dumps({"name": "many", "pairs": [{"source": f"volume:v{i}", "target": f"{a.dir}/d/{i}", "create": "thin"}
                                                                      for i in range(n)]}))
            a.wait_state("many", "synced")
            a.get("/sessions", json.dumps({"name": "slow", "pairs": [slow_pair(a, 0)]}))
            a.wait_state("slow", "copying")
            time.sleep(2)
            watch(a, n, mirror_d, mirror_i)


# ---- sessions that are over ----

def multiply(db, n):
    seq, document, work, summary, finished = db.execute(
        "SELECT seq, document, work, summary, finished FROM sessions WHERE name = 'first'").fetchone()
    pairs = db.execute("SELECT pair, state, document, work FROM pairs WHERE session = ?", (seq,)).fetchall()
    for i in range(n):
        sid, doc, show = f"s-past{i}", json.loads(document), json.loads(summary)
        doc["id"] = show["id"] = sid
        doc["doc"]["name"] = show["name"] = f"past-{i}"
        db.execute("INSERT INTO ids VALUES(?)", (sid,))
        cur = db.execute("INSERT INTO sessions(id, name, state, live, document, work, open, finished, summary) VALUES(?,?,'completed',0,?,?,0,?,?)",
                         (sid, f"past-{i}", json.dumps(doc), work, finished, json.dumps(show)))
        db.executemany("INSERT INTO pairs VALUES(?,?,?,?,?)", [(cur.lastrowid, *p) for p in pairs])
    db.commit()


def past():
    lists, starts = series("dray list beside past sessions", "ms"), series("start of drayd beside past sessions", "ms")
    for n in numbers(args.past):
        with Agent("keep_for: 3650d\n") as a:
            files(a.dir + "/s", 1)
            a.get("/sessions", json.dumps({"name": "first", "pairs": [{"source": f"{a.dir}/s/0", "target": f"{a.dir}/t", "create": "thin"}]}))
            a.wait_state("first", "completed")
            a.process.terminate()
            a.process.wait(60)
            db = sqlite3.connect(a.dir + "/state/repository.db")
            multiply(db, n)
            db.close()
            starts(n, timed(a.start) * 1000)
            lists(n, median_ms(lambda: a.cli("list")))


def main():
    print(f"{'':<58} {'N':>7} {'':>12} {'':<12} {'to the first':>8}")
    for name, part in (("session", session), ("verbs", verbs), ("online", online), ("idle", idle), ("past", past)):
        if name in args.only.split(","):
            part()
    return 0


sys.exit(main())
