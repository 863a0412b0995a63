#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""drayd is killed while dray-iod is behind: what it asked for is done only after the next drayd's first list, which so asks for it once more and is
refused. The pair goes on with what is there then. A refusal with nothing there fails the pair as ever, with its reason."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from agent import AgentTest  # noqa: E402


def late(t, method, **doc):
    """Holds the call back, kills drayd, and has the held one done after the new one made its own, which is refused."""
    t.iod.held[method] = True
    t.submit({"name": method, **doc})

    def kept():
        return [k for k in t.iod.kept if k[1]["method"] == method]

    t.wait("the call", kept)
    t.kill()
    t.start()
    t.wait("the next one's call", lambda: len(kept()) == 2)
    assert kept()[0][1]["params"] == kept()[1][1]["params"], kept()
    t.iod.fail[method] = [None, ("held", "it is a leg already")]  # the first is done
    t.iod.release(method)


with AgentTest(auto=True) as t:
    late(t, "volume.add", pairs=[{"source": t.file("a"), "target": t.file("a2"), "overwrite": True}])
    t.wait_state("volume.add", "completed")
    assert t.iod.count("leg.attach") == 1

    t.iod.add("v", "/nowhere/v", 1 << 20)
    late(t, "leg.attach", pairs=[{"source": "volume:v", "target": t.file("v2"), "overwrite": True}], switch={"when": "manual"})
    t.wait_state("leg.attach", "synced")
    assert len(t.iod.volumes["v"]["legs"]) == 2

    # Nobody did it: the refusal stands, and is told.
    for method, pair, side in (("volume.add", {"source": t.file("b"), "target": t.file("b2")}, "source"),
                               ("leg.attach", {"source": t.file("c"), "target": t.file("c2")}, "target")):
        t.iod.fail[method] = [("held", "no such luck")]
        name = "not-" + method
        t.submit({"name": name, "pairs": [pair | {"overwrite": True}]})
        t.wait_state(name, "failed")
        assert t.show(name)["pairs"][0]["reason"] == f"{side} {pair[side]}: no such luck", t.show(name)
        t.verb(name, "retry")
        t.wait_state(name, "completed")
