#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""An older copy of the whole state directory is put back, in which the repository and dray-iod's state fit together: a volume that was switched since
is not served, by the agent nor by dray-iod alone, and it is said; with the newer copy everything goes on. Where none was switched, no leg that the older copy
calls clean is believed."""
import os
import shutil
import signal
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from dray import MiB, Scratch, same, undisturbed, wait_for  # noqa: E402
from nbdclient import Client  # noqa: E402

with Scratch() as s:
    a = s.agent()
    iod_state = os.path.join(a.state, "iod")

    def end(how=signal.SIGKILL):
        pid = a.iod_pid()
        a.process.kill()
        a.process.wait()
        os.kill(pid, how)
        wait_for("dray-iod is gone", lambda: not os.path.exists(f"/proc/{pid}"))

    def put(what, where):
        if os.path.isdir(where):
            shutil.rmtree(where)
        shutil.copytree(what, where)

    def write(at, byte):
        c = Client(a.nbd_socket, "z")
        c.write(at * MiB, byte * 4096)
        c.flush()
        c.close()

    a.volume("z", s.file("z", 4 * MiB, True))
    a.spec(undisturbed({"name": "z", "switch": {"when": "manual"}, "pairs": [{"source": "volume:z", "target": s.path("z-target"), "create": "thin"}]}))
    a.wait("z", "synced")
    end()
    put(a.state, s.path("older-all"))
    a.start()
    a.wait("z", "synced")
    a.run("switch", "z")
    write(1, b"n")
    end()
    put(a.state, s.path("newer-all"))
    put(s.path("older-all"), a.state)
    a.start()

    def older():
        """dray-iod has looked at it, and says why it is not served."""
        shown = wait_for("it is told", lambda: (v := a.json("volume", "show", "z"))["reason"] and v)
        assert not shown["served"] and "older" in shown["reason"], shown
    older()
    wait_for("the document says it", lambda: "epoch" in (a.pair("z")["reason"] or ""))
    assert a.json("switch", "z", status=5)["code"] == "not_trusted"
    assert [e for e in a.json("events") if e["event"] == "state-older" and " z " in e["detail"]], a.json("events")
    end()
    a.start()  # it does not forget
    older()
    # dray-iod does not need the agent for it.
    end()
    os.unlink(os.path.join(a.state, "volumes-seen"))
    i = s.start("dray-iod", "--state-dir", iod_state, "--run-dir", a.run_dir, log="alone.log")

    def told():
        with open(s.path("alone.log"), encoding="utf-8") as f:
            return "the agent saw epoch" in f.read()
    wait_for("dray-iod alone does not serve it", told)
    i.kill()
    i.wait()
    put(s.path("newer-all"), a.state)
    a.start()
    wait_for("served", lambda: a.json("volume", "show", "z")["served"])
    assert a.show("z")["state"] == "switched"
    write(2, b"m")
    wait_for("the old source is brought up to date", lambda: same(s.path("z"), s.path("z-target")))
    wait_for("and that is told", lambda: not a.pair("z").get("undo_dirty_bytes"))

    # ---- nothing was switched since the copy was made: the side in use is right, but what was equal then is not now ----
    a.run("undo", "z")
    time.sleep(1)  # what was written a moment ago would be copied again after a restart in any case
    end(signal.SIGTERM)
    put(a.state, s.path("before-pause"))
    a.start()
    a.wait("z", "synced")
    a.run("pause", "z", "--detach")
    write(3, b"p")
    assert not same(s.path("z"), s.path("z-target"))
    end(signal.SIGTERM)
    put(s.path("before-pause"), a.state)
    a.start()
    wait_for("all of it is copied", lambda: [leg["dirty_bytes"] for leg in a.json("volume", "show", "z")["legs"]] == [0, 0])
    a.wait("z", "synced")
    assert same(s.path("z"), s.path("z-target"))
    a.run("switch", "z")
    assert a.json("verify", "z")["pairs"][0]["bytes_differing"] == 0
    # The same directory again: nothing is copied twice.
    a.run("undo", "z")
    moved = a.pair("z")["progress"]["bytes_copied"]
    end(signal.SIGTERM)
    a.start()
    a.wait("z", "synced")
    assert a.pair("z")["progress"]["bytes_copied"] == moved, a.pair("z")["progress"]
