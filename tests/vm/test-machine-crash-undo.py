#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""The machine dies at each recorded step of an undo of two volumes (LVM and SCSI), and its disks come back under other names: both volumes are on the
same side, the document says which, and no flushed write is lost."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from vm_crash import switch_crashes

switch_crashes("undo", [("epoch-before", False), ("epoch-torn", False), ("epoch-after", True), ("apply-before", True), ("apply-after", True),
                        ("switch-done", True)], "switched", "synced")
