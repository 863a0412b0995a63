#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""drayd(8) lists the options that --help lists, the settings that are understood, and the codes that problems have."""
import os
import re
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from dray import BUILD  # noqa: E402

SOURCE = os.path.join(os.path.dirname(__file__), "../..")
with open(os.path.join(SOURCE, "man/drayd.8"), encoding="utf-8") as f:
    page = f.read()
text = subprocess.run([os.path.join(BUILD, "drayd"), "--help"], capture_output=True, text=True, check=True).stdout
options = set(re.findall(r"--([a-z-]+)", text)) - {"drayd"}
listed = set(re.findall(r"^\.It Fl -([a-z-]+)", page, re.M))
assert options == listed, options ^ listed

with open(os.path.join(SOURCE, "src/agent/config.c"), encoding="utf-8") as f:
    keys = set(re.findall(r'^\t\{ "([a-z_.]+)", SET_', f.read(), re.M))
settings = page.split(".Sh SETTINGS")[1].split(".Sh WHAT")[0]
listed = {k for line in re.findall(r"^\.It Cm (.*)$", settings, re.M) for k in line.split(" , ")}
assert keys == listed, keys ^ listed

codes = {c for line in re.findall(r"^\.It Cm (.*)$", page.split(".Sh WHAT")[1], re.M) for c in line.split(" , ")}
used = set()
for name in ("validate.c",):
    with open(os.path.join(SOURCE, "src/agent", name), encoding="utf-8") as f:
        used |= set(re.findall(r'problem\(c?, pointer, "([a-z_]+)"|"(locked|exists|held|vehicle)", ', f.read()))
used = {a or b for a, b in used}
assert used <= codes, used - codes
assert len(used) > 5, used
