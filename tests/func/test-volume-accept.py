#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""A volume whose storage has no identity that outlives a boot, and is found under its name as another one after it: not served, and it says
why, until somebody accepts it. In the same boot nobody's word helps. Needs root: a memory file system that is another one after a while."""
import os
import shutil
import subprocess
import sys
import uuid

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from dray import MiB, Scratch, skip, wait_for
from nbdclient import Client

if os.geteuid() != 0:
    skip("mounting needs root")

with Scratch() as s:
    where, boot, config = s.path("memory"), s.path("boot-id"), s.path("drayd.yaml")
    os.mkdir(where)

    def mount():
        if subprocess.run(["mount", "-t", "tmpfs", "none", where], capture_output=True, check=False).returncode:
            skip("may not mount")

    def new_boot():
        with open(boot, "w") as f:
            f.write(str(uuid.uuid4()) + "\n")

    with open(config, "w") as f:
        f.write("allow_faults: true\n")
    os.environ["DRAY_BOOT_ID"] = boot
    new_boot()
    mount()
    try:
        source = os.path.join(where, "source")
        shutil.copy(s.file("data", 2 * MiB, True), source)
        a = s.agent(options=("--config", config))
        a.volume("v", source)

        def again(boot_too):
            pid = a.iod_pid()
            a.process.kill()
            a.process.wait()
            os.kill(pid, 9)
            wait_for("dray-iod is gone", lambda: not os.path.exists(f"/proc/{pid}"))
            wait_for("unmounted", lambda: subprocess.run(["umount", where], capture_output=True, check=False).returncode == 0)
            mount()
            shutil.copy(s.path("data"), source)
            if boot_too:
                new_boot()
            a.start()
            wait_for("told", lambda: "not the storage that was recorded" in (a.json("volume", "show", "v")["reason"] or ""))
            assert a.json("volume", "show", "v")["served"] is False

        again(True)
        assert "accept" in a.json("volume", "show", "v")["reason"]
        a.run("volume", "accept", "v", "--yes")
        wait_for("served", lambda: a.json("volume", "show", "v")["served"])
        c = Client(a.nbd_socket, "v")
        with open(s.path("data"), "rb") as f:
            assert c.read(0, MiB) == f.read(MiB)
        c.close()
        assert any(e["event"] == "volume-accepted" and e["actor"] == "uid:0" for e in a.json("events"))

        again(False)
        a.run("volume", "accept", "v", "--yes")
        assert a.json("volume", "show", "v")["served"] is False
        a.run("volume", "remove", "v")
    finally:
        for agent in s.agents:
            agent.destroy()
        wait_for("unmounted", lambda: subprocess.run(["umount", where], capture_output=True, check=False).returncode == 0)
