#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""drayd is killed at every recorded step of a retire and comes back: the source ends as it should, and a new file that got its name in
between is not touched."""
import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from dray import Scratch, wait_for, SLOW  # noqa: E402

EVERY = ("retire-pending", "retire-begun", "retire-acted", "retire-recorded")
POINTS = {"read-only": EVERY + ("retire-mode",), "offline": ("retire-begun", "retire-mode"), "discard": EVERY[1:3], "zero": EVERY[1:3] + ("retire-piece",),
          "rename": EVERY + ("retire-renamed",), "delete": EVERY + ("retire-renamed", "retire-moved", "retire-unlinked")}
INTRUDERS = {"read-only": ("retire-begun",), "offline": (), "discard": ("retire-begun",), "zero": ("retire-begun",),
             "rename": POINTS["rename"], "delete": POINTS["delete"]}
SIZE = 1 << 20
# How far it came is recorded every three seconds, between pieces of 16 MiB.
LONG, SLOWLY = 18 << 20, '"limits": {"rate": "5MiB"}, '


def content(path):
    with open(path, "rb") as f:
        return f.read()


def is_retired(way, source, renamed, data):
    if way == "read-only":
        return os.stat(source).st_mode & 0o777 == 0o444
    if way == "offline":
        return os.stat(source).st_mode & 0o777 == 0
    if way in ("discard", "zero"):
        return not any(content(source))
    if way == "rename":
        return not os.path.exists(source) and content(renamed) == data
    return not os.path.exists(source)


with Scratch() as s:
    a = s.agent()
    n = 0
    for way, points in POINTS.items():
        for point in points:
            for intruder in (False, True) if point in INTRUDERS[way] else (False,):
                n += 1
                name = f"m{n}"
                size, limits = (LONG, SLOWLY) if point == "retire-piece" else (SIZE, "")
                source, target = s.file(f"source{n}", size, True), s.file(f"target{n}", size)
                os.chmod(source, 0o644)
                data = content(source)
                # The one that will be killed.
                a.process.kill()
                a.process.wait()
                a.env["DRAY_CRASH_AT"] = point
                a.start()
                del a.env["DRAY_CRASH_AT"]
                a.run("start", "-", stdin=f'{{"name": "{name}", {limits}"switch": {{"retire": "{way}"}}, "pairs": '
                                          f'[{{"source": "{source}", "target": "{target}"}}]}}')
                assert a.process.wait(60 * SLOW) == 137, (way, point)
                there = os.path.exists(source)
                new = os.urandom(4096)
                if intruder:
                    if there:
                        os.rename(source, source + ".aside")
                    with open(source, "xb") as f:
                        f.write(new)
                    before = os.stat(source)
                a.start()
                doc = wait_for("the end of the retire", lambda: (d := a.show(name))["finished"] and d, 30)
                r, at = doc["pairs"][0]["retired"], (way, point, intruder, there)
                renamed = f"{source}.retired-{doc['id']}"
                assert doc["state"] == "completed" and content(target) == data, at
                assert not [f for f in os.listdir(s.dir) if f.startswith(".dray-retired")], at
                assert not a.json("locks"), at
                events = [e["event"] for e in a.json("events", name)]
                if not intruder:
                    assert r["state"] == "done" and is_retired(way, source, renamed, data), (at, r)
                    assert events.count("retiring") == 1 and events.count("retired") == 1 and "retire-failed" not in events, (at, events)
                    continue
                after = os.stat(source)
                assert (after.st_ino, after.st_mode, after.st_mtime_ns) == (before.st_ino, before.st_mode, before.st_mtime_ns), at
                assert content(source) == new, at
                if there and point != "retire-recorded":
                    # Another file has the name: refused with the reason, and what was begun is not more than begun.
                    assert r["state"] == "failed" and "not the storage that was migrated" in r["reason"], (at, r)
                    assert "retire-failed" in events, (at, events)
                    # Put back, it can be tried again.
                    os.rename(source + ".aside", source)
                    got = subprocess.run(["dray", "retire", name, "--yes"], env=a.env, capture_output=True, text=True, check=False)
                    assert got.returncode == 0 and is_retired(way, source, renamed, data), (at, got)
                else:
                    assert r["state"] == "done", (at, r)
                    assert way != "rename" or content(renamed) == data, at
