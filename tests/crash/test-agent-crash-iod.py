#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""dray-iod dies at each named point of a switch, an undo, a split and a commit that drayd asked for, in turn alone and with drayd: then both
volumes are on one side, the document and the locks say which, nothing is suspended, no answered write is lost, and it goes on to the end."""
import http.client
import os
import signal
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from agent import AgentTest, Problem  # noqa: E402
from dray import MiB, ended, same  # noqa: E402
from nbdclient import Client  # noqa: E402

SIZE = 2 * MiB
CASES = [("switch", p) for p in ("epoch-before", "epoch-torn", "epoch-after", "apply-after", "switch-done")] + \
        [("undo", p) for p in ("epoch-before", "epoch-after")] + \
        [("split", p) for p in ("split-before", "split-after", "apply-after", "volume-json-after", "switch-done")] + \
        [("commit", p) for p in ("volume-json-before", "volume-json-after", "detach-forgotten")]
NAMES = ("v", "w")


def restart_iod(t, crash=None):
    """The agent and a new dray-iod, which dies where `crash` says (None: nowhere)."""
    t.kill()
    if crash:
        os.environ["DRAY_CRASH_AT"] = crash
    else:
        os.environ.pop("DRAY_CRASH_AT", None)
    t.start()
    pid = t.wait("a dray-iod", lambda: t.call("GET", "/status")["iod"]["pid"])  # the one from before may just have died at its point
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    t.wait("a new dray-iod", lambda: t.call("GET", "/status")["iod"]["pid"] not in (None, pid))
    t.wait("it serves", lambda: all(v["served"] for v in t.call("GET", "/volumes")))


def write(t, at, text):
    for name in NAMES:
        c = Client(os.path.join(t.run_dir, "nbd.sock"), name)
        c.write(at, (name + text).encode().ljust(4096, b"."))
        c.flush()
        c.close()


def read(t, at, text):
    for name in NAMES:
        c = Client(os.path.join(t.run_dir, "nbd.sock"), name)
        assert c.read(at, 4096) == (name + text).encode().ljust(4096, b"."), (name, text)
        c.close()


def one(t, verb, point, both):
    files = {n: (t.file(n + "-old", SIZE, os.urandom(SIZE)), t.file(n + "-new", SIZE)) for n in NAMES}
    for n in NAMES:
        t.call("POST", "/volumes", {"name": n, "resource": files[n][0]})
    t.submit({"name": "s", "mode": "copy" if verb == "split" else "move", "leg_timeout": "1h", "switch": {"when": "manual"},
              "pairs": [{"source": f"volume:{n}", "target": files[n][1]} for n in NAMES]})
    t.wait_state("s", "synced")
    if verb in ("undo", "commit"):
        t.verb("s", "switch")
    write(t, 0, "before")
    before = t.show("s")["state"]
    restart_iod(t, point)
    t.wait("it is as it was", lambda: t.show("s")["state"] == before and all(
        leg["state"] in ("mirror", "primary") for v in t.call("GET", "/volumes") for leg in v["legs"]))
    iod = t.call("GET", "/status")["iod"]["pid"]
    try:
        t.request("POST", f"/v1/sessions/s/{'switch' if verb == 'split' else verb}", {}, timeout=2)
    except (OSError, http.client.HTTPException):
        pass
    t.wait(f"{point} is reached", lambda: ended(iod))
    if both:
        restart_iod(t)
    t.wait("the outcome", lambda: t.show("s")["state"] != "switching" and t.call("GET", "/status")["iod"]["connected"])
    if not both:
        restart_iod(t)

    def sound():
        doc, volumes = t.show("s"), t.call("GET", "/volumes")
        primaries = {v["primary"] == files[v["name"]][1] for v in volumes}
        states = {p["state"] for p in doc["pairs"]}
        held = {int(lock["pair"]) for lock in t.call("GET", "/locks")}
        live = {i + 1 for i, p in enumerate(doc["pairs"]) if p["state"] not in ("committed", "completed")}
        if any(not v["served"] or v["suspended"] or v["in_doubt"] for v in volumes) or len(primaries) != 1 or held != live:
            return False
        # A commit is not one instant, and goes on by itself.
        return len(states) == 1 and (states & {"switched", "committed"} != set()) == primaries.pop()
    try:
        t.wait("sound", sound)
    except AssertionError as e:
        raise AssertionError(f"{e}: {t.show('s')} {t.call('GET', '/volumes')} {t.call('GET', '/locks')}") from None
    read(t, 0, "before")
    write(t, 4096, "after")
    if verb == "split":
        t.wait("the split's outcome", lambda: set(t.states("s")) in ({"synced"}, {"completed"}))
        doc_after = t.show("s")["state"]
        assert doc_after == ("synced" if point == "split-before" else "completed"), doc_after
        if set(t.states("s")) == {"synced"}:
            t.verb("s", "switch")
        copies = [open(files[n][1], "rb").read(4096) for n in NAMES]
        assert copies == [(n + "before").encode().ljust(4096, b".") for n in NAMES]
        # One instant for all: none of them has the write that came later, or, where it was split after that, both.
        later = {open(files[n][1], "rb").read(8192)[4096:] == (n + "after").encode().ljust(4096, b".") for n in NAMES}
        assert len(later) == 1
        return doc_after
    side = t.show("s")["state"]
    for _ in range(20):
        if t.show("s")["state"] == "committed":
            break
        try:
            t.verb("s", "commit" if t.show("s")["state"] == "switched" else "switch")
        except Problem as p:
            if p.exit != 5:
                raise
            t.wait("a moment", lambda: t.show("s")["state"] in ("synced", "switched", "committed"))
    assert t.wait_state("s", "committed")
    read(t, 0, "before")
    read(t, 4096, "after")
    # Where a commit was asked for it may have let a source go before the last write.
    for n in NAMES:
        assert verb == "commit" or side == "committed" or same(*files[n]), n
    return side


for k, (verb, point) in enumerate(CASES):
    with AgentTest(fake=False) as test:
        try:
            print(verb, point, one(test, verb, point, both=k % 2), flush=True)
        except AssertionError as e:
            raise AssertionError(f"{verb} {point}: {e}") from e
        finally:
            os.environ.pop("DRAY_CRASH_AT", None)
