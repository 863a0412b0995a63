#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
# Shows: regular-file-slice: discard zero
# Shows: NBD-export-slice: discard zero
"""Slices of one storage are retired: not one byte of their neighbours changes, in use or not; what would reach further is refused."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from dray import MiB, Scratch, wait_for  # noqa: E402

A, B = (MiB, MiB + 1024), (3 * MiB + 512, MiB)  # offset, length; not whole blocks of the file system


def content(path):
    with open(path, "rb") as f:
        return f.read()


def blank(data, *slices):
    data = bytearray(data)
    for at, n in slices:
        data[at:at + n] = bytes(n)
    return bytes(data)


def part(path, slice_):
    return {"resource": path, "offset": slice_[0], "length": slice_[1]}


with Scratch() as s:
    a = s.agent()
    for way in ("zero", "discard"):
        disk = s.file(f"disk-{way}", "6M", True)
        before = content(disk)
        # The target of one lies right behind its source.
        doc = {"name": way, "switch": {"retire": way}, "pairs": [
            {"source": part(disk, A), "target": s.file(f"a-{way}", 2 * MiB)},
            {"source": part(disk, B), "target": {"resource": disk, "offset": 4 * MiB + 512 + 512, "length": MiB}, "overwrite": True}]}
        for bad in ("read-only", "offline", "delete", "rename"):
            problem = a.spec({**doc, "switch": {"retire": bad}}, status=3)
            assert [(e["pointer"], e["code"], e["legal"]) for e in problem["errors"]] == [
                ("/switch/retire", "retire", "none, discard or zero")] * 2, problem
        a.spec(doc)
        got = wait_for("both retired", lambda: (d := a.show(way))["finished"] and d)
        assert [p["retired"]["state"] for p in got["pairs"]] == ["done"] * 2, got
        want = bytearray(blank(before, A, B))
        want[4 * MiB + 1024:5 * MiB + 1024] = before[B[0]:B[0] + B[1]]  # the target beside it
        assert content(disk) == bytes(want), way
        assert content(s.path(f"a-{way}"))[:A[1]] == before[A[0]:A[0] + A[1]]
        if way == "discard":
            assert os.stat(disk).st_blocks * 512 < 5 * MiB  # something was given back
        assert a.json("retire", way, "--how", "delete", "--yes", status=3)["errors"][0]["code"] == "retire"
        assert os.path.exists(disk)

    # Of NBD exports; the server loses what was not flushed.
    for way in ("zero", "discard"):
        name = f"nbd-{way}"
        s.file(name + ".img", 6 * MiB, True)
        server = s.holdback(name, 6 * MiB)
        before = content(server.file)
        doc = {"name": name, "switch": {"retire": way}, "pairs": [{"source": part(server.uri, (MiB + 512, MiB)), "target": s.file(f"t-{name}", MiB)}]}
        problem = a.spec({**doc, "switch": {"retire": "delete"}}, status=3)
        assert [(e["code"], e["legal"]) for e in problem["errors"]] == [("retire", "none, discard or zero")], problem
        a.spec(doc)
        got = wait_for("it is retired", lambda: (d := a.show(name))["finished"] and d)
        assert got["pairs"][0]["retired"]["state"] == "done", got
        server.kill()
        assert content(server.file) == blank(before, (MiB + 512, MiB)), way
        assert content(s.path(f"t-{name}")) == before[MiB + 512:2 * MiB + 512]
