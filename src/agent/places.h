/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Who may transfer: a pure decision, kept up to date by what changes.
 *
 * Pairs that transfer now come first, then those that wait; among each, higher priority first, then the earlier session, then the
 * earlier pair. Each is admitted while its session and the agent have a place free. So a running pair is never displaced by a waiting
 * one, but goes back to the queue when a limit was lowered, the least important and youngest first; and a pair held
 * up by its session's limit holds up nobody of another session.
 *
 * The order is that of the sessions, and within one that of its pairs: so a session keeps a bit for each pair that is active or
 * waits, and the sessions of which any pair waits are in one list for each priority, the oldest first. To find the next pair, nothing
 * that waits is touched apart from it. A session that is passed over because it has reached its own limit has pairs that are active: so
 * there are never more of these than places. What a waiting pair is told is worked out when it is asked for.
 *
 * A pair that is being resumed has its place in the order before it is queued: it is passed over, and its place is kept.
 */
#ifndef DRAY_AGENT_PLACES_H
#define DRAY_AGENT_PLACES_H

#include "base/bitmap.h"
#include "base/list.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum places_kind { PLACES_OUT, PLACES_ACTIVE, PLACES_WAITING, PLACES_RESUMING };

#define PLACES_PRIORITIES 10 /* 1 .. 9 are used */

struct places {
	uint64_t limit;  /* most active pairs; set it at will */
	const char *limit_key; /* what that limit is called; or NULL: active_pairs. Static, as the session's */
	uint64_t active;
	uint64_t changes; /* of which pairs are active, or of their priorities: it grows */
	struct dray_list waiting[PLACES_PRIORITIES], running[PLACES_PRIORITIES]; /* sessions, the oldest first */
};

struct places_session {
	struct dray_list waiting_node, running_node;
	uint64_t seq;   /* its age */
	uint64_t limit; /* UINT64_MAX: none */
	const char *limit_key; /* or NULL: limits.active_pairs */
	unsigned priority;
	struct dray_bitmap active, waiting, resuming; /* resuming: some of the waiting */
};

void places_init(struct places *q, uint64_t limit);
/* 0 or -ENOMEM. All pairs are out. */
int places_session_init(struct places_session *s, size_t n_pairs);
/* Takes all its pairs out first. */
void places_session_free(struct places *q, struct places_session *s);
void places_session_set(struct places *q, struct places_session *s, uint64_t seq, unsigned priority, uint64_t limit);
void places_pair_set(struct places *q, struct places_session *s, size_t pair, enum places_kind kind);

/* The next pair to be admitted; the caller makes it active (or takes it out) and asks again. false: none. */
bool places_next(const struct places *q, struct places_session **s, size_t *pair);
/* The next active pair that has no place any more; the caller has it wait (or takes it out) and asks again. false: none. */
bool places_surplus(const struct places *q, struct places_session **s, size_t *pair);
/* What a waiting pair waits for. */
struct places_wait {
	bool of_session;      /* a limit of the session, or else of the agent */
	uint64_t limit, before; /* ... and how many wait before it */
};
/* false: for nothing, it will be admitted. */
bool places_waits(const struct places *q, const struct places_session *s, size_t pair, struct places_wait *wait);
/* The same as a sentence. Which limit a waiting pair waits for, and how many wait before it. false: for none, it will be admitted. */
bool places_reason(const struct places *q, const struct places_session *s, size_t pair, char *text, size_t size);

#endif
