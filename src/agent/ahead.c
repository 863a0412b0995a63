/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A place that a session of at least the same priority has is its until all of it is through, as its own waiting pairs follow; of a session that comes after
 * the new one each place is free when the pair that has it is. Those that only wait take the places that are free first, one session after the other, for as
 * long as they would take from now.
 */
#include "agent/ahead.h"

#include "agent/eta.h"
#include "base/min.h"

#include <stdlib.h>

#define PLACES_MOST   1024 /* with more nobody waits for one */
#define SESSIONS_MOST 64   /* are played through, on the core's thread; others count as not known */

struct row {
	struct ahead *to;
	size_t sessions, used; /* places that have been given */
};

static int sooner(const void *x, const void *y)
{
	double a = *(const double *)x, b = *(const double *)y;
	return a < b ? -1 : a > b;
}

static void running(struct row *r, const struct job *job, bool before)
{
	size_t n_active = job->places.active.nset, n_waiting = before ? job->places.waiting.nset : 0, n = 0;
	double *ends = calloc(n_active, sizeof *ends);
	if (!ends)
		abort();
	double all = r->sessions++ < SESSIONS_MOST ? eta_ends(job, AHEAD_GUESS, ends, n_active, &n) : -1;
	size_t hold = n_waiting ? (size_t)min_u64(n_active + n_waiting, min_u64(job->places.limit, r->to->places)) : n_active;
	r->to->active += n_active;
	r->to->waiting += n_waiting;
	for (size_t i = 0; i < hold && r->used < r->to->places; i++) {
		double end = n_waiting ? all : i < n ? ends[i] : -1;
		if (end >= 0)
			r->to->until[r->used++] = end;
		else
			r->to->unknown++;
	}
	free(ends);
}

static void waiting(struct row *r, const struct job *job)
{
	size_t n_waiting = job->places.waiting.nset, n = 0;
	double took = r->sessions++ < SESSIONS_MOST ? eta_ends(job, AHEAD_GUESS, NULL, 0, &n) : -1;
	r->to->waiting += n_waiting;
	if (took < 0) {
		r->to->unknown += n_waiting;
		return;
	}
	size_t hold = (size_t)min_u64(n_waiting, min_u64(job->places.limit, r->to->places));
	qsort(r->to->until, (size_t)r->to->places, sizeof *r->to->until, sooner);
	for (size_t i = 0; i < hold; i++)
		r->to->until[i] += took;
}

static size_t in_the_way(const struct agent *a, unsigned priority)
{
	size_t n = a->places.active;
	for (size_t p = priority; p < PLACES_PRIORITIES; p++)
		dray_list_for_each (node, &a->places.waiting[p])
			n += dray_container(node, struct job, places.waiting_node)->places.waiting.nset;
	return n;
}

void ahead_take(struct agent *a, unsigned priority, size_t n_pairs, struct ahead *to)
{
	*to = (struct ahead){ .places = a->places.limit };
	struct row r = { .to = to };
	if (in_the_way(a, priority) + n_pairs <= to->places || to->places > PLACES_MOST)
		return;
	to->until = calloc((size_t)to->places, sizeof *to->until);
	if (!to->until)
		abort();
	for (size_t p = 0; p < PLACES_PRIORITIES; p++)
		dray_list_for_each (node, &a->places.running[p])
			running(&r, dray_container(node, struct job, places.running_node), p >= priority);
	for (size_t p = PLACES_PRIORITIES; p-- > priority;)
		dray_list_for_each (node, &a->places.waiting[p]) {
			const struct job *job = dray_container(node, struct job, places.waiting_node);
			if (!job->places.active.nset)
				waiting(&r, job);
		}
	/* Those that are free at once are not in the list. */
	qsort(to->until, (size_t)to->places, sizeof *to->until, sooner);
	size_t free_now = 0;
	while (free_now < to->places && to->until[free_now] <= 0)
		free_now++;
	to->n = (size_t)to->places - free_now;
	for (size_t i = 0; i < to->n; i++)
		to->until[i] = to->until[free_now + i];
}

void ahead_clear(struct ahead *ahead)
{
	free(ahead->until);
	*ahead = (struct ahead){ 0 };
}
