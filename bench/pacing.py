#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""How evenly a copy keeps to its rate: how much it writes in each tenth of a second, while the rate is set again and again.

    make bench-pacing       or: bench/pacing.py [--seconds 3] [--rates 40,80,20,5] [--dir SCRATCH] [--svg FILE]

One volume is copied, in steps of 256 KiB, at one rate after the other, set with `dray set` in mid-copy. dray-iod's count of what was written is read
every few milliseconds. The bars go to --svg; of each rate the table has the mean, and the least and the most of any tenth of a second but
those around the change. Source (an NBD server over memory) and target are in memory, so that no disk but the rate decides.
"""
import argparse
import os
import statistics
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "../tests/lib"), HERE]
import svg
from dray import MiB, Scratch
from iod import Rpc

args = argparse.ArgumentParser()
args.add_argument("--seconds", type=float, default=3, help="of each rate")
args.add_argument("--rates", default="40,80,20,5", help="MiB per second")
args.add_argument("--dir", default="/dev/shm")
args.add_argument("--svg", default=None)
args = args.parse_args()
RATES = [float(r) for r in args.rates.split(",")]
SLOT = 0.1


def at(samples, t):
    """The count at that moment, between two samples."""
    for (t0, n0), (t1, n1) in zip(samples, samples[1:]):
        if t0 <= t <= t1:
            return n0 + (n1 - n0) * (t - t0) / (t1 - t0) if t1 > t0 else n1
    return samples[-1][1]


def main():
    os.makedirs(args.dir, exist_ok=True)
    os.environ["DRAY_TEST_DIR"] = args.dir
    n = int(sum(RATES) * args.seconds * 1.2 + 64) * MiB
    with Scratch() as s:
        a = s.agent()
        disk = s.holdback("old", n)
        block = os.urandom(MiB)
        with open(disk.file, "r+b") as f:
            for _ in range(0, n, MiB):
                f.write(block)
        a.volume("v", disk.uri)
        target = s.file("new", n, True)
        rpc = Rpc(os.path.join(a.run_dir, "iod.sock"))
        a.spec({"name": "move", "limits": {"rate": f"{RATES[0] * 1024:.0f}KiB"}, "switch": {"when": "manual"},
                "pairs": [{"source": "volume:v", "target": target, "overwrite": True}]})
        samples, changes = [], []

        def look():
            t0 = time.monotonic()
            copied = sum(leg["copied_bytes"] for leg in rpc.call("volume.get", name="v")["legs"])
            t1 = time.monotonic()
            if not samples or t1 - t0 < 0.01:  # else it is not known when that was
                samples.append(((t0 + t1) / 2, copied))

        while not samples or samples[-1][1] < MiB:
            look()
        for i, rate in enumerate(RATES):
            if i:
                a.run("set", "move", f"limits.rate={rate * 1024:.0f}KiB")
            changes.append(time.monotonic())
            while time.monotonic() < changes[-1] + args.seconds:
                look()
                time.sleep(0.003)
        rpc.close()
        a.run("cancel", "move")
    began = changes[0]
    slots = []
    for k in range(int((samples[-1][0] - began) / SLOT)):
        t = began + k * SLOT
        slots.append((k * SLOT, (at(samples, t + SLOT) - at(samples, t)) / MiB / SLOT))
    print(f"{'rate MiB/s':>12} {'mean':>8} {'least':>8} {'most':>8}   of a tenth of a second, in MiB/s; a step of 256 KiB is 2.5 of it")
    for rate, change in zip(RATES, changes):
        a0, a1 = change - began + 0.2, change - began + args.seconds - 0.1
        got = [v for t, v in slots if a0 <= t and t + SLOT <= a1]
        print(f"{rate:12g} {statistics.fmean(got):8.2f} {min(got):8.2f} {max(got):8.2f}")
    if args.svg:
        top = max(RATES) * 1.2
        limit = [p for i, r in enumerate(RATES) for p in ((changes[i] - began, r), (changes[i] - began + args.seconds, r))]
        svg.write(args.svg, [svg.Panel("written in each 100 ms, as MiB/s", 0, top, [
            svg.Curve(slots, svg.BLUE, "copy", bars=SLOT), svg.Curve(limit, svg.RED, "limits.rate", 1.5)], [r for r in RATES if r >= top / 12])],
            (0, slots[-1][0] + SLOT), [(c - began, f"rate={r:g}MiB") for r, c in zip(RATES, changes)],
            f"bench/pacing.py --rates {args.rates} --seconds {args.seconds:g}; load average {os.getloadavg()[0]:.1f}")


main()
