#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Two volumes go into two slices of one file: what lies between is not touched; slices that overlap are one device twice; a pause that
only tracks, and a cancel, leave the source as it is."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from agent import AgentTest  # noqa: E402
from nbdclient import Client  # noqa: E402

MiB = 1 << 20

with AgentTest(fake=False) as t:
    data = [os.urandom(4 * MiB) for _ in range(2)]
    for i in range(2):
        t.call("POST", "/volumes", {"name": f"v{i}", "resource": t.file(f"v{i}", 4 * MiB, data[i])})
    big = t.file("big", 16 * MiB, b"\xee" * (16 * MiB))

    def slices(first, second, length="4MiB"):
        return {"name": "n1", "pairs": [{"source": f"volume:v{i}", "overwrite": True,
                                         "target": {"resource": big, "offset": at, "length": length}}
                                        for i, at in enumerate((first, second))]}

    p = t.refused("POST", "/sessions", slices("1MiB", "4MiB"))
    assert p.codes() == {"/pairs/1/target": "same_device"}, p
    p = t.refused("POST", "/sessions", slices("1MiB", "14MiB"))
    assert "/pairs/1/target" in p.codes(), p
    p = t.refused("POST", "/sessions", slices("1MiB", "8MiB", "1MiB"))
    assert p.codes() == {"/pairs/0/target": "too_small", "/pairs/1/target": "too_small"}, p
    t.submit({**slices("1MiB", "8MiB"), "switch": {"when": "synced"}})
    # Another session may have another slice, not an overlapping one.
    p = t.refused("POST", "/sessions", {"name": "n2", "pairs": [
        {"source": t.file("other"), "target": {"resource": big, "offset": "4MiB", "length": "1MiB"}, "overwrite": True}]})
    assert p.codes() == {"/pairs/0/target": "locked"}, p
    t.submit({"name": "n2", "pairs": [
        {"source": t.file("other", MiB, b"o" * MiB), "target": {"resource": big, "offset": "12MiB", "length": "1MiB"}, "overwrite": True}]})
    t.wait_state("n1", "switched")
    t.verb("n1", "commit")
    t.wait_state("n1", "committed")
    t.wait_state("n2", "completed")
    with open(big, "rb") as f:
        got = f.read()
    want = bytearray(b"\xee" * (16 * MiB))
    want[MiB:5 * MiB], want[8 * MiB:12 * MiB], want[12 * MiB:13 * MiB] = data[0], data[1], b"o" * MiB
    assert got == bytes(want), [i for i in range(16) if got[i * MiB:(i + 1) * MiB] != want[i * MiB:(i + 1) * MiB]]

    # Paused and tracked only: what is written goes to the source alone, and is brought after the resume.
    app = Client(t.run_dir + "/nbd.sock", "v0")
    target = t.file("back", 4 * MiB)
    t.submit({"name": "track", "leg_timeout": "1m", "pairs": [{"source": "volume:v0", "target": target}]})
    t.wait_state("track", "synced")
    doc = t.verb("track", "pause", detach=True)
    assert doc["state"] == "paused", doc
    app.write(0, b"t" * 4096)
    app.flush()
    with open(target, "rb") as f:
        assert f.read(4096) == data[0][:4096], "mirrored in spite of --detach"
    t.verb("track", "resume")
    t.wait_state("track", "synced")
    with open(target, "rb") as f:
        assert f.read(4096) == b"t" * 4096
    # Paused: still mirrored.
    assert t.verb("track", "pause")["state"] == "paused"
    app.write(4096, b"m" * 4096)
    app.flush()
    with open(target, "rb") as f:
        assert f.read(8192) == b"t" * 4096 + b"m" * 4096
    assert t.verb("track", "cancel")["state"] == "canceled"
    app.write(0, b"a" * 4096)
    app.flush()
    with open(target, "rb") as f:
        assert f.read(4096) == b"t" * 4096, "written after the cancel"
    assert app.read(0, 8192) == b"a" * 4096 + b"m" * 4096
    app.close()
