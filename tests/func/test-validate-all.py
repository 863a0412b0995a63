#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""All that can be wrong with pairs of files and exports is found, each beside the others, and nothing was touched: neither contents nor
times, no file was made, no lock is left."""
import fcntl
import os
import stat
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from dray import MiB, Scratch, need, wait_for

os.environ["PATH"] += ":/usr/sbin:/sbin"
need("mkfs.ext4")

with Scratch() as s:
    a = s.agent()
    n = 0
    pairs, want = [], {}

    def pair(target_code=None, source=None, source_code=None, **keys):
        """One pair; a missing source is a new good file."""
        global n
        n += 1
        source = source or s.file(f"source{n}", MiB, b"s" * 4096)
        if target_code:
            want[f"/pairs/{len(pairs)}/target"] = target_code
        if source_code:
            want[f"/pairs/{len(pairs)}/source"] = source_code
        keys.setdefault("target", s.file(f"target{n}", MiB))
        pairs.append({"source": source, **keys})

    pair(source=s.path("missing"), source_code="not_found")
    pair("not_found", target=s.path("missing-target"))
    pair("not_found", target=s.path("no-such-directory/x"), create="thin")
    os.symlink(s.path("nowhere"), s.path("dangling"))
    pair("not_found", target=s.path("dangling"), create="thin")
    pair("not_accessible", target="/proc/new", create="thin")
    pair("not_found", target={"resource": s.path("no-slice"), "offset": 0, "length": MiB}, create="thin")
    os.mkdir(s.path("directory"))
    pair("bad_resource", target=s.path("directory"))
    os.mkfifo(s.path("fifo"))
    pair("bad_resource", target=s.path("fifo"))
    pair("bad_resource", target="/dev/null")
    pair(source=s.path("fifo"), source_code="bad_resource")
    pair("too_small", target=s.file("empty", 0))
    pair(source=s.file("empty-source", 0), source_code="too_small")
    pair("too_small", target=s.file("small", MiB - 512))
    pair("bad_resource", target={"resource": s.file("slice1", 2 * MiB), "offset": 2 * MiB, "length": MiB})
    pair("bad_resource", target={"resource": s.file("slice2", 2 * MiB), "offset": MiB + 512, "length": MiB})
    # One device twice, under other names.
    once = s.file("once", 4 * MiB)
    pair(target=once)
    os.symlink(once, s.path("symlink"))
    pair("same_device", target=s.path("symlink"))
    os.link(once, s.path("hard-link"))
    pair("same_device", target=s.path("hard-link"))
    pair("same_device", target=f"{s.path('directory')}/.././once")
    pair("same_device", target="file:" + once)
    pair("same_device", target={"resource": once, "offset": 0, "length": MiB})
    sliced = s.file("sliced", 8 * MiB)
    pair(target={"resource": sliced, "offset": 0, "length": 2 * MiB})
    pair("same_device", target={"resource": sliced, "offset": MiB, "length": 2 * MiB})
    pair(target={"resource": sliced, "offset": 4 * MiB, "length": 2 * MiB})
    os.symlink(s.path("directory"), s.path("directory-link"))
    pair(target=s.path("directory/new"), create="thin")
    pair("same_device", target=s.path("directory-link/../directory/./new"), create="full")
    both = s.file("both", MiB)
    pair("same_device", source=both, target=s.path("directory/../both"))
    # In use by others.
    locked = s.file("locked", MiB)
    f = open(locked, "rb")
    fcntl.flock(f, fcntl.LOCK_EX)
    pair("held", target=locked)
    pair(source=s.path("locked-source"), source_code="held")
    s.file("locked-source", MiB, b"l")
    g = open(s.path("locked-source"), "rb")
    fcntl.flock(g, fcntl.LOCK_EX)
    h = open(s.file("locked-shared", MiB), "rb")
    fcntl.flock(h, fcntl.LOCK_SH)
    pair("held", target=s.path("locked-shared"))
    # What they hold.
    fs = s.file("with-fs", 4 * MiB)
    subprocess.run(["mkfs.ext4", "-q", "-F", fs], check=True)
    pair("signature", target=fs)
    pair("signature", target={"resource": fs, "offset": 2 * MiB, "length": MiB})  # not in the slice, in the whole
    pair("signature", target=s.file("with-data", 4 * MiB, b"\0" * 3000000 + b"x"))
    pair("signature", target=s.file("with-qcow2", MiB, b"QFI\xfb\0\0\0\3"))
    pair(target=s.file("may-go", 4 * MiB, b"x" * 4096), overwrite=True)
    pair(source=s.file("image", MiB, b"QFI\xfb\0\0\0\3"), source_code="disk_image")
    pair(source=s.file("vhdx", MiB, b"vhdxfile"), source_code="disk_image")
    pair(source=s.file("raw", MiB, b"KDMV"), format="raw")
    # Exports.
    disk = s.holdback("disk", 4 * MiB)
    formatted = s.holdback("formatted", 4 * MiB)
    subprocess.run(["mkfs.ext4", "-q", "-F", formatted.file], check=True)
    os.symlink(disk.socket, s.path("disk-link.sock"))
    pair(target=disk.uri)
    pair("same_device", target=f"nbd+unix:///?socket={s.path('disk-link.sock').replace('k', '%6B')}")
    pair("signature", target=formatted.uri)
    pair("unreachable", target=f"nbd+unix:///x?socket={s.path('nobody.sock')}")
    pair("unreachable", target="nbd://127.0.0.1:1/x")
    if os.geteuid() == 0:
        pass  # permissions mean nothing to root
    else:
        os.chmod(s.file("read-only", MiB), 0o444)
        pair("not_accessible", target=s.path("read-only"))
        os.chmod(s.file("unreadable", MiB), 0)
        pair(source=s.path("unreadable"), source_code="not_accessible")
        os.mkdir(s.path("closed"), 0o555)
        pair("not_accessible", target=s.path("closed/new"), create="thin")
    free = os.statvfs(s.dir).f_bavail * os.statvfs(s.dir).f_frsize
    if free < 8 << 40:
        pair("too_small", source=s.file("huge", free + (1 << 40)), target=s.path("huge-target"), create="full")

    def facts(path):
        st = os.lstat(path)
        return st.st_mtime_ns, st.st_ctime_ns, st.st_atime_ns if stat.S_ISREG(st.st_mode) else 0, st.st_size, st.st_blocks

    def all_files():
        return {os.path.join(d, x): facts(os.path.join(d, x)) for d, _, names in os.walk(s.dir) for x in names
                if not d.startswith((a.state, a.run_dir)) and not x.endswith((".log", ".sock", ".control", ".pid"))}

    before = all_files()
    problem = a.spec({"name": "all", "pairs": pairs}, status=3)
    got = {}
    for e in problem["errors"]:
        got.setdefault(e["pointer"], []).append(e["code"])
        assert e["detail"] and e["legal"], e
    for pointer, code in want.items():
        assert code in got.get(pointer, []), (pointer, code, got.get(pointer), pairs[int(pointer.split("/")[2])])
    assert set(got) == set(want), {p: (got[p], pairs[int(p.split("/")[2])]) for p in set(got) - set(want)}
    after = all_files()
    assert after == before, {p for p in set(before) | set(after) if before.get(p) != after.get(p)}
    assert a.json("locks") == [] and a.json("list") == []
    for path in (once, sliced, fs):
        with open(path, "rb") as x:
            fcntl.flock(x, fcntl.LOCK_EX | fcntl.LOCK_NB)

    # Each is found also when it is the only one; and as one line for people.
    for pointer, code in want.items():
        where = pointer.split("/")
        if code == "same_device":
            continue
        p = pairs[int(where[2])]
        problem = a.spec({"name": "one", "pairs": [p]}, status=3)
        assert [(e["pointer"], e["code"]) for e in problem["errors"]] == [(f"/pairs/0/{where[3]}", code)], problem
    assert all_files() == before
    wait_for("the log", lambda: "submit-refused" in open(s.path("agent.log")).read())
    log = open(s.path("agent.log")).read()
    assert all(f"code={c}" in log for c in set(want.values())), log[-3000:]

    # A disk image in a volume's file, which is served all the same.
    done = a.run("volume", "add", "v", s.file("served", MiB, b"QFI\xfb\0\0\0\3"))
    assert "warning" in done.stderr and "qcow2" in done.stderr, done.stderr
    doc = {"name": "online", "pairs": [{"source": "volume:v", "target": s.file("online-target", MiB)}]}
    assert [e["code"] for e in a.spec(doc, status=3)["errors"]] == ["disk_image"]
    doc["pairs"][0]["format"] = "raw"
    a.spec(doc)
    a.wait("online", "synced")
    # What is another's is looked at all the same: not what it holds, which may change, but whether it could be used at all.
    twice = s.file("twice", 2 * MiB)
    a.volume("w", s.file("used", MiB))
    for target, code in ((s.path("online-target"), "locked"), (s.path("used"), "held")):
        e = a.spec({"name": "others", "pairs": [{"source": twice, "target": target}]}, status=3)["errors"]
        assert sorted(x["code"] for x in e) == [code, "too_small"], e

    # The command line's way to say what the refusal says.
    def moved(*options, status=0):
        return a.json("migrate", s.path("image"), s.path("image-copy"), "--create", "thin", *options, status=status)
    assert [e["code"] for e in moved(status=3)["errors"]] == ["disk_image"]
    assert ("/pairs/0/format", "bad_value") in [(e["pointer"], e["code"]) for e in moved("--format", "qcow2", status=3)["errors"]]
    assert moved("--format", "raw")["state"] == "completed"
