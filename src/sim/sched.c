/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A binary heap ordered by (time, a random number drawn at insertion, insertion number). The random number is what makes
 * simultaneous events race; the insertion number makes the order total, hence the same everywhere.
 */
#include "sim/sched.h"

#include <stdlib.h>

struct sim_event {
	uint64_t at, number;
	uint32_t tie, gen;
	unsigned incarnation;
	bool mortal;
	sim_fn fn;
	void *arg;
};

struct sim_queue {
	struct sim_event *heap;
	size_t n, room;
	uint64_t number;
};

static bool before(const struct sim_event *a, const struct sim_event *b)
{
	if (a->at != b->at)
		return a->at < b->at;
	if (a->tie != b->tie)
		return a->tie < b->tie;
	return a->number < b->number;
}

void sched_init(struct sim *s)
{
	s->queue = calloc(1, sizeof *s->queue);
	if (!s->queue)
		abort();
}

void sched_free(struct sim *s)
{
	if (s->queue)
		free(s->queue->heap);
	free(s->queue);
	s->queue = NULL;
}

void sched_at(struct sim *s, uint64_t at, bool mortal, sim_fn fn, void *arg, uint32_t gen)
{
	struct sim_queue *q = s->queue;
	if (q->n == q->room) {
		q->room = q->room ? q->room * 2 : 256;
		q->heap = realloc(q->heap, q->room * sizeof *q->heap);
		if (!q->heap)
			abort();
	}
	struct sim_event e = {
		.at = at < s->now ? s->now : at,
		.number = q->number++,
		.tie = (uint32_t)rng_next(&s->rng),
		.gen = gen,
		.incarnation = s->incarnation,
		.mortal = mortal,
		.fn = fn,
		.arg = arg,
	};
	size_t i = q->n++;
	while (i > 0 && before(&e, &q->heap[(i - 1) / 2])) {
		q->heap[i] = q->heap[(i - 1) / 2];
		i = (i - 1) / 2;
	}
	q->heap[i] = e;
}

uint64_t sched_next(const struct sim *s)
{
	return s->queue->n ? s->queue->heap[0].at : UINT64_MAX;
}

static struct sim_event pop(struct sim_queue *q)
{
	struct sim_event first = q->heap[0], last = q->heap[--q->n];
	size_t i = 0;
	for (;;) {
		size_t c = 2 * i + 1;
		if (c >= q->n)
			break;
		if (c + 1 < q->n && before(&q->heap[c + 1], &q->heap[c]))
			c++;
		if (!before(&q->heap[c], &last))
			break;
		q->heap[i] = q->heap[c];
		i = c;
	}
	if (q->n)
		q->heap[i] = last;
	return first;
}

bool sched_step(struct sim *s)
{
	while (s->queue->n) {
		struct sim_event e = pop(s->queue);
		if (e.mortal && e.incarnation != s->incarnation)
			continue;
		s->now = e.at;
		e.fn(s, e.arg, e.gen);
		return true;
	}
	return false;
}
