#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""volume.list with `since`: what changed and nothing else, whoever changed it; names of volumes that went; everything in pages to who is new, or was
told by another incarnation; and together that is always what the whole list says."""
import json
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from dray import MiB, Scratch, wait_for  # noqa: E402
from iod import Iod, Rpc  # noqa: E402
from nbdclient import Client  # noqa: E402

RUNS_BY_ITSELF = ("predicted_blackout_us", "nbd_devices", "latency_us", "copy_window")
restless = set()  # volumes with a mirror, which has things to tidy up, seconds later


def plain(v):
    v = {k: x for k, x in v.items() if k not in RUNS_BY_ITSELF}
    return dict(v, legs=[{k: x for k, x in leg.items() if k != "degraded_ms"} for leg in v["legs"]])


class Reader:
    """Keeps what it is told, as the agent does."""

    def __init__(self, iod):
        self.iod, self.rpc, self.cursor, self.volumes = iod, Rpc(iod.control), "", {}

    def read(self):
        """(all, names of the volumes, removed)"""
        told, removed, whole = {}, set(), False
        while True:
            page = self.rpc.call("volume.list", since=self.cursor)
            assert set(page) == {"cursor", "all", "more", "removed", "volumes"}, page
            assert not (page["all"] and page["removed"])
            self.cursor = page["cursor"]
            if page["all"]:
                whole, told, removed = True, {}, set()
            for name in page["removed"]:
                told.pop(name, None)
                removed.add(name)
            told.update({v["name"]: v for v in page["volumes"]})
            if not page["more"]:
                break
        # How long records take lately is in every prediction: all are told anew where it changed much. No news otherwise.
        records = {n for n, v in told.items() if n not in removed and n in self.volumes and plain(v) == plain(self.volumes[n]) and
                   v["predicted_blackout_us"] != self.volumes[n]["predicted_blackout_us"]}
        if whole:
            self.volumes, records = {}, set()
        for name in removed:
            self.volumes.pop(name, None)
        self.volumes.update(told)
        return whole, set(told) - records - restless, removed

    def settled(self):
        """Reads until nothing is new."""
        def quiet():
            whole, told, removed = self.read()
            return not whole and not told and not removed
        wait_for("nothing changes any more", quiet, 30)

    def check(self):
        """It knows what the whole list says."""
        def same():
            self.read()
            now = {v["name"]: v for v in self.iod.call("volume.list")}
            return {n: plain(v) for n, v in now.items()} == {n: plain(v) for n, v in self.volumes.items()}
        wait_for("it knows all", same, 20)


with Scratch() as s:
    iod = Iod(s)
    one, two = Reader(iod), Reader(iod)
    assert one.read() == (True, set(), set()) and one.read() == (False, set(), set())
    for name in ("a", "b", "c"):
        iod.call("volume.add", name=name, resource=s.file(name, "4M", data=True))
    one.settled()
    assert set(one.volumes) == {"a", "b", "c"}

    # Of each thing that may change: it alone is told, to each reader at his pace.
    def only(*names):
        whole, told, removed = one.read()
        assert not whole and told == set(names) and not removed, (whole, told, removed, names)

    iod.call("copy.set", volume="b", rate=1 << 20)
    only("b")
    restless.add("a")
    leg = iod.attach("a", s.path("a.copy"), create="thin", paused=True)
    one.read()
    assert one.volumes["a"]["legs"][1]["paused"]
    iod.call("leg.pause", volume="a", leg=leg, paused=False)
    iod.wait_synced("a", leg)
    one.settled()
    assert one.volumes["a"]["legs"][1]["synced"] and one.volumes["a"]["legs"][1]["done_bytes"] == 4 * MiB
    client = Client(iod.nbd_socket, "c")
    wait_for("the client is told", lambda: one.read()[1] <= {"c"} and one.volumes["c"]["clients"] == 1)
    client.write(0, b"x" * 4096)
    client.flush()
    wait_for("the write is told", lambda: one.read()[1] <= {"c"} and one.volumes["c"]["counters"]["writes"] == 1)
    one.settled()

    # What holds a copy back, although nothing happens for minutes after its first step.
    iod.call("copy.set", volume="b", rate=1)
    slow = iod.attach("b", s.path("b.copy"), create="thin")
    restless.add("b")
    one.read()
    wait_for("it waits for the rate", lambda: one.read() and one.volumes["b"]["copy_bound"] == "rate")
    one.settled()
    iod.call("leg.detach", volume="b", leg=slow)
    wait_for("it waits for nothing", lambda: one.read() and one.volumes["b"]["copy_bound"] is None)
    restless.clear()
    one.settled()
    restless.add("a")

    # A moment after the last request the copy's window is open again: it runs by itself, and dray-iod's own check (DRAY_CHECK_LIST) knows that.
    def window(v):
        return v["copy_window"]["steps"]

    def told_small():
        client.write(0, b"y" * 4096)
        one.read()
        return window(one.volumes["c"]) < 8
    wait_for("it is told while requests come", told_small)
    wait_for("the window is open again", lambda: window(iod.volume("c")) == 8)
    one.settled()
    client.close()
    wait_for("the client is gone", lambda: one.read()[1] <= {"c"} and one.volumes["c"]["clients"] == 0)
    assert iod.switch("t1", ("a", leg))["outcome"] == "switched"
    one.read()
    assert one.volumes["a"]["epoch"] == 2
    one.check()
    # Looking at them is no change.
    iod.call("commit", volume="a", leg=1)
    restless.clear()
    one.settled()
    for _ in range(3):
        iod.call("volume.list")
        iod.volume("a")
        only()

    # One that goes, one that goes and comes again under its name.
    iod.call("volume.remove", name="b")
    assert (got := one.read()) == (False, set(), {"b"}), got
    iod.call("volume.remove", name="c")
    iod.call("volume.add", name="c", resource=s.path("b"))
    assert (got := one.read()) == (False, {"c"}, {"c"}), got
    assert one.volumes["c"]["resource"] == s.path("b")
    one.check()
    assert two.read() == (True, {"a", "c"}, set())  # who never asked before is not told what went
    two.check()

    # More than one page.
    os.mkdir(s.path("many"))
    ids = []
    for i in range(1100):
        with open(s.path(f"many/{i}"), "wb") as f:
            f.truncate(65536)
    sent = answered = 0
    while answered < 1100:
        while sent < 1100 and sent - answered < 32:
            iod.rpc.send("volume.add", name=f"m{sent}", resource=s.path(f"many/{sent}"), hidden=True)
            sent += 1
        got = iod.rpc.line()
        assert "error" not in got, got
        answered += "result" in got
    three = Reader(iod)
    page = three.rpc.call("volume.list", since="")
    assert page["all"] and page["more"] and len(page["volumes"]) == 1000, len(page["volumes"])
    # Between two pages one goes that was told, and one that was not.
    goes = next(v["name"] for v in page["volumes"] if v["name"][0] == "m")
    iod.call("volume.remove", name=goes)
    iod.call("volume.remove", name="m1099")
    three.cursor, three.volumes = page["cursor"], {v["name"]: v for v in page["volumes"]}
    whole, told, removed = three.read()
    assert not whole and goes in removed and "m1099" not in told
    three.check()
    two.check()
    one.check()

    # Cursors that are none of this process: everything.
    for cursor in ("x", ".", iod.rpc.hello["incarnation"], iod.rpc.hello["incarnation"] + ".", iod.rpc.hello["incarnation"] + ".99999999",
                   iod.rpc.hello["incarnation"] + ".1x", "0" * 32 + ".1"):
        page = iod.call("volume.list", since=cursor)
        assert page["all"] and page["more"], cursor
    # The next one counts anew: what it says is everything, not what changed.
    for i in range(1100):
        if i not in (0, 1099):
            iod.call("volume.remove", name=f"m{i}") if i % 100 == 0 else None
    left = set(Reader(iod).rpc.call("volume.list", since="") and [v["name"] for v in iod.call("volume.list")])
    iod.process.kill()
    iod.process.wait()
    one.rpc.close()
    iod.start()
    one.rpc = Rpc(iod.control)
    whole, told, removed = one.read()
    assert whole and not removed and told <= left
    wait_for("all are served", lambda: one.read() and set(one.volumes) == left and all(v["served"] for v in one.volumes.values()), 60, every=0.1)
    one.check()

    # A target that fails by itself, and comes back.
    iod2 = Iod(s, name="two", options=("--threads", "2", "--allow-faults"))
    four = Reader(iod2)
    broken = s.path("broken")
    iod2.call("volume.add", name="f", resource=s.file("f", "2M", data=True))
    bad = iod2.attach("f", f"fault:error_file={broken}:{s.file('f.copy', '2M')}")
    iod2.wait_synced("f", bad)
    four.settled()
    open(broken, "w", encoding="utf-8").close()
    client = Client(iod2.nbd_socket, "f")
    client.write(4096, b"y" * 4096)

    def told_as(state):
        four.read()
        return any(leg["id"] == bad and leg["state"] == state for leg in four.volumes["f"]["legs"])
    wait_for("it is told as degraded", lambda: told_as("degraded"), 30)
    four.check()
    os.unlink(broken)
    wait_for("it is told as a mirror again", lambda: told_as("mirror"), 60)
    four.check()
    client.close()
print(json.dumps({"left": len(left)}))
