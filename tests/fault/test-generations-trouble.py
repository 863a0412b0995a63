#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""What stands in a generation's way: a file that has its name already, one that took the name of an old one, a working image that was replaced, a directory that
is gone for a while. Nothing of others is touched, nothing is left lying about, it is told, and the next one is made."""
import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from dray import Failed, Scratch, wait_for
from generations import Night


def text(path):
    with open(path, encoding="ascii") as f:
        return f.read()


with Scratch() as s:
    a = s.agent()
    night = Night(s, a)
    night.submit({"every": "1h", "keep": 2})
    wait_for("the first generation", night.complete)

    def by_hand():
        night.settle()
        try:
            a.run("switch", "night")
            return ""
        except Failed as e:
            assert e.status == 1, e
            return e.stderr

    # Somebody has the names of the next minute.
    night.settle()
    before = night.complete()
    foreign = [f"{night.backup}/log-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime(time.time() + i))}.img" for i in range(60)]
    for path in foreign:
        if not os.path.exists(path):
            with open(path, "w", encoding="ascii") as f:
                f.write("another's")
    foreign = [p for p in foreign if p not in before[0]["paths"]]
    said = by_hand()
    assert "File exists" in said and "log-" in said, said
    doc = night.settle()
    assert doc["generations"] == before, doc["generations"]
    assert all(text(p) == "another's" for p in foreign)
    assert [e for e in night.events("generation-failed") if "File exists" in e["detail"]] and "File exists" in doc["reason"], doc["reason"]
    others = sorted(os.path.basename(p) for p in foreign)
    assert sorted(night.files()) == sorted(night.expected(before) + others), night.files()
    for p in foreign:
        os.unlink(p)
    assert not by_hand()
    assert len(night.complete()) == 2 and "File exists" not in night.doc()["reason"]

    # One that took the name of an old generation, and a link, stay; what was beside it goes.
    night.settle()
    old = night.complete()[0]
    os.rename(old["paths"][0], s.path("aside"))
    with open(old["paths"][0], "w", encoding="ascii") as f:
        f.write("another's")
    assert not by_hand()
    doc = night.settle()
    assert len(doc["generations"]) == 2 and old not in doc["generations"], doc["generations"]
    assert text(old["paths"][0]) == "another's" and not os.path.exists(old["paths"][1])
    assert [e for e in night.events("generation-left") if old["paths"][0] in e["detail"]], night.events("generation-left")
    os.unlink(old["paths"][0])
    assert night.files() == night.expected(night.complete()), night.files()

    # The working image was taken away, and another is there: it is not cloned.
    base = f"{night.backup}/.data-base.img"
    os.rename(base, base + ".real")
    with open(base, "w", encoding="ascii") as f:
        f.write("another's")
    said = by_hand()
    assert ("not the working image" in said and "put the working image back, or cancel" in said) or "was removed" in said, said
    os.rename(base + ".real", base)
    assert not by_hand()

    # Its directory is away for a while.
    night.settle()
    n = len(night.complete())
    os.rename(night.backup, night.backup + ".away")
    said = by_hand()
    assert "No such file or directory" in said and "put the working image back, or cancel" in said, said
    os.rename(night.backup + ".away", night.backup)
    assert not by_hand()
    doc = night.settle()
    night.stop()
    for g in doc["generations"]:
        night.one_instant(g)
    assert len(doc["generations"]) == n == 2 and night.files() == night.expected(doc["generations"]), night.files()
    # What was put in the place of a working image outlives the session.
    os.rename(base, base + ".real")
    with open(base, "w", encoding="ascii") as f:
        f.write("another's")
    a.run("cancel", "night")
    assert text(base) == "another's" and not os.path.exists(f"{night.backup}/.log-base.img")
    assert len(night.complete()) == 2 and all(os.path.exists(p) for g in night.complete() for p in g["paths"])
