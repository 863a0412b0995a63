/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * When a region may be recorded clean.
 *
 * "Clean" on disk is a promise that survives a power loss: both legs have the same bytes, durably. Writes sit in volatile
 * caches, each leg's its own. So (H1):
 *
 *   batch begins   candidates: regions clean in memory and recorded dirty, or with an intent that has gone cold
 *                  nothing is touched yet, but for what is being written at this moment
 *   flush          the primary AND the leg, both begun after that
 *   meanwhile      every write or copy step marks its regions touched before it leaves
 *   both flushed   candidates still clean and not touched are recorded; the rest wait for a later batch
 *
 * From the instant the map is asked to say "clean" a new write waits for its intent (map.c), so nothing slips in between.
 *
 * An intent costs a synchronous map write for the first write to a region and nothing for those that follow. It takes the clean regions
 * around it with it, a group, so that an application that wakes up and writes here and there waits a few times, not once for every
 * region; but only while there are few, for a crash leaves all of them to be compared. Intents are cleared when nothing of their group was
 * written for intent_idle_ns, or earlier when there are more than max_intents: what a crash leaves is bounded (H27).
 */
#include "engine/internal.h"

#include <string.h>

#define BACKOFF_MOST 5

static bool eligible(const struct dray_vol *v, const struct leg *leg)
{
	/* (A failed flush whose judgement waits for the end of a switch: nothing can be said of either leg.) */
	return leg->link && leg->link->map.durable && leg_active(leg) && !leg->flush_poisoned &&
		!v->legs[v->primary].flush_poisoned &&
		(v->takeover.phase == TK_NONE || v->takeover.phase == TK_PREPARING || v->takeover.phase == TK_PREPARED);
}

static void touch_range(struct dray_vol *v, struct link *l, uint64_t offset, uint64_t length)
{
	for_regions(v, r, offset, length)
		dray_bitmap_set(&l->touched, r);
}

void dray_record_touch(struct dray_vol *v, uint64_t offset, uint64_t length)
{
	for_links(v, i) {
		struct link *l = v->legs[i].link;
		if (!l->map.durable)
			continue;
		if (l->batch)
			touch_range(v, l, offset, length);
		for_regions(v, r, offset, length)
			dray_bitmap_set(&l->hot, r);
	}
}

void dray_record_intent(struct dray_vol *v, struct link *l, uint64_t region)
{
	uint64_t n = v->config.intent_group, first = region & ~(n - 1);
	dray_map_set(v, l, region, MAP_INTENT);
	for (uint64_t r = first; r < min_u64(first + n, v->n_regions) && l->map.n_intent + n <= v->config.max_intents / 2; r++)
		if (dray_map_want(&l->map, r) == MAP_CLEAN)
			dray_map_set(v, l, r, MAP_INTENT);
}

static bool group_hot(const struct dray_vol *v, const struct link *l, uint64_t region)
{
	uint64_t n = v->config.intent_group, first = region & ~(n - 1);
	for (uint64_t r = first; r < min_u64(first + n, v->n_regions); r++)
		if (dray_bitmap_test(&l->hot, r))
			return true;
	return false;
}

/* Fills l->cand; returns whether there is any. */
static bool choose(struct dray_vol *v, struct link *l)
{
	bool sweep = v->now_ns >= l->next_sweep_ns, crowded = l->map.n_intent > v->config.max_intents;
	dray_bitmap_clear_all(&l->cand);
	for (uint64_t r = 0; l->fresh.nset && (r = dray_bitmap_next_set(&l->fresh, r)) != DRAY_BITMAP_NONE; r++) {
		if (!dray_bitmap_test(&l->doubt, r))
			dray_bitmap_set(&l->cand, r);
	}
	if (sweep || crowded) {
		for (uint64_t r = 0; l->map.n_intent && r < v->n_regions; r++) {
			if (dray_map_want(&l->map, r) == MAP_INTENT && dray_bitmap_test(&l->clean, r) &&
				!dray_bitmap_test(&l->doubt, r) && (crowded || !group_hot(v, l, r)))
				dray_bitmap_set(&l->cand, r);
		}
		dray_bitmap_clear_all(&l->hot);
		l->next_sweep_ns = v->now_ns + v->config.intent_idle_ns;
	}
	return l->cand.nset;
}

static void record(struct dray_vol *v, struct link *l)
{
	for (uint64_t r = 0; l->cand.nset && (r = dray_bitmap_next_set(&l->cand, r)) != DRAY_BITMAP_NONE; r++) {
		if (!dray_bitmap_test(&l->clean, r) || dray_bitmap_test(&l->doubt, r))
			continue;
		if (dray_bitmap_test(&l->touched, r) && !PLANT(H12_NO_RECHECK_BEFORE_CLEAN))
			continue;
		dray_bitmap_clear(&l->fresh, r);
		dray_map_set(v, l, r, MAP_CLEAN);
	}
}

static void batch_send(struct dray_vol *v, struct link *l, struct dray_io *io, int leg)
{
	io->op = DRAY_OP_FLUSH;
	io->flags = 0;
	io->offset = io->length = 0;
	io->data = NULL;
	l->batch_pending++;
	dray_io_send(v, io, ROLE_RECORD, l, leg);
}

static void begin(struct dray_vol *v, int leg_no)
{
	struct link *l = v->legs[leg_no].link;
	l->next_record_ns = v->now_ns + (v->config.record_every_ns << l->batch_failures);
	if (!choose(v, l))
		return;
	dray_bitmap_clear_all(&l->touched);
	if (PLANT(H1_INTENT_CLEARED_WITHOUT_FLUSH) && !l->fresh.nset) {
		record(v, l);
		return;
	}
	/* What is being written now is not covered by flushes that begin now. */
	dray_list_for_each(n, &v->locks.queue) {
		struct dray_lock *lock = dray_container(n, struct dray_lock, node);
		if (lock->granted)
			touch_range(v, l, lock->start, lock->end - lock->start);
	}
	l->batch = true;
	l->batch_error = 0;
	l->batch_pending = 0;
	if (!PLANT(H1_CLEAN_WITHOUT_PRIMARY_FLUSH))
		batch_send(v, l, &l->batch_io[0], v->primary);
	batch_send(v, l, &l->batch_io[1], leg_no);
}

uint64_t dray_record_tick(struct dray_vol *v)
{
	uint64_t next = DRAY_TIME_NEVER;
	for_links(v, i) {
		struct leg *leg = &v->legs[i];
		struct link *l = leg->link;
		/* A commit of the map that failed is tried again. */
		if (l->map.durable && l->map.stale.nset && !l->map.busy)
			next = min_u64(next, max_u64(l->map.retry_at_ns, v->now_ns + 1));
		if (!eligible(v, leg) || l->batch || (!l->fresh.nset && !l->map.n_intent))
			continue;
		if (v->now_ns >= l->next_record_ns &&
			(l->fresh.nset || v->now_ns >= l->next_sweep_ns || l->map.n_intent > v->config.max_intents))
			begin(v, (int)i);
		if (!l->batch)
			next = min_u64(next, l->fresh.nset || l->map.n_intent > v->config.max_intents
					? l->next_record_ns
					: max_u64(l->next_sweep_ns, l->next_record_ns));
	}
	return next;
}

void dray_record_io_done(struct dray_vol *v, struct dray_io *io)
{
	struct link *l = io->owner;
	if (io->error)
		l->batch_error = io->error;
	if (--l->batch_pending)
		return;
	l->batch = false;
	if (!l->batch_error && v->legs[v->primary].flush_poisoned)
		l->batch_error = -EIO;
	if (l->batch_error) {
		if (l->batch_failures < BACKOFF_MOST)
			l->batch_failures++;
	} else {
		l->batch_failures = 0;
		for (int i = 0; i < DRAY_MAX_LEGS; i++) {
			if (v->legs[i].link == l && leg_active(&v->legs[i]) && !v->legs[i].flush_poisoned)
				record(v, l);
		}
	}
	for (int i = 0; i < DRAY_MAX_LEGS; i++) {
		if (v->legs[i].link == l)
			dray_leg_io_settled(v, i);
	}
}
