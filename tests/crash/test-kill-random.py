#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""kill -9 of dray-iod, of drayd and of both at random moments of migrations under load (tests/lib/kills.py). DRAY_KILLS: how many
(default 8); DRAY_SEED: other choices."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from kills import campaign

campaign(int(os.environ.get("DRAY_KILLS", "8")), holdback=False)
