#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Progress counts bytes that are on the target: it never goes back without an event, sums up over the pairs, and names its phase."""
import os
import signal
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from dray import MiB, SLOW, Scratch, wait_for  # noqa: E402

PHASES = {"waiting", "attaching", "copying", "comparing", "recovering", "recording", "pausing", "paused", "mirroring", "verifying", "switching",
          "resyncing", "canceling", "committing", "retiring", "finishing", "halting", None}
# What may take progress back: each is told by one of these.
BACK = {"state", "iod-lost", "iod-connected", "target-degraded", "target-failed"}
SIZE = 48 * MiB

with Scratch() as s:
    a = s.agent()
    for n in "ab":
        a.volume(n, s.file(n + ".src", SIZE, data=True))
    disk = s.holdback("disk", SIZE)
    # Slowly until all that can happen to a copy has happened: on a busy machine a look takes long, and there are to be many.
    a.spec({"name": "p", "verify": "full", "limits": {"rate": "1MiB"}, "switch": {"deadline": "10m"}, "pairs": [
        {"source": "volume:a", "target": disk.uri, "overwrite": True}, {"source": "volume:b", "target": s.file("b.dst", SIZE)}]})

    last, phases, samples = {}, [], 0

    def events():
        return a.json("events", "p") + [e for e in a.json("events") if e["session"] is None]

    def sample():
        global samples
        seq = max(e["seq"] for e in events())  # before: what happened between two looks is behind this one's
        doc = a.show("p")
        samples += 1
        total = done = copied = 0
        for p in doc["pairs"]:
            g = p["progress"]
            assert set(g) >= {"bytes_total", "bytes_done", "bytes_copied", "bytes_skipped", "bytes_recopied", "rate", "eta_seconds", "dirty_rate"}
            assert p["phase"] in PHASES, p["phase"]
            assert g["bytes_total"] == SIZE and 0 <= g["bytes_done"] <= SIZE, g
            assert g["bytes_copied"] + g["bytes_skipped"] <= SIZE + g["bytes_recopied"], g
            assert g["bytes_done"] <= g["bytes_copied"] + g["bytes_skipped"], g
            assert g["rate"] is None or g["rate"] >= 0
            if p["state"] in ("synced", "switched"):
                assert g["bytes_done"] == SIZE and p["dirty_bytes"] == 0 and g["eta_seconds"] == 0, p
            was = last.get(p["id"])
            if was and g["bytes_done"] < was[0]:
                between = [e for e in events() if e["seq"] > was[2] and e["event"] in BACK]
                assert between, (was, g, events()[-5:])
            if was:
                assert g["bytes_copied"] >= was[1], "what was copied was copied"
            last[p["id"]] = (g["bytes_done"], g["bytes_copied"], seq)
            total, done, copied = total + SIZE, done + g["bytes_done"], copied + g["bytes_copied"]
        g = doc["progress"]
        assert (g["bytes_total"], g["bytes_done"], g["bytes_copied"]) == (total, done, copied), doc["progress"]
        if not phases or phases[-1] != doc["phase"]:
            phases.append(doc["phase"])
        return doc

    def until(what, test, timeout=60):
        end = time.monotonic() + timeout * SLOW
        while not test(sample()):
            assert time.monotonic() < end, (what, a.show("p"))

    until("some of it", lambda d: d["progress"]["bytes_done"] > MiB and samples > 20)
    until("how fast it is", lambda d: d["phase"] == "copying" and 0 < (d["progress"]["rate"] or 0) < 40 * MiB and (d["progress"]["eta_seconds"] or 0) > 0)

    # The target stalls: an event says so, the phase too, and it goes on by itself.
    disk.stop()

    def told(event):  # of its pair: on a busy machine the other target may stall by itself, too
        return any(e["event"] == event and e["pair"] == "1" for e in a.json("events", "p"))
    until("degraded", lambda d: told("target-degraded"))
    assert any(t["state"] == "degraded" for t in a.pair("p")["targets"])
    disk.go_on()
    until("it goes on", lambda d: told("target-recovered"))

    # dray-iod is killed.
    killed = a.iod_pid()
    os.kill(killed, signal.SIGKILL)
    wait_for("it is back", lambda: (i := a.json("status")["iod"])["connected"] and i["pid"] != killed)
    copied = sum(was for _, was, _ in last.values())
    until("more", lambda d: d["state"] == "copying" and d["progress"]["bytes_copied"] > copied + MiB)

    # Paused, and drayd restarted meanwhile.
    a.run("pause", "p")
    assert sample()["phase"] == "paused"
    a.process.terminate()
    a.process.wait(20 * SLOW)
    a.start()
    sample()
    a.run("set", "p", "limits.rate=16MiB")
    a.run("resume", "p")
    until("verified", lambda d: d["state"] == "synced" and all(p["verified"] for p in d["pairs"]), 120)
    a.run("switch", "p")
    until("switched", lambda d: d["state"] == "switched")
    assert sample()["phase"] == "mirroring"
    a.run("commit", "p", "--yes")
    d = a.show("p")
    assert d["state"] == "committed" and d["phase"] is None, d
    assert "copying" in phases and "mirroring" in phases and samples > 20, (phases, samples)
    print(phases, samples, "samples")
