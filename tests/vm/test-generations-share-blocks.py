#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Generations on file systems that share blocks (Btrfs, XFS): they do, and the document says so; so `keep` of them take little more than one; each is one instant of
its volumes; the removal of old ones and of the working image takes nothing from those that stay. On ext4 they are copied, and the document says that."""
import os
import re
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from vm import Machine, wait_for

MiB = 1 << 20
BULK, SMALL, KEEP, ROUNDS = 32 * MiB, MiB // 2, 3, 3
MAKE = {"btrfs": "mkfs.btrfs -q -f", "xfs": "mkfs.xfs -q -f"}


class Night:
    """A session of three volumes: a large one that is written to between the generations, and two small ones whose writer does not rest when they are split."""

    def __init__(self, m, backup, app):
        self.m, self.backup, self.app, self.expected = m, backup, app, {}
        m.spec({"name": "night", "mode": "copy", "start": {"every": "1h", "keep": KEEP},
                "pairs": [{"source": f"volume:{v}", "target": f"{backup}/{v}-{{time}}.img"} for v in ("bulk", "data", "log")]})
        wait_for("the first generation", self.complete, 180, 0.5)
        self.settle()
        self.expected[self.complete()[0]["time"]] = self.sum("/state/bulk")

    def complete(self):
        return [g for g in self.m.show("night")["generations"] if g["complete"]]

    def settle(self):
        def settled():
            doc = self.m.show("night")
            return doc["state"] == "synced" and doc["phase"] == "mirroring" and all(g["complete"] for g in doc["generations"])
        wait_for("nothing is made, brought or removed", settled, 180, 0.3)

    def sum(self, path):
        return self.m.sh(f"md5sum {path}", timeout=120).split()[0]

    def write(self):
        """Some blocks of the large one."""
        self.m.sh(f"dray-stamp run --uri '{self.m.uri('bulk')}' --journal $(mktemp -u) --read-percent 0 --writes 20 >/dev/null")

    def more(self):
        self.write()
        last = self.complete()[-1]["time"]
        self.m.wait("another second", f"[ $(date -u +%Y-%m-%dT%H:%M:%SZ) '>' {last} ]")
        # Between the splits it would only take the time of the one processor.
        self.m.sh(f"kill -CONT {self.app}; sleep 0.5")
        self.m.dray("switch", "night")
        self.m.sh(f"kill -STOP {self.app}")
        made = self.complete()[-1]
        assert made["time"] > last, made
        self.expected[made["time"]] = self.sum("/state/bulk")
        self.settle()

    def check(self):
        """What the disk has, not what is in memory."""
        self.m.sh("sync; echo 3 >/proc/sys/vm/drop_caches")
        got = self.complete()
        for g in got:
            assert self.sum(g["paths"][0]) == self.expected[g["time"]], g
            self.m.sh(f"dray-stamp pair-verify {g['paths'][1]} {g['paths'][2]}", timeout=120)
        return got

    def cancel(self):
        stay = self.complete()
        self.m.dray("cancel", "night")
        assert self.check() == stay and len(stay) == KEEP, stay
        there = self.m.sh(f"ls -A {self.backup}").split()
        assert sorted(there) == sorted(os.path.basename(p) for g in stay for p in g["paths"]), there
        return stay


def used(m, at):
    return int(m.sh(f"sync -f {at}; df --output=used -B1 {at} | tail -n 1"))


def shared_bytes(m, path):
    """As the file system tells it."""
    total = 0
    for line in m.sh(f"filefrag -v -b1 {path}").splitlines():
        if re.match(r" *\d+:", line) and "shared" in line:
            total += int(line.split(":")[3])
    return total


with Machine() as machine:
    machine.disk("system", "320M")
    for fs in MAKE:
        machine.disk(fs, "512M")
    machine.boot()
    machine.sh(f"head -c {BULK} /dev/urandom >/state/bulk; truncate -s {SMALL} /state/data /state/log; sync", timeout=120)
    machine.agent()
    uris = [machine.volume(v, f"/state/{v}") for v in ("bulk", "data", "log")][1:]
    app = machine.start(f"exec dray-stamp pair --uri '{uris[0]}' --uri2 '{uris[1]}' --flush-every 20 --status /run/pair.status", "pair")
    machine.wait("the application writes", "[ -s /run/pair.status ]")
    for fs, make in MAKE.items():
        at = f"/mnt/{fs}"
        machine.sh(f"modprobe {fs}; d=$(grep -lx {fs} /sys/block/*/serial | cut -d/ -f4); {make} /dev/$d; mkdir -p {at}; mount -t {fs} /dev/$d {at}", timeout=120)
        empty = used(machine, at)
        night = Night(machine, at, app)
        for _ in range(ROUNDS):
            night.more()
        got = night.check()
        assert len(got) == KEEP and all(g["shared"] is True for g in got), got
        # The working image and KEEP generations, all of the same but a little.
        took, shared = used(machine, at) - empty, [shared_bytes(machine, g["paths"][0]) for g in got]
        print(f"{fs}: {KEEP} generations and the working image of {BULK} bytes take {took}, of which each shares {shared}", flush=True)
        assert took < (KEEP + 1) * BULK / 2, took
        assert all(0.7 * BULK <= n <= BULK for n in shared), shared
        night.cancel()
        machine.sh(f"umount {at}")
    machine.sh("mkdir /state/backup")
    night = Night(machine, "/state/backup", app)
    for _ in range(ROUNDS):
        night.more()
    stay = night.cancel()
    assert all(g["shared"] is False for g in stay), stay
    assert not any(shared_bytes(machine, g["paths"][0]) for g in stay)
