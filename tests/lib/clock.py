# SPDX-License-Identifier: BSD-3-Clause
"""The clock on the wall as drayd sees it (DRAY_CLOCK, src/agent/clock.h), to be set by a test at will. It is for agents that are started
after it was made, and that allow faults:

    with AgentTest(config="allow_faults: true\n", start=False) as t:
        clock = Clock(t.dir)
        t.start()
        clock.set("2027-03-28T00:59:00Z")  # as a person sets it
        clock.forward(60)
        clock.pass_to("2027-03-28T04:00:00Z")  # time that passes
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
        self.path, self.offset, self.slept, self.zone = os.path.join(directory, "clock"), 0, 0, "-"
        os.environ["DRAY_CLOCK"] = self.path
        self.set(at if at is not None else time.time())

    def write(self):
        with open(self.path + ".new", "w", encoding="ascii") as f:
            f.write(f"{self.offset} {self.zone} {self.slept}\n")
        os.rename(self.path + ".new", self.path)

    def by(self, at):
        return round((seconds(at) if isinstance(at, str) else at) - self.now())

    def set(self, at):
        """To that moment, a text of RFC 3339 or seconds since 1970, as a person sets it. It runs on from there."""
        self.offset += self.by(at)
        self.write()

    def pass_to(self, at, zone=None):
        """The time until then passes, in which the host sleeps. `zone`: it wakes up in that one."""
        by = self.by(at)
        assert by >= 0, "time does not run backwards"
        self.slept += by
        self.zone = zone or self.zone
        self.write()

    def now(self):
        return time.time() + self.offset + self.slept

    def forward(self, by):
        self.set(self.now() + by)
