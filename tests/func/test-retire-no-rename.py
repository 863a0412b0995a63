#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""A directory in which no name can be changed: told when the session is submitted, and when that is set. Closed only after that, the retire fails with what to
do, the file as it was; `dray retire` refuses while it is so, and does it afterwards."""
import array
import fcntl
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from dray import MiB, Scratch, skip, wait_for  # noqa: E402

GETFLAGS, SETFLAGS, IMMUTABLE = 0x80086601, 0x40086602, 0x10
ROOT = os.geteuid() == 0


def close(directory, closed):
    """For root, whom no permission stops, by the mark that stops root, too."""
    if not ROOT:
        os.chmod(directory, 0o555 if closed else 0o755)
        return
    fd = os.open(directory, os.O_RDONLY)
    try:
        flags = array.array("L", [0])
        fcntl.ioctl(fd, GETFLAGS, flags)
        flags[0] = flags[0] | IMMUTABLE if closed else flags[0] & ~IMMUTABLE
        fcntl.ioctl(fd, SETFLAGS, flags)
    finally:
        os.close(fd)


with Scratch() as s:
    try:
        os.mkdir(s.path("probe"))
        close(s.path("probe"), True)
        close(s.path("probe"), False)
    except OSError as e:
        skip(f"no directory can be closed for root here: {e}")
    a = s.agent()
    for way in ("rename", "delete"):
        directory = s.path(way)
        os.mkdir(directory)
        source, target = s.file(f"{way}/a", MiB, True), s.file(f"t-{way}", MiB)
        with open(source, "rb") as f:
            data = f.read()
        a.volume(way, source)
        doc = {"name": way, "switch": {"retire": way}, "pairs": [{"source": f"volume:{way}", "target": target}]}

        def refused(problem, pointer="/switch/retire", way=way, directory=directory):
            e = problem["errors"][0]
            assert (e["pointer"], e["code"], e["value"], e["legal"]) == (pointer, "retire", way, "none, read-only, offline, discard or zero"), problem
            assert f"no name can be changed in {directory}" in e["detail"], e

        try:
            close(directory, True)
            refused(a.spec(doc, status=3))
            a.spec({**doc, "switch": {}})
            a.wait(way, "synced")
            refused(a.json("set", way, f"switch.retire={way}", status=3))
            close(directory, False)
            a.json("set", way, f"switch.retire={way}")
            a.run("switch", way)
            close(directory, True)
            a.run("commit", way, "--yes")
            end = wait_for("the end of the retire", lambda way=way: (d := a.show(way))["finished"] and d)
            r = end["pairs"][0]["retired"]
            assert r["state"] == "failed" and r["name"] is None and end["state"] == "committed", r
            assert f"no name can be changed in {directory}" in r["reason"] and "`dray retire` tries it again" in r["reason"], r
            assert os.listdir(directory) == ["a"] and not a.json("locks")
            with open(source, "rb") as f:
                assert f.read() == data
            problem = a.json("retire", way, "--yes", status=3)
            refused(problem, problem["errors"][0]["pointer"])
        finally:
            close(directory, False)
        got = a.json("retire", way, "--yes")
        assert got["pairs"][0]["retired"]["state"] == "done", got
        assert os.listdir(directory) == ([f"a.retired-{end['id']}"] if way == "rename" else [])
