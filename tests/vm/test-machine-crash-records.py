#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""The machine dies before and after what drayd records in a start, a switch and a commit of two volumes (LVM and SCSI), and its disks come back under
other names: what was answered is on record, what is on record is so or becomes so, and no flushed write is lost."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from vm_verbs import verb_crashes

verb_crashes([("start", "submit-before", ["none"]), ("start", "submit-after", ["synced"]), ("switch", "record-before:2", ["synced", "switched"]),
              ("switch", "answers-before", ["switched"]), ("commit", "record-before", ["switched"]), ("commit", "record-after", ["switched", "committed"]),
              ("commit", "answers-after", ["committed"])])
