/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A limit divided among those who share it: a pure decision.
 *
 * Sessions get parts of the whole by their weights, and the pairs of a session equal parts of its own. Nobody gets more than its own
 * limit; what one can't use because of that goes to the others, by the same rule. So the sum is the whole wherever anybody could use
 * it, and never more.
 */
#ifndef DRAY_AGENT_SHARES_H
#define DRAY_AGENT_SHARES_H

#include <stddef.h>
#include <stdint.h>

#define SHARE_ALL UINT64_MAX /* no limit */

struct share_pair {
	uint64_t cap;   /* its own limit; 0: it is to stop */
	uint64_t share; /* out; 0 only where the cap is */
	void *owner;    /* the caller's: the order is changed */
};

struct share_group {
	uint64_t weight; /* at least 1 */
	uint64_t cap;
	struct share_pair *pairs;
	size_t n;
	uint64_t share; /* out */
};

/* Sorts the groups, and the pairs of each. */
void shares_divide(uint64_t whole, struct share_group *groups, size_t n);

#endif
