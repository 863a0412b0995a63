#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""A file of an old generation that can't be removed is told once, and holds up no other: what becomes old after it goes with the next generation. The session ends all the
same. And a working image that somebody has cut makes no generation: it is told, and what there was stays."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from dray import Failed, MiB, Scratch, wait_for
from generations import Night

with Scratch() as s:
    a = s.agent()
    night = Night(s, a, app=False)
    night.submit({"every": "1h", "keep": 1})
    wait_for("the first generation", night.complete)

    def by_hand():
        wait_for("it is in sync", lambda: night.doc()["phase"] == "mirroring", 60)
        a.run("switch", "night")
        return night.complete()[-1]

    # Something has the name under which it is to go.
    first = night.complete()[0]
    name = os.path.join(night.backup, f".{os.path.basename(first['paths'][0])}.dray-gone")
    os.mkdir(name)
    second = by_hand()
    wait_for("it is told", lambda: night.events("generation-left"))
    assert [g["complete"] for g in night.doc()["generations"]] == [False, True] and os.path.exists(first["paths"][0])
    third = by_hand()
    wait_for("the second one is gone", lambda: [e["detail"] for e in night.events("generation-removed")] == [second["time"]])
    assert not any(os.path.exists(p) for p in second["paths"])
    assert [g["time"] for g in night.doc()["generations"]] == [first["time"], third["time"]], night.doc()["generations"]
    # After a restart it is tried again, at once; and still can't be.
    told = night.events("generation-left")
    assert len(told) == 1 and first["paths"][0] in told[0]["detail"], told
    a.process.terminate()
    a.process.wait()
    a.start()
    wait_for("it was tried again", lambda: len(night.events("generation-left")) == 2)
    os.rmdir(name)
    a.process.terminate()
    a.process.wait()
    a.start()
    wait_for("it is gone", lambda: len(night.doc()["generations"]) == 1)
    assert night.files() == night.expected([third])

    # A working image that was cut: what is not there any more would be zeroes in the generation.
    os.truncate(f"{night.backup}/.data-base.img", MiB)
    try:
        by_hand()
        raise AssertionError("a generation was made of half an image")
    except Failed as e:
        assert e.status == 1 and "somebody has cut it: it has 1048576 bytes, and its source 2097152" in e.stderr and "put the working image back" in e.stderr, e
    wait_for("nothing is left of it", lambda: night.files() == night.expected([third]))
    assert night.doc()["generations"] == [third], night.doc()["generations"]

    # The end does not wait for what can't be removed.
    name = os.path.join(night.backup, f".{os.path.basename(third['paths'][0])}.dray-gone")
    os.truncate(f"{night.backup}/.data-base.img", 2 * MiB)
    os.mkdir(name)
    fourth = by_hand()
    wait_for("it is told again", lambda: len(night.events("generation-left")) == 3)
    a.run("cancel", "night")
    assert a.show("night")["state"] == "canceled"
    assert os.path.exists(third["paths"][0]) and all(os.path.exists(p) for p in fourth["paths"])
    os.rmdir(name)
