# SPDX-License-Identifier: BSD-3-Clause
"""What dray-session(5) says of time, told a second time: windows and timetables by what a clock shows (zoneinfo), and a session that goes by them.
It knows nothing of how drayd works it out: when a window opens next is found by looking at every minute.

    m = Model(document, now, zone)
    m.look(now, zone)           # the clock shows that now
    m.state, m.reasons, m.words # what the document should say
"""
import datetime
from zoneinfo import ZoneInfo

from clock import rfc
from dray import size

DAYS = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"]
WEEK = 7 * 24 * 60
ENDS = {"committed", "completed", "canceled"}


def shown(t, zone):
    """Weekday and minute of the day that a clock shows."""
    local = datetime.datetime.fromtimestamp(t, ZoneInfo(zone))
    return local.weekday(), local.hour * 60 + local.minute


def minutes(text):
    return int(text[:2]) * 60 + int(text[3:])


def moment(text):
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def duration(text):
    return int(text[:-1]) * {"s": 1, "m": 60, "h": 3600, "d": 86400}[text[-1]]


def first(t, says):
    """The first minute after t for which it is true, None: not for three weeks."""
    for n in range(1, 3 * WEEK):
        at = t // 60 * 60 + n * 60
        if says(at):
            return at
    return None


class Windows:
    """"Sat,Sun 00:00-24:00", "Mon-Fri 22:00-06:00": the days are those on which one begins."""

    def __init__(self, texts):
        self.parts, self.kept = [], {}
        for text in texts:
            days, _, span = text.rpartition(" ")
            on = set()
            for part in days.split(",") if days else ["Mon-Sun"]:
                one, _, other = part.partition("-")
                a, b = DAYS.index(one), DAYS.index(other or one)
                on |= {d % 7 for d in range(a, b + 1 + (7 if b < a else 0))}
            begin, end = map(minutes, span.split("-"))
            self.parts.append((on, begin, end))

    def open(self, t, zone):
        day, minute = shown(t, zone)
        for on, begin, end in self.parts:
            if begin < end:
                if day in on and begin <= minute < end:
                    return True
            elif (day in on and minute >= begin) or ((day - 1) % 7 in on and minute < end):
                return True
        return not self.parts

    def opening(self, t, zone):
        """When one is open: t, or the minute at which one opens next."""
        if self.open(t, zone):
            return t
        at = self.kept.get(zone)  # found before, and still ahead
        if not at or not at[0] <= t < at[1]:
            self.kept[zone] = at = (t, first(t, lambda x: self.open(x, zone)))
        return at[1]


class Table:
    def __init__(self, text):
        self.entries = sorted((minutes(e.partition(",")[0]), e.partition(",")[2]) for e in text.split())

    def at(self, t, zone):
        """Bytes a second; None: no limit."""
        past = [rate for at, rate in self.entries if at <= shown(t, zone)[1]]
        rate = (past or [self.entries[-1][1]])[-1]
        return None if rate == "off" else size(rate)

    def change(self, t, zone):
        return first(t, lambda x: self.at(x, zone) != self.at(t, zone))


class Model:
    """One session all of whose pairs go together. What time alone does not decide is told by the test: events, `free` (an operator lifts what
    held up the copy, which is through in no time), a pause, a resume, and for how long the agent was away."""

    def __init__(self, doc, t, zone):
        self.doc, self.name, self.free, self.user, self.ran = doc, doc["name"], False, False, 0
        self.window, switch = Windows(doc.get("window", [])), doc.get("switch", {})
        rate = doc.get("limits", {}).get("rate")
        self.table = Table(rate) if rate and "," in rate else None
        self.rate = size(rate) if rate and not self.table else None
        self.most = duration(doc["max_duration"]) if "max_duration" in doc else float("inf")
        start, when = doc.get("start", "now"), switch.get("when", "synced" if doc.get("mode") == "copy" else "manual")
        self.start_event, self.when_event = (x.get("event") if isinstance(x, dict) else None for x in (start, when))
        self.start_at = moment(start) if isinstance(start, str) and start != "now" else t
        self.when_at = moment(when) if isinstance(when, str) and when[0].isdigit() else 0
        self.when, self.switch_window, self.commit = when, Windows(switch.get("window", [])), switch.get("commit", "manual")
        self.state, self.reasons, self.words, self.log, self.switched = "scheduled", [], [], [], None
        self.begun = False

    def tell(self, event):
        """Whether it waited for that."""
        if not self.begun and self.start_event == event:
            self.start_event = None
        elif self.when_event == event:
            self.when_event = None
        else:
            return False
        return True

    def away(self, seconds):
        """The agent was: what copied went on, and that counts."""
        if self.state == "copying":
            self.ran += seconds

    def clock_set(self, by, now):
        """A test period lasts as long as it does, and no longer than it is as a whole."""
        if self.switched:
            self.switched = min(self.switched + by, now)

    def resume(self):
        self.user = False
        if self.ran >= self.most:
            self.ran = 0

    def due(self, t, zone):
        """When it will begin; None: nobody knows, or it has."""
        if self.begun or self.start_event:
            return None
        return self.window.opening(max(t, self.start_at), zone)

    def look(self, t, zone):
        before = None
        while self.state != before:
            before = self.state
            self.words, self.reasons = [], []
            getattr(self, "in_" + self.state)(t, zone)
            if self.state != before:
                self.log.append((t, self.state))

    def in_scheduled(self, t, zone):
        if self.due(t, zone) == t:
            self.state, self.begun = "copying", True
        elif self.start_event:
            self.words = [f"waits for the event {self.start_event} to start"]
        else:
            self.words = [rfc(self.due(t, zone))]

    def in_copying(self, t, zone):
        self.reasons = [word for word, holds in (("user", self.user), ("window", not self.window.open(t, zone)),
                                                 ("max_duration", self.ran >= self.most)) if holds]
        if self.reasons:
            self.state = "paused"
            if "window" in self.reasons:
                self.words.append(f"it opens at {rfc(self.window.opening(t, zone))}")
            if "max_duration" in self.reasons:
                self.words.append("max_duration is used up")
        elif self.free:
            self.state = "synced"
        elif self.table and self.table.at(t, zone) == 0:
            self.state = "copying"
            self.words = [f"is 0 until {rfc(self.table.change(t, zone))}"]
        else:
            self.state = "copying"

    in_paused = in_copying

    def in_synced(self, t, zone):
        if self.when_event:
            self.words = [f"waits for the event {self.when_event} to be switched"]
        elif t < self.when_at:
            self.words = [f"to be switched at {rfc(self.switch_window.opening(self.when_at, zone))}"]
        elif self.when != "manual" and not self.switch_window.open(t, zone):
            self.words = [f"it opens at {rfc(self.switch_window.opening(t, zone))}"]
        elif self.when != "manual":
            self.state, self.switched = "completed" if self.doc.get("mode") == "copy" else "switched", t

    def in_switched(self, t, zone):
        if self.commit == "switched" or (self.commit != "manual" and t >= self.switched + duration(self.commit)):
            self.state = "committed"

    def in_committed(self, t, zone):
        pass

    in_completed = in_committed

    def bytes_a_second(self, t, zone):
        """What all pairs together may move; None: no limit."""
        return self.table.at(t, zone) if self.table else self.rate


class Generations:
    """start: {every: 24h, at: HH:MM, keep: N}: one a day, at the first minute that is shown then or later; one for all that were missed."""

    def __init__(self, doc, t, zone):
        self.name, self.at, self.keep = doc["name"], minutes(doc["start"]["at"]), doc["start"]["keep"]
        self.last, self.times, self.made = t, [], 0

    def next(self, zone):
        """The first moment after the last one that was seen to."""
        day = shown(self.last, zone)[0]
        # An hour that comes twice: it was shown before.
        passed = any(d == day and m >= self.at for d, m in (shown(self.last - 60 * n, zone) for n in range(25 * 60)))

        def is_it(x):
            nonlocal day, passed
            d, m = shown(x, zone)
            if d != day:
                day, passed = d, False
            found = m >= self.at and not passed
            passed = passed or found
            return found
        return first(self.last, is_it)

    def look(self, t, zone):
        if self.next(zone) <= t:
            self.times, self.made = (self.times + [t])[-self.keep:], self.made + 1
        self.last = max(self.last, t)

    def clock_set(self, by, now):
        """Put back, it goes on from what is shown."""
        self.last = min(self.last, now)

    def away(self, seconds):
        pass
