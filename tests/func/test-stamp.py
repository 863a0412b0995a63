#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""The oracle itself: dray-stamp is content with an honest server, over restarts and power losses, and finds each kind of lie."""
import json
import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from dray import Scratch, wait_for

BLOCK = 4096


def verify(journal, target):
    done = subprocess.run(["dray-stamp", "verify", "--journal", journal, target], capture_output=True, text=True, check=False)
    return done.returncode, json.loads(done.stdout)


with Scratch() as s:
    # An honest disk that loses its power and is killed while the application runs.
    disk = s.holdback("disk", "8M")
    app = s.stamp(disk.uri, "app", "--fill", "--depth", "16", "--blocks-max", "4", "--zero-percent", "10", "--fua-percent", "10")
    app.wait_writes(500)
    for n, lose in enumerate((disk.power_loss, disk.kill, disk.power_loss, disk.kill), 1):
        lose()
        if lose == disk.kill:
            disk.start()
        wait_for("the application reconnects", lambda n=n: app.status()["reconnects"] >= n)
        app.wait_writes(300)
    got = app.end()
    assert got["reconnects"] == 4 and got["rechecked"] >= 4 * 2048 and got["reads"] > 0, got
    code, got = verify(app.journal, disk.uri)
    assert code == 0 and got["exact"] and got["blocks_checked"] == 2048, got
    disk.process.terminate()
    disk.process.wait()

    # A verified file; then one lie after the other.
    image = open(disk.file, "rb").read()
    assert verify(app.journal, disk.file)[0] == 0

    def lie(what, at, data):
        path = s.path("lie")
        with open(path, "wb") as f:
            f.write(image[:at] + data + image[at + len(data):])
        code, got = verify(app.journal, path)
        assert code == 1 and got["bad"] == 1 and what in got["first_bad"], (what, got)

    stamps = [i for i in range(2048) if image[i * BLOCK:][:8] == b"DRAYSTMP"]
    first, second = stamps[0] * BLOCK, stamps[1] * BLOCK
    lie("holds the block of volume 1 offset", first, image[second:second + BLOCK])
    lie("torn", first + 100, bytes([image[first + 100] ^ 1]))
    lie("zeroes", first, bytes(BLOCK))
    lie("no stamp", first, b"x" * BLOCK)

    # A disk that acknowledges flushes and forgets: found after the power loss. The old image is the forgetful disk.
    liar = s.holdback("liar", "8M")
    app = s.stamp(liar.uri, "app2", "--fill")
    app.wait_writes(200)
    liar.kill()
    with open(liar.file, "r+b") as f:
        f.write(bytes(8 << 20))
    liar.start()
    wait_for("the application reconnects", lambda: app.status()["reconnects"] >= 1)
    got = app.end(good=False)
    assert app.process.returncode == 1 and got["bad"] > 1000, got

    # An error is an error.
    app = s.stamp(liar.uri, "app3", "--volume", "1", "--fill")
    app.wait_writes(10)
    liar.faults("fail write EIO 1")
    wait_for("an error", lambda: app.status()["errors"] > 0)
    assert app.end(good=False)["errors"] == 1 and app.process.returncode == 1

    # Two volumes: images of one instant pass; one that is older than the other, or lacks a write in the middle, does not.
    two = [s.holdback(n, "1M") for n in "ab"]
    files = [d.file for d in two]

    def write_numbers(newest):
        for d in two:
            if d.process.poll() is not None:
                d.start()
        done = subprocess.run(["dray-stamp", "pair", "--uri", two[0].uri, "--uri2", two[1].uri, "--writes", str(newest)],
                              capture_output=True, text=True, check=True)
        assert json.loads(done.stdout)["newest"] == newest
        for d in two:
            d.process.terminate()
            d.process.wait()

    def one_instant(*images):
        return subprocess.run(["dray-stamp", "pair-verify", *images], capture_output=True, check=False).returncode == 0

    write_numbers(900)
    assert one_instant(*files)
    old = s.file("old", "1M", open(files[0], "rb").read())
    write_numbers(1000)
    assert one_instant(*files)
    assert not one_instant(old, files[1])
    assert not one_instant(files[1], files[0])
    torn = open(files[0], "rb").read()
    before = open(old, "rb").read()
    at = (950 - 1) % 256 * BLOCK
    assert not one_instant(s.file("torn", "1M", torn[:at] + before[at:at + BLOCK] + torn[at + BLOCK:]), files[1])
