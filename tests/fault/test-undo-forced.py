#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""After the switch the target dies under the application, with errors or without a word: an undo that would lose something is refused with
figures; a forced one leads back to the source and says what it lacked; what the application had under way is carried out there, however long a leg
may take to answer (leg_timeout)."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from dray import MiB, Scratch, wait_for  # noqa: E402
from nbdclient import WRITE, Client, NbdError  # noqa: E402

SIZE = 8 * MiB


def scene(s, a, name, **options):
    target = s.holdback(name + "-target", SIZE)
    source = os.path.join(s.mem, name + "-source")  # on no disk that may be held up: what it lacks is counted
    with open(source, "wb") as f:
        f.write(os.urandom(SIZE))
    a.volume(name, source)
    a.spec({"name": name, "switch": {"when": "synced"}, "pairs": [{"source": f"volume:{name}", "target": target.uri, "overwrite": True}]} | options, "--wait")
    assert a.show(name)["state"] == "switched"
    return source, target


with Scratch() as s:
    a = s.agent()
    # The server is gone: requests wait for it. A forced undo does not; they are carried out by the source.
    for name, options in ("gone", {}), ("patient", {"leg_timeout": "1h"}):
        source, target = scene(s, a, name, **options)
        app = s.stamp(a.uri(name), name + "-app", "--rate", "200", "--size", str(SIZE // 2), "--depth", "4", "--no-reconnect")
        app.wait_writes(200)
        target.kill()
        seen = []
        wait_for("the application is stuck", lambda: (seen.append(app.status()["writes"]), len(seen) > 1 and seen[-1] == seen[-2])[1], every=0.5)
        c = Client(a.nbd_socket, name)
        write = c.send(WRITE, 6 * MiB, 4096, b"w" * 4096)  # of those that wait for half a minute before they fail
        doc = a.json("undo", name, "--force", "--yes")
        pair = doc["pairs"][0]
        print(f"{name}:", pair["undo_lost"])
        assert doc["state"] in ("synced", "copying") and a.json("volume", "show", name)["primary"] == source, doc
        c.receive(write, WRITE)
        assert c.read(6 * MiB, 4096) == b"w" * 4096
        app.wait_writes(200)
        got = app.end(good=False)
        with open(s.path(name + "-app.log")) as f:
            log = f.read()
        # One flush says that something written before may be lost; no write or read does.
        assert got["bad"] == 0 and got["reconnects"] == 0 and got["errors"] == log.count(": flush at") <= 1, (got, log)
        app.verify(source)
        event = [e for e in a.json("events", name) if e["event"] == "undone"][0]
        assert "forced" in event["detail"], event
        assert doc["switch"]["when"] == "manual"
        # The pair goes on with a target that may come back, or fails; the source serves in any case.
        a.run("cancel", name)

    # Writes fail on the target: their ranges are of unknown outcome there, and the source is behind for those alone.
    source, target = scene(s, a, "dying")
    c = Client(a.nbd_socket, "dying")
    c.write(0, b"a" * 4096)
    c.flush()
    target.faults("fail write EIO 100000", "fail read EIO 100000")
    try:
        c.write(4 * MiB, b"b" * 4096)
        raise AssertionError("the target took it")
    except NbdError:
        pass
    # The agent knows that a moment later than who wrote; until then the switch itself refuses it (status 1).
    wait_for("it is known", lambda: a.pair("dying").get("undo_dirty_bytes"))
    refused = a.json("undo", "dying", status=5)
    assert refused["undo_dirty_bytes"] > 0, refused
    doc = a.json("undo", "dying", "--force", "--yes")
    lost = doc["pairs"][0]["undo_lost"]
    assert lost["bytes"] > 0 and any(r["offset"] <= 4 * MiB < r["offset"] + r["length"] for r in lost["ranges"]) and not any(
        r["offset"] == 0 for r in lost["ranges"]), lost
    assert a.json("volume", "show", "dying")["primary"] == source
    assert c.read(0, 4096) == b"a" * 4096
    c.write(4 * MiB, b"c" * 4096)
    c.flush()
    assert c.read(4 * MiB, 4096) == b"c" * 4096

    # With nothing wrong it is as any other, and says so.
    source, target = scene(s, a, "fine")
    assert "nothing was lost" in a.run("undo", "fine", "--force", "--yes").stdout
    assert a.pair("fine")["undo_lost"] == {"bytes": 0, "ranges": []}
    assert a.json("switch", "fine")["state"] == "switched"
    # One whose source is not there either can't be forced.
    assert a.json("undo", "dying", "--force", "--yes", status=5)["code"] == "not_legal"
