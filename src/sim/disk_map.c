/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The region map of a pair of disks, in the host's state directory: pages in a page cache that a power loss takes.
 *
 * A page is written in place and is atomic only by the sector: what a crash leaves of a page under way, or written and not
 * synced, is the old page, the new one, a mixture by sectors, or now and then a sector of neither. The engine has to
 * know such a page when it sees it.
 */
#include "sim/disk_op.h"

#include <assert.h>
#include <string.h>

enum { SECTORS = DRAY_MAP_PAGE_BYTES / DISK_SECTOR };

static uint8_t *cached(struct sim_map *m, unsigned no)
{
	return m->cache + (size_t)no * DRAY_MAP_PAGE_BYTES;
}

static uint8_t *durable(struct sim_map *m, unsigned no)
{
	return m->durable + (size_t)no * DRAY_MAP_PAGE_BYTES;
}

struct sim_map *map_new(struct sim_vol *v, unsigned no)
{
	struct sim *s = v->s;
	struct sim_map *m = sim_alloc(s, sizeof *m);
	m->v = v;
	m->n_pages = (unsigned)dray_map_n_pages(v->config.size_bytes, v->config.region_bytes);
	m->cache = sim_alloc(s, (size_t)m->n_pages * DRAY_MAP_PAGE_BYTES);
	m->durable = sim_alloc(s, (size_t)m->n_pages * DRAY_MAP_PAGE_BYTES);
	m->dirty = sim_alloc(s, m->n_pages);
	m->done = sim_alloc(s, m->n_pages * sizeof *m->done);
	dray_list_init(&m->ops);
	for (unsigned i = 0; i < sizeof m->id; i++)
		m->id[i] = (uint8_t)(0x40 + v->no * 16 + no);
	return m;
}

_Static_assert(DRAY_BAD_SLOT_BYTES == DRAY_MAP_PAGE_BYTES, "a slot is a page");

struct sim_map *bad_list_new(struct sim_vol *v)
{
	struct sim *s = v->s;
	struct sim_map *m = sim_alloc(s, sizeof *m);
	m->v = v;
	m->n_pages = 2;
	m->cache = sim_alloc(s, 2 * DRAY_BAD_SLOT_BYTES);
	m->durable = sim_alloc(s, 2 * DRAY_BAD_SLOT_BYTES);
	m->dirty = sim_alloc(s, 2);
	m->done = sim_alloc(s, 2 * sizeof *m->done);
	dray_list_init(&m->ops);
	for (unsigned i = 0; i < sizeof m->id; i++)
		m->id[i] = (uint8_t)(0x80 + v->no);
	for (unsigned p = 0; p < 2; p++)
		dray_bad_slot_format(m->cache + (size_t)p * DRAY_BAD_SLOT_BYTES, m->id, v->block_bytes);
	map_sync(m);
	return m;
}

struct sim_map *map_of(const struct sim_vol *v, const struct sim_disk *leg)
{
	struct sim_map *m = v->maps[v->primary->no][leg->no];
	if (!m)
		sim_fail(v->s, "bad-operation", "volume %u: a map operation on the primary, disk %u", v->no, leg->no);
	return m;
}

uint64_t map_oldest(const struct sim_map *m)
{
	uint64_t oldest = UINT64_MAX;
	dray_list_for_each(node, &m->ops) {
		const struct dop *o = dray_container(node, struct dop, node);
		if (o->submitted_ns < oldest)
			oldest = o->submitted_ns;
	}
	return oldest;
}

static void mix(struct sim *s, uint8_t *page, const uint8_t *other)
{
	bool changed = false, kept = false;
	for (unsigned i = 0; i < SECTORS; i++) {
		if (memcmp(page + i * DISK_SECTOR, other + i * DISK_SECTOR, DISK_SECTOR) == 0)
			continue;
		if (rng_one_in(&s->rng, 2)) {
			memcpy(page + i * DISK_SECTOR, other + i * DISK_SECTOR, DISK_SECTOR);
			changed = true;
		} else {
			kept = true;
		}
	}
	if (rng_one_in(&s->rng, 4)) {
		/* The sector under the head. A page that is mostly zeroes is the likeliest victim's shape; junk is the other. */
		unsigned i = (unsigned)rng_below(&s->rng, SECTORS);
		memset(page + i * DISK_SECTOR, rng_one_in(&s->rng, 2) ? 0xff : (int)rng_below(&s->rng, 256), DISK_SECTOR);
		changed = kept = true;
	}
	if (changed && kept)
		sim_cover(s, COVER_MAP_TORN);
}

void map_effect(struct dop *o)
{
	struct sim_map *m = o->map;
	struct sim *s = m->v->s;
	if (op_is_page(o->op)) {
		if (o->io && memcmp(o->page, o->io->data, DRAY_MAP_PAGE_BYTES) != 0)
			sim_fail(s, "payload-changed", "volume %u: map page %u changed while it was written", m->v->no, o->first);
		if (!o->error || o->keep > 1)
			memcpy(cached(m, o->first), o->page, DRAY_MAP_PAGE_BYTES);
		else if (o->keep)
			mix(s, cached(m, o->first), o->page);
		m->dirty[o->first] = 1;
		if (!o->error)
			m->done[o->first] = ++m->clock;
		return;
	}
	for (unsigned p = 0; p < m->n_pages; p++) {
		if (!m->dirty[p])
			continue;
		bool must = m->done[p] && m->done[p] <= o->clock;
		if (!o->error) {
			if (!must)
				continue;
			memcpy(durable(m, p), cached(m, p), DRAY_MAP_PAGE_BYTES);
		} else {
			if (rng_one_in(&s->rng, 2))
				continue;
			memcpy(cached(m, p), durable(m, p), DRAY_MAP_PAGE_BYTES);
		}
		m->dirty[p] = 0;
		m->done[p] = 0;
	}
}

/* A write that a crash cuts off. */
static void cut_off(const struct dop *o, uint8_t *page)
{
	struct sim *s = o->map->v->s;
	switch (rng_below(&s->rng, 3)) {
	case 0: break;
	case 1: memcpy(page, o->page, DRAY_MAP_PAGE_BYTES); break;
	default: mix(s, page, o->page);
	}
}

/* What is left of a page that is not synced: `page` holds the cached one on entry. */
static void lose(struct sim_map *m, unsigned no, uint8_t *page)
{
	switch (rng_below(&m->v->s->rng, 3)) {
	case 0: break;
	case 1: memcpy(page, durable(m, no), DRAY_MAP_PAGE_BYTES); break;
	default: mix(m->v->s, page, durable(m, no));
	}
}

void map_crash(struct sim_map *m, bool power)
{
	dray_list_for_each_safe(node, &m->ops) {
		struct dop *o = dray_container(node, struct dop, node);
		if (op_is_page(o->op)) {
			m->dirty[o->first] = 1;
			cut_off(o, cached(m, o->first));
		}
		o->io = NULL;
		o->d->in_flight -= of_leg(o);
		dop_free(o);
	}
	for (unsigned p = 0; p < m->n_pages && power; p++) {
		if (m->dirty[p])
			lose(m, p, cached(m, p));
	}
	if (power)
		map_sync(m);
}

void map_guess(struct sim_map *m, unsigned no, uint8_t *page)
{
	memcpy(page, cached(m, no), DRAY_MAP_PAGE_BYTES);
	bool open = m->dirty[no];
	dray_list_for_each(node, &m->ops) {
		struct dop *o = dray_container(node, struct dop, node);
		if (op_is_page(o->op) && o->first == no) {
			cut_off(o, page);
			open = true;
		}
	}
	if (open)
		lose(m, no, page);
}

void map_sync(struct sim_map *m)
{
	memcpy(m->durable, m->cache, (size_t)m->n_pages * DRAY_MAP_PAGE_BYTES);
	memset(m->dirty, 0, m->n_pages);
	memset(m->done, 0, m->n_pages * sizeof *m->done);
}

void map_format(struct sim_map *m)
{
	for (unsigned p = 0; p < m->n_pages; p++)
		dray_map_page_format(cached(m, p), m->id, p, m->v->config.region_bytes);
	map_sync(m);
}
