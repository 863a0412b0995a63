#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""The power fails in the middle of a copy between SCSI disks and after the switch, and their names, which the document gives as /dev/sda and /dev/sdb,
belong to each other and to a stranger: the legs are found by what they are, the copy goes on from the map, not a byte of the stranger's disk changes."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from vm_renumber import story

story(by_id=False)
