# SPDX-License-Identifier: BSD-3-Clause
"""What the tests of limits share: an agent with volumes whose sources are as slow as the test wants, sessions that copy them, how fast they do,
and what holds them back.

    with Scratch() as s:
        a = LoadAgent(s, 64 * MiB, a=40, b=40)     # whatever is asked of these sources takes 40 ms, however much is asked
        a.begin("two", "ab", limits={"step": "32KiB"})
        a.binds("two", "rate", "session", "limits.rate", MiB, set_=["limits.rate=1MiB"])
        below(1, sum(a.rates("ab")))
"""
import os
import time

from dray import Agent, MiB, SLOW, wait_for


def below(limit, got):
    """A rate in MiB/s is kept to; a step that was begun before the first look, or ended after the last one, is none of it."""
    assert got <= limit * 1.3 + 0.2, (got, limit)


def while_it_works(app, look, n, every=0.1):
    """What is seen n times in a row beside a dray-stamp that works. One that was held up for half a second counts as none that works, and it is looked at anew."""
    seen, writes, at, end = [], 0, time.monotonic(), time.monotonic() + 60 * SLOW
    while len(seen) < n:
        time.sleep(every)  # a measurement, not a wait
        seen.append(look())
        got, now = app.status()["writes"], time.monotonic()
        assert now < end, f"the application is held up again and again; seen are {seen}"
        if got > writes:
            writes, at = got, now
        elif now - at > 0.6:
            seen.clear()
    return seen


class LoadAgent(Agent):
    """volumes: name=milliseconds (0: as fast as it is)."""

    def __init__(self, scratch, volume_bytes, config="", **volumes):
        path = scratch.path("drayd.yaml")
        with open(path, "w") as f:
            f.write("allow_faults: true\n" + config)
        super().__init__(scratch, options=("--config", path))
        scratch.agents.append(self)
        self.size, self.last = volume_bytes, {}
        block = os.urandom(MiB)
        for v, delay in volumes.items():
            with open(os.path.join(scratch.mem, v), "wb") as f:
                for _ in range(volume_bytes // MiB):
                    f.write(block)
            self.volume(v, f"fault:delay_ms={delay}:{scratch.mem}/{v}" if delay else f"{scratch.mem}/{v}")

    def begin(self, name, volumes, **keys):
        """A session of these volumes, in this order."""
        return self.spec({"name": name, "switch": {"when": "manual"}, **keys, "pairs": [
            {"source": f"volume:{v}", "target": os.path.join(self.s.mem, v + ".new"), "create": "thin"} for v in volumes]})

    def pairs(self, session):
        """As shown now. No look sees less of a pair done than the one before it."""
        got = self.show(session)["pairs"]
        for i, p in enumerate(got):
            done = p["progress"]["bytes_done"] or 0
            assert done >= self.last.get((session, i), 0), (session, i, done, self.last)
            self.last[session, i] = done
        return got

    def wait_copying(self, session):
        wait_for("all copy", lambda: all(p["state"] == "copying" for p in self.pairs(session)))

    def binds(self, session, limit, of=None, key=None, value=None, which=None, set_=(), settings=()):
        """After what is set it is this that binds these pairs (by number from 0; None: all). Other words than those given count as they come."""
        if set_:
            self.run("set", session, *set_)
        if settings:
            self.run("settings", *settings)
        began = time.monotonic()
        seen = []

        def so():
            seen[:] = [p.get("bound_by") or {} for p in self.pairs(session)]
            return all(b.get("limit") == limit and b.get("of") == of and key in (None, b.get("key")) and value in (None, b.get("value"))
                       for i, b in enumerate(seen) if which is None or i in which)

        try:
            wait_for("bound", so)
        except AssertionError:
            raise AssertionError(f"{limit} of {of} ({key}, {value}) should bind {which}; it is {seen}: {self.show(session)}") from None
        print(f"{' '.join([*set_, *settings]):60} {limit}, {of}: told after {time.monotonic() - began:.2f} s")

    def rates(self, volumes, seconds=1.5):
        """MiB/s of each volume's copy that was begun, by dray-iod's own count."""
        def count():
            return [self.json("volume", "show", v)["paced_bytes"] for v in volumes]
        t0, before = time.monotonic(), count()
        time.sleep(seconds)  # a measurement, not a wait
        after, t1 = count(), time.monotonic()
        return [(y - x) / MiB / (t1 - t0) for x, y in zip(before, after)]

    def volume_limit(self, volume, key="rate_now"):
        return self.json("volume", "show", volume)["limits"][key]

    def ends_with_each_byte_copied_once(self, session):
        """It is let go, and no byte was copied twice, whatever was set meanwhile. (Also beside an application: what it writes is mirrored where it was copied, and
        waits where it is being copied; it makes work only while a target is set aside.)"""
        self.run("set", session, "limits.step=1MiB")
        self.wait(session, "synced", 120)
        done = self.pairs(session)
        for p in done:
            g = p["progress"]
            assert g["bytes_recopied"] == 0 and g["bytes_copied"] + g["bytes_skipped"] == self.size, g
        return done
