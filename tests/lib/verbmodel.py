# SPDX-License-Identifier: BSD-3-Clause
"""What a session and its pairs may be, and which verb does what then: a second telling of docs/states.md and the manual, in a few
tables and with nothing of the program in it.

States also change by themselves, so a verb meets one of several situations: all that can come of what was seen last. `outcomes()`
gives the exit statuses of all of them, and after the verb each pair must be in a state that one of them leads to.
"""
import itertools

STATES = "scheduled queued starting copying synced paused switching switched committed completed canceled failed".split()
FINAL = {"committed", "completed", "canceled"}
GONE = {"failed", "canceled"}

#        sch que sta cop syn pau swi swd com cpl can fai; Y legal, F fulfilled, N refused
TABLE = {
    "pause":  "N N Y Y Y F N N N N N N",
    "resume": "N N N N N Y N N N N N N",
    "cancel": "Y Y Y Y Y Y N N N N F Y",
    "switch": "N N N N Y N N F N N N N",
    "undo":   "N N N N N N N Y N N N N",
    "commit": "N N N N N N N Y F N N N",
    "retry":  "N N N N N N N N N N N Y",
    "verify": "N N N N Y N N Y N N N N",
}
TABLE = {verb: dict(zip(STATES, row.split())) for verb, row in TABLE.items()}


class Pair:
    def __init__(self, online, failing):
        self.online, self.failing = online, failing  # failing: its target may make it fail
        self.state, self.held = "queued", False      # held: paused by a verb of its own


class Session:
    def __init__(self, pairs, on_error, partial):
        self.pairs, self.on_error, self.partial = pairs, on_error, partial
        self.held = False       # paused as a whole
        self.automatic = False  # switch.when: synced or pair
        self.shaken = False     # something was killed: what is synced may have to catch up

    def held_pair(self, p):
        return self.held or p.held

    # ---- what happens by itself ----
    def steps(self, p, state):
        """The states that `state` may turn into without anybody's doing."""
        held, out = self.held_pair(p), set()
        if state == "queued" and not held:
            out |= {"starting"}
        # One that comes back under a pause of the session (by an undo, or because a switch was taken back) is held by it, too.
        if held and state in ("starting", "copying", "synced"):
            out |= {"paused"}
        if state == "starting":
            out |= {"copying", "queued"}
        if state == "copying":
            out |= {"synced", "queued", "starting"}
        if state == "synced":
            out |= {"copying", "queued", "starting"} if p.failing or self.shaken else set()
            if not p.online or self.automatic:
                out |= {"switching"}
        if state == "switching":
            out |= {"synced", "copying"} | ({"switched"} if p.online else {"completed"})
        if p.failing and state in ("queued", "starting", "copying", "synced", "paused", "switching"):
            out |= {"failed"}
        if self.on_error == "session" and any(q.failing for q in self.pairs) and state in ("queued", "starting", "copying", "synced", "paused"):
            out |= {"canceled"}
        return out

    def reach(self, p, state):
        seen, todo = {state}, [state]
        while todo:
            for s in self.steps(p, todo.pop()):
                if s not in seen:
                    seen.add(s)
                    todo.append(s)
        return seen

    # ---- verbs ----
    def verb(self, verb, states, wanted, named):
        """Exit statuses that are right for `verb` with the pairs in `states`."""
        table, pairs = TABLE[verb], self.pairs
        legal = [table[states[i]] if i in wanted else None for i in range(len(pairs))]
        if verb == "resume":
            # A pause that waits for its turn can be taken back as well.
            for i in wanted:
                if self.held_pair(pairs[i]) and states[i] in ("queued", "starting", "copying", "synced"):
                    legal[i] = "Y"
            return {0} if "Y" in legal else {5}
        if verb == "pause":
            return {0} if "Y" in legal or "F" in legal else {5}
        if verb in ("cancel", "commit"):
            passed = {"cancel": FINAL | {"failed"}, "commit": FINAL | {"failed"}}[verb]
            bad = any(legal[i] == "N" and (named or states[i] not in passed) for i in wanted)
            return {0} if not bad and ("Y" in legal or "F" in legal) else {5}
        if verb in ("switch", "undo"):
            left = []
            for i in wanted:
                over = states[i] in FINAL or states[i] == "failed" or not pairs[i].online
                if legal[i] == "F" or (over and not named):
                    if verb == "switch" and legal[i] != "F" and states[i] in GONE and not self.partial and self.live(states):
                        return {5}
                    continue
                left.append(i)
            if any(legal[i] == "N" for i in left):
                return {5}
            if left:
                return {0, 1, 5} if any(p.failing for p in pairs) or verb == "undo" else {0, 5}
            return {0} if "F" in legal else {5}
        if verb in ("retry", "verify"):
            if "Y" not in legal or (named and any(legal[i] != "Y" for i in wanted)):
                return {5}
            return {0} if verb == "retry" else {0, 1}
        raise ValueError(verb)

    @staticmethod
    def live(states):
        return any(s not in FINAL for s in states)

    def situations(self):
        options = [sorted(self.reach(p, p.state)) for p in self.pairs]
        return itertools.islice(itertools.product(*options), 20000)

    def outcomes(self, verb, wanted, named):
        out = set()
        for states in self.situations():
            out |= self.verb(verb, states, wanted, named)
            if len(out) == 3:
                break
        return out

    def after(self, verb, wanted, named):
        """The states in which each pair may be right after `verb` succeeded; the notes on pauses are brought up to date."""
        before = [self.reach(p, p.state) for p in self.pairs]
        if verb == "pause" and not named:
            self.held = True
        if verb == "resume":
            whole, self.held = self.held, False
            for i, p in enumerate(self.pairs):
                if i in wanted:
                    p.held = False
                elif whole and p.state not in FINAL:
                    p.held = True
        out = []
        for i, p in enumerate(self.pairs):
            goes = {s for s in before[i] if i in wanted and TABLE[verb][s] in "YF"}
            stays = before[i] - goes
            if verb == "pause" and named and i in wanted and goes & {"starting", "copying", "synced", "paused"}:
                p.held = p.held or p.state != "queued"
            to = {"pause": {"paused"}, "cancel": {"canceled"}, "switch": {"switched"} if p.online else {"completed", "switching"},
                  "undo": {"synced"}, "commit": {"committed"}, "retry": {"queued"}, "verify": goes, "resume": {"queued", "synced"}}[verb]
            now = set(stays)
            for s in goes:
                now |= to if not (verb == "switch" and s == "switched") else {"switched"}
            reach = set()
            for s in now:
                reach |= self.reach(p, s)
            out.append(reach)
        return out

    # ---- the session's state, from its pairs' ----
    def aggregate(self, states):
        n = {s: states.count(s) for s in STATES}
        left = [s for s in states if s not in GONE]
        if n["failed"] and (self.on_error == "session" or not left):
            return "failed"
        if not left:
            return "canceled"
        if self.held and any(s in ("scheduled", "queued", "starting", "copying", "synced", "paused", "switching") for s in left):
            return "paused"
        for word, of in (("switching", {"switching"}), ("copying", {"starting", "copying", "queued"}), ("paused", {"paused"}),
                         ("synced", {"synced"}), ("switched", {"switched"}), ("committed", {"committed"}), ("completed", {"completed"})):
            if any(s in of for s in left):
                return word
        raise ValueError(states)
