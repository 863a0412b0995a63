/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Who may transfer: a pure decision.
 *
 * Pairs that transfer now come first, then those that wait; among each, higher priority first, then the earlier session, then the
 * earlier pair. Each is admitted while its session and the agent have a place free. So a running pair is never displaced by a waiting
 * one, but goes back to the queue when a limit was lowered, the least important and youngest first; and a pair held
 * up by its session's limit holds up nobody of another session.
 */
#ifndef DRAY_AGENT_SCHEDULE_H
#define DRAY_AGENT_SCHEDULE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct sched_pair {
	uint64_t seq;           /* of the session: its age and its name here */
	uint64_t session_limit; /* UINT64_MAX: none */
	unsigned priority;      /* 9 first */
	unsigned pair;
	bool active;            /* transfers now */
	void *owner;            /* the caller's */

	bool run;               /* out */
	char reason[160];       /* out, where !run: which limit, and how many wait before it */
};

/* Sorts the array into the order of admission. */
void schedule(struct sched_pair *pairs, size_t n, uint64_t agent_limit);

#endif
