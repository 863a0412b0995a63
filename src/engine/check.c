/* SPDX-License-Identifier: BSD-3-Clause */
/* What tests ask: the state of one region, and the invariants that hold between any two calls into the engine. */
#include "engine/internal.h"

int dray_vol_leg_region(const struct dray_vol *v, int leg_no, uint64_t region)
{
	if (leg_no < 0 || leg_no >= DRAY_MAX_LEGS || !v->legs[leg_no].link || region >= v->n_regions)
		return -ENOENT;
	const struct link *l = v->legs[leg_no].link;
	if (!dray_bitmap_test(&l->clean, region))
		return DRAY_REGION_DIRTY;
	if (dray_bitmap_test(&l->doubt, region))
		return DRAY_REGION_DOUBT;
	return l->map.durable && dray_map_may_be_clean(&l->map, region) ? DRAY_REGION_RECORDED : DRAY_REGION_CLEAN;
}

bool dray_vol_leg_lacks(const struct dray_vol *v, int leg_no, uint64_t region)
{
	int state = dray_vol_leg_region(v, leg_no, region);
	return state == DRAY_REGION_DIRTY || state == DRAY_REGION_DOUBT;
}

static void check_link(const struct dray_vol *v, const struct leg *leg)
{
	const struct link *l = leg->link;
	uint64_t open_done = 0;
	unsigned n_open = 0;
	for (int i = 0; i < MAX_OPEN; i++) {
		const struct open_region *o = &l->open[i];
		if (!o->used)
			continue;
		n_open++;
		assert(!(o->done & o->in_flight));
		assert(!(o->done & ~dray_region_mask(v, o->region)));
		for (int j = i + 1; j < MAX_OPEN; j++)
			assert(!l->open[j].used || l->open[j].region != o->region);
		if (o->walk == WALK_COPY)
			assert(!dray_bitmap_test(&l->clean, o->region));
		if (o->walk == WALK_COPY) {
			for (uint64_t p = 0; p < PARTS; p++) {
				uint64_t at = o->region * v->config.region_bytes + p * v->part_bytes;
				if (o->done >> p & 1)
					open_done += min_u64(v->part_bytes, region_end(v, o->region) - at);
			}
		}
	}
	assert(n_open == l->n_open);
	assert(open_done == l->open_done_bytes);
	assert(dray_link_dirty_bytes(v, l) <= v->config.size_bytes);
	for (uint64_t r = 0; r < v->n_regions; r++) {
		if (dray_bitmap_test(&l->fresh, r))
			assert(dray_bitmap_test(&l->clean, r));
		/* Never recorded clean what is known to differ. */
		if (l->map.durable && dray_map_want(&l->map, r) == MAP_CLEAN && leg->state != DRAY_LEG_DETACHED)
			assert(dray_bitmap_test(&l->clean, r));
	}
}

void dray_vol_check(const struct dray_vol *v)
{
	unsigned in_use = 0, steps[DRAY_MAX_LEGS] = { 0 };
	uint64_t step_bytes = 0;
	dray_list_for_each(n, &v->io_free)
		in_use++;
	assert(in_use + v->ios_in_use == v->config.max_ios);
	for (int i = 0; i < MAX_STEPS; i++) {
		const struct step *s = &v->steps[i];
		if (s->phase == ST_FREE || s->abandoned)
			continue;
		steps[s->leg]++;
		step_bytes += s->length;
	}
	assert(step_bytes == v->step_bytes_in_flight);
	for (int i = 0; i < DRAY_MAX_LEGS; i++) {
		const struct leg *leg = &v->legs[i];
		assert(steps[i] == leg->n_steps);
		if (leg->state == DRAY_LEG_NONE)
			continue;
		assert((leg->link == NULL) == (i == v->primary));
		assert((leg->state == DRAY_LEG_PRIMARY) == (i == v->primary));
		if (leg->link)
			check_link(v, leg);
		/* No leg is written while an old write may still land on it (H6). */
		assert(!leg->unsettled || !leg_active(leg) || PLANT(H6_UNSETTLED_IGNORED));
	}
	/* Two granted ranges never overlap, unless that was planted. */
	if (PLANT(OVERLAP_NOT_ORDERED) || PLANT(H3_CLAIM_OVER_WRITE))
		return;
	dray_list_for_each(a, &v->locks.queue) {
		const struct dray_lock *la = dray_container(a, struct dray_lock, node);
		for (struct dray_list *b = a->next; b != &v->locks.queue; b = b->next) {
			const struct dray_lock *lb = dray_container(b, struct dray_lock, node);
			assert(!la->granted || !lb->granted || la->end <= lb->start || lb->end <= la->start);
		}
	}
	if (v->takeover.phase == TK_FLUSHING || v->takeover.phase == TK_DRAINED || v->takeover.phase == TK_SEALED)
		assert(!v->running);
}
