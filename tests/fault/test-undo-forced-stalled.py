#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""After the switch the target's server stops answering, without closing anything: a forced undo cuts it off and leads back to the source, which carries
out what was stuck, however long a leg may take to answer (leg_timeout). When the server goes on, what it had received lands late, and it is brought up to
date all the same."""
import os
import signal
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from dray import SLOW, MiB, Scratch, need, wait_for  # noqa: E402

SIZE = 8 * MiB


def one(leg_timeout):
    with Scratch() as s:
        a = s.agent()
        target = s.file("target", SIZE)
        # (nbdkit 1.32 ends by an assertion of its own when the client is gone before its answers are written.)
        process, uri = s.qemu_nbd("target", target)
        source = s.file("source", SIZE, True)
        a.volume("v", source)
        a.spec({"name": "m", "leg_timeout": leg_timeout, "switch": {"when": "synced"}, "pairs": [{"source": "volume:v", "target": uri, "overwrite": True}]}, "--wait")
        assert a.show("m")["state"] == "switched"
        app = s.stamp(a.uri("v"), "app", "--rate", "200", "--depth", "4", "--no-reconnect")
        app.wait_writes(200)
        process.send_signal(signal.SIGSTOP)
        seen = []
        wait_for("the application is stuck", lambda: (seen.append(app.status()["writes"]), len(seen) > 1 and seen[-1] == seen[-2])[1], every=0.5)
        doc = a.json("undo", "m", "--force", "--yes")
        lost = doc["pairs"][0]["undo_lost"]
        print("lost:", lost)
        assert lost["bytes"] == sum(r["length"] for r in lost["ranges"]) < SIZE, lost  # what was under way, and no more
        assert a.json("volume", "show", "v")["primary"] == source
        app.wait_writes(200)
        process.send_signal(signal.SIGCONT)
        # It is a target like any other again: copied to, compared where late writes may have landed, and switched to.

        def in_sync():
            assert process.poll() is None, f"the server ended with {process.returncode}"
            return a.show("m")["state"] == "synced" and a.pair("m")["dirty_bytes"] == 0
        wait_for("the target is in sync", in_sync)
        # leg_timeout may be short: on a busy machine it may be set aside for a moment once more.
        wait_for("it is switched", lambda: a.run("switch", "m", status=None).returncode == 0)
        assert a.show("m")["state"] == "switched"
        app.wait_writes(50)
        got = app.end(good=False)
        with open(s.path("app.log")) as f:
            log = f.read()
        # One flush says that something written before may be lost; no write or read does.
        assert got["bad"] == 0 and got["reconnects"] == 0 and got["errors"] == log.count(": flush at") <= 1, (got, log)
        a.run("commit", "m", "--yes")
        app.verify(target)


need("qemu-nbd")
one(f"{300 * SLOW}ms")
one("1h")
