#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
# Shows: NBD-export: discard zero
"""NBD exports are retired by zeroes and by discards; the zeroes are flushed; what fails is told and tried again; what is interrupted goes on
from where it was; what the server can't do is refused when the session is submitted."""
import os
import signal
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from dray import MiB, SLOW, Scratch, wait_for  # noqa: E402

SIZE = 33 * MiB  # three pieces


def content(path):
    with open(path, "rb") as f:
        return f.read()


def fill(s, name):
    s.file(name + ".img", SIZE, True)


with Scratch() as s:
    a = s.agent()

    def doc(name, source, way, **more):
        return {"name": name, "switch": {"when": "synced", "commit": "switched", "retire": way},
                "pairs": [{"source": source, "target": s.path(f"t-{name}"), "create": "thin"}], **more}

    def end(name):
        d = wait_for("the end of the retire", lambda: (d := a.show(name))["finished"] and d, 60)
        return d["pairs"][0]["retired"]

    fill(s, "z")
    z = s.holdback("z", SIZE)
    before = content(z.file)
    a.volume("z", z.uri)
    a.spec(doc("z", "volume:z", "zero"))
    r = end("z")
    assert r["state"] == "done" and r["bytes_done"] == SIZE, r
    z.kill()  # what was not flushed would be there again
    assert not any(content(z.file)) and content(s.path("t-z")) == before

    fill(s, "d")
    d = s.holdback("d", SIZE)
    a.spec(doc("d", d.uri, "discard"))
    assert end("d")["state"] == "done"
    d.kill()
    assert not any(content(d.file))  # this server's choice

    # Its server can't, of a volume and of an export that is not in use.
    fill(s, "n")
    n = s.holdback("n", SIZE, "--no-trim")
    a.volume("n", n.uri)
    for source in ("volume:n", s.holdback("m", SIZE, "--no-trim").uri):
        for way, legal in (("discard", "none or zero"), ("delete", "none or zero"), ("rename", "none or zero"), ("offline", "none or zero")):
            problem = a.spec(doc("n", source, way), status=3)
            assert [(e["pointer"], e["code"], e["legal"]) for e in problem["errors"]] == [("/switch/retire", "retire", legal)], problem
    problem = a.spec(doc("n", z.uri, "zero"), status=3)
    assert problem["errors"][0]["code"] == "unreachable", problem

    # An error on the way; by command it is tried again, and goes on as a new one.
    n.faults("fail zero EIO 100")
    a.spec(doc("n", "volume:n", "zero"))
    r = end("n")
    assert r["state"] == "failed" and "Input/output error" in r["reason"] and a.show("n")["state"] == "committed", r
    n.faults()
    assert a.json("retire", "n", "--yes")["pairs"][0]["retired"]["state"] == "done"
    n.kill()
    assert not any(content(n.file))

    # Told to stop in the middle, and not forgotten.
    fill(s, "i")
    i = s.holdback("i", SIZE)
    i.faults(f"delay zero 4000 {16 * MiB} {SIZE - 16 * MiB}")  # two more pieces: time to see it, and to say so
    a.spec(doc("i", i.uri, "zero"))
    r = wait_for("a part of it", lambda: (r := a.pair("i").get("retired")) and r.get("bytes_done") and r)
    assert r["state"] == "pending" and 0 < r["bytes_done"] < SIZE == r["bytes_total"], r
    a.process.send_signal(signal.SIGTERM)
    assert a.process.wait(60 * SLOW) == 0
    i.faults()
    a.start()
    r = a.pair("i")["retired"]
    assert r["bytes_done"] >= 16 * MiB, r
    assert end("i")["state"] == "done"
    i.kill()
    assert not any(content(i.file))
