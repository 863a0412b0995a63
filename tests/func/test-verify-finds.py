#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""What was changed behind dray's back is found, in the first block and in the last, in one target of two, in more places than are listed, and in the old
source after a switch; it is told where, nothing is switched, and a repair makes it good, all under a writing application."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from dray import MiB, Scratch, undisturbed  # noqa: E402

SIZE = 9 * MiB + 512  # neither whole regions nor whole steps


def spoil(path, *places):
    with open(path, "r+b", buffering=0) as f:
        for at in places:
            f.seek(at)
            was = f.read(512)
            f.seek(at)
            f.write(bytes(b ^ 0xff for b in was))
        os.fsync(f.fileno())


def ranges(report):
    return [(r["offset"], r["length"]) for r in report["ranges"]]


with Scratch() as s:
    a = s.agent()
    source, first, second = s.file("source", SIZE, True), s.file("first", SIZE), s.file("second", SIZE)
    uri = a.volume("v", source)
    a.spec(undisturbed({"name": "m", "pairs": [{"source": "volume:v", "target": [first, second]}]}))
    a.wait("m", "synced")
    app = s.stamp(uri, "app", "--fill", "--busy", str(2 * MiB), "--rate", "500", "--no-reconnect")  # the rest stays as it was filled
    app.wait_writes(300)

    report = a.json("verify", "m")["pairs"][0]
    assert report["bytes_compared"] == report["bytes_total"] == 2 * SIZE and report["bytes_differing"] == 0 and not report["ranges"], report
    assert [t["resource"] for t in report["targets"]] == [first, second] and all(t["bytes_compared"] == SIZE for t in report["targets"]), report
    pair = a.pair("m")
    assert pair["verified"] == "clean" and pair["verification"]["running"] is False and pair.get("phase") != "verifying", pair

    # The last block, which is no whole page, and one in the middle of the second target.
    spoil(second, SIZE - 512, 5 * MiB)
    report = a.json("verify", "m", status=1)["pairs"][0]
    assert report["bytes_differing"] == 1024 and ranges(report) == [(5 * MiB, 512), (SIZE - 512, 512)], report
    assert [t["bytes_differing"] for t in report["targets"]] == [0, 1024], report
    refused = a.json("switch", "m", status=5)
    assert refused["code"] == "differs" and f"the first at {5 * MiB} of {second}" in refused["detail"] and "--repair" in refused["detail"], refused
    text = a.run("verify", "m", status=1).stdout
    assert second in text and str(5 * MiB) in text, text

    # Repaired from the side that is in use; what was wrong is still told.
    report = a.json("verify", "m", "--repair", status=1)["pairs"][0]
    assert report["bytes_differing"] == report["bytes_repaired"] == 1024 and a.pair("m")["verified"] == "clean", report
    assert a.json("verify", "m")["pairs"][0]["bytes_differing"] == 0

    # More places than are listed: they are counted.
    places = [3 * MiB + i * 8192 for i in range(200)]
    spoil(first, 3 * MiB - 4096, *places)
    report = a.json("verify", "m", status=1)["pairs"][0]
    assert report["bytes_differing"] == 201 * 512 and len(report["ranges"]) == 64, (report["bytes_differing"], len(report["ranges"]))
    assert all(r in [(p, 512) for p in [3 * MiB - 4096] + places] for r in ranges(report)) and ranges(report) == sorted(ranges(report))
    assert "in 64 or more places" in a.json("switch", "m", status=5)["detail"]
    # Every Nth step looks at less.
    some = a.json("verify", "m", "--sample", "8", status=None)["pairs"][0]
    assert some["bytes_total"] is None and 0 < some["bytes_compared"] < SIZE, some
    a.run("verify", "m", "--repair", status=1)
    app.wait_writes(200)

    # Switched: the old source is compared, and no way back leads to what differs.
    a.run("switch", "m")
    report = a.json("verify", "m")["pairs"][0]
    assert [t["resource"] for t in report["targets"]] == ["volume:v"] and report["bytes_compared"] == SIZE, report
    spoil(source, 4 * MiB)
    report = a.json("verify", "m", status=1)["pairs"][0]
    assert ranges(report) == [(4 * MiB, 512)], report
    assert a.json("undo", "m", status=5)["code"] == "differs"
    a.run("verify", "m", "--repair", status=1)
    a.run("undo", "m")
    app.wait_writes(200)
    app.end()
    app.verify(source)

    # Where the document asks for it: found, not switched, and the way out is told and works.
    bad = s.file("bad", SIZE)
    a.volume("w", s.file("source2", SIZE, True))
    a.spec(undisturbed({"name": "d", "pairs": [{"source": "volume:w", "target": bad}]}))
    a.wait("d", "synced")
    spoil(bad, 0)
    a.run("set", "d", "verify=full", "switch.when=synced")
    a.wait("d", "failed")
    reason = a.pair("d")["reason"]
    assert f"512 bytes that differ, in 1 place, the first at 0 of {bad}" in reason and "dray set d verify=" in reason, reason
    assert a.json("volume", "show", "w")["primary"] == s.path("source2")
    a.run("set", "d", "verify={mode: full, repair: true}")
    a.run("retry", "d")
    a.wait("d", "switched")
    assert a.pair("d")["verification"]["bytes_repaired"] == 512
    for wrong in ("0", "-1", "1000001", "x"):
        assert a.json("verify", "m", "--sample", wrong, status=3)["errors"][0]["pointer"] == "/sample"
