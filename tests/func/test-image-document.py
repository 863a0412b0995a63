#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Second targets that stay behind as good images of the switch's instant are told as clean, also where the agent saw dray-iod close them."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from dray import MiB, Scratch, wait_for

N = 8 * MiB

with Scratch() as s:
    a = s.agent()
    for v in ("v1", "v2", "v3", "v4"):  # whether the agent sees the legs on their way out is a matter of moments
        app = s.stamp(a.volume(v, s.file("old-" + v, N, True)), "app-" + v, "--rate", "2000", "--no-reconnect")
        more = [s.holdback(f"{v}-{i}", N) for i in range(2)]
        a.spec({"name": v, "leg_timeout": "1m", "pairs": [
            {"source": "volume:" + v, "target": [s.path("new-" + v), *(m.uri for m in more)], "create": "thin", "overwrite": True}]})
        a.wait(v, "synced")
        a.run("switch", v)

        def told(state):
            doc = a.show(v)
            assert doc["state"] == state, doc
            for image in doc["pairs"][0]["targets"][1:]:
                assert (image["state"], image["dirty_bytes"]) == ("detached", 0) and "error" not in image, image

        told("switched")
        wait_for("the images are closed", lambda: len(a.json("volume", "show", v)["legs"]) == 2)
        told("switched")
        app.end()
        a.run("commit", v, "--yes")
        told("committed")
