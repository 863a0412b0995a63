/* SPDX-License-Identifier: BSD-3-Clause */
#include "iod/ticks.h"

#include <stdbool.h>
#include <stdlib.h>

static void put(struct iod_ticks *t, size_t place, struct iod_tick *tick)
{
	t->heap[place] = tick;
	tick->place = place;
}

static void rise(struct iod_ticks *t, struct iod_tick *tick)
{
	size_t i = tick->place;
	for (; i > 1 && t->heap[i / 2]->at_ns > tick->at_ns; i /= 2)
		put(t, i, t->heap[i / 2]);
	put(t, i, tick);
}

static void sink(struct iod_ticks *t, struct iod_tick *tick)
{
	size_t i = tick->place, k;
	while ((k = 2 * i) <= t->n) {
		k += k < t->n && t->heap[k + 1]->at_ns < t->heap[k]->at_ns;
		if (t->heap[k]->at_ns >= tick->at_ns)
			break;
		put(t, i, t->heap[k]);
		i = k;
	}
	put(t, i, tick);
}

static void take_off(struct iod_ticks *t, struct iod_tick *tick)
{
	struct iod_tick *last = t->heap[t->n--];
	size_t place = tick->place;
	tick->place = 0;
	if (last == tick)
		return;
	put(t, place, last);
	rise(t, last);
	sink(t, last);
}

void iod_tick_at(struct iod_ticks *t, struct iod_tick *tick, uint64_t at_ns)
{
	bool has = tick->place;
	if (has && tick->at_ns == at_ns)
		return;
	if (at_ns == UINT64_MAX) {
		if (has)
			take_off(t, tick);
		return;
	}
	tick->at_ns = at_ns;
	if (!has) {
		if (t->n + 1 >= t->room) {
			t->room = t->room ? 2 * t->room : 64;
			t->heap = realloc(t->heap, t->room * sizeof *t->heap);
			if (!t->heap)
				abort(); /* a pointer for a volume that is in memory */
		}
		put(t, ++t->n, tick);
	}
	rise(t, tick);
	sink(t, tick);
}

void iod_tick_enter(struct iod_ticks *t, struct iod_tick *tick)
{
	if (!dray_list_empty(&tick->node))
		return;
	dray_list_add_tail(&t->entered, &tick->node);
	/* By another hook, which may run after ours: a request that the NBD server held back. */
	if (!t->running)
		dray_loop_hooks_again(t->loop);
}

void iod_tick_leave(struct iod_ticks *t, struct iod_tick *tick)
{
	dray_list_del(&tick->node);
	iod_tick_at(t, tick, UINT64_MAX);
}

static uint64_t hook_run(struct dray_loop_hook *hook, uint64_t now_ns)
{
	struct iod_ticks *t = dray_container(hook, struct iod_ticks, hook);
	t->running = true;
	while (t->n && t->heap[1]->at_ns <= now_ns) {
		struct iod_tick *due = t->heap[1];
		iod_tick_at(t, due, UINT64_MAX);
		iod_tick_enter(t, due);
	}
	/* Only those that are there now: what comes of it is for the next turn. */
	struct dray_list now, *n;
	dray_list_init(&now);
	while ((n = dray_list_pop(&t->entered)))
		dray_list_add_tail(&now, n);
	while ((n = dray_list_pop(&now))) {
		struct iod_tick *tick = dray_container(n, struct iod_tick, node);
		uint64_t at = tick->run(tick, now_ns);
		if (at <= now_ns)
			iod_tick_enter(t, tick);
		else
			iod_tick_at(t, tick, at);
	}
	t->running = false;
	if (!dray_list_empty(&t->entered))
		return now_ns;
	return t->n ? t->heap[1]->at_ns : UINT64_MAX;
}

void iod_ticks_init(struct iod_ticks *t, struct dray_loop *loop)
{
	*t = (struct iod_ticks){ .loop = loop, .hook.run = hook_run };
	dray_list_init(&t->entered);
	dray_loop_hook_add(loop, &t->hook);
}

void iod_ticks_free(struct iod_ticks *t)
{
	dray_loop_hook_del(t->loop, &t->hook);
	free(t->heap);
}
