/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A crash drops everything the process had: the engines, the requests, messages and timers. What remains is disks, maps and
 * the record. A kill leaves the caches, and requests under way may still land: on a local disk before its lock is gone (the
 * recovery waits for that), on a network disk until settle_ns later. A power loss takes unflushed data, any subset of it.
 *
 * A recovery does what an honest host does, in this order: wait for the locks, read the record, make it durable again
 * (after a kill the winner may be in the page cache only), sync the maps before it believes them (for the same reason: a page that
 * says "intent" in the page cache only would be the one that says "clean" after the next power loss), then attach.
 *
 * The first check needs no engine: the primary's contents against the oracle. The second is H1: each region that the engine calls clean
 * after it read the map is equal on both disks.
 *
 * What if: a real crash costs a run its momentum, so most crashes are imagined. The map pages as a power loss may leave them are shown to
 * a second engine, which says what it would take for clean. There both disks must hold the same in cache and on the platter: whichever of
 * these survives, on whichever disk. While a record of new primaries may be durable, both sides are imagined.
 */
#include "sim/crash.h"

#include "sim/app.h"
#include "sim/check.h"
#include "sim/cover.h"
#include "sim/disk.h"
#include "sim/group.h"
#include "sim/host.h"
#include "sim/meta.h"
#include "sim/oracle.h"
#include "sim/sched.h"
#include "sim/verbs.h"

#include <stdlib.h>
#include <string.h>

/* ---- imagined ---- */

static void no_submit(void *host, struct dray_io *io)
{
}

static void no_answer(void *host, struct dray_request *req, int error)
{
}

static void no_release(void *host, struct dray_request *req)
{
}

static void no_event(void *host, const struct dray_event *ev)
{
}

static void *no_buffer(void *host, uint64_t bytes)
{
	return NULL;
}

static void no_put(void *host, void *buf, uint64_t bytes)
{
}

static const struct dray_host_ops silent = { no_submit, no_answer, no_release, no_event, no_buffer, no_put };

/* ---- the list of bad ranges, as a start would read it ---- */

/* An engine that has read these two slots, with `primary` as its primary. */
static struct dray_vol *read_list(struct sim_vol *v, const struct sim_disk *primary, const uint8_t *slots)
{
	struct dray_vol *eng;
	struct dray_vol_config config = v->config;
	const void *bad_slots[2] = { slots, slots + DRAY_BAD_SLOT_BYTES };
	config.max_ios = 2 * DRAY_MAX_LEGS;
	config.bad_slots = bad_slots;
	int rc = dray_vol_new(&eng, &config, &silent, NULL);
	if (rc)
		sim_fail(v->s, "bad-list-lost", "volume %u: neither slot of the list of bad ranges is valid after a crash (%d)", v->no, rc);
	dray_vol_leg_attach(eng, &(struct dray_leg_config){ .id = primary->leg_id, .durable = true });
	return eng;
}

static bool listed(struct sim_vol *v, const struct dray_vol *eng, unsigned block, bool *lost)
{
	return dray_vol_bad_at(eng, (uint64_t)block * v->block_bytes, lost);
}

/* Reads of the block will fail after the crash: there has to be a reason. */
static bool excused(struct sim_vol *v, const struct dray_vol *eng, unsigned block, const char *rule)
{
	bool lost;
	listed(v, eng, block, &lost);
	if (lost && !v->lost_ok[block])
		sim_fail(v->s, rule, "volume %u: after a crash block %u is listed as bad, though a write to it was answered; its history: %s",
			v->no, block, oracle_history(v, block));
	return lost;
}

static void guess_list(struct sim_vol *v, uint8_t *slots)
{
	for (unsigned p = 0; p < 2; p++)
		map_guess(v->bad, p, slots + (size_t)p * DRAY_BAD_SLOT_BYTES);
}

/* The list is guessed, too: what only the engine in memory calls bad is not excused, since the disk may not say so, or not any more. */
void crash_what_if_power(struct sim_vol *v, const struct sim_disk *d, const char *rule, const char *which)
{
	uint8_t slots[2 * DRAY_BAD_SLOT_BYTES];
	guess_list(v, slots);
	struct dray_vol *eng = read_list(v, d, slots);
	for (unsigned b = 0; b < v->n_blocks; b++) {
		if (check_given_up(v, d, b) || excused(v, eng, b, rule))
			continue;
		uint64_t bad = d->durable[b];
		if (oracle_survives(v, b, bad)) {
			bad = d->cache[b];
			if (bad == d->durable[b] || oracle_survives(v, b, bad))
				continue;
		}
		sim_fail(v->s, rule, "volume %u: a power loss now could leave %s in block %u of %s (disk %u); its history: %s",
			v->no, stamp_text(bad), b, which, d->no, oracle_history(v, b));
	}
	dray_vol_free(eng, true);
}

static bool same_whatever_survives(const struct sim_disk *a, const struct sim_disk *b, unsigned block)
{
	uint64_t x = a->cache[block];
	return a->durable[block] == x && b->durable[block] == x && b->cache[block] == x;
}

static void imagine_pair(struct sim_vol *v, struct sim_disk *primary, struct sim_disk *leg)
{
	struct sim *s = v->s;
	struct sim_map *m = v->maps[primary->no][leg->no];
	struct dray_vol *eng;
	struct dray_vol_config config = v->config;
	config.max_ios = 2 * DRAY_MAX_LEGS;
	uint8_t slots[2 * DRAY_BAD_SLOT_BYTES];
	guess_list(v, slots);
	config.bad_slots = (const void *const[]){ slots, slots + DRAY_BAD_SLOT_BYTES };
	uint8_t *copy = malloc((size_t)m->n_pages * DRAY_MAP_PAGE_BYTES);
	const void **pages = malloc(m->n_pages * sizeof *pages);
	if (!copy || !pages || dray_vol_new(&eng, &config, &silent, NULL))
		abort();
	for (unsigned p = 0; p < m->n_pages; p++) {
		pages[p] = copy + (size_t)p * DRAY_MAP_PAGE_BYTES;
		map_guess(m, p, copy + (size_t)p * DRAY_MAP_PAGE_BYTES);
	}
	struct dray_leg_config first = { .id = primary->leg_id, .durable = true }, second = { .id = leg->leg_id, .durable = true, .pages = pages, .n_pages = m->n_pages };
	memcpy(second.map_id, m->id, sizeof second.map_id);
	dray_vol_leg_attach(eng, &first);
	int i = dray_vol_leg_attach(eng, &second);
	if (i < 0)
		sim_fail(s, "recovery", "volume %u: a leg with a map is refused: %d", v->no, i);
	unsigned bad = UINT32_MAX;
	for (unsigned r = 0; r < v->n_regions && bad == UINT32_MAX; r++) {
		int state = dray_vol_leg_region(eng, i, r);
		if (state != DRAY_REGION_CLEAN && state != DRAY_REGION_RECORDED)
			continue;
		for (unsigned b = r * v->region_blocks; b < (r + 1) * v->region_blocks && b < v->n_blocks; b++)
			if (!same_whatever_survives(primary, leg, b) && !listed(v, eng, b, &(bool){ false })) {
				bad = b;
				break;
			}
	}
	dray_vol_free(eng, true);
	free(copy);
	free(pages);
	if (bad != UINT32_MAX)
		sim_fail(s, "recorded-clean-differs",
			"volume %u: after a power loss now the map would call region %u clean, but block %u is %s (platter: %s) on disk %u and %s (platter: %s) on disk %u",
			v->no, bad / v->region_blocks, bad, stamp_text(primary->cache[bad]), stamp_text(primary->durable[bad]),
			primary->no, stamp_text(leg->cache[bad]), stamp_text(leg->durable[bad]), leg->no);
}

void crash_what_if(struct sim_vol *v)
{
	if (v->corrupt)
		return;
	crash_what_if_power(v, v->primary, "flushed-lost", "the primary");
	for (unsigned i = 0; i < v->n_disks; i++)
		if (v->disks[i] != v->primary && (v->members & ~v->unmapped) >> i & 1)
			imagine_pair(v, v->primary, v->disks[i]);
	if (v->next_primary && v->next_primary != v->primary && record_may_be_new(v->s) && v->group) {
		crash_what_if_power(v, v->next_primary, "flushed-lost", "the new primary");
		if (!(v->unmapped >> v->next_primary->no & 1))
			imagine_pair(v, v->next_primary, v->primary);
	}
}

/* ---- real ---- */

/* Nobody is told the figures of a forced switch that a crash cut off; but what may be lost is what the engine held for lacking then. */
static void note_forced(struct sim_vol *v)
{
	v->forced_to = v->force && v->group && v->next_primary != v->primary ? v->next_primary : NULL;
	for (unsigned r = 0; v->forced_to && r < v->n_regions; r++)
		v->lacked[r] = check_given_up(v, v->next_primary, r * v->region_blocks);
	v->force = false;
}

static void on_recover(struct sim *s, void *arg, uint32_t gen);

static void lose(struct sim *s, bool power)
{
	for (unsigned i = 0; i < s->n_vols; i++) {
		struct sim_vol *v = s->vols[i];
		for (unsigned a = 0; a < v->n_disks; a++)
			for (unsigned b = a + 1; b < v->n_disks; b++)
				map_crash(v->maps[a][b], power);
		map_crash(v->bad, power);
		for (unsigned a = 0; a < v->n_disks; a++) {
			struct sim_disk *d = v->disks[a];
			/* A network disk stands elsewhere and may keep its power. */
			bool dark = power && (!d->net || rng_one_in(&s->rng, 2));
			if (dark)
				disk_power_lost(d);
			else
				disk_process_died(d);
			d->was_dark |= dark;
		}
	}
	record_crash(s, power);
}

void crash_now(struct sim *s, bool power)
{
	sim_trace(s, "%s", power ? "POWER LOSS" : "KILL");
	sim_cover(s, power ? COVER_CRASH_POWER : COVER_CRASH_KILL);
	s->incarnation++;
	s->down = true;
	for (unsigned i = 0; i < s->n_vols; i++)
		note_forced(s->vols[i]);
	group_crash(s);
	for (unsigned i = 0; i < s->n_vols; i++) {
		struct sim_vol *v = s->vols[i];
		app_crash(v);
		dray_vol_free(v->eng, true);
		v->eng = NULL;
		v->n_ev = 0;
		memset(v->legs, 0, sizeof v->legs);
		v->tick_at = DRAY_TIME_NEVER;
		v->tick_gen++;
		v->suspended = v->sealed = v->doubt = v->drained = v->judgement_open = v->flush_owed = v->reopening = false;
		v->next_primary = NULL;
		v->token = v->old_token = 0;
		for (unsigned d = 0; d < v->n_disks; d++)
			v->disks[d]->was_dark = false;
	}
	host_forget(s);
	lose(s, power);
	sched_at(s, s->now + rng_range(&s->rng, MS, 10 * MS), true, on_recover, NULL, 0);
}

static bool locked(const struct sim_vol *v, const struct sim_disk *primary)
{
	for (unsigned i = 0; i < v->n_disks; i++) {
		const struct sim_disk *d = v->disks[i];
		if ((v->members >> i & 1) && (d->orphans || d->late) && (!d->net || d == primary))
			return true;
	}
	return false;
}

/* What the application finds on the primary, before any engine looks at it. */
static void check_found(struct sim_vol *v)
{
	struct sim *s = v->s;
	const struct sim_disk *d = v->primary;
	uint64_t now = ++s->oracle_time;
	struct dray_vol *eng = read_list(v, d, v->bad->cache);
	bool any = false, forced = v->forced_to == d;
	for (unsigned b = 0; b < v->n_blocks; b++) {
		uint64_t val = d->cache[b];
		if (excused(v, eng, b, "acknowledged-lost")) {
			any = true;
			continue;
		}
		if (forced && v->lacked[b / v->region_blocks]) {
			oracle_given_up(v, b, val, d->durable[b]);
			sim_cover(s, COVER_H19_FORCED_CRASH);
			continue;
		}
		bool right = d->was_dark ? oracle_survives(v, b, val) : oracle_readable(v, b, val, now, now + 1);
		if (!right)
			sim_fail(s, d->was_dark ? "flushed-lost" : "acknowledged-lost",
				"volume %u: after %s block %u of the primary (disk %u) is %s; its history: %s", v->no,
				d->was_dark ? "the power loss" : "the kill", b, d->no, stamp_text(val), oracle_history(v, b));
	}
	s->oracle_time++;
	for (unsigned b = 0; b < v->n_blocks; b++) {
		bool lost;
		listed(v, eng, b, &lost);
		if (!lost && !(forced && v->lacked[b / v->region_blocks]))
			oracle_settle(v, b, d->cache[b], d->was_dark);
	}
	dray_vol_free(eng, true);
	v->forced_to = NULL;
	if (any)
		sim_cover(s, COVER_H17_CRASH);
}

void host_start_volume(struct sim_vol *v, bool recovery)
{
	struct sim *s = v->s;
	v->config.bad_slots = (const void *const[]){ v->bad->cache, v->bad->cache + DRAY_BAD_SLOT_BYTES };
	if (dray_vol_new(&v->eng, &v->config, &sim_host_ops, v))
		sim_fail(s, "sim", "dray_vol_new refused its configuration");
	v->config.bad_slots = NULL;
	v->tick_at = DRAY_TIME_NEVER;
	v->excuse_mark = s->now;
	uint32_t members = v->members;
	v->members = 0;
	vol_attach(v, v->primary, NULL, false, false);
	for (unsigned i = 0; i < v->n_disks; i++) {
		struct sim_disk *d = v->disks[i];
		if (d == v->primary || !(members >> i & 1))
			continue;
		struct sim_map *m = map_of(v, d);
		const void *pages[8];
		/* Without a map all is dirty; but it is not a new leg: old writes may still land there. */
		bool none = v->unmapped >> i & 1;
		for (unsigned p = 0; p < m->n_pages; p++)
			pages[p] = none || rng_one_in(&s->rng, 40) ? NULL : m->cache + (size_t)p * DRAY_MAP_PAGE_BYTES;
		if (recovery && vol_attach(v, d, pages, false, false) < 0)
			sim_fail(s, "recovery", "volume %u: disk %u is refused after a restart", v->no, i);
	}
	verbs_limits(v, s->calm);
	check_clean(v);
	app_start(v);
}

static void on_recover(struct sim *s, void *arg, uint32_t gen)
{
	const struct sim_slot *slot = record_winner(s);
	for (unsigned i = 0; i < s->n_vols; i++)
		if (locked(s->vols[i], s->vols[i]->disks[slot->primary[i]])) {
			sched_at(s, s->now + 2 * MS, true, on_recover, NULL, 0);
			return;
		}
	if (!s->calm && rng_one_in(&s->rng, 12)) {
		sim_cover(s, COVER_CRASH_TWICE);
		sim_trace(s, "power loss during recovery");
		lose(s, true);
		sched_at(s, s->now + rng_range(&s->rng, MS, 10 * MS), true, on_recover, NULL, 0);
		return;
	}
	for (unsigned i = 0; i < s->n_vols; i++) {
		struct sim_vol *v = s->vols[i];
		v->members &= ~slot->forget[i];
		vol_exchange(v, v->disks[slot->primary[i]]);
		if (!(v->members >> v->primary->no & 1))
			sim_fail(s, "sim", "volume %u: the record names disk %u, which is no leg", i, v->primary->no);
	}
	record_normalise(s);
	sim_trace(s, "recovery");
	for (unsigned i = 0; i < s->n_vols; i++) {
		struct sim_vol *v = s->vols[i];
		for (unsigned a = 0; a < v->n_disks; a++)
			for (unsigned b = a + 1; b < v->n_disks; b++)
				map_sync(v->maps[a][b]);
		map_sync(v->bad);
		check_found(v);
	}
	s->down = false;
	for (unsigned i = 0; i < s->n_vols; i++)
		host_start_volume(s->vols[i], true);
	verbs_start(s);
}
