#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""drayd, then dray-iod, then both are killed in the middle of a session of many pairs: those that are over stay over and are not copied again, the
others go on, and each target is whole. DRAY_SCALE_PAIRS=10000 is the full one."""
import os
import re
import signal
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from agent import AgentTest  # noqa: E402

N = int(os.environ.get("DRAY_SCALE_PAIRS", 150))


def over():
    return int(re.search('^dray_pairs{state="completed"} ([0-9]+)$', t.request("GET", "/metrics")[1], re.M)[1])


def iod_pid():
    return t.call("GET", "/status")["iod"]["pid"]


def kill_iod():
    pid = iod_pid()
    os.kill(pid, signal.SIGKILL)
    t.wait("another dray-iod", lambda: (new := iod_pid()) and new != pid, 60)


with AgentTest(fake=False, config="active_pairs: 16\nlog_level: warn\n") as t:
    os.mkdir(t.dir + "/s")
    os.mkdir(t.dir + "/d")
    for i in range(N):
        with open(f"{t.dir}/s/{i}", "wb") as f:
            f.write(f"{i:08}".encode() * 512)
    t.submit({"name": "big", "pairs": [{"source": f"{t.dir}/s/{i}", "target": f"{t.dir}/d/{i}", "create": "thin"} for i in range(N)]}, timeout=300)
    touched = {}
    for part, who in ((6, "drayd"), (4, "dray-iod"), (2, "both")):
        before = t.wait("a part of them is over", lambda p=part: (n := over()) >= N // p and n, 900)
        if who == "both":
            pid = iod_pid()
            t.kill()
            os.kill(pid, signal.SIGKILL)
            t.start()
        elif who == "drayd":
            t.kill()
            t.start()
        else:
            kill_iod()
        assert over() >= before, (over(), before)
        # What is complete is not written to again.
        for i, state in enumerate(t.states("big")):
            if state == "completed" and i not in touched:
                touched[i] = os.stat(f"{t.dir}/d/{i}").st_mtime_ns
    t.wait("the end", lambda: t.call("GET", "/sessions")[0]["state"] in ("completed", "failed"), 1200)
    assert t.states("big") == ["completed"] * N
    for i in range(N):
        with open(f"{t.dir}/d/{i}", "rb") as f:
            assert f.read() == f"{i:08}".encode() * 512, i
    again = [i for i, when in touched.items() if os.stat(f"{t.dir}/d/{i}").st_mtime_ns != when]
    assert len(touched) >= N // 2 and not again, again
    assert t.call("GET", "/locks") == [] and t.call("GET", "/status")["iod"]["volumes"] == 0
    assert os.listdir(t.state + "/iod/volumes") == []
    ends, after = [], 0
    while page := t.call("GET", f"/events?session=big&limit=10000&after={after}"):
        after = page[-1]["seq"]
        ends += [e for e in page if e["event"] == "state" and e["after"] == "completed"]
    assert sorted(int(e["pair"]) for e in ends) == list(range(1, N + 1)), "each ended once"
