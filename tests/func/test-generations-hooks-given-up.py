#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""While the hooks before the split run, the session is paused, or canceled: there is no generation, the reason says so, and the hooks after it are run and told that
there was no split. Where a pair was canceled before, one that is asked for by hand is of the others."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from dray import SLOW, Scratch, wait_for
from generations import Night

with Scratch() as s:
    hooks, config, go = s.path("hooks"), s.path("drayd.yaml"), s.path("go")
    began, ended = s.path("began"), s.path("ended")
    for kind, text in (("before-split", f"echo >> {began}; while [ ! -e {go} ]; do sleep 0.1; done"), ("after-split", f"echo $DRAY_SPLIT >> {ended}")):
        os.makedirs(os.path.join(hooks, kind), mode=0o700)
        with open(os.path.join(hooks, kind, "10-it"), "w", encoding="ascii") as f:
            f.write(f"#!/bin/sh\n{text}\n")
        os.chmod(os.path.join(hooks, kind, "10-it"), 0o700)
    with open(config, "w", encoding="ascii") as f:
        f.write(f"hooks_dir: {hooks}\n")

    def lines(path):
        if not os.path.exists(path):
            return []
        with open(path, encoding="ascii") as f:
            return f.read().split("\n")[:-1]

    def let(them):
        if them:
            with open(go, "w", encoding="ascii"):
                pass
        elif os.path.exists(go):
            os.unlink(go)

    a = s.agent(options=("--config", config))
    night = Night(s, a, app=False)
    let(True)
    night.submit({"every": "1h", "keep": 20, "hook_timeout": "1h"})
    wait_for("the first generation", night.complete)

    def ask(i):
        """One by hand; returns when its hooks run."""
        night.settle()
        n = len(lines(began))
        asked = s.start("dray", "switch", "night", env=a.env, log=f"switch{i}.log")
        wait_for("the hooks before it", lambda: len(lines(began)) > n)
        return asked

    def ends(asked, i, status):
        assert asked.wait(timeout=60 * SLOW) == status, asked.returncode
        with open(s.path(f"switch{i}.log"), encoding="ascii") as f:
            return f.read()

    wait_for("the hooks after it", lambda: lines(ended) == ["1"])
    let(False)
    asked = ask(1)
    assert a.json("pause", "night")["state"] == "paused"
    let(True)
    said = ends(asked, 1, 1)
    assert "paused" in said, said
    wait_for("the hooks after it", lambda: lines(ended) == ["1", "0"])
    assert len(night.complete()) == 1
    a.run("resume", "night")
    said = ends(ask(2), 2, 0)
    assert len(night.complete()) == 2, said
    wait_for("the hooks after it", lambda: lines(ended) == ["1", "0", "1"])

    a.run("cancel", "night", "--pair", "2")
    said = ends(ask(3), 3, 0)
    assert [len(g["paths"]) for g in night.complete()] == [2, 2, 1], said
    wait_for("the hooks after it", lambda: lines(ended)[3:] == ["1"])

    let(False)
    asked = ask(4)
    cancel = s.start("dray", "cancel", "night", env=a.env, log="cancel.log")
    wait_for("it is to be canceled", lambda: night.doc()["phase"] == "canceling")
    assert lines(ended)[4:] == []
    let(True)
    assert cancel.wait(timeout=60 * SLOW) == 0
    assert lines(ended)[4:] == ["0"] and night.doc()["state"] == "canceled"
    ends(asked, 4, 1)
    assert night.files() == night.expected(night.complete(), bases=False) and len(night.complete()) == 3, night.files()
