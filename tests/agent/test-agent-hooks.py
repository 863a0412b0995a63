#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Hooks are told of events in order, again after a kill of drayd, never wait for ever, and only those of the agent's own user are run."""
import json
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from agent import AgentTest  # noqa: E402
from dray import ended, kill_hooks  # noqa: E402

with AgentTest(start=False) as t:
    hooks, out = os.path.join(t.dir, "hooks.d"), os.path.join(t.dir, "out")
    os.makedirs(hooks, 0o755)

    def hook(kind, name, text, mode=0o755):
        os.makedirs(os.path.join(hooks, kind), 0o755, exist_ok=True)
        path = os.path.join(hooks, kind, name)
        with open(path + ".new~", "w") as f:
            f.write(text)
        os.chmod(path + ".new~", mode)
        os.rename(path + ".new~", path)
        return path

    def told(name="any"):
        try:
            with open(f"{out}.{name}") as f:
                return [json.loads(line) for line in f if line.endswith("\n")]
        except FileNotFoundError:
            return []

    def events(event=None):
        return [e for e in t.call("GET", "/events") if event in (None, e["event"])]

    def log(word):
        return [line for line in t.log().splitlines() if word in line]

    t.config = f"hooks_dir: {hooks}\nhook_timeout: 60s\nhook_retries: 1\n"
    APPEND = "#!/bin/sh\nwhile read -r line; do echo \"$line\" >>%s.%s; done\n"  # whole lines only
    hook("any", "10-all", APPEND % (out, "any"))
    hook("session-synced", "synced", APPEND % (out, "synced"))
    hook("pair-failed", "never", APPEND % (out, "never"))
    hook("submitted", "env", f"#!{sys.executable}\nimport os\nfds = os.listdir('/proc/self/fd')\nwith open('{out}.env.new', 'w') as f:\n"
         f"    f.write('\\n'.join([k + '=' + v for k, v in os.environ.items()] + [os.getcwd()] + fds))\n"
         f"os.rename('{out}.env.new', '{out}.env')\n")
    os.environ["SECRET_OF_THE_AGENT"] = "1"
    t.start()
    for n in "ab":
        t.iod.add(n, "/nowhere/" + n, 1 << 20)
    doc = t.submit({"name": "one", "pairs": [{"source": "volume:a", "target": t.file("a")}]})
    t.wait_states("one", "copying")
    t.iod.sync("a")
    t.wait("the hook of a state of the session", lambda: told("synced"))

    # All of them, in order, as the API tells them; the session's name beside.
    t.wait("all are told", lambda: len(told()) == len(events()) and told())
    for got, is_ in zip(told(), events()):
        assert got.pop("attempt") == 1
        assert got.pop("name") == (is_["session"] and "one")
        assert got == is_, (got, is_)
    assert [(e["event"], e["after"], e["session"]) for e in told("synced")] == [("session", "synced", doc["id"])]
    assert not told("never")

    t.wait("the environment", lambda: os.path.exists(out + ".env"))
    # A fixed environment, the root directory, no descriptors of the agent.
    with open(out + ".env") as f:
        env = f.read().splitlines()
    assert f"DRAY_SESSION={doc['id']}" in env and "DRAY_NAME=one" in env and "DRAY_EVENT=submitted" in env, env
    assert f"DRAY_ACTOR=uid:{os.getuid()}" in env and f"DRAY_SOCKET={t.run_dir}/agent.sock" in env and "/" in env, env
    assert not any("SECRET" in line for line in env), env
    assert {x for x in env if x.isdigit()} == {"0", "1", "2", "3"}, env  # 3 is the directory that was read

    # One that fails is tried again, then given up: in the log and an event, of which no hook is told.
    before = len(told())
    hook("set", "bad", f"#!/bin/sh\necho x >>{out}.tries\necho 'no \"luck\"' >&2\nexit 3\n")
    t.set("one", priority=7)
    t.wait("given up", lambda: events("hook-failed"))
    failed = events("hook-failed")[0]
    assert failed["session"] == doc["id"] and failed["actor"] == "drayd", failed
    assert "set/bad: exit status 3, after 2 attempts" in failed["detail"] and 'no "luck"' in failed["detail"], failed
    with open(out + ".tries") as f:
        assert len(f.readlines()) == 2
    assert len(log("event=hook-run-failed")) == 2
    t.set("one", priority=3)
    t.wait("again", lambda: len(events("hook-failed")) == 2)
    assert all(e["event"] != "hook-failed" for e in told()) and len(told()) > before

    # One that hangs, with a child, is killed with it; the session of others does not wait for it, nor does the agent.
    os.unlink(os.path.join(hooks, "set", "bad"))
    hook("set", "hang", f"#!/bin/sh\ntrap '' TERM\nsleep 1000 & echo $! >{out}.child\nsleep 1000\n")
    t.call("PATCH", "/settings", {"hook_retries": 0, "hook_timeout": "4s"})  # longer than one that does not hang takes
    t.set("one", priority=2)
    child = t.wait("it runs", lambda: os.path.exists(out + ".child") and open(out + ".child").read())
    t.submit({"name": "two", "pairs": [{"source": "volume:b", "target": t.file("b")}]})
    t.wait("another session's", lambda: [e for e in told() if e["name"] == "two"])
    t.wait("killed", lambda: [e for e in events("hook-failed") if "set/hang: not done after 4 s" in e["detail"]])
    t.wait("its child", lambda: ended(int(child)))
    os.unlink(os.path.join(hooks, "set", "hang"))
    t.call("PATCH", "/settings", {"hook_timeout": "60s"})

    # What others could have put there is not run; the log says so, once.
    bad = hook("set", "writable", APPEND % (out, "bad"), 0o775)
    bad2 = hook("set", "plain", APPEND % (out, "bad"), 0o644)
    os.symlink(bad, os.path.join(hooks, "set", "link"))
    os.makedirs(os.path.join(hooks, "set", "dir"))
    open_dir = os.path.dirname(hook("undone", "x", APPEND % (out, "bad")))
    os.chmod(open_dir, 0o777)
    hook("swiched", "typo", APPEND % (out, "bad"))
    hook("", "beside", APPEND % (out, "bad"))
    strangers = 0
    if os.geteuid() == 0:
        os.chown(hook("set", "stranger", APPEND % (out, "bad")), 12345, 12345)
        strangers = 1
    for p in (5, 6):
        before = len(told())
        t.set("one", priority=p)
        t.wait("the good one", lambda n=before: len(told()) > n)
    refused = log("event=hook-refused")
    assert len(refused) == 7 + strangers, refused
    for word in ("can be written by others (mode 0775)", "set/plain is not run: it is not executable", "set/link is not run", "no file",
                 "undone is not run", "swiched is not run: there is no event of that name", "hooks.d/beside is not run"):
        assert any(word in line for line in refused), (word, refused)
    assert not told("bad"), told("bad")
    os.unlink(bad2)

    # drayd is killed while a hook of one session hangs and others were told: after its return everything is told, in order.
    last = events()[-1]["seq"]
    hook("set", "slow", f"#!/bin/sh\n[ -e {out}.go ] || sleep 1000\n")
    t.call("PATCH", "/settings", {"hook_timeout": "1h"})
    t.set("one", priority=8)
    seq = [e for e in events("set") if e["seq"] > last][0]["seq"]
    t.wait("it is told of it", lambda: [e for e in told() if e["seq"] == seq])
    t.wait("it hangs", lambda: t.call("GET", "/status")["agent"]["hooks"]["running"] == 1)
    t.set("one", priority=9)
    t.verb("two", "cancel")
    t.wait("two's are told", lambda: [e for e in told() if e["name"] == "two" and e["after"] == "canceled"])
    t.kill()
    with open(out + ".go", "w"):
        pass
    t.start()
    t.wait("all are told", lambda: {e["seq"] for e in events() if e["event"] != "hook-failed"} <= {e["seq"] for e in told()})
    of_one = [e["seq"] for e in told() if e["name"] == "one"]
    again = of_one.index(seq, of_one.index(seq) + 1)
    assert of_one[again:] == sorted(of_one[again:]), of_one  # from where it was, in order
    assert len(of_one[again:]) >= 2
    t.wait("nothing waits", lambda: t.call("GET", "/status")["agent"]["hooks"]["waiting"] == 0)
    # What was delivered is not delivered again after an orderly end.
    n = len(told())
    t.terminate()
    t.start()
    t.wait("its start is told", lambda: len(told()) >= n + 2)
    assert [e["event"] for e in told()[n:]] == ["agent-started", "iod-connected"], told()[n:]
    # The hook of the killed agent was left alone; it is ours to end.
    kill_hooks(hooks)
