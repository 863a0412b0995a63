#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""/metrics is what a strict parser of Prometheus' text takes, says what is so, and has a bounded number of series."""
import os
import re
import sqlite3
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from agent import AgentTest  # noqa: E402

NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"


def labels_of(text):
    """{label: value} of what stands in the braces; every character is accounted for."""
    labels, at = {}, 0
    while at < len(text):
        m = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\[\\"n])*)"(,|$)').match(text, at)
        assert m and m[1] not in labels, text
        labels[m[1]] = re.sub(r"\\(.)", lambda x: "\n" if x[1] == "n" else x[1], m[2])
        at = m.end()
    return labels


def parse(text):
    """{name: {labels: value}}, or an assertion: the format of https://prometheus.io/docs/instrumenting/exposition_formats/, strictly."""
    assert text.endswith("\n") and "\r" not in text and "\n\n" not in text
    help_, type_, series, current, done = {}, {}, {}, None, set()
    for line in text.split("\n")[:-1]:
        if line.startswith("#"):
            m = re.fullmatch(r"# (HELP|TYPE) (%s) (.+)" % NAME, line)
            assert m, line
            kind, name, rest = m.groups()
            where = help_ if kind == "HELP" else type_
            assert name not in where and name not in done, f"twice: {line}"
            where[name] = rest
            if kind == "HELP":
                assert name not in type_, "HELP comes first"
                done.add(current)
                current = name
            else:
                assert name == current and rest in ("counter", "gauge", "histogram", "summary", "untyped"), line
            continue
        m = re.fullmatch(r"(%s)(?:\{(.*)\})? (-?[0-9]+(?:\.[0-9]+)?(?:e[-+]?[0-9]+)?|NaN|[+-]Inf)" % NAME, line)
        assert m, line
        name, labels, value = m.groups()
        family = re.sub(r"_(bucket|sum|count)$", "", name) if type_.get(re.sub(r"_(bucket|sum|count)$", "", name)) == "histogram" else name
        assert family == current and family in type_, f"outside its family: {line}"
        if type_[family] == "counter":
            assert family.endswith("_total") and float(value) >= 0, line
        key = tuple(sorted(labels_of(labels or "").items()))
        assert key not in series.setdefault(name, {}), f"twice: {line}"
        series[name][key] = float(value)
    assert set(help_) == set(type_)
    for name, t in type_.items():
        if t == "histogram":
            buckets = series[name + "_bucket"]
            order = sorted(buckets, key=lambda k: float(dict(k)["le"]))
            assert dict(order[-1])["le"] == "+Inf" and buckets[order[-1]] == series[name + "_count"][()]
            assert [buckets[k] for k in order] == sorted(buckets.values()), "buckets are cumulative"
            assert name + "_sum" in series
    return series


with AgentTest(auto=False, config="active_pairs: 3\n") as t:
    def metrics():
        status, text = t.request("GET", "/metrics")
        assert status == 200
        return parse(text)

    def one(m, name, **labels):
        found = [v for k, v in m[name].items() if labels.items() <= dict(k).items()]
        assert len(found) == 1, (name, labels, m.get(name))
        return found[0]

    assert parse('# HELP a b\n# TYPE a gauge\na{x="\\"\\\\\\n"} 1\n')["a"] == {(("x", '"\\\n'),): 1.0}
    m = metrics()
    assert one(m, "dray_iod_up") == 1 and one(m, "dray_sessions", state="copying") == 0, m
    evil = 'or"der\\s'
    for n in "abcde":
        t.iod.add(n, "/nowhere/" + n, 1 << 20)
    doc = t.submit({"name": evil, "limits": {"active_pairs": 1}, "pairs": [{"source": f"volume:{n}", "target": t.file(n)} for n in "ab"]})
    t.submit({"name": "two", "pairs": [{"source": f"volume:{n}", "target": t.file(n)} for n in "cde"]})
    t.wait("three", lambda: one(metrics(), "dray_pairs", state="copying") == 3)
    t.iod.leg("a").update(done_bytes=1 << 19, copied_bytes=(1 << 19) + 4096, recopied_bytes=4096, dirty_bytes=1 << 19)
    t.iod.volumes["a"]["latency_us"] = {"read_p50": 64, "read_p99": 1024, "write_p50": 128, "write_p99": 2048}
    t.iod.event()
    t.wait("seen", lambda: one(metrics(), "dray_pair_done_bytes", id=doc["id"], pair="1") == 1 << 19)
    m = metrics()
    assert one(m, "dray_queued_pairs", limit="session") == 1 and one(m, "dray_queued_pairs", limit="agent") == 1, m["dray_queued_pairs"]
    assert one(m, "dray_active_pairs") == one(m, "dray_active_pairs_limit") == 3
    assert one(m, "dray_pair_copied_bytes_total", session=evil, pair="1") == (1 << 19) + 4096
    assert one(m, "dray_pair_recopied_bytes_total", session=evil, pair="1") == 4096
    assert one(m, "dray_session_done_bytes", session=evil) == 1 << 19 and one(m, "dray_session_bytes", session=evil) == 2 << 20
    assert one(m, "dray_pair_dirty_bytes", session=evil, pair="1") == 1 << 19
    assert one(m, "dray_volume_latency_microseconds", volume="a", op="read", quantile="0.99") == 1024
    assert one(m, "dray_events_total", event="submitted") == 2 and one(m, "dray_events_total", event="state") >= 6
    assert one(m, "dray_switch_blackout_microseconds_count") == 0

    # What every event counts is what is on record, of this start.
    t.refused("POST", f"/sessions/{doc['id']}/undo", {})
    t.set("two", priority=3)
    events = t.call("GET", "/events")
    m = metrics()
    for word in {e["event"] for e in events}:
        assert one(m, "dray_events_total", event=word) == len([e for e in events if e["event"] == word]), word
    assert one(m, "dray_events_total", event="other") == 0

    # A switch and its blackout.
    t.call("PATCH", "/settings", {"active_pairs": 10})
    t.set(doc["id"], limits__active_pairs="none")
    t.wait_states(doc["id"], "copying", "copying")
    t.iod.sync("a", "b")
    t.wait_state(doc["id"], "synced")
    t.verb(doc["id"], "switch")
    m = metrics()
    us = [p["blackout_us"] for p in t.show(doc["id"])["pairs"]]
    assert one(m, "dray_switch_blackout_microseconds_count") == 2, m["dray_switch_blackout_microseconds_bucket"]
    assert one(m, "dray_switch_blackout_microseconds_sum") == sum(us)
    for le in (1000, 10000, 10000000):
        assert one(m, "dray_switch_blackout_microseconds_bucket", le=str(le)) == sum(u <= le for u in us)

    # A repository that can't be written.
    before = one(m, "dray_repository_errors_total")
    db = sqlite3.connect(t.state + "/repository.db", isolation_level=None, timeout=30)
    db.execute("BEGIN IMMEDIATE")
    t.refused("PATCH", "/sessions/two", {"priority": 4})
    db.execute("ROLLBACK")
    assert one(metrics(), "dray_repository_errors_total") > before

    # Many pairs: the session has figures, its pairs have not; the number of lines stays small.
    for i in range(300):
        t.iod.add(f"v{i}", f"/nowhere/v{i}", 1 << 20)
    big = t.submit({"name": "big", "limits": {"active_pairs": 1}, "pairs": [{"source": f"volume:v{i}", "target": t.file(f"v{i}", 1 << 20)} for i in range(300)]})
    m = metrics()
    assert one(m, "dray_session_bytes", id=big["id"]) == 300 << 20
    assert not [k for k in m["dray_pair_bytes"] if dict(k)["id"] == big["id"]] and one(m, "dray_left_out_pairs") == 300
    assert one(m, "dray_pairs", state="queued") == 299 and one(m, "dray_queued_pairs", limit="session") == 299
    # Many volumes: so many have figures, the others are counted.
    assert one(m, "dray_left_out_volumes") == 0
    there = len(t.iod.volumes)
    for i in range(2100):
        t.iod.add(f"w{i}", f"/nowhere/w{i}", 1 << 20)
    t.iod.event()
    t.wait("they are seen", lambda: f"\ndray_left_out_volumes {there + 2100 - 2048}\n" in t.request("GET", "/metrics")[1], 60)
    m = metrics()
    assert len(m["dray_volume_size_bytes"]) == len(m["dray_volume_reads_total"]) == 2048
    t.iod.stop()
    t.wait("it is seen", lambda: one(metrics(), "dray_iod_up") == 0)
