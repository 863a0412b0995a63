#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""A verification that takes its time shows how far it is; it goes on over the end of either program; a pause, a switch, an undo and a cancel
end it, and whoever waited for it is told."""
import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from dray import MiB, SLOW, Scratch, undisturbed, wait_for  # noqa: E402
from nbdclient import Client  # noqa: E402

SIZE = 8 * MiB

with Scratch() as s:
    a = s.agent()
    a.volume("v", s.file("source", SIZE, True))
    slow = s.holdback("slow", SIZE)
    a.spec(undisturbed({"name": "m", "limits": {"steps": 1, "step": "64KiB"}, "pairs": [{"source": "volume:v", "target": slow.uri, "overwrite": True}]}))
    a.wait("m", "synced")

    def begin(*options):
        slow.faults("delay read 250")  # 128 steps: half a minute, which nobody waits for
        p = subprocess.Popen(["dray", "verify", "m", *options, "-o", "json"], env=a.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        s.processes.append(p)
        was = {}

        def under_way():
            was.update(a.pair("m"))
            v = was.get("verification") or {}
            return was.get("phase") == "verifying" and v.get("running") and 0 < v["bytes_compared"] < v["bytes_total"] == SIZE
        wait_for("it is under way and says how far", under_way)
        assert was["state"] in ("synced", "switched") and was["verified"] is None, was
        return p

    def ended(p, status, *words):
        out, err = p.communicate(timeout=60 * SLOW)
        assert p.returncode == status and all(w in err for w in words), (p.returncode, out, err)
        return out

    def over():
        wait_for("nothing is compared any more", lambda: all(not (leg["verify"] or {}).get("running") for leg in a.json("volume", "show", "v")["legs"]))

    # A pause ends it; what it found is void.
    p = begin()
    a.run("pause", "m")
    ended(p, 1, "ended by a pause")
    pair = a.pair("m")
    assert pair["state"] == "paused" and pair["verified"] is None and "verification" not in pair and pair.get("phase") != "verifying", pair
    over()
    a.run("resume", "m")
    a.wait("m", "synced")

    # The agent goes away and comes back: it goes on, and is not begun again.
    p = begin()
    a.process.kill()
    a.process.wait()
    ended(p, 6)
    a.start()
    wait_for("it goes on", lambda: (a.pair("m").get("verification") or {}).get("running"))
    slow.faults()
    wait_for("it ends", lambda: a.pair("m")["verified"] == "clean")
    assert a.pair("m")["verification"]["bytes_compared"] == SIZE

    # dray-iod goes away: begun again, and whoever waits goes on waiting.
    p = begin()
    os.kill(a.iod_pid(), 9)
    slow.faults()
    ended(p, 0)
    assert a.pair("m")["verified"] == "clean" and a.pair("m")["verification"]["bytes_compared"] == SIZE

    # The target is away for a while: so then.
    p = begin()
    slow.kill()
    os.kill(a.iod_pid(), 9)
    wait_for("it is not in sync", lambda: a.pair("m")["state"] == "copying", timeout=60)
    slow.faults()
    slow.start()
    ended(p, 0)
    assert a.pair("m")["verified"] == "clean" and a.pair("m")["verification"]["bytes_compared"] == SIZE

    # A switch ends it, and so does an undo.
    for verb in ("switch", "undo"):
        p = begin()
        a.run(verb, "m")
        ended(p, 1, f"ended by {'a switch' if verb == 'switch' else 'an undo'}")
        over()
        slow.faults()
    # One that the document asks for is waited for by the switch.
    slow.faults("delay read 250")
    a.run("set", "m", "verify=full")
    wait_for("it runs", lambda: a.pair("m").get("phase") == "verifying")
    refused = a.json("switch", "m", status=5)
    assert refused["code"] == "not_verified" and f"of {SIZE} bytes" in refused["detail"], refused
    a.run("set", "m", "verify=none")
    over()
    wait_for("it is not shown any more", lambda: a.pair("m").get("phase") != "verifying")

    p = begin()
    a.run("cancel", "m")
    ended(p, 1, "ended by a cancel")
    assert a.show("m")["state"] == "canceled"

    # Another pair fails, and takes the session with it; a commit falls due.
    for n in ("w", "x"):
        a.volume(n, s.file(f"source-{n}", SIZE, True))
    slow.faults()
    full = s.holdback("full", SIZE)
    a.spec(undisturbed({"name": "m", "on_error": "session", "limits": {"steps": 1, "step": "64KiB"}, "pairs": [
        {"source": "volume:w", "target": slow.uri, "overwrite": True}, {"source": "volume:x", "target": full.uri}]}))
    a.wait("m", "synced")
    p = begin("--pair", "1")
    full.faults("fail write ENOSPC 1000000", "fail zero ENOSPC 1000000")
    app = Client(a.uri("x").split("socket=")[1], "x")
    app.write(0, b"x" * 4096)
    app.close()
    ended(p, 1, "ended by a cancel")
    wait_for("it failed", lambda: a.show("m")["state"] == "failed")
    a.run("cancel", "m")
    a.spec(undisturbed({"name": "m", "limits": {"steps": 1, "step": "64KiB"}, "pairs": [{"source": "volume:w", "target": slow.uri, "overwrite": True}]}))
    a.wait("m", "synced")
    a.run("switch", "m")
    p = begin()
    a.run("set", "m", "switch.commit=1s")
    ended(p, 1, "ended by a commit")
    slow.faults()
    a.wait("m", "committed")
