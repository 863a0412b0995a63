#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""The power fails in the middle of a copy between SCSI disks and after the switch, and the disks, named by links that follow them, come back under other
names: the copy goes on from the map, not a byte of a stranger's disk changes, and no flushed write is lost."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from vm_renumber import story

story(by_id=True)
