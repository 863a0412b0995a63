#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Hooks around the split: what those before it brought to rest is at rest in the generation, and is let go right after it, before the clone; one that fails or takes
too long is ended, and the document says whether there is a generation all the same."""
import json
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from dray import Failed, SLOW, Scratch, wait_for
from generations import NAMES, Night

with Scratch() as s:
    hooks, said = s.path("hooks"), s.path("said")
    config = s.path("drayd.yaml")
    with open(config, "w", encoding="ascii") as f:
        f.write(f"hooks_dir: {hooks}\n")

    def hook(kind, name, text):
        path = os.path.join(hooks, kind, name)
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        with open(path + ".new", "w", encoding="ascii") as f:
            f.write("#!/bin/sh\n" + text)
        os.chmod(path + ".new", 0o700)
        os.rename(path + ".new", path)

    def words():
        with open(said, encoding="ascii") as f:
            return [line.split(" ", 1) for line in f.read().splitlines()]

    a = s.agent(options=("--config", config))
    night = Night(s, a, app=False)
    hook("before-split", "10-note", f'read -r line; echo "$DRAY_EVENT $line" >> {said}\n')
    hook("after-split", "10-note", f'read -r line; echo "$DRAY_EVENT $line" >> {said}; echo "split $DRAY_SPLIT" >> {said}\n')
    night.submit({"every": "1h", "keep": 20, "hook_timeout": "1m"})
    g = wait_for("the first generation", night.complete)[0]
    assert g["quiesced"] is True, g
    wait_for("the hook after it", lambda: len(words()) == 3)
    (one, before), (two, after), (_, was) = words()
    before, after = json.loads(before), json.loads(after)
    assert (one, two, was) == ("before-split", "after-split", "1") and after["split"] is True, words()
    assert before["name"] == "night" and before["volumes"] == list(NAMES) and before["session"] == night.doc()["id"] and "split" not in before, before

    def by_hand(status=0):
        """One more, or none where dray ends with that status: how many, and what the hooks' failures are."""
        night.settle()
        n, told = len(night.complete()), len(night.events("hook-failed"))
        try:
            a.run("switch", "night")
            assert not status
        except Failed as e:
            assert status and e.status == status, e
        wait_for("the hooks after it", lambda: words()[-1][0] == "split")
        return len(night.complete()) - n, [e["detail"] for e in night.events("hook-failed")][told:]

    # One fails: the generation is made all the same, and says so.
    hook("before-split", "20-fails", f'echo "no such database" >&2; exit 3\n')
    made, failures = by_hand()
    assert made == 1 and len(failures) == 1 and "20-fails: exit status 3: no such database" in failures[0], (made, failures)
    assert night.complete()[-1]["quiesced"] is False and words()[-1] == ["split", "1"]
    # It is skipped: no generation, and what the first one froze is let go.
    a.run("set", "night", "start={every: 1h, keep: 20, hook_timeout: 1m, on_hook_failure: skip}")
    made, failures = by_hand(1)
    assert made == 0 and len(failures) == 1 and words()[-1] == ["split", "0"], (made, failures, words())
    assert any("20-fails" in e["detail"] for e in night.events("generation-missed")), night.events("generation-missed")
    # One takes too long, and is killed with what it started. (Long enough for those before it on a machine that stands still for a moment.)
    hook("before-split", "20-fails", "sleep 1000 & echo $! > " + s.path("child") + "\nsleep 1000\n")
    a.run("set", "night", "start={every: 1h, keep: 20, hook_timeout: 4s, on_hook_failure: skip}")
    made, failures = by_hand(1)
    assert made == 0 and "20-fails: not done after" in failures[0], (made, failures)
    with open(s.path("child"), encoding="ascii") as f:
        child = int(f.read())
    wait_for("its child ends", lambda: not os.path.exists(f"/proc/{child}"))
    # And the split goes on.
    a.run("set", "night", "start={every: 1h, keep: 20, hook_timeout: 4s, on_hook_failure: split}")
    made, failures = by_hand()
    assert made == 1 and len(failures) == 1 and night.complete()[-1]["quiesced"] is False
    a.run("set", "night", "start={every: 1h, keep: 20, hook_timeout: 1m, on_hook_failure: split}")
    os.unlink(os.path.join(hooks, "before-split", "20-fails"))
    # Those after it fail: told, and nothing else. All of them are run.
    hook("after-split", "05-fails", "exit 1\n")
    made, failures = by_hand()
    assert made == 1 and len(failures) == 1 and "05-fails" in failures[0] and night.complete()[-1]["quiesced"] is True
    os.unlink(os.path.join(hooks, "after-split", "05-fails"))
    # Whoever could be another's is not run: the moment is as if it had failed.
    hook("before-split", "20-open", "exit 0\n")
    os.chmod(os.path.join(hooks, "before-split", "20-open"), 0o777)
    made, failures = by_hand()
    assert made == 1 and not failures and night.complete()[-1]["quiesced"] is True
    # Where there are none before it, nobody can say that it was at rest.
    os.unlink(os.path.join(hooks, "before-split", "20-open"))
    os.rename(os.path.join(hooks, "before-split"), s.path("no-hooks"))
    made, failures = by_hand()
    assert made == 1 and not failures and night.complete()[-1]["quiesced"] is None
    os.rename(s.path("no-hooks"), os.path.join(hooks, "before-split"))
    # While they are under way the session can be ended, and what was brought to rest is let go.
    go = s.path("go")
    hook("before-split", "20-slow", f"while [ ! -e {go} ]; do sleep 0.1; done\n")
    night.settle()
    asked = s.start("dray", "switch", "night", env=a.env, log="last.log")
    wait_for("the hooks run", lambda: words()[-1][0] == "before-split")
    cancel = s.start("dray", "cancel", "night", env=a.env, log="cancel.log")
    wait_for("it is to be canceled", lambda: night.doc()["phase"] == "canceling")
    s.file("go", 0)
    assert cancel.wait(timeout=60 * SLOW) == 0 and night.doc()["state"] == "canceled"
    assert words()[-1][0] == "split" and asked.wait(timeout=60) == 1
    assert night.files() == night.expected(night.complete(), bases=False)
