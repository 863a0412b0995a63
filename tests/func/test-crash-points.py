#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Every crash point in src is struck by a test with processes (tests/crash) and by one of the emulated machine (tests/vm), and base/crash.h lists
exactly those there are. What only a logical volume passes needs a kernel of its own, and is asked of tests/vm alone."""
import ast
import glob
import os
import re

SOURCE = os.environ.get("DRAY_SOURCE", os.path.join(os.path.dirname(__file__), "../.."))
CALL = re.compile(r'(?:dray_crash_point\(|->point\([^";]*?)"([a-z-]+)"')
LVM = "src/storage/retire-lvm.c"


def read(path):
    with open(path, encoding="utf-8") as f:
        return f.read()


def points():
    """{point: the files that pass it}; no other text of the programs may be the name of one, so that in a test it can't mean another thing."""
    found, literals = {}, {}
    for path in glob.glob(os.path.join(SOURCE, "src/**/*.c"), recursive=True):
        name, text = os.path.relpath(path, SOURCE), read(path)
        for point in CALL.findall(text):
            found.setdefault(point, []).append(name)
        for word in re.findall(r'"([a-z-]+)"', text) if not name.startswith("src/sim/") else ():
            literals.setdefault(word, []).append(name)
    for point, files in found.items():
        assert len(literals[point]) == len(files), f"\"{point}\" is also something else: {literals[point]}"
    return found


class Words(ast.NodeVisitor):
    """The texts of a test that are, up to a count (NAME:2), a word; not those that are only compared with."""

    def __init__(self):
        self.words = set()

    def visit_Compare(self, node):
        for side in [node.left, *node.comparators]:
            if isinstance(side, ast.Call):  # what is compared is its answer
                self.visit(side)

    def visit_JoinedStr(self, node):
        pass

    def visit_Constant(self, node):
        if isinstance(node.value, str) and re.fullmatch(r"[a-z-]+(:[0-9]+)?", node.value):
            self.words.add(node.value.split(":")[0])


def used(*patterns):
    w = Words()
    files = [f for p in patterns for f in glob.glob(os.path.join(SOURCE, p))]
    assert files, patterns
    for path in files:
        text = read(path)
        if "DRAY_CRASH_AT" in text or "crash" in text:
            w.visit(ast.parse(text))
    return w.words


found = points()
assert len(found) > 20, found
listed = set(re.findall(r"^ \*   ([a-z]+(?:-[a-z]+)+|[a-z]+-[a-z]+) {2,}", read(os.path.join(SOURCE, "src/base/crash.h")), re.M))
assert listed == set(found), f"base/crash.h and src differ in {sorted(listed ^ set(found))}"
trouble = []
for where, words in (("tests/crash", used("tests/crash/*.py")), ("tests/vm", used("tests/vm/*.py"))):
    for point, files in sorted(found.items()):
        if point not in words and not (where == "tests/crash" and set(files) == {LVM}):
            trouble.append(f"{where}: no test uses the crash point {point} of {', '.join(files)}")
assert not trouble, "\n".join(trouble)
print(len(found), "points, all used")
