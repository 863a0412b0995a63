# SPDX-License-Identifier: BSD-3-Clause
"""The machine dies at the named points of a verb, one point a boot, and comes back with its SCSI disks under other names: what the crash tests of the
emulated machine share.

Two volumes in one session: "a" moves from a logical volume to a SCSI disk, "b" from a SCSI disk to a logical volume; an application on
each, outside the machine. After each crash both volumes must be on the same side, the side that the point says, the document and
the volumes must agree, and the application goes on; at the end every block is as it was written."""
from vm import Machine, wait_for

SIZE = 8 << 20
WWN = {"disk-a": "0x5000c500a0000001", "disk-b": "0x5000c500a0000002", "lvs": "0x5000c500a0000003"}
OLD = {"a": "/dev/vg/a", "b": "/dev/disk/by-id/wwn-" + WWN["disk-b"]}
NEW = {"a": "/dev/disk/by-id/wwn-" + WWN["disk-a"], "b": "/dev/vg/b"}
ORDERS = (["system", "disk-a", "disk-b", "lvs"], ["lvs", "disk-b", "system", "disk-a"], ["disk-b", "lvs", "disk-a", "system"])


class Crashes:
    def __init__(self, m):
        self.m, self.n, self.names = m, 0, set()
        m.disk("system", "64M")
        m.disk("disk-a", SIZE, bus="scsi", wwn=WWN["disk-a"])
        m.disk("disk-b", SIZE, bus="scsi", wwn=WWN["disk-b"])
        m.disk("lvs", "32M", bus="scsi", wwn=WWN["lvs"])

    def boot(self, crash_at=None, unarmed=False):
        """The next boot, with the names in another order."""
        self.m.boot(order=ORDERS[self.n % len(ORDERS)])
        self.n += 1
        if self.n == 1:
            self.m.sh(f"vgcreate -q vg /dev/disk/by-id/wwn-{WWN['lvs']}; lvcreate -q -y -n a -L {SIZE}b vg; lvcreate -q -y -n b -L {SIZE}b vg")
        else:
            self.m.sh("vgchange -q -ay vg; udevadm settle; [ -b /dev/vg/a ] && [ -b /dev/vg/b ]")
        self.names.add(self.m.sh(f"readlink -f {NEW['a']}"))
        self.m.agent(crash_at=crash_at, unarmed=unarmed)

    def begin(self):
        for v in "ab":
            self.m.volume(v, OLD[v])
        self.apps = {v: self.m.app(v, v, "--fill", "--blocks-max", "16", "--rate", "25", "--flush-every", "10", "--fua-percent", "10",
                                   "--busy", str(SIZE // 2)) for v in "ab"}
        for app in self.apps.values():
            app.wait_writes(30, timeout=120)

    def move(self):
        self.m.spec({"name": "move", "switch": {"when": "manual"}, "pairs": [{"source": f"volume:{v}", "target": NEW[v]} for v in "ab"]})

    def side(self):
        """On which side they are: old or new. Both must be on the same, and the document must say so."""
        primary = {v: self.m.volume(v)["primary"] for v in "ab"}
        assert primary in (OLD, NEW), f"the volumes are on different sides: {primary}"
        return "old" if primary == OLD else "new"

    def settle(self, state):
        """Waits until both serve, agree with the document, and both legs are in sync."""
        wait_for("both volumes are served", lambda: all(self.m.json("volume", "show", v).get("primary") for v in "ab"), 120, 0.3)
        self.m.wait_state("move", state, timeout=180)
        assert self.side() == ("new" if state == "switched" else "old")
        wait_for("the legs are in sync", lambda: all(leg["state"] in ("primary", "mirror") and leg["dirty_bytes"] == 0
                                                     for v in "ab" for leg in self.m.volume(v)["legs"]), 180, 0.3)
        for app in self.apps.values():
            app.wait_writes(10, timeout=180)

    def crash(self, verb, point, session="move"):
        """The verb, in the middle of which the machine stops."""
        self.m.arm()  # where it was not from the start
        self.m.start(f"DRAY_SOCKET={self.m.env['DRAY_SOCKET']} dray {verb} {session}", verb.split()[0])
        self.m.wait_crash()
        print(f"{verb}: the machine stopped at {point}", flush=True)

    def end(self):
        """Every block is right, on both legs; the disks are looked at from outside."""
        for app in self.apps.values():
            got = app.end()
            print(got, flush=True)
            assert got["reconnects"] >= self.n - 1, got
        assert len(self.names) > 1, f"the disk never changed its name: {self.names}"


def switch_crashes(verb, points, start, other):
    """verb: what is cut off at each of the points {point: the side after it}; start, other: the states before it and after it is done."""
    with Machine(net=True) as m:
        c = Crashes(m)
        c.boot()
        c.begin()
        c.move()
        c.settle("synced")
        if start == "switched":
            m.dray("switch", "move")
            c.settle("switched")
        m.dray("shutdown", "--force")
        # The first point needs no boot of its own.
        m.agent(crash_at=points[0][0])
        for i, (point, done) in enumerate(points):
            c.settle(start)
            c.crash(verb, point)
            following = points[i + 1][0] if i + 1 < len(points) else None
            # Where the verb was done it is taken back first, which must not stop at the next point.
            c.boot(crash_at=None if done else following)
            c.settle(other if done else start)
            print(f"  after the restart: {m.show('move')['state']}", flush=True)
            if done and following:
                m.dray("undo" if verb == "switch" else "switch", "move")
                c.settle(start)
                m.dray("shutdown", "--force")
                m.agent(crash_at=following)
        state = m.show("move")["state"]
        if state == "synced":
            m.dray("switch", "move")
            c.settle("switched")
        c.end()
        for v in "ab":
            c.apps[v].verify(f"nbd://127.0.0.1:{m.tcp}/{v}")
        m.dray("commit", "move", "--yes")
        m.wait_state("move", "committed")
        m.dray("shutdown", "--force")
        m.sh(f"cmp {OLD['a']} {NEW['a']}; cmp {OLD['b']} {NEW['b']}")
        m.halt()
        # From outside, by what the application remembers.
        c.apps["a"].verify(m.disks["disk-a"].file)
        c.apps["b"].verify(m.disks["disk-b"].file)
