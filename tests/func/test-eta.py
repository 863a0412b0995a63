#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""What is left of a session, as told while it runs (eta_seconds): it counts a window that is closed, a timetable's hours to come, pairs that wait for
their turn, and is null where nobody can know: before anything was measured, after a max_duration, for what a person paused."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from agent import AgentTest  # noqa: E402
from clock import Clock  # noqa: E402
from dray import MiB  # noqa: E402

HOUR = 3600
os.environ["TZ"] = "UTC"

with AgentTest(fake=False, config="allow_faults: true\n", start=False) as t:
    clock = Clock(t.dir, "2027-01-01T06:00:00Z")
    t.start()
    for v in "abc":
        t.call("POST", "/volumes", {"name": v, "resource": t.file("old-" + v, 64 * MiB, os.urandom(64 * MiB))})

    def eta(session="x"):
        d = t.show(session)
        return [d["progress"]["eta_seconds"]] + [p["progress"]["eta_seconds"] for p in d["pairs"]]

    def about(what, low, high, pair=0):
        """The speed takes a while to be measured, and is half of it or twice as much on a machine that is busy."""
        t.wait(f"{what}: from {low} to {high}, and it is {eta()}", lambda: eta()[pair] is not None and low <= eta()[pair] <= high)

    # Scheduled: it was never seen to move.
    pairs = [{"source": f"volume:{v}", "target": t.file("new-" + v, 64 * MiB)} for v in "ab"]
    t.submit({"name": "x", "start": "2027-01-01T07:00:00Z", "limits": {"rate": "64K", "step": "16K"}, "pairs": pairs})
    assert eta() == [None, None, None]
    clock.pass_to("2027-01-01T07:00:01Z")
    t.wait_states("x", "copying", "copying")
    # Both at 32 KiB a second: half an hour.
    about("at its rate", 1000, 4200)
    about("a pair", 1000, 4200, 1)
    # Its window is closed: from now until it opens, and what is left then.
    t.set("x", window="09:00-12:00")
    t.wait_states("x", "paused", "paused")
    about("a closed window", 7100 + 1000, 7200 + 4200)
    about("a pair of it", 7100 + 1000, 7200 + 4200, 1)
    # Too short for it, so that it goes on on the next days.
    t.set("x", window="07:30-07:50")
    about("several windows", 23 * HOUR, 120 * HOUR)
    t.set("x", window="none")
    t.wait_states("x", "copying", "copying")
    # The hours of a timetable: nothing for two of them, then as fast as it was.
    t.set("x", limits__rate="00:00,64K 07:00,0 09:00,64K")
    about("a timetable", 7100 + 1000, 7200 + 4200)
    # Slower from nine on.
    t.set("x", limits__rate="00:00,64K 07:00,0 09:00,16K")
    about("a slower hour", 7100 + 4000, 7200 + 9000)
    t.set("x", limits__rate="64K")
    about("at its rate", 1000, 4200)
    # One after the other: the second begins when the first is through.
    t.set("x", limits__active_pairs=1)
    t.wait("one waits", lambda: sorted(t.states("x")) == ["copying", "queued"])
    d = t.show("x")
    first = [p["state"] for p in d["pairs"]].index("copying")
    about("the first", 400, 4200, 1 + first)
    t.wait("the second after it", lambda: all(eta()) and eta()[2 - first] >= eta()[1 + first] and eta()[0] == eta()[2 - first])
    t.set("x", limits__active_pairs="none")
    t.wait_states("x", "copying", "copying")
    # What a person paused nobody can tell; of the other pair one can.
    t.verb("x", "pause", pairs=["2"])
    t.wait_states("x", "copying", "paused")
    t.wait("of one only", lambda: eta()[0] is None and eta()[1] and eta()[2] is None)
    t.verb("x", "resume", pairs=["2"])
    t.wait_states("x", "copying", "copying")
    t.verb("x", "pause")
    assert eta() == [None, None, None], eta()
    t.verb("x", "resume")
    t.wait_states("x", "copying", "copying")
    # It will be paused by its max_duration before that.
    t.set("x", max_duration="2m")
    t.wait("none", lambda: eta()[0] is None)
    t.set("x", max_duration="10h")
    about("with enough time", 400, 4200)
    # The same in the list, which has no pairs; and at last it is none.
    assert [s["progress"]["eta_seconds"] is not None for s in t.call("GET", "/sessions")] == [True]
    t.set("x", limits__rate="none")
    t.wait_states("x", "synced", "synced")
    assert eta() == [0, 0, 0]
    # What a limit is to be shared with for a while only: 72 MiB at 64 KiB a second, not 64 at the half of it.
    t.verb("x", "cancel")
    t.call("POST", "/volumes", {"name": "d", "resource": t.file("old-d", 8 * MiB, os.urandom(8 * MiB))})
    t.submit({"name": "y", "limits": {"rate": "64K", "step": "16K"}, "pairs": [
        {"source": f"volume:{v}", "target": t.file("new-" + v, n * MiB)} for v, n in (("c", 64), ("d", 8))]})
    t.wait_states("y", "copying", "copying")
    t.wait("the other's part, later", lambda: eta("y")[0] is not None and 900 <= eta("y")[0] <= 1500)
