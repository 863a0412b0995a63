#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""The I/O path beside its peers on the same file in one run.

    make bench-quick            or: bench/quick.sh [--rounds N] [--only copy,nbd,mirror,switch] [--dir SCRATCH]

Machines differ and are never quiet, so nothing absolute is judged: in every round all contestants run one after the other
in random order, each sample is set against the reference of its own round, and the median of these ratios counts (5 rounds
at least). Raw samples go to bench/results/TIME.jsonl. A figure that is missed is printed as missed; the exit status says
whether all were reached (0) or some missed (1); 2: something could not be measured.

  copy     offline copy of 1 GiB, until it is on the disk: `dray migrate A B` beside `qemu-img convert -n -W -m16 -t none
           -T none` and bench/uring-copy.c; CPU seconds per GiB of the process that moves the data
  nbd      4 KiB random reads and writes at depth 1 and 16 by fio's nbd engine: dray-iod beside bench/nbdkit-direct.c
           and qemu-storage-daemon (aio=io_uring, cache.direct=on), all on the same file
  mirror   the same writes on a volume with a synchronous mirror beside one without
  switch   30 switches and undos under a writing client
"""
import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../tests/lib"))
from dray import BUILD, MiB, Scratch, wait_for

GiB = 1 << 30
HERE = os.path.dirname(os.path.abspath(__file__))
args = argparse.ArgumentParser()
args.add_argument("--rounds", type=int, default=5)
args.add_argument("--only", default="copy,nbd,mirror,switch")
args.add_argument("--dir", default=os.path.join(BUILD, "bench"))
args.add_argument("--copy-mib", type=int, default=1024)
args.add_argument("--seconds", type=float, default=1)
args = args.parse_args()
only = args.only.split(",")

os.makedirs(os.path.join(HERE, "results"), exist_ok=True)
results = open(os.path.join(HERE, "results", time.strftime("%Y%m%dT%H%M%S") + ".jsonl"), "w")
table, missed = [], []
began = time.monotonic()


def keep(**sample):
    results.write(json.dumps(sample) + "\n")
    results.flush()


def median(xs):
    return statistics.median(xs)


def judge(what, value, text, good):
    """Puts a line into the table; good: None = no target."""
    word = "" if good is None else "reached" if good else "MISSED"
    if good is False:
        missed.append(what)
    table.append((what, value, text, word))


def spread(xs, form="{:.2f}"):
    return f"{form.format(median(xs))} [{form.format(min(xs))}-{form.format(max(xs))}]"


def cpu_seconds(pid):
    with open(f"/proc/{pid}/stat") as f:
        fields = f.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def solid(path, n, data):
    """A file all of whose blocks are written, and of which nothing is in the page cache: a direct write would have to throw that out
    first."""
    with open(path, "wb") as f:
        for _ in range(0, n, MiB):
            f.write(os.urandom(MiB) if data else bytes(MiB))
        f.flush()
        os.fsync(f.fileno())
    forget(path)
    return path


def forget(*paths):
    for p in paths:
        fd = os.open(p, os.O_RDONLY)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(fd)


def note(text):
    print(f"[{time.monotonic() - began:4.0f} s] {text}", file=sys.stderr, flush=True)


# --- copy ------------------------------------------------------------------------------------------------------------


def bench_copy(s, agent):
    n = args.copy_mib * MiB
    src, dst = solid(s.path("copy-source"), n, True), solid(s.path("copy-target"), n, False)
    iod = agent.iod_pid()

    def dray():
        before = cpu_seconds(iod)
        t = time.monotonic()
        doc = agent.spec({"name": f"copy-{time.monotonic_ns()}", "mode": "copy", "pairs": [{"source": src, "target": dst, "overwrite": True}]},
                         "--wait")
        took = time.monotonic() - t
        assert doc["state"] == "completed", doc
        return took, cpu_seconds(iod) - before

    def command(*argv):
        def run():
            t = time.monotonic()
            p = subprocess.Popen(argv)
            _, status, use = os.wait4(p.pid, 0)
            p.returncode = status
            assert status == 0, argv
            return time.monotonic() - t, use.ru_utime + use.ru_stime
        return run

    tools = {"dray": dray, "qemu-img": command("qemu-img", "convert", "-n", "-W", "-m16", "-t", "none", "-T", "none", "-f", "raw", "-O", "raw",
                                               src, dst),
             "uring": command(os.path.join(BUILD, "bench/uring-copy"), src, dst)}
    rate, cpu = {t: [] for t in tools}, {t: [] for t in tools}
    for r in range(args.rounds):
        for tool in random.sample(list(tools), len(tools)):
            forget(src, dst)
            took, used = tools[tool]()
            rate[tool].append(n / took / 1e6)
            cpu[tool].append(used / (n / GiB))
            keep(part="copy", round=r, tool=tool, seconds=took, bytes=n, cpu_seconds=used)
        note(f"copy: round {r + 1}")
    for tool in tools:
        judge(f"copy: {tool}", spread(rate[tool], "{:.0f}") + " MB/s", f"CPU {spread(cpu[tool])} s/GiB", None)
    better = "qemu-img" if median(rate["qemu-img"]) > median(rate["uring"]) else "uring"
    ratio = [a / b for a, b in zip(rate["dray"], rate[better])]
    judge(f"copy: dray / {better} (the better peer)", spread(ratio), ">= 0.95", median(ratio) >= 0.95)
    judge("copy: CPU seconds per GiB", spread(cpu["dray"]), "<= 0.15", median(cpu["dray"]) <= 0.15)
    os.unlink(src)
    os.unlink(dst)


# --- nbd -------------------------------------------------------------------------------------------------------------

LOADS = [("read q1", "randread", 1), ("write q1", "randwrite", 1), ("read q16", "randread", 16), ("write q16", "randwrite", 16)]


def fio(s, uri, rw, depth, n):
    """IOPS and p99 in microseconds."""
    out = s.path("fio.json")
    subprocess.run(["fio", "--name=x", "--ioengine=nbd", f"--uri={uri}", f"--rw={rw}", "--bs=4k", f"--iodepth={depth}", f"--size={n}",
                    f"--runtime={args.seconds}", "--ramp_time=0.2", "--time_based", "--norandommap", "--output-format=json", f"--output={out}"],
                   check=True, stdout=subprocess.DEVNULL)
    with open(out) as f:
        text = f.read()
    job = json.loads(text[text.index("{"):])["jobs"][0]
    assert job["error"] == 0, job["error"]
    side = job["read" if rw == "randread" else "write"]
    return side["iops"], side["clat_ns"]["percentile"]["99.000000"] / 1000


def bench_nbd(s, agent):
    n = 512 * MiB
    path = solid(s.path("nbd-file"), n, False)
    uris = {"dray": agent.volume("bench", path)}
    plugin, qsd = s.path("plugin.sock"), s.path("qsd.sock")
    s.start("nbdkit", "-f", "-U", plugin, os.path.join(BUILD, "bench/nbdkit-direct.so"), f"file={path}")
    s.start("qemu-storage-daemon", "--blockdev",
            f"driver=file,node-name=f,filename={path},aio=io_uring,cache.direct=on,locking=off", "--blockdev", "driver=raw,node-name=r,file=f",
            "--nbd-server", f"addr.type=unix,addr.path={qsd}", "--export", "type=nbd,id=e,node-name=r,name=x,writable=on")
    uris["plugin"], uris["qsd"] = f"nbd+unix:///?socket={plugin}", f"nbd+unix:///x?socket={qsd}"
    for sock in (plugin, qsd):
        wait_for(sock, lambda sock=sock: os.path.exists(sock))
    iops, p99 = {}, {}
    for r in range(args.rounds):
        for load, rw, depth in LOADS:
            for server in random.sample(list(uris), len(uris)):
                i, p = fio(s, uris[server], rw, depth, n)
                iops.setdefault((load, server), []).append(i)
                p99.setdefault((load, server), []).append(p)
                keep(part="nbd", round=r, server=server, load=load, iops=i, p99_us=p)
        note(f"nbd: round {r + 1}")
    for load, _, depth in LOADS:
        for server in uris:
            judge(f"nbd {load}: {server}", spread(iops[load, server], "{:.0f}") + " IOPS", f"p99 {spread(p99[load, server], '{:.0f}')} us", None)
        for peer in ("plugin", "qsd"):
            ri = [a / b for a, b in zip(iops[load, "dray"], iops[load, peer])]
            rp = [a / b for a, b in zip(p99[load, "dray"], p99[load, peer])]
            what = f"nbd {load}: dray / {peer}"
            if peer == "qsd":
                judge(f"{what}, IOPS", spread(ri), f"p99 {spread(rp)}", None)
            elif depth == 16:
                judge(f"{what}, IOPS", spread(ri), ">= 1.6", median(ri) >= 1.6)
                judge(f"{what}, p99", spread(rp), "<= 0.4", median(rp) <= 0.4)
            else:
                judge(f"{what}, IOPS", spread(ri), ">= 1.0 (no worse)", median(ri) >= 0.97)
    agent.run("volume", "remove", "bench")
    os.unlink(path)


def bench_mirror(s, agent):
    n = 256 * MiB
    uris = {}
    for name in ("plain", "mirrored"):
        uris[name] = agent.volume(name, solid(s.path(name), n, False))
    target = solid(s.path("mirror-target"), n, False)
    agent.spec({"name": "mirror", "switch": {"when": "manual"}, "pairs": [{"source": "volume:mirrored", "target": target, "overwrite": True}]})
    agent.wait("mirror", "synced")
    iops = {}
    for r in range(args.rounds):
        for load, rw, depth in LOADS[1::2]:
            for name in random.sample(list(uris), 2):
                i, p = fio(s, uris[name], rw, depth, n)
                iops.setdefault((load, name), []).append(i)
                keep(part="mirror", round=r, volume=name, load=load, iops=i, p99_us=p)
        note(f"mirror: round {r + 1}")
    for load, _, depth in LOADS[1::2]:
        want = 0.9 if depth == 1 else 0.7
        ratio = [a / b for a, b in zip(iops[load, "mirrored"], iops[load, "plain"])]
        judge(f"{load}: mirrored / plain, IOPS", spread(ratio), f">= {want}", median(ratio) >= want)
    agent.run("cancel", "mirror")
    for name in uris:
        agent.run("volume", "remove", name)
        os.unlink(s.path(name))
    os.unlink(target)


def bench_switch(s, agent):
    n = 256 * MiB
    uri = agent.volume("switched", solid(s.path("switched"), n, True))
    target = solid(s.path("switch-target"), n, False)
    agent.spec({"name": "switches", "switch": {"when": "manual"}, "pairs": [{"source": "volume:switched", "target": target, "overwrite": True}]})
    agent.wait("switches", "synced")
    app = s.stamp(uri, "bench-app", "--rate", "1000", "--depth", "4", "--read-percent", "0")
    app.wait_writes(500)
    blackouts = []
    for i in range(30):
        agent.run("switch" if i % 2 == 0 else "undo", "switches")
        us = agent.pair("switches")["blackout_us"]
        blackouts.append(us / 1000)
        keep(part="switch", verb="switch" if i % 2 == 0 else "undo", blackout_us=us)
        app.wait_writes(50)
    got = app.end()
    keep(part="switch", client=got)
    blackouts.sort()
    judge("switch: blackout of 30, ms", spread(blackouts), "median < 2", median(blackouts) < 2)
    judge("switch: longest wait the client saw, ms", f"{got['longest_wait_us'] / 1000:.2f}", "all causes", None)
    agent.run("cancel", "switches", status=None)
    note("switch: done")


parts = {"copy": bench_copy, "nbd": bench_nbd, "mirror": bench_mirror, "switch": bench_switch}
os.makedirs(args.dir, exist_ok=True)
os.environ["DRAY_TEST_DIR"] = os.path.abspath(args.dir)
failed = []
with Scratch() as scratch:
    for part in only:
        try:
            parts[part](scratch, scratch.agent(name=part))
        except Exception as e:  # one part that can't be measured does not hide the others
            failed.append(part)
            print(f"{part} could not be measured: {e}", file=sys.stderr)
width = max((len(t[0]) for t in table), default=0)
print(f"\nbench-quick: {args.rounds} rounds, {os.cpu_count()} processors, {time.monotonic() - began:.0f} s; median [lowest-highest]; "
      f"raw samples: {os.path.relpath(results.name)}")
for what, value, text, word in table:
    print(f"  {what:{width}}  {value:32} {text:32} {word}".rstrip())
for what in missed:
    print(f"missed: {what}")
for part in failed:
    print(f"not measured: {part}")
sys.exit(2 if failed else 1 if missed else 0)
