#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""What a periodic session can't honour is refused, all at once, with place, value, code and what is legal, and nothing is made."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from agent import AgentTest

with AgentTest() as t:
    t.iod.add("orders", t.file("orders", 1 << 20))
    t.iod.add("huge", t.file("huge", 1 << 20), size=1 << 50)
    backup = os.path.join(t.dir, "backup")
    os.mkdir(backup)

    def spec(**kw):
        doc = {"name": "night", "mode": "copy", "start": {"every": "24h", "at": "02:00", "keep": 7},
               "pairs": [{"source": "volume:orders", "target": backup}]}
        doc.update(kw)
        return doc

    def pair(**kw):
        return spec(pairs=[dict({"source": "volume:orders", "target": backup}, **kw)])

    def refused(doc, **codes):
        p = t.refused("POST", "/sessions", doc)
        assert p.exit == 3 and p.codes() == {k.replace("_", "/"): v for k, v in codes.items()}, (doc, p)
        for e in p.body["errors"]:
            assert e["legal"] and e["detail"] and e["line"], e
        return p.body["errors"]

    free = os.statvfs(backup).f_bavail * os.statvfs(backup).f_frsize
    e = refused(pair(target=os.path.join(t.dir, "nowhere", "x-{time}.img")), _pairs_0_target="not_found")[0]
    assert e["value"].endswith("nowhere/x-{time}.img") and "/nowhere:" in e["detail"], e
    refused(pair(target=os.path.join(t.dir, "nowhere")), _pairs_0_target="not_found")
    refused(pair(target=t.file("file")), _pairs_0_target="bad_value")
    refused(pair(target="/dev/null"), _pairs_0_target="bad_value")
    if os.geteuid():
        os.chmod(backup, 0o500)
        refused(pair(), _pairs_0_target="not_accessible")
        os.chmod(backup, 0o700)
    # A device, an export, a slice.
    for target in ("/dev/vda{time}x{time}", "nbd://localhost/x", {"resource": backup, "offset": "1M"}, backup + "/{when}.img"):
        refused(pair(target=target), _pairs_0_target="bad_value")
    refused(pair(target=[backup, backup]), _pairs_0_target="out_of_range")
    refused(pair(source=t.file("plain")), _pairs_0_source="bad_value")
    refused(pair(source="volume:none"), _pairs_0_source="not_found")
    refused(spec(mode="move", checkpoint=False, switch={"when": "manual", "retire": "zero"}), _mode="bad_value", _checkpoint="bad_value", _switch_when="bad_value",
            _switch_retire="bad_value")
    refused(pair(overwrite=True), _pairs_0_overwrite="bad_value")
    for start, codes in (({"every": "0s"}, {"_start_every": "out_of_range"}), ({"every": "5h", "at": "02:00"}, {"_start_every": "bad_value"}),
                         ({"every": "24h", "at": "2:00"}, {"_start_at": "bad_value"}), ({"every": "24h", "keep": 0}, {"_start_keep": "out_of_range"})):
        p = t.refused("POST", "/sessions", spec(start=start))
        assert p.codes() == {k.replace("_", "/"): v for k, v in codes.items()}, p
    # There has to be room for the working image, unless it is to be thin.
    assert free < 1 << 50
    e = refused(pair(source="volume:huge"), _pairs_0_target="too_small")[0]
    assert "create: thin" in e["legal"], e
    refused(pair(source="volume:huge", create="full"), _pairs_0_target="too_small")
    assert t.submit(dict(pair(source="volume:huge", create="thin"), name="thin"))["state"] != "failed"
    # A working image that is there is nobody's to take.
    with open(os.path.join(backup, ".orders-base.img"), "w", encoding="ascii") as f:
        f.write("mine")
    e = refused(pair(), _pairs_0_target="exists")[0]
    assert ".orders-base.img" in e["detail"], e
    os.unlink(os.path.join(backup, ".orders-base.img"))
    # One that another session has, and the same one twice.
    t.submit(spec())
    p = t.refused("POST", "/sessions", dict(pair(), name="again"))
    assert set(p.codes().values()) == {"locked"}, p
    # It stays what it is.
    for start in ("now", '{after: 2h}'):
        assert t.refused("PATCH", "/sessions/night", {"start": start}).codes() == {"/start": "not_settable"}
    t.set("night", start="{every: 12h, at: '02:00', keep: 2}")
    assert t.show("night")["start"] == {"every": "12h", "at": "02:00", "keep": 2}
    t.submit({"name": "once", "start": {"after": "2h"}, "pairs": [{"source": t.file("s"), "target": t.file("t")}]})
    assert t.refused("PATCH", "/sessions/once", {"start": "{every: 1h}"}).codes() == {"/start": "not_settable"}
    assert not [f for f in os.listdir(backup) if not f.endswith("-base.img")], os.listdir(backup)
