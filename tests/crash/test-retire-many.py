#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Some hundred files of one session are renamed after their move, then deleted by command; drayd is killed in the middle of both. Each is retired once and only once:
a new file that took an old name in between is never touched."""
import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from dray import SLOW, Scratch, wait_for  # noqa: E402

N = 200
SIZE = 8192


def content(path):
    with open(path, "rb") as f:
        return f.read()


with Scratch() as s:
    a = s.agent()
    a.process.kill()
    a.process.wait()
    os.mkdir(s.path("src"))
    os.mkdir(s.path("dst"))
    sources = [s.path(f"src/{i}") for i in range(N)]
    for i, path in enumerate(sources):
        with open(path, "wb") as f:
            f.write(bytes([i % 251 + 1]) * SIZE)

    def events(word):
        return [e["pair"] for e in a.json("events", "many") if e["event"] == word]

    def moved(path):
        return f"{path}.retired-{sid}"

    def strangers():
        """New files under the names that are free; what they hold."""
        new = {}
        for path in sources:
            try:
                with open(path, "xb") as f:
                    f.write(b"new" + path.encode())
                new[path] = b"new" + path.encode()
            except FileExistsError:
                pass
        return new

    def end(words):
        doc = wait_for("all are retired", lambda: (d := a.show("many"))["finished"] and not [
            p for p in d["pairs"] if (p.get("retired") or {}).get("state") == "pending"] and d, 120)
        bad = [p["retired"] for p in doc["pairs"] if p["retired"]["state"] != "done"]
        assert not bad and not a.json("locks") and doc["phase"] is None, (bad[:3], doc["phase"])
        for word, times in words.items():
            got = events(word)
            assert sorted(got) == sorted([str(i + 1) for i in range(N)] * times), (word, len(got))
        left = [f for f in os.listdir(s.path("src")) if f.startswith(".dray-retired")]
        assert not left, left
        return doc

    # Renamed by the document; drayd ends behind the sixtieth rename, which it could not record.
    a.env["DRAY_CRASH_AT"] = "retire-renamed:60"
    a.start()
    del a.env["DRAY_CRASH_AT"]
    sid = a.spec({"name": "many", "switch": {"retire": "rename"}, "pairs": [
        {"source": path, "target": s.path(f"dst/{i}"), "create": "thin"} for i, path in enumerate(sources)]})["id"]
    assert a.process.wait(240 * SLOW) == 137
    renamed = [p for p in sources if os.path.exists(moved(p))]
    assert 60 <= len(renamed) < 64 and not any(os.path.exists(p) for p in renamed), len(renamed)
    new = strangers()
    assert sorted(new) == sorted(renamed)
    a.start()
    end({"retiring": 1, "retired": 1, "retire-failed": 0})
    for i, path in enumerate(sources):
        data = bytes([i % 251 + 1]) * SIZE
        assert content(moved(path)) == content(s.path(f"dst/{i}")) == data, path
        assert content(path) == new[path] if path in new else not os.path.exists(path), path

    # Deleted by command, under their new names; killed from outside when some are gone.
    a.process.kill()
    a.process.wait()
    a.start()
    command = s.start("dray", "retire", "many", "--how", "delete", "--yes", env=a.env, log="retire.log")
    until = time.monotonic() + 120 * SLOW
    while (there := sum(os.path.exists(moved(p)) for p in sources)) > N - 60:
        assert time.monotonic() < until, there
        time.sleep(0.001)
    a.process.kill()
    a.process.wait()
    command.wait(60 * SLOW)
    print(f"killed with {there} of {N} still there")
    new |= strangers()
    taken = {moved(p): b"another's" for i, p in enumerate(sources)
             if not os.path.exists(moved(p)) and not os.path.exists(s.path(f"src/.dray-retired-{sid}-{i + 1}"))}
    for path, data in taken.items():
        with open(path, "xb") as f:
            f.write(data)
    a.start()
    end({"retiring": 2, "retired": 2, "retire-failed": 0})
    for i, path in enumerate(sources):
        assert content(path) == new[path], path
        assert content(moved(path)) == taken[moved(path)] if moved(path) in taken else not os.path.exists(moved(path)), path
        assert content(s.path(f"dst/{i}")) == bytes([i % 251 + 1]) * SIZE, i
