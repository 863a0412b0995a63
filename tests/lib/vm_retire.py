# SPDX-License-Identifier: BSD-3-Clause
"""The machine dies while many retires stand still, each at a point of its own, and comes back with its disks under other names: what the tests of that share.

A step is (kind, way, point, what happens while drayd is away: "new": something else gets the source's name; "swapped": and the source another).
The thread of a retire stands still at a point for as long as a file of that name is in HOLD. As a retire passes several points, those
that are held last are begun first. Then the power fails: so all of them are cut off at once. At the points of STOPS, which no thread passes, the machine
stops by itself; such a step is the last of its round."""
from vm import Machine, wait_for

MB = 1 << 20
# MiB: how far a wipe came is recorded after three seconds and between pieces of 16 MiB, and behind the one recorded must be a rest.
LONG = 40
W = "/dev/disk/by-id/wwn-0x5000c500a000000"
ORDERS = (["system", "lvs", "disk", "disk2", "stranger"], ["stranger", "disk2", "disk", "lvs", "system"], ["disk", "system", "stranger", "lvs", "disk2"])
HOLD = "/run/hold"
STOPS = ("target-made", "retire-pending", "retire-recorded")


class Retires:
    def __init__(self, m):
        self.m, self.sums, self.n, self.boots = m, {}, 0, 0
        m.disk("system", "160M")
        m.disk("lvs", "192M", bus="scsi", wwn="0x5000c500a0000001")
        m.disk("disk", 2 * MB, bus="scsi", wwn="0x5000c500a0000002")
        m.disk("disk2", 2 * MB, bus="scsi", wwn="0x5000c500a0000004")
        m.disk("stranger", 2 * MB, bus="scsi", wwn="0x5000c500a0000003")

    def boot(self):
        m = self.m
        m.boot(order=ORDERS[self.boots % len(ORDERS)])
        if self.boots == 0:
            m.sh(f"vgcreate -q vg {W}1; sync {W}1; dd if=/dev/urandom of={W}3 bs=1M count=2 oflag=direct conv=fsync status=none")
            self.stranger = self.total(W + "3", 2)
        else:
            m.sh("vgchange -q -ay vg; udevadm settle")
        self.boots += 1
        m.sh(f"mkdir -p {HOLD}")

    def total(self, path, mb):
        return self.m.sh(f"dd if={path} bs=1M count={mb} iflag=direct status=none | sha256sum")

    def same(self, n, path):
        """Whether it holds what source n held."""
        mb, was = self.sums[n]
        return self.total(path, mb) == was

    def prepare(self, steps):
        """The sources, each with a number of its own."""
        self.steps = []  # (number, step, path)
        for step in steps:
            n, m = self.n, self.m
            self.n += 1
            path = {"lv": f"/dev/vg/s{n}", "disk": W + "2", "disk2": W + "4", "file": f"/state/s{n}"}[step[0]]
            mb = LONG if step[2] == "retire-piece" else 2
            if step[0] == "lv":
                m.sh(f"lvcreate -q -y -Wn -n s{n} -L {max(mb, 4)}M vg; udevadm settle")
            m.sh(f"dd if=/dev/urandom of={path} bs=1M count={mb} oflag=direct conv=fsync status=none")
            self.sums[n] = mb, self.total(path, mb)
            self.steps.append((n, step, path))
        # What the test itself makes is flushed: LVM leaves its metadata in the disk's cache.
        self.m.sh(f"sync /state; sync {W}1")

    def cut_off(self):
        """The power fails while all steps stand at their points."""
        m, end = self.m, self.steps[-1][1][2]
        m.agent(crash_at=end if end in STOPS else None, unarmed=True, env={"DRAY_STALL_IN": HOLD})
        for n, (kind, way, point, _), path in self.steps:
            last = point in STOPS
            if last:
                m.arm()
            else:
                m.sh(f": >>{HOLD}/{point}")
            stood = 0 if last else int(m.sh(f"stat -c %s {HOLD}/{point}"))
            limits = '"limits": {"rate": "5MiB"}, ' if point == "retire-piece" else ""
            m.sh(f"echo '{{\"name\": \"m{n}\", {limits}\"switch\": {{\"retire\": \"{way}\"}}, \"pairs\": [{{\"source\": \"{path}\", \"target\": \"/state/t{n}\", \"create\": \"thin\"}}]}}' "
                 ">/run/spec")
            if last:
                m.start(f"DRAY_SOCKET={m.env['DRAY_SOCKET']} dray start /run/spec", "start")
                m.wait_crash()
            else:
                m.dray("start", "/run/spec")
                m.wait(f"{kind} {way} stands at {point}", f"[ $(stat -c %s {HOLD}/{point}) -gt {stood} ]", 120)
                assert point != "retire-piece" or 0 < m.pair(f"m{n}")["retired"]["bytes_done"] < LONG * MB, m.show(f"m{n}")
            print(f"{n}: {kind} {way}: stands at {point}", flush=True)
        if end not in STOPS:
            m.power_loss()

    def identity(self, kind, n, path):
        return self.m.sh(f"stat -c '%i %a %Y' {path}" if kind == "file" else f"lvs --noheadings -o lv_uuid,lv_attr vg/s{n}")

    def meanwhile(self):
        """While nobody looks: other things get the names. {number: what is there then}"""
        m, new = self.m, {}
        for n, (kind, _, _, what), path in self.steps:
            if what == "swapped":
                m.sh(f"lvrename -q vg s{n} aside{n}")
            if not what:
                continue
            if kind == "file":
                m.sh(f"[ ! -e {path} ]; : >{path}; sync {path} /state")
            else:
                m.sh(f"lvcreate -q -y -Wn -n s{n} -L 4M vg; udevadm settle")
            m.sh(f"dd if=/dev/urandom of={path} bs=1M count=2 oflag=direct conv=fsync status=none")
            new[n] = self.total(path, 2), self.identity(kind, n, path)
        return new

    def judge(self):
        """After the crash: first what happens while nobody looks, then drayd comes back, and every retire ends as it should."""
        m = self.m
        new = self.meanwhile()
        m.agent()
        for n, step, path in self.steps:
            retired = wait_for(f"the end of retire {n}", lambda n=n: (r := m.pair(f"m{n}").get("retired")) and r["state"] in ("done", "failed") and r, 120, 0.3)
            print(f"{n}: {step}: {retired}", flush=True)
            assert retired["state"] == "done", (n, step, retired)
            assert self.same(n, f"/state/t{n}"), f"{n} {step}: the target is not what the source was"
            if n in new:
                assert (self.total(path, 2), self.identity(step[0], n, path)) == new[n], f"{n} {step}: the new one of that name was touched"
            self.judge_source(n, step, path, n in new)
        assert self.total(W + "3", 2) == self.stranger, "a stranger's disk was touched"
        assert not m.sh("ls -A /state | grep dray-retired || true"), "a tombstone is left"
        assert not m.json("locks"), m.json("locks")
        m.dray("shutdown", "--force")
        m.sh(f"lvremove -q -y vg; rm -f /state/s[0-9]* /state/t[0-9]*; sync /state; sync {W}1")

    def judge_source(self, n, step, path, named):
        """named: something else has its name now."""
        m, (kind, way, _, what) = self.m, step
        renamed = f"{path}.retired-{m.show(f'm{n}')['id']}"
        if what == "swapped":
            # It is the volume that was migrated, by its UUID, whatever it is called now.
            gone, renamed = f"vg/aside{n}", f"/dev/vg/aside{n}.retired-{m.show(f'm{n}')['id']}"
            assert m.exec("lvs", gone, status=None)["status"] == 5, gone
        if way in ("delete", "rename"):
            assert named or m.exec("test", "-e", path, status=None)["status"] == 1, path
            assert named or kind != "lv" or m.exec("lvs", f"vg/s{n}", status=None)["status"] == 5, path
        if way == "rename":
            assert self.same(n, renamed), renamed
        elif way == "zero":
            m.sh(f"[ $(dd if={path} bs=1M iflag=direct status=none | tr -d '\\0' | wc -c) = 0 ]")
        elif way == "offline":
            m.sh(f"vgchange -q -ay vg; udevadm settle; [ ! -e {path} ]; lvs vg/s{n}" if kind == "lv" else
                 f"[ $(cat /sys/block/$(basename $(readlink -f {path}))/device/state) = offline ]")
        elif way == "read-only":
            assert self.same(n, path), path
            m.sh(f"[ $(stat -c %a {path}) = 444 ]" if kind == "file" else f"lvs --noheadings -o lv_attr vg/s{n} | grep -q '^ *.r'")


def retire_crashes(*rounds):
    with Machine() as m:
        r = Retires(m)
        r.boot()
        for steps in rounds:
            r.prepare(steps)
            r.cut_off()
            r.boot()
            r.judge()
