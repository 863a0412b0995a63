# SPDX-License-Identifier: BSD-3-Clause
"""The clock on the wall as drayd sees it (DRAY_CLOCK, src/agent/clock.h), to be set by a test at will. It is for agents that are started
after it was made, and that allow faults:

    with AgentTest(config="allow_faults: true\n", start=False) as t:
        clock = Clock(t.dir)
        t.start()
        clock.set("2027-03-28T00:59:00Z")
        clock.forward(60)
"""
import calendar
import os
import time


def rfc(t):
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(t))


def seconds(text):
    return calendar.timegm(time.strptime(text, "%Y-%m-%dT%H:%M:%SZ"))


class Clock:
    def __init__(self, directory, at=None):
        self.path, self.offset, self.zone = os.path.join(directory, "clock"), 0, ""
        os.environ["DRAY_CLOCK"] = self.path
        self.set(at if at is not None else time.time())

    def set(self, at, zone=None):
        """To that moment, a text of RFC 3339 or seconds since 1970. It runs on from there. `zone`: the host is in it from now on (drayd sees
        that with the clock, or after a quarter of a minute)."""
        self.zone = zone or self.zone
        self.offset = round((seconds(at) if isinstance(at, str) else at) - time.time())
        with open(self.path + ".new", "w", encoding="ascii") as f:
            f.write(f"{self.offset} {self.zone}\n")
        os.rename(self.path + ".new", self.path)

    def now(self):
        return time.time() + self.offset

    def forward(self, by):
        self.set(self.now() + by)
