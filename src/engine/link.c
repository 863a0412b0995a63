/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What is known of a secondary leg, region by region.
 *
 *   clean    equal now: every write goes to both. Only ever set by a copy step that held the claim, or by a map page
 *   dirty    not clean: the copy will bring it, writes go to the primary only
 *   open     dirty, partly copied: its parts that are done are mirrored, the rest is not, and parts in flight are claimed, so no
 *            write is there (H4). Parts are 1/64 of a region; steps are whole parts
 *   doubt    clean or dirty, but a late write may spoil it: to be compared once more when that can't happen any more
 *
 * Dirtying is by the narrowest unit that is tracked at the moment: a part of an open region, else the region.
 */
#include "engine/internal.h"

#include <stdlib.h>

int dray_link_new(struct link **out, const struct dray_vol *v, const struct dray_leg_config *config)
{
	struct link *l = calloc(1, sizeof *l);
	if (!l)
		return -ENOMEM;
	struct dray_bitmap *bitmaps[] = { &l->clean, &l->fresh, &l->hot, &l->touched, &l->cand, &l->doubt, &l->suspect, &l->seen };
	for (size_t i = 0; i < sizeof bitmaps / sizeof bitmaps[0]; i++) {
		if (dray_bitmap_new(bitmaps[i], v->n_regions))
			goto no_memory;
	}
	if (dray_map_new(&l->map, v, config))
		goto no_memory;
	*out = l;
	return 0;
no_memory:
	dray_link_free(l);
	return -ENOMEM;
}

void dray_link_free(struct link *l)
{
	if (!l)
		return;
	struct dray_bitmap *bitmaps[] = { &l->clean, &l->fresh, &l->hot, &l->touched, &l->cand, &l->doubt, &l->suspect, &l->seen };
	for (size_t i = 0; i < sizeof bitmaps / sizeof bitmaps[0]; i++)
		dray_bitmap_free(bitmaps[i]);
	dray_map_free(&l->map);
	free(l);
}

/* ---- parts ---- */

uint64_t dray_parts_mask(const struct dray_vol *v, uint64_t region, uint64_t offset, uint64_t length)
{
	uint64_t start = region * v->config.region_bytes;
	uint64_t from = max_u64(offset, start) - start;
	uint64_t to = min_u64(offset + length, region_end(v, region)) - start;
	uint64_t first = from / v->part_bytes, last = (to - 1) / v->part_bytes;
	uint64_t mask = last == 63 ? ~UINT64_C(0) : (UINT64_C(1) << (last + 1)) - 1;
	return mask & ~((UINT64_C(1) << first) - 1);
}

uint64_t dray_region_mask(const struct dray_vol *v, uint64_t region)
{
	return dray_parts_mask(v, region, region * v->config.region_bytes, v->config.region_bytes);
}

static uint64_t mask_bytes(const struct dray_vol *v, uint64_t region, uint64_t mask)
{
	uint64_t bytes = (uint64_t)__builtin_popcountll(mask) * v->part_bytes;
	uint64_t size = region_end(v, region) - region * v->config.region_bytes;
	uint64_t last = (size - 1) / v->part_bytes;
	if (mask >> last & 1)
		bytes -= (last + 1) * v->part_bytes - size;
	return bytes;
}

struct open_region *dray_link_find_open(struct link *l, uint64_t region)
{
	for (unsigned i = 0, left = l->n_open; i < MAX_OPEN && left; i++) {
		if (!l->open[i].used)
			continue;
		if (l->open[i].region == region)
			return &l->open[i];
		left--;
	}
	return NULL;
}

struct open_region *dray_link_open(struct link *l, uint64_t region, enum walk walk)
{
	for (unsigned i = 0; i < MAX_OPEN; i++) {
		if (l->open[i].used)
			continue;
		l->open[i] = (struct open_region){ .used = true, .walk = walk, .region = region };
		l->n_open++;
		return &l->open[i];
	}
	return NULL;
}

static void open_free(struct link *l, struct open_region *o)
{
	o->used = false;
	l->n_open--;
}

void dray_link_close_if_done(struct dray_vol *v, struct leg *leg, struct open_region *o)
{
	struct link *l = leg->link;
	if (o->in_flight)
		return;
	if (o->closing) {
		open_free(l, o);
		return;
	}
	if (o->done != dray_region_mask(v, o->region))
		return;
	uint64_t r = o->region;
	if (o->walk == WALK_COPY) {
		l->open_done_bytes -= mask_bytes(v, r, o->done);
		dray_bitmap_set(&l->clean, r);
		dray_bitmap_clear(&l->suspect, r);
		dray_bitmap_set(&l->seen, r);
		if (l->map.durable)
			dray_bitmap_set(&l->fresh, r);
	} else {
		dray_bitmap_clear(&l->doubt, r);
	}
	open_free(l, o);
	dray_leg_review(v, leg_index(v, leg), 0, NULL);
}

/* ---- questions ---- */

bool dray_link_mirrored(const struct dray_vol *v, const struct leg *leg, uint64_t offset, uint64_t *length)
{
	struct link *l = leg->link;
	if (!leg_active(leg))
		return false;
	/* What is answered in doubt is on both, whatever else a leg lacks that was to take over by force (H8). */
	if (dray_in_doubt(v) && leg_index(v, leg) == v->takeover.leg && !PLANT(H8_FORCED_DOUBT_ONE_SIDED))
		return true;
	uint64_t r = region_of(v, offset), end = offset + *length, at;
	bool mirrored;
	struct open_region *o = NULL;
	if (!dray_bitmap_test(&l->clean, r)) {
		o = dray_link_find_open(l, r);
		if (o && o->walk != WALK_COPY)
			o = NULL;
	}
	if (o) {
		uint64_t part = (offset - r * v->config.region_bytes) / v->part_bytes;
		mirrored = o->done >> part & 1;
		at = r * v->config.region_bytes + (part + 1) * v->part_bytes;
		while (at < end && at < region_end(v, r) && (o->done >> ++part & 1) == mirrored)
			at += v->part_bytes;
		*length = min_u64(end, min_u64(at, region_end(v, r))) - offset;
		return mirrored && !PLANT(H4_PARTS_FORGOTTEN);
	}
	mirrored = dray_bitmap_test(&l->clean, r);
	for (at = region_end(v, r); at < end; at = region_end(v, r)) {
		r++;
		if (dray_bitmap_test(&l->clean, r) != mirrored || dray_link_find_open(l, r))
			break;
	}
	*length = min_u64(end, at) - offset;
	return mirrored;
}

bool dray_link_range_clean(const struct dray_vol *v, const struct link *l, uint64_t offset, uint64_t length)
{
	for_regions(v, r, offset, length) {
		if (!dray_bitmap_test(&l->clean, r) || dray_bitmap_test(&l->doubt, r))
			return false;
	}
	return true;
}

uint64_t dray_link_dirty_bytes(const struct dray_vol *v, const struct link *l)
{
	uint64_t dirty = (v->n_regions - l->clean.nset) * v->config.region_bytes;
	uint64_t last = v->n_regions - 1;
	if (!dray_bitmap_test(&l->clean, last))
		dirty -= v->n_regions * v->config.region_bytes - v->config.size_bytes;
	return dirty - l->open_done_bytes;
}

/* ---- changes ---- */

void dray_link_dirty(struct dray_vol *v, struct leg *leg, uint64_t offset, uint64_t length, bool rewrite)
{
	struct link *l = leg->link;
	if (leg->state == DRAY_LEG_DETACHED)
		return;
	bool changed = false;
	for_regions(v, r, offset, length) {
		struct open_region *o = dray_link_find_open(l, r);
		if (o && o->walk == WALK_COPY) {
			uint64_t mask = dray_parts_mask(v, r, offset, length);
			o->spoiled |= mask & o->in_flight;
			mask &= o->done;
			o->done &= ~mask;
			l->open_done_bytes -= mask_bytes(v, r, mask);
		} else if (o) {
			o->closing = true;
			dray_link_close_if_done(v, leg, o);
		}
		if (rewrite)
			dray_bitmap_clear(&l->suspect, r);
		if (dray_bitmap_clear(&l->clean, r)) {
			dray_bitmap_clear(&l->fresh, r);
			changed = true;
		}
		if (l->map.durable && dray_map_want(&l->map, r) != MAP_DIRTY)
			dray_map_set(v, l, r, MAP_DIRTY);
	}
	if (changed)
		dray_leg_review(v, leg_index(v, leg), leg->last_error, "regions dirty again");
}

void dray_link_doubt(struct dray_vol *v, struct leg *leg, uint64_t offset, uint64_t length)
{
	struct link *l = leg->link;
	for_regions(v, r, offset, length) {
		dray_bitmap_set(&l->doubt, r);
		/* A recheck under way may have looked already. */
		struct open_region *o = dray_link_find_open(l, r);
		if (o && o->walk == WALK_RECHECK)
			o->closing = true;
	}
	l->doubt_until_ns = v->now_ns + v->config.settle_ns;
	dray_leg_review(v, leg_index(v, leg), leg->last_error, "late writes possible");
}
