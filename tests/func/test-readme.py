#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""The commands and files that README.md and docs/ name exist: make targets, scripts, links."""
import os
import re
import subprocess

top = os.environ.get("DRAY_SOURCE") or os.path.join(os.path.dirname(__file__), "../..")
makefile = open(os.path.join(top, "Makefile")).read()
targets = set(re.findall(r"^([a-z-]+):", makefile, re.M))
pages = ["README.md", "CONTRIBUTING.md"] + [os.path.join("docs", f) for f in os.listdir(os.path.join(top, "docs")) if f.endswith(".md")]
commands = 0
for page in pages:
    text = open(os.path.join(top, page)).read()
    for target in re.findall(r"`make ([a-z-]+)`|^    make ([a-z-]+)", text, re.M):
        target = target[0] or target[1]
        commands += 1
        assert target in targets, f"{page} names `make {target}`, which the Makefile does not have"
    for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text):
        path = os.path.normpath(os.path.join(top, os.path.dirname(page), link))
        assert os.path.exists(path), f"{page} links to {link}, which is not there"
    for path in re.findall(r"`((?:src|tests|scripts|docs|bench|man)/[\w./-]+)`", text):
        if "*" not in path:
            assert os.path.exists(os.path.join(top, path)), f"{page} names {path}, which is not there"
assert commands >= 4, commands
# Each target that calls a script calls one that is there, and `make help` lists them all.
for script in re.findall(r"@((?:scripts|bench)/[\w.-]+)", makefile):
    assert os.access(os.path.join(top, script), os.X_OK), script
listed = subprocess.run(["make", "-s", "-C", top, "help"], capture_output=True, text=True, check=True).stdout
phony = set(re.search(r"^\.PHONY:(.*)$", makefile, re.M).group(1).split())
assert {line.split()[0] for line in listed.splitlines()} == phony, (listed, phony)
assert phony == targets, phony ^ targets
