# SPDX-License-Identifier: BSD-3-Clause
"""What the tests of the whole system share: a scratch directory whose processes end with it, an agent, the command line.

    with Scratch() as s:
        a = s.agent()
        a.volume("orders", s.file("source", "64M"))
        doc = a.json("migrate", "volume:orders", s.path("target"), "--wait")

A test ends with status 0 (passed), 77 (skipped, with a reason) or by an exception.
"""
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

BUILD = os.path.abspath(os.environ.get("DRAY_BUILD") or os.path.join(os.path.dirname(__file__), "../../build"))
if BUILD not in os.environ["PATH"].split(":"):
    os.environ["PATH"] = f"{BUILD}:{BUILD}/tests:" + os.environ["PATH"]
os.environ.setdefault("DRAY_IOD", os.path.join(BUILD, "dray-iod"))
os.environ.setdefault("DRAY_CHECK_RECORD", "1")  # drayd ends where something changed that was not recorded (change.c)
os.environ.setdefault("DRAY_CHECK_LIST", "1")  # dray-iod ends where a volume changed of which nobody said so (news.h)
# Sanitizers make everything slower; bounded waits are stretched by this.
SLOW = 5 if any(os.path.exists(os.path.join(BUILD, f)) for f in ("slow",)) or "-asan" in BUILD or "-tsan" in BUILD else 1
# What the tests that choose at random choose: the same in every run, unless it is told (`make soak` draws another one).
SEED = int(os.environ.get("DRAY_SEED") or 1)
MiB = 1 << 20


def skip(why):
    print(f"SKIP: {why}")
    sys.exit(77)


def need(*programs):
    for p in programs:
        if not shutil.which(p):
            skip(f"{p} is not installed")


def wait_for(what, test, timeout=20, every=0.02):
    """Calls test() until it is true and returns what it returned; what: for the message when it never is."""
    end = time.monotonic() + timeout * SLOW
    while True:
        got = test()
        if got:
            return got
        if time.monotonic() > end:
            raise AssertionError(f"waited {timeout * SLOW} s for: {what}")
        time.sleep(every)


def patient(doc):
    """The document of a session whose volumes may be suspended for as long as a busy machine takes, where it does not say how long."""
    if isinstance(doc, dict) and isinstance(doc.get("switch", {}), dict):
        doc = doc | {"switch": {"deadline": "1m"} | doc.get("switch", {})}
    return doc


def size(text):
    units = {"K": 10, "M": 20, "G": 30}
    text = str(text).removesuffix("iB")
    return int(text[:-1]) << units[text[-1]] if text[-1] in units else int(text)


def sockets_of(pid):
    found = set()
    for fd in os.listdir(f"/proc/{pid}/fd"):
        try:
            found.add(os.readlink(f"/proc/{pid}/fd/{fd}"))
        except FileNotFoundError:  # closed meanwhile
            pass
    return found


def tcp_port(pid):
    """The TCP port that a process listens at, which was told to take any that is free; None: at none so far."""
    with open("/proc/net/tcp") as f:
        rows = [line.split() for line in f.readlines()[1:]]
    sockets = sockets_of(pid)
    return next((int(r[1].split(":")[1], 16) for r in rows if r[3] == "0A" and f"socket:[{r[9]}]" in sockets), None)


def undisturbed(doc):
    """The document of a session whose targets are not set aside for being slow: where that would be told, counted or in the way, and the disk of a busy
    machine may keep a write for seconds."""
    return {"leg_timeout": "1h"} | doc


class Failed(Exception):
    """A command that ended with another status than it should; .status, .stderr, .problem (problem+json or None)."""

    def __init__(self, args, done):
        self.status, self.stdout, self.stderr = done.returncode, done.stdout, done.stderr
        try:
            self.problem = json.loads(done.stderr)
        except ValueError:
            self.problem = None
        super().__init__(f"{' '.join(args)}: status {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")


def room(directory):
    """The free bytes there that we may write; 0: it is no directory of ours."""
    if not os.access(directory, os.W_OK):
        return 0
    st = os.statvfs(directory)
    return st.f_bavail * st.f_frsize


class Scratch:
    """A directory under /tmp (or DRAY_TEST_DIR) and the processes started from it; all gone at the end. `mem`: a directory for what
    stands in for a disk of a speed of its own, in memory where there is room: how fast the machine's disk is today, and who else
    writes to it, is no part of such a test."""

    def __init__(self, keep=bool(os.environ.get("DRAY_TEST_KEEP"))):
        self.dir = tempfile.mkdtemp(prefix="dray-test-", dir=os.environ.get("DRAY_TEST_DIR"))
        self.mem = self.dir
        if not os.environ.get("DRAY_TEST_DIR") and room("/dev/shm") > 1 << 30:
            self.mem = tempfile.mkdtemp(prefix="dray-test-", dir="/dev/shm")
        self.keep, self.processes, self.agents = keep, [], []

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if kind not in (None, SystemExit):
            for name in sorted(os.listdir(self.dir)):
                if name.endswith(".log") and os.path.getsize(self.path(name)):
                    with open(self.path(name), errors="replace") as f:
                        print(f"--- {name}\n" + "".join(f.readlines()[-60:]), file=sys.stderr)
        for a in self.agents:
            a.destroy()
        for p in self.processes:
            if p.poll() is None:
                p.send_signal(signal.SIGCONT)
                p.kill()
            p.wait()
        if self.keep:
            print(f"kept: {self.dir} {self.mem}", file=sys.stderr)
        else:
            shutil.rmtree(self.dir, ignore_errors=True)
            shutil.rmtree(self.mem, ignore_errors=True)

    def path(self, name):
        return os.path.join(self.dir, name)

    def file(self, name, bytes_, data=None):
        """A file of that size: sparse, or filled with random data (data=True), or with `data` bytes at its front."""
        path = self.path(name)
        n = size(bytes_)
        with open(path, "wb") as f:
            if data is True:
                for at in range(0, n, MiB):
                    f.write(os.urandom(min(MiB, n - at)))
            elif data:
                f.write(data)
            f.truncate(n)
        return path

    def start(self, *args, log=None, **kw):
        """Starts a process that ends with the scratch directory. log: its name there (default: the program's)."""
        out = open(self.path(log or os.path.basename(args[0]) + ".log"), "ab")
        kw.setdefault("stdout", out)
        kw.setdefault("cwd", self.dir)
        p = subprocess.Popen([str(a) for a in args], stdin=subprocess.DEVNULL, stderr=out, **kw)
        out.close()
        self.processes.append(p)
        return p

    def qemu_nbd(self, name, file):
        """A real NBD server of that file: its process, and its URI, which is the same when it is started again after the first one ended."""
        sock = self.path(name + ".sock")
        if os.path.exists(sock):
            os.unlink(sock)
        process = self.start("qemu-nbd", "--persistent", "--shared=0", "--format=raw", "--cache=writeback", "--socket", sock, file)
        wait_for("qemu-nbd listens", lambda: listens(sock))
        return process, f"nbd+unix:///?socket={sock}"

    def holdback(self, name, bytes_, *options):
        return Holdback(self, name, bytes_, options)

    def stamp(self, uri, name, *options):
        return Stamp(self, uri, name, options)

    def agent(self, **kw):
        a = Agent(self, **kw)
        self.agents.append(a)
        return a


def listens(path):
    """Somebody takes connections on that socket: its file is there a moment before."""
    with socket.socket(socket.AF_UNIX) as c:
        return c.connect_ex(path) == 0


class Holdback:
    """An nbd-holdback server: a disk with a volatile cache."""

    def __init__(self, scratch, name, bytes_, options):
        self.s, self.socket, self.file = scratch, scratch.path(name + ".sock"), os.path.join(scratch.mem, name + ".img")
        self.control = scratch.path(name + ".control")
        self.name, self.options, self.uri = name, options, f"nbd+unix:///?socket={self.socket}"
        if not os.path.exists(self.file):
            with open(self.file, "wb") as f:
                f.truncate(size(bytes_))
        self.start()

    def start(self):
        ready = self.s.path(self.name + ".pid")
        if os.path.exists(ready):
            os.unlink(ready)
        self.process = self.s.start("nbd-holdback", "--file", self.file, "--unix", self.socket, "--control", self.control, "--pid-file",
                                    ready, *self.options, log=self.name + ".log")
        wait_for("nbd-holdback", lambda: os.path.exists(ready) or self.process.poll() is not None)
        assert self.process.poll() is None

    def faults(self, *lines):
        with open(self.control + ".new", "w") as f:
            f.write("".join(line + "\n" for line in lines))
        os.rename(self.control + ".new", self.control)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def power_loss(self):
        self.process.send_signal(signal.SIGUSR1)

    def stop(self):
        """All of its threads have stopped."""
        self.process.send_signal(signal.SIGSTOP)
        tasks = f"/proc/{self.process.pid}/task"

        def stopped(task):
            try:
                with open(f"{tasks}/{task}/stat") as f:
                    return f.read().rpartition(")")[2].split()[0] == "T"
            except FileNotFoundError:  # it ended meanwhile
                return True
        wait_for("nbd-holdback has stopped", lambda: all(stopped(t) for t in os.listdir(tasks)), every=0.001)

    def go_on(self):
        self.process.send_signal(signal.SIGCONT)


class Stamp:
    """A running dray-stamp (an application)."""

    def __init__(self, scratch, uri, name, options):
        self.s, self.uri, self.journal, self.status_file = scratch, uri, scratch.path(name + ".journal"), scratch.path(name + ".status")
        self.process = scratch.start("dray-stamp", "run", "--uri", uri, "--journal", self.journal, "--status", self.status_file,
                                     *options, log=name + ".log", stdout=subprocess.PIPE)

    def status(self):
        try:
            with open(self.status_file) as f:
                return json.load(f)
        except FileNotFoundError:
            return {"writes": 0, "reads": 0, "flushes": 0, "errors": 0, "bad": 0, "reconnects": 0, "longest_wait_us": 0}

    def wait_writes(self, more=100, timeout=30):
        was = self.status()["writes"]
        wait_for(f"{more} more writes", lambda: self.process.poll() is not None or self.status()["writes"] >= was + more, timeout)
        assert self.process.poll() is None, f"the writer ended: {self.process.returncode}"

    def end(self, good=True, timeout=60):
        """Ends it in order and returns its summary; good: it must not have seen an error or a wrong block."""
        self.process.send_signal(signal.SIGTERM)
        out, _ = self.process.communicate(timeout=timeout * SLOW)
        got = json.loads(out)
        if good:
            assert self.process.returncode == 0 and got["bad"] == 0 and got["errors"] == 0, got
        return got

    def verify(self, target, good=True):
        done = subprocess.run(["dray-stamp", "verify", "--journal", self.journal, target], capture_output=True, text=True, check=False)
        if good and done.returncode != 0:
            raise Failed(["dray-stamp", "verify", target], done)
        return json.loads(done.stdout)


class Agent:
    """drayd with its directories below the scratch directory, and the command line that talks to it."""

    def __init__(self, scratch, name="agent", options=(), start=True):
        self.s, self.name, self.options = scratch, name, options
        self.state, self.run_dir = scratch.path(name + "-state"), scratch.path(name + "-run")
        self.socket, self.nbd_socket = os.path.join(self.run_dir, "agent.sock"), os.path.join(self.run_dir, "nbd.sock")
        self.env = dict(os.environ, DRAY_SOCKET=self.socket)
        self.process = None
        if start:
            self.start()

    def start(self):
        self.process = self.s.start("drayd", "--state-dir", self.state, "--run-dir", self.run_dir, *self.options, log=self.name + ".log",
                                    env=self.env)
        def ready():
            if self.process.poll() is not None:
                return True
            done = self.run("status", "-o", "json", status=None)
            if done.returncode or not json.loads(done.stdout)["iod"]["connected"]:
                return False
            return self.run("volume", "list", status=None).returncode == 0  # dray-iod has said what it has, which comes a moment later

        wait_for("the agent and dray-iod", ready)
        assert self.process.poll() is None, f"drayd ended with status {self.process.returncode}"

    def run(self, *args, status=0, timeout=120, stdin=None, env=None):
        """dray ARGS; status: the exit status it must have (None: any). Returns the finished process."""
        args = ["dray", *map(str, args)]
        done = subprocess.run(args, capture_output=True, text=True, input=stdin, timeout=timeout * SLOW, env=env or self.env, check=False,
                              **({} if stdin is not None else {"stdin": subprocess.DEVNULL}))
        if status is not None and done.returncode != status:
            raise Failed(args, done)
        return done

    def json(self, *args, status=0, **kw):
        """dray ARGS -o json; returns what it printed (on stderr, when it had to fail)."""
        done = self.run(*args, "-o", "json", status=status, **kw)
        return json.loads(done.stdout if done.returncode == 0 or done.stdout.strip() else done.stderr)

    def volume(self, name, resource):
        self.run("volume", "add", name, resource)
        return self.uri(name)

    def uri(self, name):
        return f"nbd+unix:///{name}?socket={self.nbd_socket}"

    def spec(self, doc, *args, status=0, **kw):
        """dray start with a document given as a dict (see patient()); returns the document that came back."""
        return self.json("start", "-", *args, status=status, stdin=json.dumps(patient(doc)), **kw)

    def show(self, session):
        return self.json("show", session)

    def pair(self, session, n=0):
        return self.show(session)["pairs"][n]

    def moved(self, session, n=0):
        """The pair's bytes_done; 0 while that is not known yet."""
        return self.pair(session, n)["progress"]["bytes_done"] or 0

    def wait(self, session, state, timeout=60, status=0):
        return self.run("wait", session, state, "--timeout", str(timeout * SLOW), status=status, timeout=timeout + 30)

    def iod_pid(self):
        return self.json("status")["iod"]["pid"]

    def destroy(self):
        """Ends both programs, whatever state they are in."""
        pids = set()
        if self.process and self.process.poll() is None:
            try:
                pids.add(self.iod_pid())
            except Exception:  # it may be in any state
                pass
            # First, and by itself: it starts a new dray-iod where one ends.
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
            self.process.wait()
        pids |= {p for p in children_using(self.run_dir)}
        for p in pids - {None}:  # drayd may be between two of them
            end_process(p)


def end_process(pid):
    """That process, also a stopped one; it may have ended by itself."""
    for sig in (signal.SIGCONT, signal.SIGKILL):
        try:
            os.kill(pid, sig)
        except ProcessLookupError:
            pass


def children_using(run_dir):
    """The processes of ours whose command line names this run directory."""
    for p in os.listdir("/proc"):
        if p.isdigit():
            try:
                with open(f"/proc/{p}/cmdline", "rb") as f:
                    words = f.read().decode(errors="replace").split("\0")
            except OSError:
                continue
            if any(run_dir == w or w.startswith(run_dir + "/") for w in words) and "dray" in os.path.basename(words[0]):
                yield int(p)


def ended(pid):
    """The process is gone, or on its way: it may be a zombie until its parent looks after it."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as f:
            return f.read().rpartition(")")[2].split()[0] in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return True


def kill_hooks(directory):
    """Ends the hooks of that directory that are still run: those of a drayd that was killed."""
    for p in os.listdir("/proc"):
        try:
            if p.isdigit() and f"{directory}/".encode() in open(f"/proc/{p}/cmdline", "rb").read():
                os.killpg(int(p), signal.SIGKILL)
        except OSError:
            pass


def same(a, b, length=None):
    """Are two files equal (over `length` bytes)?"""
    with open(a, "rb") as x, open(b, "rb") as y:
        at = 0
        while length is None or at < length:
            n = MiB if length is None else min(MiB, length - at)
            p, q = x.read(n), y.read(n)
            if p != q:
                i = next((i for i, (c, d) in enumerate(zip(p, q)) if c != d), min(len(p), len(q)))
                print(f"{a} and {b} differ at {at + i}", file=sys.stderr)
                return False
            if not p:
                return True
            at += len(p)
    return True
