#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""The agent's settings change while it runs, over the API and by SIGHUP: all or none, durable, in force at once, told by events."""
import os
import signal
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from agent import AgentTest  # noqa: E402

MiB = 1 << 20

with AgentTest(config="active_pairs: 1\nrate: 8MiB\n") as t:
    def settings():
        return {k: (v["value"], v["source"]) for k, v in t.call("GET", "/settings").items()}

    def events(word):
        return [e for e in t.call("GET", "/events") if e["event"] == word]

    def hup(text):
        with open(t.dir + "/drayd.yaml", "w") as f:
            f.write(text)
        n = t.log().count("event=settings-re")
        t.process.send_signal(signal.SIGHUP)
        t.wait("it was read", lambda: t.log().count("event=settings-re") > n)

    def active():
        return sum(s in ("starting", "copying") for n in "abcdef" for s in t.states(n))

    s = settings()
    assert s["active_pairs"] == (1, "file") and s["rate"] == (8 * MiB, "file") and s["hook_retries"] == (3, "default"), s
    assert s["state_dir"] == (t.state, "command line") and s["in_flight"] == (None, "default"), s
    assert t.call("GET", "/status")["agent"]["settings"] == t.call("GET", "/settings")
    for n in "abcdef":
        t.iod.add(n, "/nowhere/" + n, 1 << 20)
        t.submit({"name": n, "priority": {"e": 8, "f": 2}.get(n, 5), "pairs": [{"source": f"volume:{n}", "target": t.file(n)}]})
    assert active() == 1

    # Raised: as many start at once, the most important first.
    t.call("PATCH", "/settings", {"active_pairs": 3, "rate": "30MiB", "in_flight": "6MiB"})
    t.wait("three", lambda: [t.states(n) for n in "abcdef"] == [["copying"], ["copying"], ["queued"], ["queued"], ["copying"], ["queued"]])

    def near(is_, want):  # a byte more or less, where a division does not come out even
        return is_ == want if is_ is None or want is None else abs(is_ - want) < 4

    def shares(key, **want):
        t.wait(f"{key} {want}: {[t.iod.volumes[n]['limits'].get(key) for n in want]}",
               lambda: all(near(t.iod.volumes[n]["limits"].get(key), v) for n, v in want.items()))

    shares("rate", a=30 * MiB * 5 // 18, b=30 * MiB * 5 // 18, e=30 * MiB * 8 // 18)
    shares("in_flight_bytes", a=2 * MiB, b=2 * MiB, e=2 * MiB)
    s = settings()
    assert s["active_pairs"] == (3, "api") and s["rate"] == (30 * MiB, "api"), s
    assert [(e["detail"], e["before"], e["after"], e["actor"]) for e in events("setting")] == [
        ("active_pairs", "1", "3", f"uid:{os.getuid()}"), ("rate", str(8 * MiB), str(30 * MiB), f"uid:{os.getuid()}"),
        ("in_flight", "none", str(6 * MiB), f"uid:{os.getuid()}")], events("setting")

    # Lowered: the least important and youngest goes back to the queue, with its legs and what was copied.
    t.iod.leg("b").update(done_bytes=MiB // 2, dirty_bytes=MiB // 2)
    t.call("PATCH", "/settings", {"active_pairs": 2})
    t.wait("two", lambda: active() == 2)
    assert t.states("e") == t.states("a") == ["copying"] and t.states("b") == ["queued"]
    t.wait("its leg is paused", lambda: t.iod.leg("b")["paused"])
    reason = t.show("b")["pairs"][0]["reason"]
    assert reason.startswith("waits for 1 of 2 active pairs of the agent"), reason
    assert t.iod.count("leg.detach") == 0
    t.call("PATCH", "/settings", {"active_pairs": 6})
    t.wait("all", lambda: [t.states(n) for n in "abcdef"] == [["copying"]] * 6)
    t.wait("it goes on", lambda: not t.iod.leg("b")["paused"])
    assert t.iod.count("leg.attach") == 6
    assert t.show("b")["pairs"][0]["progress"]["bytes_done"] == MiB // 2

    # All or none; what can't be changed now is named.
    before = settings()
    p = t.refused("PATCH", "/settings", {"active_pairs": 9, "rate": "fast", "colour": "red", "iod_threads": 2, "hooks_dir": "hooks"})
    assert p.status == 422 and p.exit == 3, p
    assert p.codes() == {"/rate": "bad_value", "/colour": "unknown_key", "/iod_threads": "needs_restart", "/hooks_dir": "bad_value"}, p
    rate = next(e for e in p.body["errors"] if e["pointer"] == "/rate")
    assert rate["legal"] == "bytes per second above 0 such as 200MiB, or none" and rate["value"] == "fast" and rate["legal"] not in rate["detail"], rate
    for bad in ({}, {"active_pairs": 0}, {"active_pairs": True}, {"active_pairs": "1.5"}, {"in_flight": 1}, {"hook_timeout": "0s"}):
        assert t.refused("PATCH", "/settings", bad).status in (400, 422), bad
    assert settings() == before

    # They survive a kill, and go before the file; taken back, the file holds again.
    t.kill()
    t.start()
    assert settings() == before
    t.call("PATCH", "/settings", {"rate": None, "in_flight": "default"})
    assert settings()["rate"] == (8 * MiB, "file") and settings()["in_flight"] == (None, "default")

    # SIGHUP: what is good is taken; what is set over the API, or needs a restart, is named in the log.
    hup("active_pairs: 4\nrate: 16MiB\nlog_level: debug\niod_threads: 3\nstate_dir: /elsewhere\n")
    s = settings()
    assert s["rate"] == (16 * MiB, "file") and s["active_pairs"] == (6, "api") and s["log_level"] == ("debug", "file"), s
    assert s["iod_threads"] == (None, "file"), s
    t.wait("dray-iod's level, too", lambda: t.iod.log_level == "debug")
    log = t.log()
    assert "event=setting-needs-restart msg=\"iod_threads: 3 in the file" in log, log
    assert "event=setting-overridden msg=\"active_pairs: 4 in the file" in log and "state_dir: /elsewhere in the file" in log, log
    shares("rate", e=16 * MiB * 8 // 30)
    # A bad file is refused as a whole, with every problem and its line; nothing changed.
    for bad, words in (("rate: 1MiB\nactive_pairs: many\ncolour: red\n", ("drayd.yaml:2: active_pairs: many is not", "drayd.yaml:3: unknown key colour")),
                       ("rate: [1\n", ("not YAML",)), ("- rate\n", ("KEY: VALUE",))):
        n = len(events("settings-refused"))
        hup(bad)
        for w in words:
            assert any(w in line and "event=settings-refused" in line for line in t.log().splitlines()), (w, t.log())
        assert settings() == s and len(events("settings-refused")) == n + 1
    assert events("settings-refused")[0]["actor"] == f"uid:{os.getuid()}"
    os.unlink(t.dir + "/drayd.yaml")
    t.process.send_signal(signal.SIGHUP)
    t.wait("told", lambda: len(events("settings-refused")) == 4)
    assert settings() == s
    t.call("PATCH", "/settings", {"active_pairs": "default"})
    hup("rate: none\n")
    s = settings()
    assert s["active_pairs"] == (32, "default") and s["rate"] == (None, "file") and s["log_level"] == ("info", "default"), s
    shares("rate", a=None, e=None)
