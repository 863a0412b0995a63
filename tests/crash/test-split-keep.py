#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""A split that keeps its legs: images of one instant that stay as they are, whatever is written and over a kill at any point, all or none; then only what
changed since is brought."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from dray import MiB, Scratch
from iod import Iod
from nbdclient import Client

N, VOLUMES = 8 * MiB, ("v", "w")


def content(path):
    with open(path, "rb") as f:
        return f.read()


def wait_synced(iod, legs):
    for v in VOLUMES:
        iod.wait_synced(v, legs[v])


def write(iod, volume, offset, byte):
    c = Client(iod.nbd_socket, volume)
    c.write(offset, byte * 4096)
    c.flush()
    c.close()


def aside(iod, legs):
    return [iod.leg(v, legs[v])["set_aside"] for v in VOLUMES]


def go_on(iod, legs, killed):
    """What changed since comes, and no more; after a kill what was not on record yet, too."""
    for v in VOLUMES:
        before = iod.leg(v, legs[v])
        assert killed or before["dirty_bytes"] == MiB, before
        iod.call("leg.pause", volume=v, leg=legs[v], paused=False)
        iod.wait_synced(v, legs[v])
        after = iod.leg(v, legs[v])
        assert not after["set_aside"] and not after["paused"], after
        moved = after["copied_bytes"] - before["copied_bytes"]
        assert moved > 0 if killed else moved == MiB, (before, after)


with Scratch() as s:
    iod = Iod(s)
    legs = {}
    for v in VOLUMES:
        iod.call("volume.add", name=v, resource=s.file(v, N, data=True))
        legs[v] = iod.attach(v, s.file(v + "-copy", N))
    iod.patient(*VOLUMES)
    wait_synced(iod, legs)
    members = [{"volume": v, "legs": [legs[v]]} for v in VOLUMES]

    def split(token):
        return iod.call("split", token=token, deadline_ms=60000, members=members, keep=True)

    # Nothing is brought while it is an image, not over a kill either.
    for restart in (False, True):
        wait_synced(iod, legs)
        got = split(f"s{restart}")
        assert [m["images"] for m in got["members"]] == [[{"leg": legs[v], "error": None}] for v in VOLUMES], got
        images = [content(s.path(v + "-copy")) for v in VOLUMES]
        assert images == [content(s.path(v)) for v in VOLUMES]
        for v in VOLUMES:
            write(iod, v, 3 * MiB, b"%d" % restart)
        if restart:
            iod.kill()
            iod.start()
            iod.wait_served(*VOLUMES)
            for v in VOLUMES:
                write(iod, v, 3 * MiB + 8192, b"2")
        assert aside(iod, legs) == [True, True]
        assert images == [content(s.path(v + "-copy")) for v in VOLUMES]
        go_on(iod, legs, restart)
        assert [content(s.path(v + "-copy")) for v in VOLUMES] == [content(s.path(v)) for v in VOLUMES]

    # Another split of the same legs, killed at each point of it.
    for n, (point, done) in enumerate((("split-before", False), ("split-after", True), ("switch-done", True), ("volume-json-before:2", True),
                                       ("volume-json-after", True))):
        iod.stop()
        iod.start({"DRAY_CRASH_AT": point})
        iod.wait_served(*VOLUMES)
        wait_synced(iod, legs)
        images = [content(s.path(v)) for v in VOLUMES]
        try:
            split(f"c{n}")
            raise AssertionError(f"{point}: it was not killed")
        except (ConnectionError, OSError):
            pass
        iod.wait_crash()
        iod.start()
        iod.wait_served(*VOLUMES)
        assert not [f for f in os.listdir(iod.state) if f.startswith("split-") and f.endswith(".json")]
        assert aside(iod, legs) == [done, done], (point, aside(iod, legs))
        for v in VOLUMES:
            write(iod, v, 5 * MiB, b"%d" % n)
        if done:
            assert images == [content(s.path(v + "-copy")) for v in VOLUMES], point
            go_on(iod, legs, True)
        wait_synced(iod, legs)
        assert [content(s.path(v + "-copy")) for v in VOLUMES] == [content(s.path(v)) for v in VOLUMES], point
