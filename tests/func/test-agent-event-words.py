#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Every event that the agent records is in the table of words (hooks are found by it) and in docs/API.md; and no others are."""
import glob
import os
import re

SOURCE = os.path.join(os.path.dirname(__file__), "../..")


def arguments(text, at):
    """The arguments of the call whose parenthesis is at `at`."""
    args, depth, begin, quoted = [], 0, at + 1, False
    for i in range(at, len(text)):
        c = text[i]
        if c == '"' and text[i - 1] != "\\":
            quoted = not quoted
        if quoted:
            continue
        depth += (c == "(") - (c == ")")
        if (c == "," and depth == 1) or depth == 0:
            args.append(text[begin:i])
            begin = i + 1
        if depth == 0:
            return args
    raise AssertionError("no end")


recorded = set()
for path in glob.glob(os.path.join(SOURCE, "src/agent/*.c")):
    with open(path, encoding="utf-8") as f:
        text = f.read()
    for name, nth in (("change_event", 2), ("agent_event", 2), ("note", 2), ("keep", 2), ("tell", 1)):
        for m in re.finditer(r"\b%s\(" % name, text):
            args = arguments(text, m.end() - 1)
            if len(args) > nth and '"' in args[nth]:
                recorded |= set(re.findall(r'"([a-z][a-z-]+)"', args[nth]))
    recorded |= set(re.findall(r'\.event = "([a-z-]+)"', text))
    # trouble.c makes a few of "target" or "source" and what happened.
    recorded |= {f"{who}-{what}" for what in re.findall(r'"%s-([a-z]+)"', text) for who in ("target", "source")}

with open(os.path.join(SOURCE, "src/agent/hook_find.c"), encoding="utf-8") as f:
    table = set(re.findall(r'"([a-z-]+)"', f.read().split("agent_event_words[] = {")[1].split("}")[0]))
with open(os.path.join(SOURCE, "docs/API.md"), encoding="utf-8") as f:
    told = set(re.findall(r"`([a-z-]+)`", re.search(r"\nEvents: (.*?) When following", f.read(), re.S)[1]))
assert len(recorded) > 30, recorded
assert recorded == table, (recorded - table, table - recorded)
assert told == table, (told - table, table - told)
