/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * States and verbs: two tables and one checked setter.
 */
#ifndef DRAY_SESSION_STATE_H
#define DRAY_SESSION_STATE_H

#include <stdbool.h>

#define DRAY_PAIR_STATES(X) \
	X(SCHEDULED, "scheduled") X(QUEUED, "queued") X(STARTING, "starting") X(COPYING, "copying") X(SYNCED, "synced") \
	X(PAUSED, "paused") X(SWITCHING, "switching") X(SWITCHED, "switched") X(COMMITTED, "committed") \
	X(COMPLETED, "completed") X(CANCELED, "canceled") X(FAILED, "failed")

enum dray_pair_state {
#define X(name, word) DRAY_PAIR_##name,
	DRAY_PAIR_STATES(X)
#undef X
	DRAY_PAIR_STATE_COUNT
};

/* A session's states are the same words. */
enum dray_session_state {
#define X(name, word) DRAY_SESSION_##name,
	DRAY_PAIR_STATES(X)
#undef X
	DRAY_SESSION_STATE_COUNT
};

#define DRAY_VERBS(X) \
	X(PAUSE, "pause") X(RESUME, "resume") X(CANCEL, "cancel") X(SET, "set") X(SWITCH, "switch") X(UNDO, "undo") \
	X(COMMIT, "commit") X(RETRY, "retry") X(RETIRE, "retire") X(VERIFY, "verify")

enum dray_verb {
#define X(name, word) DRAY_VERB_##name,
	DRAY_VERBS(X)
#undef X
	DRAY_VERB_COUNT
};

enum dray_legal {
	DRAY_ILLEGAL,
	DRAY_LEGAL,
	DRAY_FULFILLED, /* already so: success, no event */
};

const char *dray_state_word(enum dray_pair_state state);
/* -1: no such word. */
int dray_state_from_word(const char *word);
const char *dray_verb_word(enum dray_verb verb);
int dray_verb_from_word(const char *word);

/* The transition table. */
bool dray_pair_may_become(enum dray_pair_state from, enum dray_pair_state to);
/* The verb table, for one pair. */
enum dray_legal dray_verb_legal(enum dray_verb verb, enum dray_pair_state state);
/* "pause, cancel or set": the verbs that are legal in `state`, for error messages. Static text. */
const char *dray_verbs_legal_words(enum dray_pair_state state);

/* No further change is possible. */
bool dray_state_final(enum dray_pair_state state);

#endif
