#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""An application that sleeps, works, saturates its disk and sleeps again while its volume is copied: what the copy does beside it.

    make bench-adaptive         or: bench/adaptive.py [--mib 4096] [--seconds 8] [--arm US] [--rate RATE] [--steps N] [--dir SCRATCH] [--svg FILE] [--trace FILE]

The same load runs twice on the same volume: alone, and beside the copy. It is fio (4 KiB random reads and writes, its nbd engine): nothing, 1,000
requests a second, as many as depth 16 allows, nothing. Source and target are files of one directory, so of one disk. With --arm the source is a disk
with one arm (tests/tools/nbd-holdback.c), which does one thing after the other and takes so many microseconds for each KiB: 8 is a good hard disk, and
what others do on the machine's own disks does not count. With --rate or --steps the copy has that limit: one step is the least that can be copied with.

Of every tenth of a second: the p50 and the p99 of what the requests took, how much was copied, the copy's window. The curves go to --svg, raw samples to
bench/results/TIME-adaptive.jsonl, and what counts to the table at the end. --trace keeps the requests of the load that was alone, thinned, for
tests/unit/test-pacer-trace.c. Nothing absolute is judged: the disk and its neighbours differ.
"""
import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import threading
import time

sys.path[:0] = [os.path.join(os.path.dirname(__file__), "../tests/lib"), os.path.dirname(os.path.abspath(__file__))]
import svg
from dray import BUILD, MiB, Scratch

HERE = os.path.dirname(os.path.abspath(__file__))
args = argparse.ArgumentParser()
args.add_argument("--mib", type=int, default=4096)
args.add_argument("--seconds", type=float, default=8, help="of each phase with work; the others last a quarter of that")
args.add_argument("--dir", default=os.path.join(BUILD, "bench"))
args.add_argument("--arm", type=int, default=0)
args.add_argument("--rate", default=None)
args.add_argument("--steps", default="none")
args.add_argument("--svg", default=None)
args.add_argument("--trace", default=None)
args = args.parse_args()

SLOT = 0.1
PHASES = [("asleep", None), ("1,000 a second", ["--rate_iops=500,500", "--iodepth=4"]), ("saturating", ["--iodepth=16"]), ("asleep again", None)]


def solid(path, n):
    with open(path, "wb") as f:
        for _ in range(0, n, MiB):
            f.write(os.urandom(MiB))
        f.flush()
        os.fsync(f.fileno())
        os.posix_fadvise(f.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return path


def fio(s, uri, options, name):
    """[(seconds since its start, microseconds)] of each request."""
    log = s.path(name)
    began = time.monotonic()
    subprocess.run(["fio", "--name=app", "--ioengine=nbd", f"--uri={uri}", "--rw=randrw", "--bs=4k", f"--size={args.mib // 2}M", "--norandommap",
                    "--time_based", f"--runtime={args.seconds}", f"--write_lat_log={log}", "--log_avg_msec=0", *options],
                   check=True, stdout=subprocess.DEVNULL)
    took = time.monotonic() - began
    out = []
    for f in os.listdir(s.dir):
        if f.startswith(name) and re.search(r"_lat\.\d+\.log$", f) and "clat" not in f and "slat" not in f:
            with open(s.path(f)) as lines:
                out += [(int(a) / 1000, int(b) / 1000) for a, b, *_ in (line.split(", ") for line in lines)]
    # fio takes a while to start and to end; its own clock begins with the first request.
    return began + max(0, took - args.seconds) / 2, out


class Sampler(threading.Thread):
    """(time, bytes copied, window, what is allowed) as the agent shows it."""

    def __init__(self, agent):
        super().__init__()
        self.agent, self.samples, self.over = agent, [], False

    def run(self):
        while not self.over:
            v = self.agent.json("volume", "show", "v")
            copied = sum(leg.get("copied_bytes", 0) for leg in v["legs"])
            self.samples.append((time.monotonic(), copied, v["copy_window"]["steps"], v["copy_window"]["allowed_us"]))
            time.sleep(SLOT / 2)


def load(s, uri, tag):
    """The whole load once: the phases' beginnings, and every request by the clock."""
    starts, requests = [], []
    for i, (_, options) in enumerate(PHASES):
        starts.append(time.monotonic())
        if options is None:
            time.sleep(args.seconds / 4)
            continue
        began, took = fio(s, uri, options, f"{tag}-{i}")
        requests += [(began + at, us) for at, us in took]
    return starts + [time.monotonic()], requests


def quantile(xs, q):
    xs = sorted(xs)
    return xs[min(len(xs) - 1, int(len(xs) * q))] if xs else None


def slots(requests, began, end):
    n = int((end - began) / SLOT) + 1
    of = [[] for _ in range(n)]
    for at, us in requests:
        if began <= at < end:
            of[int((at - began) / SLOT)].append(us)
    return of


def rates(samples, began, end):
    """MiB/s of each slot, from the samples around it."""
    out, i = [], 0
    for k in range(int((end - began) / SLOT) + 1):
        a, b = began + k * SLOT - SLOT, began + k * SLOT + 2 * SLOT
        near = [x for x in samples if a <= x[0] <= b]
        out.append((near[-1][1] - near[0][1]) / (near[-1][0] - near[0][0]) / MiB if len(near) > 1 else None)
    return out


def per_slot(values):
    return [(i * SLOT, v) for i, v in enumerate(values)]


def plot(path, alone, beside, rate, windows, starts):
    end = starts[-1] - starts[0]
    top = max([r for r in rate if r] or [1]) * 1.1
    svg.write(path, [
        svg.Panel("what the application's requests take, of each 100 ms: p99, ms", 0.05, 500, [
            svg.Curve(per_slot(alone), svg.GREY, "without a copy"), svg.Curve(per_slot(beside), svg.RED, "beside the copy")], (0.1, 1, 10, 100), log=True),
        svg.Panel("copied, MiB/s", 0, top, [svg.Curve(per_slot(rate), svg.BLUE)], [round(top * f / 10) * 10 or round(top * f) for f in (0.25, 0.5, 0.75)]),
        svg.Panel("window: steps of 256 KiB in flight", 0.2, 9, [svg.Curve(per_slot(windows), svg.GREEN)], (0.25, 0.5, 1, 2, 4, 8), log=True)],
        (0, end), [(at - starts[0], name) for (name, _), at in zip(PHASES, starts)],
        f"bench/adaptive.py --mib {args.mib} --seconds {args.seconds:g}{f' --arm {args.arm}' if args.arm else ''}"
        f"{f' --rate {args.rate}' if args.rate else ''}; load average {os.getloadavg()[0]:.1f}")


def keep_trace(path, requests, began):
    """Lines of "milliseconds microseconds": at most one request in half a millisecond, as they come."""
    last, lines = -1.0, []
    for at, us in sorted(requests):
        if at - last >= 0.0005:
            lines.append(f"{(at - began) * 1000:.0f} {us:.0f}")
            last = at
    with open(path, "w", encoding="utf-8") as f:
        f.write("\n".join(lines) + "\n")


def source(s, n):
    if not args.arm:
        return solid(s.path("source"), n)
    disk = s.holdback("source", n, "--writeback", "100")
    with open(disk.file, "r+b") as f:
        block = os.urandom(MiB)
        for at in range(0, n, MiB):
            f.seek(at)
            f.write(block)
    disk.faults(f"arm {args.arm}")
    return disk.uri


def main():
    n = args.mib * MiB
    os.makedirs(args.dir, exist_ok=True)
    os.makedirs(os.path.join(HERE, "results"), exist_ok=True)
    os.environ["TMPDIR"] = args.dir
    with Scratch() as s:
        a = s.agent()
        uri = a.volume("v", source(s, n))
        target = solid(s.path("target"), n)
        starts0, alone = load(s, uri, "alone")
        sampler = Sampler(a)
        sampler.start()
        time.sleep(1)
        a.spec({"name": "move", "limits": {"rate": args.rate or "none", "steps": args.steps}, "switch": {"when": "manual"}, "pairs": [{"source": "volume:v", "target": target, "overwrite": True}]})
        starts, beside = load(s, uri, "beside")
        a.wait("move", "synced", 600)
        sampler.over = True
        sampler.join()
        a.run("cancel", "move")
    done = next((t for t, copied, *_ in sampler.samples if copied >= sampler.samples[-1][1]), None)
    if args.trace:
        keep_trace(args.trace, alone, starts0[0])
    shift = starts[0] - starts0[0]
    alone = [(at + shift, us) for at, us in alone]
    per0, per1 = slots(alone, starts[0], starts[-1]), slots(beside, starts[0], starts[-1])
    rate = rates(sampler.samples, starts[0], starts[-1])
    windows = []
    for k in range(len(rate)):
        near = [x[2] for x in sampler.samples if abs(x[0] - starts[0] - k * SLOT) <= SLOT]
        windows.append(statistics.fmean(near) if near else None)
    p99 = [[None if not xs else quantile(xs, 0.99) / 1000 for xs in per] for per in (per0, per1)]
    with open(os.path.join(HERE, "results", time.strftime("%Y%m%dT%H%M%S") + "-adaptive.jsonl"), "w") as f:
        for k in range(len(rate)):
            f.write(json.dumps({"at": round(k * SLOT, 1), "alone_p99_ms": p99[0][k], "beside_p99_ms": p99[1][k], "mib_s": rate[k],
                                "window": windows[k]}) + "\n")
    if args.svg:
        plot(args.svg, p99[0], p99[1], rate, windows, starts)

    print(f"{'phase':16} {'requests/s alone, beside':>26} {'p50 us':>16} {'p99 us':>18} {'copied MiB/s':>14} {'window':>8}")
    for i, (name, options) in enumerate(PHASES):
        a0, a1 = starts[i], starts[i + 1]
        copying = [r for k, r in enumerate(rate) if r is not None and a0 <= starts[0] + k * SLOT < min(a1, done or a1)]
        wins = [x[2] for x in sampler.samples if a0 <= x[0] < min(a1, done or a1)]
        # The first 100 ms after a waking are looked at below.
        r0, r1 = [us for at, us in alone if a0 <= at < a1], [us for at, us in beside if a0 <= at < min(a1, done or a1)]
        span = args.seconds
        row = f"{name:16} "
        if options:
            row += f"{len(r0) / span:12,.0f}, {len(r1) / max(0.1, min(a1, done or a1) - a0):12,.0f} "
            row += f"{quantile(r0, 0.5) or 0:7,.0f}, {quantile(r1, 0.5) or 0:7,.0f} {quantile(r0, 0.99) or 0:8,.0f}, {quantile(r1, 0.99) or 0:8,.0f} "
        else:
            row += " " * 62
        row += f"{statistics.median(copying) if copying else 0:14,.0f} {statistics.median(wins) if wins else 0:8.2f}"
        print(row)
    woke = [at for at, _ in beside if at >= starts[1]]
    if woke:
        for k in range(5):
            xs = [us for at, us in beside if woke[0] + k * SLOT <= at < woke[0] + (k + 1) * SLOT]
            print(f"after waking, {k * 100} to {k * 100 + 100} ms: p99 {quantile(xs, 0.99) or 0:,.0f} us of {len(xs)}")
    print(f"copied in {done - starts[0]:.1f} s" if done else "the copy was not seen to end")


main()
