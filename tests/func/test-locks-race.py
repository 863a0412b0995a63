#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Twenty submits at once that want one device, under several names: exactly one gets it, the first to come; a file that is to be made can't be
taken under another spelling; whatever is killed when, a lock is there for as long as its session, and no longer."""
import os
import random
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from dray import SEED, MiB, Scratch, wait_for

with Scratch() as s:
    a = s.agent()
    target = s.file("wanted", MiB)
    os.symlink(target, s.path("link"))
    os.link(target, s.path("hard"))
    os.mkdir(s.path("dir"))
    os.symlink(s.path("dir"), s.path("dir-link"))
    names = [target, s.path("link"), s.path("hard"), s.path("dir") + "/../wanted", {"resource": target, "offset": 0, "length": MiB}]
    # Sessions that stay: volumes, switched by nobody.
    for i in range(20):
        a.volume(f"v{i}", s.file(f"source{i}", MiB, b"s" * 512))
    sources = [f"volume:v{i}" for i in range(20)]

    def race(where, **keys):
        """All at once; who is told to be first."""
        got, threads = {}, []

        def submit(i):
            done = a.run("start", "-", "-o", "json", status=None, stdin=__import__("json").dumps(
                {"name": f"n{i}", "pairs": [{"source": sources[i], "target": where[i % len(where)], **keys}]}))
            got[i] = (done.returncode, done.stderr)
        for i in range(20):
            threads.append(threading.Thread(target=submit, args=(i,)))
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        won = [i for i, (status, _) in got.items() if status == 0]
        assert len(won) == 1, got
        for i, (status, err) in got.items():
            assert status == (0 if i == won[0] else 3), (i, status, err)
            if status:
                assert '"locked"' in err and f"n{won[0]}" in err, err
        sessions = a.json("list")
        live = [x for x in sessions if x["state"] not in ("canceled", "completed")]
        assert [x["name"] for x in live] == [f"n{won[0]}"], sessions
        locks = a.json("locks")
        assert sorted(x["role"] for x in locks) == ["source", "target", "volume"] and {x["session"] for x in locks} == {live[0]["id"]}, locks
        a.run("cancel", live[0]["id"])
        assert a.json("locks") == []

    race(names)
    # A file that is not there yet, under other spellings.
    race([s.path("dir/new"), s.path("dir-link/new"), s.path("dir/./new"), s.path("dir-link/../dir/new"), "file:" + s.path("dir/new")],
         create="thin")

    # A file that was made has other names from then on, and is locked under them for as long: whatever dray-iod knows of it.
    a.spec({"name": "maker", "pairs": [{"source": sources[0], "target": s.path("made"), "create": "thin"}]})
    a.wait("maker", "synced")
    os.link(s.path("made"), s.path("made-too"))
    refused = a.spec({"name": "late", "pairs": [{"source": sources[1], "target": s.path("made-too"), "overwrite": True}]}, status=3)
    assert [e["code"] for e in refused["errors"]] == ["locked"] and "maker" in refused["errors"][0]["detail"], refused
    assert len(a.json("locks")) == 3
    a.run("cancel", "maker")
    assert "locked" not in a.run("start", "-", "--dry-run", "-o", "json", status=None, stdin=__import__("json").dumps(
        {"name": "late", "pairs": [{"source": sources[1], "target": s.path("made-too"), "overwrite": True}]})).stderr

    # Bind mounts lead to the same directory.
    os.mkdir(s.path("bound"))
    if os.geteuid() == 0 and subprocess.run(["mount", "--bind", s.path("dir"), s.path("bound")], capture_output=True, check=False).returncode == 0:
        try:
            a.spec({"name": "queued", "pairs": [{"source": sources[0], "target": s.path("dir/other"), "create": "thin"}]})
            for name in ("bound/other", "dir-link/other"):
                refused = a.spec({"name": "late", "pairs": [{"source": sources[1], "target": s.path(name), "create": "thin"}]}, status=3)
                assert [e["code"] for e in refused["errors"]] == ["locked"], refused
            a.run("cancel", "queued")
        finally:
            subprocess.run(["umount", s.path("bound")], check=True)

    # drayd and dray-iod killed at random moments of sessions that come and go.
    sources = [s.file(f"off{i}", MiB, b"s" * 512) for i in range(5)]
    rng, stop = random.Random(SEED), threading.Event()

    def come_and_go():
        i = 0
        while not stop.is_set():
            i += 1
            a.run("start", "-", status=None, stdin=f"{{name: k{i % 5}, pairs: [{{source: {sources[i % 5]}, target: {s.path(f'k{i % 5}')}, create: thin, overwrite: true}}]}}")
            if i % 3:
                a.run("cancel", f"k{i % 5}", status=None)
    worker = threading.Thread(target=come_and_go)
    worker.start()
    for i in range(6):
        time.sleep(rng.uniform(0.05, 0.3))
        if i % 3 == 2:
            try:
                os.kill(a.iod_pid(), 9)
            except (TypeError, ProcessLookupError):
                pass
        a.process.kill()
        a.process.wait()
        a.start()
    stop.set()
    worker.join()

    def settled():
        live = {x["id"] for x in a.json("list") if x["state"] not in ("canceled", "completed", "failed")}
        held = {x["session"] for x in a.json("locks")}
        failed = {x["id"] for x in a.json("list") if x["state"] == "failed"}
        return not live and held <= failed
    wait_for("locks only where a session needs them", settled, 60)
    for x in a.json("list"):
        if x["state"] == "failed":
            a.run("cancel", x["id"])
    assert a.json("locks") == []
    # And all of it is to be had again.
    for i in range(5):
        a.spec({"name": f"again{i}", "pairs": [{"source": sources[i], "target": s.path(f"k{i}"), "create": "thin", "overwrite": True}]})
        a.wait(f"again{i}", "completed")
