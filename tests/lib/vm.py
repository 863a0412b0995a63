# SPDX-License-Identifier: BSD-3-Clause
"""The emulated machine: a real kernel with device-mapper, LVM, SCSI, md and NBD, whose power a test may cut.

    with Machine() as m:
        m.disk("system", "64M")                       # where the state directory is: see state_disk
        m.disk("old", "32M", bus="scsi", serial="OLD-1")
        m.boot()
        m.sh("pvcreate /dev/sda")
        m.power_loss()
        m.boot(order=["old", "system"])               # names move with the order

A test runs on the host and drives the machine through one program inside it (tests/tools/vm-guest.c): sh() runs a script there, dray()
the command line. What is in memory is new at each boot; disks stay.

What a loss of power loses. Each disk is served to qemu by nbd-holdback, with a volatile cache: what the kernel did not flush (and the
tenth that the cache happened to write back) is gone when the machine is killed, as on a real disk. qemu itself is only the cable:
it keeps no data (its own cache of an NBD disk passes all through). `volatile=False` gives a plain file instead: what the
kernel was told to be written stays, flushed or not, since the host's page cache survives.

The machine is emulated (TCG; VM_ACCEL=kvm takes KVM) with one processor: about ten times slower than the host. DRAY_TEST_KEEP=1 keeps
the console and the disks.
"""
import json
import os
import select
import shlex
import signal
import socket
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(__file__))
from dray import BUILD, Failed, Scratch, need, size, skip, wait_for  # noqa: E402

VM = os.path.join(BUILD, "vm")
STATE, RUN = "/state/dray", "/run/dray"
__all__ = ["Machine", "Failed", "GuestFailed", "Crashed", "wait_for", "STATE", "RUN"]


class GuestFailed(Exception):
    """A command in the machine that ended with another status than it should."""

    def __init__(self, what, got):
        self.status, self.stdout, self.stderr = got["status"], got["stdout"], got["stderr"]
        try:
            self.problem = json.loads(self.stderr)
        except ValueError:
            self.problem = None
        super().__init__(f"{what}: status {self.status}\n{self.stdout[-3000:]}\n{self.stderr[-4000:]}")


class Crashed(Exception):
    """The machine's kernel stopped."""


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Disk:
    """A disk of the machine; .file: what a loss of power leaves of it."""

    def __init__(self, machine, name, bytes_, bus, volatile, properties):
        self.name, self.bus, self.volatile, self.properties = name, bus, volatile, properties
        self.server, self.m = None, machine
        if volatile:
            self.server = machine.s.holdback(name, bytes_)
            self.file = self.server.file
            self.drive = f"driver=nbd,server.type=unix,server.path={self.server.socket}"
        else:
            self.file = machine.s.file(name + ".img", bytes_)
            self.drive = f"driver=raw,file.driver=file,file.filename={self.file}"

    def options(self):
        # Two disks can't have one node name; a disk that is attached twice (two paths) can.
        node = f"n-{self.name}"
        device = {"virtio": "virtio-blk-pci", "scsi": "scsi-hd", "nvme": "nvme"}[self.bus]
        words = [device, f"drive={node}", f"id=d-{self.name}"]
        if self.bus == "scsi":
            words.append("bus=scsi0.0")
        words += [f"{k}={v}" for k, v in self.properties.items() if v is not None]
        return ["-blockdev", f"{self.drive},node-name={node},discard=unmap", "-device", ",".join(words)]


class Machine:
    def __init__(self, state_disk="system", memory="1024", net=False):
        """net: applications outside reach the volumes over TCP, at .nbd (see app)."""
        need("qemu-system-x86_64")
        if not os.path.exists(os.path.join(VM, "initrd")):
            skip("the machine was not made: scripts/vm-guest.sh")
        self.s = Scratch()
        self.disks, self.order, self.memory, self.state_disk = {}, [], memory, state_disk
        self.process = self.port = None
        self.tcp = free_port() if net else None
        self.boots = 0

    def __enter__(self):
        return self

    def __exit__(self, kind, *rest):
        if kind not in (None, SystemExit) and self.process:
            self.tell_trouble()
        if self.process:
            self.process.kill()
            self.process.wait()
        self.s.__exit__(kind, *rest)

    def tell_trouble(self):
        """What the agent's and the machine's logs say, on stderr."""
        try:
            if self.process.poll() is None:
                got = self.exec("sh", "-c", f"for f in /run/*.log {STATE}/*.log; do [ -s $f ] && echo --- $f && tail -n 60 $f; done; dmesg | tail -n 30",
                                status=None, timeout=20)
                print(got["stdout"], file=sys.stderr)
        except Exception as e:  # the machine may be in any state
            print(f"the machine does not say more: {e}", file=sys.stderr)

    # ---- hardware ----
    def disk(self, name, bytes_, bus="virtio", volatile=True, serial="", **properties):
        """A disk, zero at first. serial: its name by default; None: a disk that does not say what it is. properties: of qemu's
        device (wwn="0x5000c500a0000001")."""
        if serial == "":
            serial = name
        self.disks[name] = Disk(self, name, bytes_, bus, volatile, dict(properties, serial=serial))
        self.order.append(name)
        return self.disks[name]

    def boot(self, order=None, udev=True, timeout=120):
        """Switches the machine on, with these disks in this order (default: all, as they were declared)."""
        assert self.process is None, "it runs"
        self.boots += 1
        # net.ifnames=0: else udev gives the network card another name, just before init asks for it or just after.
        args = ["qemu-system-x86_64", "-accel", os.environ.get("VM_ACCEL", "tcg"), "-machine", "pc", "-cpu", "max", "-m", self.memory, "-nographic",
                "-no-reboot", "-nodefaults", "-chardev", f"file,id=console,append=on,path={self.s.path('console.log')}", "-serial", "chardev:console", "-kernel", f"{VM}/vmlinuz",
                "-initrd", f"{VM}/initrd", "-append", "console=ttyS0 panic=-1 quiet net.ifnames=0" + ("" if udev else " noudev"),
                "-chardev", "socket,id=port,fd=%d", "-device", "virtio-serial", "-device", "virtserialport,chardev=port,name=guest"]
        ours, theirs = socket.socketpair()
        args = [a % theirs.fileno() if a.endswith("fd=%d") else a for a in args]
        args += ["-device", "virtio-scsi-pci,id=scsi0"]
        for name in order or self.order:
            args += self.disks[name].options()
        if self.tcp:
            args += ["-netdev", f"user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:{self.tcp}-10.0.2.15:10809",
                     "-device", "virtio-net-pci,netdev=net,romfile="]
        from_ = time.monotonic()
        log = self.s.path("console.log")
        with open(log, "ab") as f:  # qemu may take its time to make it
            self.console = f.tell()
        self.process = self.s.start(*args, log="qemu.log", pass_fds=[theirs.fileno()])
        theirs.close()
        self.port, self.buffer = ours, b""
        while (line := self.read_line(timeout)) != b"ready":
            assert line is not None, line
        print(f"boot {self.boots}: {time.monotonic() - from_:.1f} s", flush=True)
        if self.state_disk in (order or self.order):
            self.sh(f"""d=$(grep -lx {self.state_disk} /sys/block/*/serial | cut -d/ -f4)
                mkdir -p /state && (mount -t ext4 /dev/$d /state 2>/dev/null || {{ mkfs.ext4 -q -F /dev/$d && mount -t ext4 /dev/$d /state; }})
                mkdir -p {STATE} {RUN}""")
        return self

    def off(self):
        """What follows when the machine is gone."""
        self.process.kill()
        self.process.wait()
        self.port.close()
        self.process = None

    def power_loss(self):
        """From one instruction to the next; the disks lose what was not flushed."""
        self.off()
        for d in self.disks.values():
            if d.server:
                d.server.power_loss()
        print("power loss", flush=True)

    def wait_crash(self, timeout=60):
        """The kernel has to stop by itself, at the point that the test named (crash_at); then the power goes."""
        wait_for("the kernel stops", self.crashed, timeout, 0.1)
        self.power_loss()

    def crashed(self):
        with open(self.s.path("console.log"), "rb") as f:
            return b"Kernel panic" in f.read()[self.console:]

    def halt(self):
        """An orderly end: everything is flushed. (The test stops the agent first, if that is what it wants.)"""
        self.sh("umount -a -r -t ext4 || true; sync; for d in /sys/block/[sv]d*; do /usr/bin/sync /dev/${d##*/}; done")
        self.off()

    # ---- inside ----
    def read_line(self, timeout):
        end = time.monotonic() + timeout
        while b"\n" not in self.buffer:
            left = end - time.monotonic()
            assert left > 0, f"the machine did not answer within {timeout} s"
            if not select.select([self.port], [], [], min(left, 0.5))[0]:
                assert self.process.poll() is None, f"qemu ended with status {self.process.returncode}"
                if self.crashed():
                    raise Crashed("the kernel stopped")
                continue
            data = self.port.recv(1 << 20)
            assert data, "the machine is gone"
            self.buffer += data
        line, self.buffer = self.buffer.split(b"\n", 1)
        return line

    def exec(self, *argv, status=0, timeout=120, stdin=None, env=None):
        """A program in the machine: {status, stdout, stderr}. status: what it must be (None: any)."""
        request = {"argv": [str(a) for a in argv], "env": env or {}}
        if stdin is not None:
            request["stdin"] = stdin
        self.port.sendall(json.dumps(request).encode() + b"\n")
        got = json.loads(self.read_line(timeout))
        if status is not None and got["status"] != status:
            raise GuestFailed(" ".join(map(str, argv))[-1500:], got)
        return got

    def sh(self, script, status=0, **kw):
        """A shell script (bash, -e); returns what it printed."""
        return self.exec("bash", "-ec", script, status=status, **kw)["stdout"].strip()

    def start(self, script, log):
        """A program in the background; returns its pid. Its output: /run/LOG.log."""
        return int(self.sh(f"exec 3>/run/{log}.log; {script} </dev/null >&3 2>&1 3>&- & echo $!"))

    def wait(self, what, script, timeout=60, every=0.2):
        """Until the script succeeds."""
        wait_for(what, lambda: self.exec("bash", "-c", script, status=None)["status"] == 0, timeout, every)

    # ---- dray ----
    def agent(self, env=None, timeout=60, crash_at=None, unarmed=False):
        """Starts drayd (and by it dray-iod, which gets `env` too). crash_at: a point of base/crash.h at which the whole machine stops; unarmed:
        what comes before arm() is not counted."""
        env = dict(env or {})
        if crash_at:
            env.update(DRAY_CRASH_AT=crash_at, DRAY_CRASH_INTO="/proc/sysrq-trigger")
        if unarmed:
            env["DRAY_CRASH_IF"] = "/run/armed"
        if self.tcp:
            self.sh("printf '#!/bin/sh\\nexec dray-iod --tcp 0.0.0.0:10809 \"$@\"\\n' >/run/iod-tcp; chmod +x /run/iod-tcp")
            env["DRAY_IOD"] = "/run/iod-tcp"
        words = " ".join(f"{k}={shlex.quote(v)}" for k, v in env.items())
        self.drayd = self.start(f"env {words} drayd --state-dir {STATE} --run-dir {RUN}", "drayd")
        wait_for("drayd and dray-iod", lambda: self.connected(), timeout, 0.2)
        return self

    def arm(self):
        """From now on the point of agent(crash_at=..., unarmed=True) counts, until the next boot."""
        self.sh(": >/run/armed")

    def connected(self):
        got = self.exec("dray", "status", "-o", "json", status=None, env=self.env)
        return got["status"] == 0 and json.loads(got["stdout"])["iod"]["connected"]

    env = {"DRAY_SOCKET": f"{RUN}/agent.sock"}

    def dray(self, *args, status=0, **kw):
        return self.exec("dray", *args, status=status, env=self.env, **kw)["stdout"].strip()

    def json(self, *args, status=0, **kw):
        got = self.exec("dray", *args, "-o", "json", status=status, env=self.env, **kw)
        return json.loads(got["stdout"] if got["status"] == 0 or got["stdout"].strip() else got["stderr"])

    def spec(self, doc, *args, status=0):
        return self.json("start", "-", *args, status=status, stdin=json.dumps(doc))

    def refused(self, doc, *args):
        """The problems with which a document is refused: {pointer: code}."""
        got = self.spec(doc, *args, status=3)
        return {e["pointer"]: e["code"] for e in got["errors"]}

    def show(self, session):
        return self.json("show", session)

    def pair(self, session, n=0):
        return self.show(session)["pairs"][n]

    def wait_state(self, session, state, timeout=120):
        self.exec("dray", "wait", session, state, "--timeout", timeout, env=self.env, timeout=timeout + 30)

    def volume(self, name, resource=None):
        """Adds a volume, or shows one."""
        if resource:
            self.dray("volume", "add", name, resource)
            return self.uri(name)
        return self.json("volume", "show", name)

    def device(self, wwn):
        """What the disk with this number is called now: "/dev/sdb"."""
        return self.sh(f"readlink -f /dev/disk/by-id/wwn-{wwn}").strip()

    def scan(self, dev):
        """The command by which its bus finds it again, for when it was deleted."""
        at = self.sh(f"basename $(readlink -f /sys/block/{os.path.basename(dev)}/device)").strip().split(":")
        return f"echo '{' '.join(at[1:])}' >/sys/class/scsi_host/host{at[0]}/scan"

    def uri(self, name):
        return f"nbd+unix:///{name}?socket={RUN}/nbd.sock"

    def iod_pid(self):
        return self.json("status")["iod"]["pid"]

    def app(self, volume, name, *options):
        """dray-stamp on the host: an application whose memory survives the machine, and which connects again when that is back."""
        return self.s.stamp(f"nbd://127.0.0.1:{self.tcp}/{volume}", name, "--reconnect-wait", "180", *options)

    def stamp(self, uri, name, *options):
        """dray-stamp in the machine, for a test that never cuts the power: its memory goes with it."""
        return GuestStamp(self, uri, name, options)


class GuestStamp:
    def __init__(self, machine, uri, name, options):
        self.m, self.journal, self.status_file, self.name = machine, f"/run/{name}.journal", f"/run/{name}.status", name
        self.pid = machine.start(f"dray-stamp run --uri {shlex.quote(uri)} --journal {self.journal} --status {self.status_file} "
                                 + " ".join(map(str, options)), name)

    def status(self):
        got = self.m.exec("cat", self.status_file, status=None)["stdout"]
        return json.loads(got) if got else {"writes": 0, "errors": 0, "bad": 0}

    def wait_writes(self, more=50, timeout=60):
        was = self.status()["writes"]

        def more_now():
            got = self.status()
            assert got["errors"] == 0 and got["bad"] == 0, got
            return got["writes"] >= was + more
        wait_for(f"{more} more writes", more_now, timeout, 0.2)
        self.m.sh(f"kill -0 {self.pid}")

    def end(self, good=True):
        self.m.sh(f"kill -TERM {self.pid}; while kill -0 {self.pid} 2>/dev/null; do sleep 0.1; done", timeout=60)
        got = json.loads(self.m.sh(f"tail -n 1 /run/{self.name}.log"))
        if good:
            assert got["bad"] == 0 and got["errors"] == 0, got
        return got

    def verify(self, target, status=0):
        return json.loads(self.m.exec("dray-stamp", "verify", "--journal", self.journal, target, status=status)["stdout"])
