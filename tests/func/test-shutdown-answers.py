#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""`dray shutdown` is told that both programs end, before they do; and a document as large as may be gets through."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from dray import MiB, Scratch, wait_for

with Scratch() as s:
    for n in range(5):
        a = s.agent(name=f"agent{n}")
        a.volume("v", s.file(f"old{n}", MiB))
        if n == 0:  # 15 MiB of document
            spec = s.path("spec.yaml")
            with open(spec, "w") as f:
                f.write("name: big\npairs:\n- {source: \"volume:v\", target: " + s.path("new") + ", create: thin}\n" + ("#" * 1023 + "\n") * (15 * 1024))
            a.run("start", spec, "--dry-run")
        a.run("shutdown")
        wait_for("drayd ends", lambda: a.process.poll() is not None)
        assert a.process.returncode == 0
        assert not os.path.exists(a.socket)
        a.run("status", status=6)
