#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Generations by hand, one right after the other: each is made, though the working images are not in sync for a moment after the one before, and has a second
of its own, by which it is known and named."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from dray import MiB, Scratch, wait_for
from generations import Night

with Scratch() as s:
    a = s.agent()
    night = Night(s, a, size=MiB)
    night.submit({"every": "1h", "keep": 9})
    wait_for("the first generation", night.complete)
    for _ in range(5):
        a.run("switch", "night")
    night.settle()
    made = night.complete()
    assert len({g["time"] for g in made}) == len(made) == 6, made
    for g in made:
        night.one_instant(g)
    a.run("cancel", "night")
