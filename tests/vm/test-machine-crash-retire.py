#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""The machine dies at the recorded steps of a retire of logical volumes, SCSI disks and files, and its disks come back under other names: each retire ends
as it should, a new volume or file that got the name in between is not touched, and neither is another disk."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from vm_retire import retire_crashes

# Four are retired at a time; in each round from the last point that a retire passes to the first.
retire_crashes(
    [("lv", "delete", "retire-acted", "new"), ("lv", "rename", "retire-acted", "new"), ("file", "delete", "retire-unlinked", "new"),
     ("lv", "delete", "retire-pending", "swapped")],
    [("file", "delete", "retire-moved", "new"), ("file", "rename", "retire-renamed", None), ("file", "read-only", "retire-mode", None),
     ("lv", "rename", "retire-recorded", "new")],
    [("disk", "zero", "retire-acted", None), ("lv", "zero", "retire-piece", None), ("lv", "rename", "retire-begun", "swapped"),
     ("lv", "delete", "retire-begun", None)],
    [("lv", "read-only", "retire-acted", None), ("disk2", "offline", "retire-acted", None), ("file", "rename", "retire-acted", "new"),
     ("lv", "offline", "retire-lv-skip", None), ("file", "zero", "target-made", None)])
