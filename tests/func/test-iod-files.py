#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""dray-iod raises its limit of open files to the hard one; when they run out, new volumes and targets are refused in so many words, and what is
there goes on, to the switch and beyond."""
import os
import resource
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from agent import AgentTest  # noqa: E402
from dray import Scratch  # noqa: E402
from iod import Iod, Rpc, RpcError  # noqa: E402

HARD = 160


def limited(scratch_dir):
    """A dray-iod that begins with few open files and may have some more."""
    path = os.path.join(scratch_dir, "dray-iod-limited")
    with open(path, "w", encoding="utf-8") as f:
        f.write(f'#!/bin/sh\nulimit -Sn 40; ulimit -Hn {HARD}\nexec {os.environ["DRAY_IOD"]} "$@"\n')
    os.chmod(path, 0o755)
    return path


def files_of(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


with Scratch() as s:
    real, os.environ["DRAY_IOD"] = os.environ["DRAY_IOD"], limited(s.dir)
    iod = Iod(s)
    assert resource.prlimit(iod.process.pid, resource.RLIMIT_NOFILE) == (HARD, HARD)
    with open(s.path("iod.log"), encoding="utf-8") as f:
        assert f"at most {HARD} open files" in f.read()
    iod.call("volume.add", name="first", resource=s.file("first", "1M", data=True))
    leg = iod.attach("first", s.path("first.copy"), create="thin")
    iod.wait_synced("first", leg)
    n = 0
    while True:
        try:
            iod.call("volume.add", name=f"v{n}", resource=s.file(f"v{n}", "64K"))
        except RpcError as e:
            assert e.kind == "too_many_files" and e.data["errno"] == -24 and f"it may, {HARD}" in e.message, e
            break
        n += 1
    assert 20 < n < HARD, n
    assert files_of(iod.process.pid) <= HARD * 7 // 8, files_of(iod.process.pid)
    e = iod.refused("leg.attach", "too_many_files", volume="v0", resource=s.path("v0.copy"), create="thin")
    assert e.message.startswith("volume v0: dray-iod has about as many files open as it may"), e.message
    assert not os.path.exists(s.path("v0.copy")) and len(iod.volume("v0")["legs"]) == 1
    # Who is there goes on.
    assert iod.switch("t", ("first", leg))["outcome"] == "switched"
    iod.call("leg.pause", volume="first", leg=1, paused=True)
    iod.call("commit", volume="first", leg=1)
    Rpc(iod.control).close()
    # And when some are free again, so does the rest.
    for i in range(3):
        iod.call("volume.remove", name=f"v{i}")
    iod.call("volume.add", name="again", resource=s.path("v0"))
    # A restart needs no more than was there.
    iod.process.kill()
    iod.process.wait()
    iod.start()
    iod.wait_served("first", "again", *(f"v{i}" for i in range(3, n)))

    # A pair for which there is no room fails in these words, the others don't, and it can be tried again.
    with AgentTest(fake=False, config="active_pairs: 100\n") as t:
        for i in range(100):
            t.file(f"s{i}", 4096, b"x" * 4096)
        # At a rate of nothing: those that began have their files open until all were tried.
        t.submit({"name": "many", "limits": {"rate": "00:00,0"},
                  "pairs": [{"source": f"{t.dir}/s{i}", "target": f"{t.dir}/d{i}", "create": "thin"} for i in range(100)]})
        t.wait("all were tried", lambda: set(t.states("many")) == {"copying", "failed"}, 120)
        t.set("many", limits__rate="none")
        t.wait("all are over", lambda: set(t.states("many")) <= {"completed", "failed"}, 120)
        doc = t.show("many")
        failed = [p for p in doc["pairs"] if p["state"] == "failed"]
        assert 0 < len(failed) < 100, len(failed)
        for p in failed:
            assert "dray-iod has about as many files open as it may" in p["reason"], p
        t.call("PATCH", "/settings", {"active_pairs": 5})

        def done():
            # While those before it are let go there may be no room once more.
            for i, state in enumerate(t.states("many")):
                if state == "failed":
                    t.call("POST", "/sessions/many/retry", {"pairs": [str(i + 1)]})
            return t.states("many") == ["completed"] * 100
        t.wait("they are done", done, 120)
        for i in range(100):
            with open(f"{t.dir}/d{i}", "rb") as f:
                assert f.read() == b"x" * 4096
    os.environ["DRAY_IOD"] = real
print(n, "volumes,", len(failed), "pairs failed")
