#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""The machine dies at each recorded step of dray-iod's in a start, a split and a commit of two volumes (LVM and SCSI), and its disks come back under other
names: a leg is there or is forgotten, a split is made for both or for neither, and no flushed write is lost."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from vm_verbs import verb_crashes

verb_crashes([("start", "map-create-after", ["synced"]),
              ("split", "split-before", ["synced"]), ("split", "split-after", ["completed"]),
              ("commit", "volume-json-before", ["switched", "committed"]), ("commit", "volume-json-after", ["switched", "committed"]),
              ("commit", "detach-forgotten", ["switched", "committed"])])
