#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""A copy gives way to the application of another volume on the same disk, whichever threads they are on: two volumes are slices of a disk that does one
thing after the other, an application works on one, the other is copied. Two copies that share the disk give way together, and neither starves; when
the application is silent they have the disk."""
import os
import statistics
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from dray import MiB, Scratch, wait_for
from iod import Iod
from load import while_it_works

N = 512 * MiB

with Scratch() as s:
    iod = Iod(s)
    disk = s.holdback("disk", 4 * N)  # of nothing, which has to be read all the same
    elsewhere = s.holdback("elsewhere", N)
    for d in (disk, elsewhere):
        d.faults("arm 40")
    for i, v in enumerate(("app", "one", "two")):
        iod.call("volume.add", name=v, resource={"resource": disk.uri, "offset": i * N, "length": N})
    iod.call("volume.add", name="far", resource=elsewhere.uri)

    def windows(*volumes):
        return [iod.volume(v)["copy_window"]["steps"] for v in volumes]

    def median(*volumes):
        return [statistics.median(w) for w in zip(*while_it_works(app, lambda: windows(*volumes), 50, 0.05))]

    app = s.stamp(iod.uri("app"), "app", "--depth", "1", "--rate", "200")
    app.wait_writes(300)
    for v in ("one", "far"):
        iod.call("copy.set", volume=v, step_bytes=131072)
        iod.attach(v, s.file(v + ".new", N))
    wait_for("it gives way", lambda: windows("one")[0] <= 4)
    beside = median("one", "far")
    print("beside the application, of one on its disk and of one elsewhere:", beside)
    assert beside[0] <= 4 and beside[1] == 8, beside
    wait_for("it is told", lambda: iod.volume("one")["copy_bound"] == "neighbour")
    w = iod.volume("app")["copy_window"]
    assert 0 < w["base_us"] < w["allowed_us"], w

    # Another copy on the disk: both give way, and both move.
    iod.call("copy.set", volume="two", step_bytes=131072)
    iod.attach("two", s.file("two.new", N))
    wait_for("the second gives way", lambda: max(windows("one", "two")) <= 4)

    def done(v):
        return iod.volume(v)["legs"][1]["done_bytes"]

    before = [done(v) for v in ("one", "two")]
    both = median("one", "two")
    print("two copies beside it:", both)
    assert max(both) <= 4, both
    wait_for("both move", lambda: all(done(v) >= b + MiB for v, b in zip(("one", "two"), before)))

    app.end()
    wait_for("nobody is in their way", lambda: windows("one", "two") == [8, 8], every=0.2)
    iod.stop()
