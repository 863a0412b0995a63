#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""A cancel, at every stage: the source is untouched and goes on serving, what is on the target stays, and the document says what that is; with dray-iod
away it is on record and is done when it is back."""
import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from dray import MiB, Scratch, same, wait_for  # noqa: E402

N = 8 * MiB

with Scratch() as s:
    a = s.agent()
    source = s.file("source", N, True)
    with open(source, "rb") as f:
        data = f.read()
    a.volume("v", source)

    def untouched():
        volume = a.json("volume", "show", "v")
        assert volume["primary"] == source and len(volume["legs"]) == 1, volume
        assert a.json("locks") == []
        with open(source, "rb") as f:
            assert f.read() == data

    # Complete: the file that was made stays, and is a copy.
    made = s.path("made")
    a.spec({"name": "c", "pairs": [{"source": "volume:v", "target": made, "create": "thin"}]})
    a.wait("c", "synced")
    pair = a.json("cancel", "c")["pairs"][0]
    assert pair["state"] == "canceled" and pair["reason"] == f"canceled; {made} keeps a complete copy, as of then", pair["reason"]
    assert same(source, made)
    untouched()
    # Two targets, of which the second is behind: each is told for itself.
    late = s.holdback("late", N)
    late.faults("fail write EIO 1000000", "fail zero EIO 1000000")
    a.spec({"name": "two", "pairs": [{"source": "volume:v", "target": [s.file("first", N), late.uri]}]})
    wait_for("the first is complete, the second is not", lambda: [(t["state"], bool(t["dirty_bytes"])) for t in a.pair("two")["targets"]] ==
             [("mirror", False), ("degraded", True)])
    pair = a.json("cancel", "two")["pairs"][0]
    assert pair["reason"] == f"canceled; {s.path('first')} keeps a complete copy, as of then; {late.uri} keeps what was copied, 0 of {N} bytes", pair
    assert same(source, s.path("first"))
    untouched()
    # Half-way: what is there stays, and it is told that it is not all; the same target can be used again.
    a.spec({"name": "h", "limits": {"rate": "512KiB"}, "pairs": [{"source": "volume:v", "target": s.file("half", N)}]})
    wait_for("some of it", lambda: a.moved("h") >= MiB)
    pair = a.json("cancel", "h")["pairs"][0]
    assert "keeps what was copied, " in pair["reason"] and f"of {N} bytes" in pair["reason"], pair["reason"]
    assert a.json("cancel", "h")["state"] == "canceled", "fulfilled already"
    assert os.path.getsize(s.path("half")) == N
    untouched()
    # Paused, with dray-iod away: on record, and done when it is back.
    a.spec({"name": "p", "limits": {"rate": "512KiB"}, "pairs": [{"source": "volume:v", "target": s.file("third", N)}]})
    wait_for("some of it", lambda: a.moved("p") >= MiB)
    a.run("pause", "p")
    iod = a.iod_pid()
    os.kill(iod, 19)
    asked = subprocess.Popen(["dray", "cancel", "p"], env=a.env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    s.processes.append(asked)
    wait_for("it is on record", lambda: any(e["event"] == "asked" and e["detail"] == "cancel" for e in a.json("events", "p")))
    a.process.kill()
    a.process.wait()
    os.kill(iod, 9)
    asked.wait(60)
    a.start()
    a.wait("p", "canceled")
    untouched()
    # Before it began.
    a.spec({"name": "q", "limits": {"active_pairs": 1, "rate": "64KiB"}, "pairs": [
        {"source": "volume:v", "target": s.file("fourth", N)}, {"source": s.file("other", MiB, True), "target": s.path("fifth"), "create": "full"}]})
    assert a.pair("q", 1)["state"] == "queued"
    pair = a.json("cancel", "q", "--pair", "2")["pairs"][1]
    assert pair["state"] == "canceled" and pair["reason"] is None and not os.path.exists(s.path("fifth")), pair
    a.run("cancel", "q")
    untouched()
    # After it failed, and beside a pair that is switched, which is left alone.
    full = s.holdback("full", N)
    a.volume("w", s.file("w", MiB, True))
    full.faults("fail write ENOSPC 1000000")
    a.spec({"name": "m", "pairs": [{"source": "volume:v", "target": full.uri, "overwrite": True}, {"source": "volume:w", "target": s.file("w2", MiB)}]})
    wait_for("the first fails", lambda: a.pair("m")["state"] == "failed" and a.pair("m", 1)["state"] == "synced")
    a.run("switch", "m", "--pair", "2")
    refused = a.json("cancel", "m", status=5)
    assert "pair 2 is switched" in refused["detail"] and "undo" in refused["detail"], refused
    a.run("cancel", "m", "--pair", "1")
    assert [p["state"] for p in a.show("m")["pairs"]] == ["canceled", "switched"] and a.show("m")["state"] == "switched"
    assert {lock["pair"] for lock in a.json("locks")} == {"2"}
    a.run("commit", "m", "--yes")
    untouched()
