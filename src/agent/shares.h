/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A limit divided among those who share it: a pure decision.
 *
 * Sessions get parts of the whole by their weights, and the pairs of a session equal parts of its own. Nobody gets more than its own
 * limit, nor more than it is known to be able to use; what one leaves goes to the others, by the same rule. So the sum is the whole
 * wherever anybody could use it, and never more.
 */
#ifndef DRAY_AGENT_SHARES_H
#define DRAY_AGENT_SHARES_H

#include <stddef.h>
#include <stdint.h>

#define SHARE_ALL UINT64_MAX /* no limit */

/* Whose limit a share is, or would be if it could use more. */
enum share_by { SHARE_BY_NOBODY, SHARE_BY_PAIR, SHARE_BY_GROUP, SHARE_BY_WHOLE };

struct share_pair {
	uint64_t cap;   /* its own limit; 0: it is to stop */
	uint64_t need;  /* more than that it can't use; 0: not known */
	uint64_t share; /* out; 0 only where the cap is */
	enum share_by by; /* out */
	void *owner;    /* the caller's: the order is changed */
};

struct share_group {
	uint64_t weight; /* at least 1 */
	uint64_t cap;
	struct share_pair *pairs;
	size_t n;
	uint64_t share; /* out */
	uint64_t able;  /* shares_divide's own: what it can use */
};

/* Sorts the groups, and the pairs of each. */
void shares_divide(uint64_t whole, struct share_group *groups, size_t n);

#endif
