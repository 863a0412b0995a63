#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Parts of one storage, each by another of its names (the file, a loop device over it), are legs at the same time, also after a restart of
dray-iod; parts that overlap are not. Needs root: loop devices."""
import os
import signal
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from dray import MiB, Scratch, undisturbed, wait_for
from loop import Loops

with Loops() as loops, Scratch() as s:
    disk = s.file("disk", 16 * MiB, True)
    with open(disk, "rb") as f:
        want = bytearray(f.read())
    dev = loops.attach(disk)
    a = s.agent()
    sources = [s.file(f"s{i}", 2 * MiB, True) for i in range(4)]
    targets = [{"resource": disk, "offset": MiB, "length": 2 * MiB}, {"resource": dev, "offset": 3 * MiB, "length": 2 * MiB},
               {"resource": disk, "offset": 6 * MiB, "length": 3 * MiB}, {"resource": dev, "offset": 10 * MiB}]
    for i, source in enumerate(sources):
        a.volume(f"v{i}", source)
    pairs = [{"source": f"volume:v{i}", "target": target, "overwrite": True} for i, target in enumerate(targets)]
    # The file is a leg when its loop device comes; in the second document they come at once. (A file whose loop device is open already is refused,
    # since who has that open can't be told from here.)
    a.spec(undisturbed({"name": "a", "pairs": pairs[:1]}))
    a.wait("a", "synced")
    a.spec(undisturbed({"name": "b", "pairs": pairs[1:]}))
    a.wait("b", "synced")
    for name, offset in ((disk, 4 * MiB), (dev, 7 * MiB)):
        other = s.file("other", MiB)
        e = a.spec({"name": "e", "pairs": [{"source": other, "target": {"resource": name, "offset": offset, "length": MiB}, "overwrite": True}]},
                   status=3)["errors"]
        assert [x["code"] for x in e] == ["locked"], e
    for name in "ab":
        a.run("switch", name)
    before = a.json("status")["iod"]
    os.kill(before["pid"], signal.SIGKILL)
    wait_for("dray-iod again", lambda: (a.json("status")["iod"] or {}).get("incarnation") not in (None, before["incarnation"]))
    for i, target in enumerate(targets):
        wait_for("both legs again", lambda v=f"v{i}": sorted(leg["state"] for leg in a.json("volume", "show", v)["legs"]) == ["mirror", "primary"])
        assert a.json("volume", "show", f"v{i}")["primary"]["resource"] == target["resource"]
    for name in "ab":
        a.run("commit", name, "--yes")
    a.run("shutdown")
    subprocess.run(["blockdev", "--flushbufs", dev], check=True)
    for source, target in zip(sources, targets):
        with open(source, "rb") as f:
            want[target["offset"]:target["offset"] + 2 * MiB] = f.read()
    with open(disk, "rb") as f:
        assert f.read() == want, "what lies outside of the parts has changed, or the parts are not what they were copied from"
