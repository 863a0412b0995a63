#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""dray-iod dies at each step of a switch and of an undo of two volumes, and the host with it (drayd killed too, another boot id), or only
both programs: after the start both volumes are on one side, the document says which, nothing written is lost, and it can be led on."""
import os
import sys
import uuid

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from dray import MiB, Scratch, children_using, ended, same, wait_for
from nbdclient import Client

POINTS = ("epoch-before", "epoch-torn", "epoch-after", "apply-before", "apply-after", "switch-done")


class Host:
    def __init__(self, s):
        self.s, self.boot = s, s.path("boot-id")
        config = s.path("drayd.yaml")
        with open(config, "w") as f:
            f.write("allow_faults: true\n")
        os.environ["DRAY_BOOT_ID"] = self.boot
        self.new_boot()
        self.a = s.agent(options=("--config", config))

    def new_boot(self):
        with open(self.boot, "w") as f:
            f.write(str(uuid.uuid4()) + "\n")

    def restart(self, point=None, boot=False):
        self.a.process.kill()
        self.a.process.wait()

        def gone():
            """Also one that drayd was just starting."""
            pids = list(children_using(self.a.run_dir))
            for p in pids:
                try:
                    os.kill(p, 9)
                except ProcessLookupError:
                    pass
            return not pids
        wait_for("both are gone", gone)
        if boot:
            self.new_boot()
        self.a.env.pop("DRAY_CRASH_AT", None)
        if point:
            self.a.env["DRAY_CRASH_AT"] = point
        self.a.start()
        self.a.env.pop("DRAY_CRASH_AT", None)


def write(a, byte):
    for v in ("v", "w"):
        c = Client(a.nbd_socket, v, wait=20)
        c.write(MiB, byte * 4096)
        c.flush()
        c.close()


def check(a, byte):
    """One side for both, the same in the document and in dray-iod, with what was written."""
    def sound():
        states = {p["state"] for p in a.show("both")["pairs"]}
        volumes = [a.json("volume", "show", v) for v in ("v", "w")]
        new = {bool(v["primary_leg"] != 1) for v in volumes}
        return len(states) == 1 and states <= {"synced", "switched"} and all(v["served"] for v in volumes) and new == {states == {"switched"}}
    try:
        wait_for("one side", sound, 30)
    except AssertionError as e:
        raise AssertionError(f"{e}: {a.show('both')}") from None
    for v in ("v", "w"):
        c = Client(a.nbd_socket, v, wait=20)
        assert c.read(MiB, 4096) == byte * 4096, v
        c.close()
    return a.show("both")["state"]


with Scratch() as s:
    h = Host(s)
    a = h.a
    for v in ("v", "w"):
        a.volume(v, s.file(v, 4 * MiB, True))
    a.spec({"name": "both", "leg_timeout": "1h", "pairs": [{"source": f"volume:{v}", "target": s.path(v + "-new"), "create": "thin"} for v in ("v", "w")]})
    a.wait("both", "synced")
    ends = set()
    for i, point in enumerate(POINTS):
        verb = "undo" if a.show("both")["state"] == "switched" else "switch"
        h.restart(point)
        check_byte = bytes([65 + i])
        wait_for("served", lambda: all(a.json("volume", "show", v)["served"] for v in ("v", "w")))
        wait_for("settled", lambda: a.show("both")["state"] in ("synced", "switched"))
        write(a, check_byte)
        pid = a.iod_pid()
        asked = a.s.start("dray", verb, "both", log="verb.log", env=a.env)
        wait_for(f"dray-iod dies at {point}", lambda: ended(pid))
        h.restart(boot=i % 2 == 0)
        asked.wait(60)
        ends.add((point, verb, check(a, check_byte)))
        print(point, verb, a.show("both")["state"], flush=True)
        write(a, bytes([97 + i]))
    assert {e for p, v, e in ends if p == "epoch-before"} <= {"synced"}, ends
    if a.show("both")["state"] == "synced":
        a.run("switch", "both")
    write(a, b"z")
    for v in ("v", "w"):
        assert same(s.path(v), s.path(v + "-new"))
    a.run("commit", "both")
    assert a.json("locks") == [] and a.json("status")["orphans"] == []
