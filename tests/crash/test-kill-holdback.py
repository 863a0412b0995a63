#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Power loss: everything is killed at once, and both disks forget what was not flushed (tests/lib/kills.py). DRAY_KILLS: how many
(default 8); DRAY_SEED: other choices."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from kills import campaign

campaign(int(os.environ.get("DRAY_KILLS", "8")), holdback=True)
