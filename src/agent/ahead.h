/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Who has a place before a session that is yet to be submitted: for its estimate.
 *
 * The agent lets so many pairs transfer at once. Those that do have their places until they are through, by their ETA (eta.c); those that wait go before
 * it where their session's priority is not lower. So for each place that is taken there is a time at which it is free for somebody new.
 */
#ifndef DRAY_AGENT_AHEAD_H
#define DRAY_AGENT_AHEAD_H

#include "agent/agent.h"

#define AHEAD_GUESS (UINT64_C(100) << 20) /* bytes a second, of a session of which nothing was measured yet */

struct ahead {
	uint64_t places;        /* of the agent; those that are not in the list are free */
	double *until;          /* each in seconds from now, the soonest first; malloc'ed */
	size_t n;
	size_t active, waiting; /* pairs of others that have a place, or wait for one before it */
	size_t unknown;         /* pairs of those of which nobody knows when they are through: they are not in the list */
};

/* The core's. For a session of `n_pairs` with that priority: an empty list where it has places enough at once. */
void ahead_take(struct agent *a, unsigned priority, size_t n_pairs, struct ahead *ahead);
void ahead_clear(struct ahead *ahead);

#endif
