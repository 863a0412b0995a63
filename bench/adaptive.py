#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""An application that sleeps, works, saturates its disk and sleeps again while its volume is copied: what the copy does beside it.

    make bench-adaptive         or: bench/adaptive.py [--mib 4096] [--seconds 8] [--dir SCRATCH] [--svg FILE]

The same load runs twice on the same volume: alone, and beside the copy. It is fio (4 KiB random reads and writes, its nbd engine): nothing, 1,000
requests a second, as many as depth 16 allows, nothing. Source and target are files of one directory, so of one disk. Of every tenth
of a second: the p50 and the p99 of what the requests took, how much was copied, the copy's window. The curves go to --svg, raw samples to
bench/results/TIME-adaptive.jsonl, and what counts to the table at the end. Nothing absolute is judged: the disk and its neighbours differ.
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

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../tests/lib"))
from dray import BUILD, MiB, Scratch

HERE = os.path.dirname(os.path.abspath(__file__))
args = argparse.ArgumentParser()
args.add_argument("--mib", type=int, default=4096)
args.add_argument("--seconds", type=float, default=8, help="of each phase with work; the others last a quarter of that")
args.add_argument("--dir", default=os.path.join(BUILD, "bench"))
args.add_argument("--svg", default=None)
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


def curve(points, color, width=1.2):
    d, pen = [], False
    for p in points:
        if p is None:
            pen = False
            continue
        d.append(f"{'L' if pen else 'M'}{p[0]:.1f} {p[1]:.1f}")
        pen = True
    return f'<path d="{" ".join(d)}" fill="none" stroke="{color}" stroke-width="{width}"/>'


def plot(path, alone, beside, rate, windows, starts):
    import math
    began, end = starts[0], starts[-1]
    w, left, part = 900, 60, 150

    def x(at):
        return left + (at - began) / (end - began) * (w - left - 20)

    rows, top = [], 30
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{w}" height="{3 * part + 120}" font-family="sans-serif" font-size="11">'
           f'<rect width="100%" height="100%" fill="white"/>']
    for k, (title, low, high, log, curves, ticks) in enumerate((
            ("p99 of the application's requests, ms", 0.05, 500, True, [(alone, "#999999"), (beside, "#c03028")], (0.1, 1, 10, 100)),
            ("copied, MiB/s", 0, max([r for r in rate if r] or [1]) * 1.1, False, [(rate, "#2860a8")], None),
            ("window, steps in flight", 0, 9, False, [(windows, "#308040")], (1, 2, 4, 8)))):
        y0 = top + k * (part + 25)

        def y(value, y0=y0, low=low, high=high, log=log):
            f = (math.log(max(value, low) / low) / math.log(high / low)) if log else (value - low) / (high - low)
            return y0 + part - min(max(f, 0), 1) * part

        out.append(f'<text x="{left}" y="{y0 - 6}" font-weight="bold">{title}</text><rect x="{left}" y="{y0}" width="{w - left - 20}" '
                   f'height="{part}" fill="none" stroke="#cccccc"/>')
        for t in ticks or [round(high * f / 50) * 50 or round(high * f) for f in (0.25, 0.5, 0.75)]:
            out.append(f'<line x1="{left}" x2="{w - 20}" y1="{y(t):.1f}" y2="{y(t):.1f}" stroke="#eeeeee"/>'
                       f'<text x="{left - 5}" y="{y(t) + 4:.1f}" text-anchor="end">{t:g}</text>')
        for values, color in curves:
            out.append(curve([None if v is None else (x(began + i * SLOT), y(v)) for i, v in enumerate(values)], color))
        rows.append(y0)
    for (name, _), at in zip(PHASES, starts):
        out.append(f'<line x1="{x(at):.1f}" x2="{x(at):.1f}" y1="{top}" y2="{rows[-1] + part}" stroke="#888888" stroke-dasharray="3 3"/>'
                   f'<text x="{x(at) + 4:.1f}" y="{rows[-1] + part + 16}">{name}</text>')
    out.append(f'<text x="{left}" y="{rows[-1] + part + 34}">grey: the same load without a copy. {args.mib} MiB, source and target on one disk, '
               f'{SLOT * 1000:.0f} ms a point</text></svg>')
    with open(path, "w") as f:
        f.write("\n".join(out) + "\n")


def main():
    n = args.mib * MiB
    os.makedirs(args.dir, exist_ok=True)
    os.makedirs(os.path.join(HERE, "results"), exist_ok=True)
    os.environ["TMPDIR"] = args.dir
    with Scratch() as s:
        a = s.agent()
        uri = a.volume("v", solid(s.path("source"), n))
        target = solid(s.path("target"), n)
        starts0, alone = load(s, uri, "alone")
        sampler = Sampler(a)
        sampler.start()
        time.sleep(1)
        a.spec({"name": "move", "switch": {"when": "manual"}, "pairs": [{"source": "volume:v", "target": target, "overwrite": True}]})
        starts, beside = load(s, uri, "beside")
        a.wait("move", "synced", 600)
        sampler.over = True
        sampler.join()
        a.run("cancel", "move")
    done = next((t for t, copied, *_ in sampler.samples if copied >= sampler.samples[-1][1]), None)
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
