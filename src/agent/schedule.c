/* SPDX-License-Identifier: BSD-3-Clause */
#include "agent/schedule.h"

#include <stdio.h>
#include <stdlib.h>

static int order(const void *x, const void *y)
{
	const struct sched_pair *a = x, *b = y;
	if (a->active != b->active)
		return a->active ? -1 : 1;
	if (a->priority != b->priority)
		return a->priority > b->priority ? -1 : 1;
	if (a->seq != b->seq)
		return a->seq < b->seq ? -1 : 1;
	return a->pair < b->pair ? -1 : a->pair > b->pair;
}

static const char *pairs_word(uint64_t n)
{
	return n == 1 ? "pair" : "pairs";
}

void schedule(struct sched_pair *pairs, size_t n, uint64_t agent_limit)
{
	uint64_t used = 0, waiting = 0;
	if (n)
		qsort(pairs, n, sizeof *pairs, order);
	for (size_t i = 0; i < n; i++) {
		struct sched_pair *p = &pairs[i];
		uint64_t in_session = 0, before = 0;
		for (size_t k = 0; k < i; k++)
			if (pairs[k].seq == p->seq) {
				in_session += pairs[k].run;
				before += !pairs[k].run;
			}
		p->reason[0] = 0;
		p->run = used < agent_limit && in_session < p->session_limit;
		if (p->run) {
			used++;
			continue;
		}
		if (in_session >= p->session_limit)
			snprintf(p->reason, sizeof p->reason,
				"waits for 1 of %llu active pairs of this session (limits.active_pairs); %llu %s before it",
				(unsigned long long)p->session_limit, (unsigned long long)before, pairs_word(before));
		else
			snprintf(p->reason, sizeof p->reason, "waits for 1 of %llu active pairs of the agent (active_pairs of its configuration); %llu %s before it",
				(unsigned long long)agent_limit, (unsigned long long)waiting,
				pairs_word(waiting));
		waiting++;
	}
}
