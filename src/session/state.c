/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Two tables say everything about states; the rest of this file only looks things up in them.
 *
 * The life of a pair, in words. It waits (scheduled: for its start; queued: for a free place), is started by its
 * vehicle (starting), is copied and mirrored (copying) until both legs are equal (synced), and is switched (switching,
 * switched) and committed. A copy, and an offline move, end at completed. What can go wrong:
 *
 *  - queued goes back to scheduled, as long as its session has not begun, when that may not begin any more: its start was set anew,
 *    its window closed.
 *  - paused goes back to where it was: to a place in the queue, to the copy, or straight to synced.
 *  - synced goes back to copying when a leg was set aside and has to catch up.
 *  - switching goes to either side: switched, or back to synced (or copying, if the recount under the suspend found
 *    dirty regions). An undo is a switch: switched, switching, synced.
 *  - after a restart of the host a running pair is started or queued again.
 *  - failed is not the end: `retry` goes on from what is there, `cancel` gives it up. A switched pair never becomes
 *    failed or canceled: its application lives on the target, only undo and commit lead away.
 *
 * A verb is fulfilled when the pair already is in the state that the verb leads to.
 */
#include "session/state.h"

#include <assert.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

/* from: to scheduled queued starting copying synced paused switching switched committed completed canceled failed */
#define TRANSITIONS(X) \
	/*              sch que sta cop syn pau swi swd com cpl can fai */ \
	X(SCHEDULED,    0,  1,  1,  0,  0,  0,  0,  0,  0,  0,  1,  1) \
	X(QUEUED,       1,  0,  1,  0,  0,  0,  0,  0,  0,  0,  1,  1) \
	X(STARTING,     0,  1,  0,  1,  1,  1,  0,  0,  0,  0,  1,  1) \
	X(COPYING,      0,  1,  1,  0,  1,  1,  0,  0,  0,  1,  1,  1) \
	X(SYNCED,       0,  1,  1,  1,  0,  1,  1,  0,  0,  1,  1,  1) \
	X(PAUSED,       0,  1,  1,  1,  1,  0,  0,  0,  0,  0,  1,  1) \
	X(SWITCHING,    0,  0,  0,  1,  1,  0,  0,  1,  0,  1,  0,  1) \
	X(SWITCHED,     0,  0,  0,  0,  0,  0,  1,  0,  1,  0,  0,  0) \
	X(COMMITTED,    0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0) \
	X(COMPLETED,    0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0) \
	X(CANCELED,     0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0) \
	X(FAILED,       0,  1,  1,  1,  0,  0,  0,  0,  0,  0,  1,  0)

#define N DRAY_ILLEGAL
#define Y DRAY_LEGAL
#define F DRAY_FULFILLED
#define VERBS(X) \
	/*              sch que sta cop syn pau swi swd com cpl can fai */ \
	X(PAUSE,        N,  N,  Y,  Y,  Y,  F,  N,  N,  N,  N,  N,  N) \
	X(RESUME,       N,  N,  N,  N,  N,  Y,  N,  N,  N,  N,  N,  N) \
	X(CANCEL,       Y,  Y,  Y,  Y,  Y,  Y,  N,  N,  N,  N,  F,  Y) \
	X(SET,          Y,  Y,  Y,  Y,  Y,  Y,  Y,  Y,  N,  N,  N,  Y) \
	X(SWITCH,       N,  N,  N,  N,  Y,  N,  N,  F,  N,  N,  N,  N) \
	X(UNDO,         N,  N,  N,  N,  N,  N,  N,  Y,  N,  N,  N,  N) \
	X(COMMIT,       N,  N,  N,  N,  N,  N,  N,  Y,  F,  N,  N,  N) \
	X(RETRY,        N,  N,  N,  N,  N,  N,  N,  N,  N,  N,  N,  Y) \
	X(RETIRE,       N,  N,  N,  N,  N,  N,  N,  N,  Y,  Y,  N,  N) \
	X(VERIFY,       N,  N,  N,  N,  Y,  N,  N,  Y,  N,  N,  N,  N)

static const unsigned char transitions[DRAY_PAIR_STATE_COUNT][DRAY_PAIR_STATE_COUNT] = {
#define X(from, ...) [DRAY_PAIR_##from] = { __VA_ARGS__ },
	TRANSITIONS(X)
#undef X
};

static const unsigned char verbs[DRAY_VERB_COUNT][DRAY_PAIR_STATE_COUNT] = {
#define X(verb, ...) [DRAY_VERB_##verb] = { __VA_ARGS__ },
	VERBS(X)
#undef X
};
#undef N
#undef Y
#undef F

static const char *const state_words[] = {
#define X(name, word) [DRAY_PAIR_##name] = word,
	DRAY_PAIR_STATES(X)
#undef X
};

static const char *const verb_words[] = {
#define X(name, word) [DRAY_VERB_##name] = word,
	DRAY_VERBS(X)
#undef X
};

const char *dray_state_word(enum dray_pair_state state)
{
	assert(state < DRAY_PAIR_STATE_COUNT);
	return state_words[state];
}

int dray_state_from_word(const char *word)
{
	for (int i = 0; i < DRAY_PAIR_STATE_COUNT; i++)
		if (!strcmp(state_words[i], word))
			return i;
	return -1;
}

const char *dray_verb_word(enum dray_verb verb)
{
	assert(verb < DRAY_VERB_COUNT);
	return verb_words[verb];
}

int dray_verb_from_word(const char *word)
{
	for (int i = 0; i < DRAY_VERB_COUNT; i++)
		if (!strcmp(verb_words[i], word))
			return i;
	return -1;
}

bool dray_pair_may_become(enum dray_pair_state from, enum dray_pair_state to)
{
	assert(from < DRAY_PAIR_STATE_COUNT && to < DRAY_PAIR_STATE_COUNT);
	return transitions[from][to];
}

enum dray_legal dray_verb_legal(enum dray_verb verb, enum dray_pair_state state)
{
	assert(verb < DRAY_VERB_COUNT && state < DRAY_PAIR_STATE_COUNT);
	return verbs[verb][state];
}

static char legal_words[DRAY_PAIR_STATE_COUNT][96];

static void write_legal_words(void)
{
	for (int s = 0; s < DRAY_PAIR_STATE_COUNT; s++) {
		int left = 0;
		for (int v = 0; v < DRAY_VERB_COUNT; v++)
			left += verbs[v][s] == DRAY_LEGAL;
		char *p = legal_words[s], *end = p + sizeof legal_words[s];
		snprintf(p, (size_t)(end - p), "nothing");
		for (int v = 0; v < DRAY_VERB_COUNT; v++) {
			if (verbs[v][s] != DRAY_LEGAL)
				continue;
			left--;
			p += snprintf(p, (size_t)(end - p), "%s%s", verb_words[v],
				left > 1 ? ", " : left ? " or " : "");
			assert(p < end);
		}
	}
}

const char *dray_verbs_legal_words(enum dray_pair_state state)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	assert(state < DRAY_PAIR_STATE_COUNT);
	pthread_once(&once, write_legal_words);
	return legal_words[state];
}

bool dray_state_final(enum dray_pair_state state)
{
	for (int to = 0; to < DRAY_PAIR_STATE_COUNT; to++)
		if (dray_pair_may_become(state, to))
			return false;
	return true;
}
