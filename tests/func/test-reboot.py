#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""The host is restarted (both programs killed, another boot id): what has an identity goes on from the map; a target that has none that
outlives a boot is not written before somebody vouches for it, and the document says so; what was queued is checked again before it is touched."""
import os
import sys
import uuid

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from dray import MiB, Scratch, same, skip, wait_for
from nbdclient import Client

with Scratch() as s:
    config, boot = s.path("drayd.yaml"), s.path("boot-id")
    with open(config, "w") as f:
        f.write("allow_faults: true\n")

    def new_boot():
        with open(boot, "w") as f:
            f.write(str(uuid.uuid4()) + "\n")

    new_boot()
    os.environ["DRAY_BOOT_ID"] = boot
    a = s.agent(options=("--config", config))

    def reboot():
        pid = a.iod_pid()
        a.process.kill()
        a.process.wait()
        os.kill(pid, 9)
        wait_for("dray-iod is gone", lambda: not os.path.exists(f"/proc/{pid}"))
        new_boot()
        a.start()

    # A memory file system's device number is another one after a boot, perhaps another file system's.
    memory = os.path.join(s.mem, "target")
    if not os.path.isdir("/dev/shm") or not s.mem.startswith("/dev/shm"):
        skip("no memory file system at /dev/shm")
    for n in ("keeps", "moves"):
        a.volume(n, s.file(n, 8 * MiB, True))
    with open(memory, "wb") as f:
        f.truncate(8 * MiB)
    stable = s.path("stable")
    a.spec({"name": "both", "pairs": [{"source": "volume:keeps", "target": stable, "create": "thin"},
                                      {"source": "volume:moves", "target": memory}]})
    a.wait("both", "synced")
    legs = {n: a.json("volume", "show", n)["legs"][1] for n in ("keeps", "moves")}
    if not legs["keeps"]["stable"] or legs["moves"]["stable"]:
        skip("this file system's identities are not what the test needs")
    copied = a.pair("both")["progress"]["bytes_copied"]
    a.spec({"name": "waits", "limits": {"rate": "1"}, "pairs": [{"source": s.file("off", 4 * MiB, True), "target": s.file("off-target", 4 * MiB)}]})

    reboot()
    wait_for("one goes on, one waits for a person", lambda: [p["state"] for p in a.show("both")["pairs"]] == ["synced", "failed"])
    doc = a.show("both")
    assert "new boot" in doc["pairs"][1]["reason"] and memory in doc["pairs"][1]["reason"], doc
    assert doc["pairs"][0]["progress"]["bytes_copied"] == copied, "copied again"
    assert a.json("events")[-1]["seq"] and any(e["event"] == "agent-started" and "restart of the host" in e["detail"] for e in a.json("events"))
    app = Client(a.nbd_socket, "moves")
    before = open(memory, "rb").read()
    app.write(0, b"after boot".ljust(4096, b"."))
    app.flush()
    assert open(memory, "rb").read() == before, "written without a word"
    assert a.json("switch", "both", "--pair", "2", status=5)
    # Its locks stay, until somebody vouches for it or gives it up.
    assert memory in [lock["resource"] for lock in a.json("locks")]
    a.run("retry", "both", "--pair", "2")
    a.wait("both", "synced")
    app.close()
    assert same(memory, s.path("moves")) and same(stable, s.path("keeps"))
    assert a.show("waits")["state"] == "copying"
    a.run("cancel", "waits")
    a.run("cancel", "both")
    os.unlink(memory)

    # Queued before the boot: what is found under the names has to be what was checked.
    with open(memory, "wb") as f:
        f.truncate(4 * MiB)
    target = s.file("swapped", 4 * MiB)
    a.spec({"name": "first", "limits": {"rate": "1"}, "pairs": [{"source": s.path("off"), "target": s.file("t0", 4 * MiB)}]})
    a.spec({"name": "queued", "limits": {"active_pairs": 1, "rate": "1"}, "pairs": [
        {"source": s.file("one", 4 * MiB, True), "target": s.file("t1", 4 * MiB)},
        {"source": s.file("two", 4 * MiB, True), "target": target},
        {"source": s.file("three", 4 * MiB, True), "target": memory},
        {"source": s.file("four", 4 * MiB, True), "target": s.file("t4", 4 * MiB)}]})
    wait_for("they wait", lambda: [p["state"] for p in a.show("queued")["pairs"]][1:] == ["queued"] * 3)
    os.rename(target, target + ".real")
    s.file("swapped", 4 * MiB)
    os.rename(s.path("four"), s.path("four.real"))
    s.file("four", 4 * MiB, True)
    reboot()
    a.run("set", "queued", "limits.rate=none")
    wait_for("judged one by one", lambda: [p["state"] for p in a.show("queued")["pairs"]] == ["completed", "failed", "failed", "failed"])
    pairs = a.show("queued")["pairs"]
    assert "not the storage that was recorded" in pairs[1]["reason"], pairs[1]
    assert "restarted" in pairs[2]["reason"] and "not the storage" in pairs[3]["reason"], pairs
    assert open(target, "rb").read() == bytes(4 * MiB) and open(memory, "rb").read() == bytes(4 * MiB)
    a.run("retry", "queued", "--pair", "3")
    wait_for("vouched for", lambda: a.pair("queued", 2)["state"] == "completed")
    assert same(memory, s.path("three"))
    a.run("retry", "queued", "--pair", "2")
    wait_for("refused again", lambda: a.pair("queued", 1)["state"] == "failed")
    os.rename(target + ".real", target)
    a.run("retry", "queued", "--pair", "2")
    wait_for("the right one", lambda: a.pair("queued", 1)["state"] == "completed")
