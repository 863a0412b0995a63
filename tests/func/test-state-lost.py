#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""dray-iod's state directory lost, or an older copy put back; the agent's repository lost, older or damaged: it is said, nothing is guessed,
nothing served that may be old, and what the reason tells the operator to do leads out."""
import os
import shutil
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from dray import MiB, SLOW, Scratch, same, undisturbed, wait_for
from nbdclient import Client, NbdError

with Scratch() as s:
    a = s.agent()
    iod_state = os.path.join(a.state, "iod")

    def end(agent=True):
        pid = a.iod_pid()
        if agent:
            a.process.kill()
            a.process.wait()
        os.kill(pid, 9)
        wait_for("dray-iod is gone", lambda: not os.path.exists(f"/proc/{pid}"))

    def put(what, where):
        if os.path.isdir(where):
            shutil.rmtree(where)
        elif os.path.exists(where):
            os.unlink(where)
        if what:
            (shutil.copytree if os.path.isdir(what) else shutil.copy)(what, where)

    def write(volume, at, byte):
        c = Client(a.nbd_socket, volume)
        c.write(at * MiB, byte * 4096)
        c.flush()
        c.close()

    def left(volume):
        """Its clients are gone for dray-iod, too."""
        wait_for(f"the client of {volume} is gone", lambda: a.json("volume", "show", volume)["clients"] == 0)

    def moved(name):
        a.volume(name, s.file(name, 4 * MiB, True))
        a.spec(undisturbed({"name": name, "switch": {"when": "manual"}, "pairs": [
            {"source": f"volume:{name}", "target": s.path(name + "-target"), "create": "thin"}]}))
        a.wait(name, "synced")

    def equal(name):
        """What was written is on both."""
        wait_for("source and target are equal", lambda: same(s.path(name), s.path(name + "-target")))

    def older():
        """dray-iod has looked at it, and says why it is not served."""
        shown = wait_for("it is told", lambda: (v := a.json("volume", "show", "v"))["reason"] and v)
        assert not shown["served"] and "older" in shown["reason"] and "epoch" in shown["reason"], shown

    # ---- dray-iod's state: an older copy, from before a switch ----
    moved("v")
    end()
    put(iod_state, s.path("older"))
    a.start()
    a.wait("v", "synced")
    a.run("switch", "v")
    write("v", 1, b"n")
    end()
    put(s.path("older"), iod_state)
    a.start()
    older()
    try:
        Client(a.nbd_socket, "v")
    except NbdError:
        pass
    else:
        raise AssertionError("it is served")
    wait_for("the document says it", lambda: "epoch" in (a.pair("v")["reason"] or ""))
    assert a.show("v")["state"] == "switched"
    for verb in ("undo", "commit"):
        refused = a.json(verb, "v", status=5)
        assert refused["code"] == "not_trusted" and "older" in refused["detail"], refused
    before = [open(s.path(n), "rb").read() for n in ("v", "v-target")]
    # The newer one is found again and put back.
    end()
    assert [open(s.path(n), "rb").read() for n in ("v", "v-target")] == before, "touched"
    put(None, iod_state)
    put(s.path("older"), iod_state)
    a.start()
    # Or somebody takes it as it is: the pair goes back to before the switch, and nothing switches by itself.
    older()
    a.run("volume", "accept", "v", "--yes")
    wait_for("served", lambda: a.json("volume", "show", "v")["served"])
    a.wait("v", "synced")
    doc = a.show("v")
    assert doc["switch"]["when"] == "manual" and any("goes back" in (e["detail"] or "") for e in a.json("events", "v")), doc
    write("v", 2, b"m")
    equal("v")
    a.run("switch", "v")
    a.run("commit", "v")
    left("v")
    a.run("volume", "remove", "v")

    # ---- dray-iod's state: lost ----
    moved("w")
    moved("x")
    a.run("switch", "x")
    write("x", 1, b"x")
    end()
    put(None, iod_state)
    a.start()
    wait_for("said", lambda: a.show("w")["pairs"][0]["state"] == "failed")
    assert "gone from dray-iod" in a.pair("w")["reason"], a.pair("w")
    wait_for("said", lambda: "gone from dray-iod" in (a.pair("x")["reason"] or ""))
    assert s.path("x-target") in a.pair("x")["reason"] and a.show("x")["state"] == "switched"
    assert a.json("undo", "x", status=5)["code"] == "not_trusted"
    assert a.json("volume", "add", "w", s.path("w"), status=3)["errors"][0]["code"] == "locked"
    a.run("cancel", "w")
    a.run("commit", "x")
    doc = a.show("x")
    assert doc["state"] == "committed" and "nothing was touched" in doc["pairs"][0]["reason"], doc
    assert a.json("locks") == []
    a.volume("w", s.path("w"))
    a.volume("x", s.path("x-target"))
    write("x", 2, b"y")
    for n in "wx":
        left(n)
        a.run("volume", "remove", n)

    # ---- the repository: lost. dray-iod goes on; what it has and nobody owns is named, and can be let go ----
    moved("r")
    a.spec({"name": "off", "limits": {"rate": "1"}, "pairs": [{"source": s.file("off", 4 * MiB, True), "target": s.file("off-t", 4 * MiB)}]})
    wait_for("its volume", lambda: a.json("status")["iod"]["volumes"] == 2)
    ids = {n: a.show(n)["id"] for n in ("r", "off")}
    assert a.json("status")["orphans"] == []
    app = Client(a.nbd_socket, "r")
    a.process.kill()
    a.process.wait()
    for n in os.listdir(a.state):
        if n.startswith("repository"):
            os.rename(os.path.join(a.state, n), s.path(n + ".kept"))
    a.start()
    app.write(MiB, b"z" * 4096)  # the application did not notice
    app.flush()
    equal("r")
    orphans = wait_for("what belongs to nobody", lambda: {(o["volume"], o["hidden"], o["leg"], o["session"]) for o in a.json("status")["orphans"]})
    assert orphans == {("r", False, 2, ids["r"]), (ids["off"] + ".1", True, None, ids["off"])}, orphans
    assert "belong to no session" in a.run("volume", "list").stderr
    assert a.spec({"name": "again", "pairs": [{"source": s.path("off"), "target": s.path("r-target"), "overwrite": True}]}, status=3)["errors"]
    assert a.json("volume", "release", "r", "--yes")["released"] == 1
    a.run("volume", "release", ids["off"] + ".1", "--yes")
    assert a.json("status")["orphans"] == [] and a.json("volume", "release", "r", "--yes", status=5)["code"] == "not_legal"
    assert a.json("volume", "release", "nobody", "--yes", status=4)
    app.write(MiB, b"q" * 4096)
    app.flush()
    app.close()
    assert not same(s.path("r"), s.path("r-target")) and a.json("status")["iod"]["volumes"] == 1
    left("r")
    a.run("volume", "remove", "r")

    # ---- the repository: an older copy, from before a switch. dray-iod knows better ----
    moved("f")
    a.process.kill()
    a.process.wait()
    for n in os.listdir(a.state):
        if n.startswith("repository"):
            shutil.copy(os.path.join(a.state, n), s.path(n + ".older"))
    a.start()
    a.run("switch", "f")
    a.process.kill()
    a.process.wait()
    for n in os.listdir(a.state):
        if n.startswith("repository"):
            os.unlink(os.path.join(a.state, n))
    for n in os.listdir(s.dir):
        if n.startswith("repository") and n.endswith(".older"):
            shutil.copy(s.path(n), os.path.join(a.state, n.removesuffix(".older")))
    a.start()
    a.wait("f", "switched")
    assert any("older one, and goes forward" in (e["detail"] or "") for e in a.json("events", "f")), a.json("events", "f")
    write("f", 1, b"f")
    a.run("undo", "f")
    equal("f")

    # ---- the repository: damaged. A clear error, and dray-iod serves on; another agent on the directory is refused ----
    second = subprocess.run(["drayd", "--state-dir", a.state, "--run-dir", s.path("other-run")], capture_output=True, text=True, timeout=60 * SLOW, check=False)
    assert second.returncode == 1 and "another drayd" in second.stderr and str(a.process.pid) in second.stderr, second
    a.process.kill()
    a.process.wait()
    db = os.path.join(a.state, "repository.db")
    for n in ("-wal", "-shm"):
        if os.path.exists(db + n):
            os.unlink(db + n)
    with open(db, "r+b") as f:
        f.write(os.urandom(8192))
    third = subprocess.run(["drayd", "--state-dir", a.state, "--run-dir", a.run_dir], capture_output=True, text=True, timeout=60 * SLOW, check=False)
    assert third.returncode == 1 and db in third.stderr and "damaged" in third.stderr, third.stderr
    write("f", 3, b"g")
