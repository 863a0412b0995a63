#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""copy.set of one volume from two connections at once, and while the volume is removed: each is answered with what it set, not with what the other
did, and nothing of a volume that is gone is looked at."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from dray import Scratch
from iod import Iod, Rpc

CALLS = 100

with Scratch() as s:
    iod = Iod(s)
    ends = [Rpc(iod.control), Rpc(iod.control)]

    def ask(volume):
        asked = []
        for i in range(CALLS):
            for k, rpc in enumerate(ends):
                rate = (i * 2 + k + 1) << 20
                asked.append((rpc, rpc.send("copy.set", volume=volume, rate=rate), rate))
        return asked

    def answers(asked):
        """{id: the whole line} of each connection: they may come in any order."""
        return [{got["id"]: got for got in (rpc.line() for _ in range(CALLS))} for rpc in ends]

    iod.call("volume.add", name="v", resource=s.file("v", "1M"))
    asked = ask("v")
    got = answers(asked)
    for rpc, number, rate in asked:
        line = got[ends.index(rpc)][number]
        assert line.get("result", {}).get("rate") == rate, (line, rate)

    for turn in range(5):
        name = f"w{turn}"
        iod.call("volume.add", name=name, resource=s.file(name, "1M"))
        asked = ask(name)
        iod.call("volume.remove", name=name)
        got = answers(asked)
        for rpc, number, rate in asked:
            line = got[ends.index(rpc)][number]
            assert line["result"]["rate"] == rate if "result" in line else line["error"]["data"]["kind"] == "not_found", (line, rate)
    assert [v["name"] for v in iod.call("volume.list")] == ["v"]
