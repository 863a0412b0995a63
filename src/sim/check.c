/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * None of these looks into the engine: they use what it tells its host (dray_vol_info, dray_vol_leg_info, dray_vol_leg_region) and
 * hold it against the simulated disks, which it cannot see.
 *
 * "Clean" is checked in the strictest sense that is true: a region that the engine calls clean must be equal on
 * both legs at every moment, except while an application's write to it is not answered. An operation of the copy in flight
 * is no excuse: a region is clean after its write completed, not when it was sent.
 */
#include "sim/check.h"

#include "sim/app.h"
#include "sim/cover.h"
#include "sim/crash.h"
#include "sim/disk.h"
#include "sim/oracle.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

void check_excuse_all(struct sim_vol *v)
{
	for (int i = 0; i < DRAY_MAX_LEGS; i++)
		v->legs[i].excuse = true;
}

static bool secondary(const struct sim_vol *v, const struct sim_leg *leg)
{
	return leg->used && leg->disk != v->primary;
}

/* ---- progress ---- */

static void check_progress(struct sim_vol *v, struct sim_leg *leg, int i)
{
	struct sim *s = v->s;
	struct dray_leg_info info;
	int rc = dray_vol_leg_info(v->eng, i, &info);
	if (rc)
		sim_fail(s, "leg-info", "volume %u: no figures of leg %d, which is attached (%d)", v->no, i, rc);
	if (leg->detaching)
		return;
	uint64_t size = v->config.size_bytes;
	if (info.done_bytes > size || info.dirty_bytes != size - info.done_bytes)
		sim_fail(s, "figures", "volume %u leg %d: done %" PRIu64 " and dirty %" PRIu64 " do not add up to %" PRIu64, v->no, i,
			info.done_bytes, info.dirty_bytes, size);
	if (info.recorded_bytes > info.done_bytes)
		sim_fail(s, "figures", "volume %u leg %d: recorded clean %" PRIu64 " of %" PRIu64 " clean bytes", v->no, i,
			info.recorded_bytes, info.done_bytes);
	if (info.synced && info.dirty_bytes)
		sim_fail(s, "figures", "volume %u leg %d: synced with %" PRIu64 " dirty bytes", v->no, i, info.dirty_bytes);
	if (info.copied_bytes + info.zeroed_bytes > leg->disk->attached_written && leg->copied_at_attach == 0)
		sim_fail(s, "counted-early", "volume %u leg %d: %" PRIu64 " bytes counted as copied, %" PRIu64 " are there", v->no,
			i, info.copied_bytes + info.zeroed_bytes, leg->disk->attached_written);
	if (info.done_bytes < leg->last_done && !leg->excuse && info.state != DRAY_LEG_DEGRADED && !v->corrupt)
		sim_fail(s, "progress-lost", "volume %u leg %d: %" PRIu64 " bytes were done, now %" PRIu64 ", and nothing failed", v->no,
			i, leg->last_done, info.done_bytes);
	leg->last_done = info.done_bytes;
	/* A write that failed with its connection counts as lost only when it can't land any more, a flush that failed during a switch when
	 * that is over. */
	leg->excuse = info.state == DRAY_LEG_DEGRADED || v->judgement_open || v->primary->lost_until + 20 * MS > s->now ||
		leg->disk->lost_until + 20 * MS > s->now;
}

/* ---- bad ranges ---- */

bool check_bad(struct sim_vol *v, unsigned block, bool *lost)
{
	bool gone;
	bool bad = dray_vol_bad_at(v->eng, (uint64_t)block * v->block_bytes, &gone);
	if (bad && !v->lost_ok[block])
		sim_fail(v->s, "needless-bad",
			"volume %u: block %u counts as bad; it was never found unreadable by itself, or was written since; its history: %s", v->no,
			block, oracle_history(v, block));
	if (lost)
		*lost = bad && gone;
	return bad;
}

static void check_bad_all(struct sim_vol *v)
{
	struct dray_vol_info info;
	dray_vol_info(v->eng, &info);
	for (unsigned b = 0; info.bad_ranges && b < v->n_blocks; b++)
		check_bad(v, b, NULL);
}

/* ---- equality ---- */

static void check_region(struct sim_vol *v, const struct sim_leg *leg, int i, unsigned region)
{
	struct sim *s = v->s;
	int state = dray_vol_leg_region(v->eng, i, region);
	if (state != DRAY_REGION_CLEAN && state != DRAY_REGION_RECORDED)
		return;
	unsigned first = region * v->region_blocks, n = v->region_blocks;
	if (first + n > v->n_blocks)
		n = v->n_blocks - first;
	const struct sim_disk *a = v->primary, *b = leg->disk;
	if (disk_dropped(b))
		return; /* nobody can know yet */
	if (memchr(b->dirty + first, 1, n) || memchr(a->dirty + first, 1, n))
		sim_cover(s, COVER_H1_VOLATILE_CLEAN);
	if (memcmp(a->cache + first, b->cache + first, n * sizeof *a->cache) == 0 || app_writing(v, first, n))
		return;
	unsigned at = first;
	while (at < first + n && (a->cache[at] == b->cache[at] || check_bad(v, at, NULL)))
		at++;
	if (at == first + n)
		return;
	sim_fail(s, "clean-differs",
		"volume %u: region %u counts as clean on leg %d, but block %u is %s on the primary (disk %u) and %s on the leg (disk %u)",
		v->no, region, i, at, stamp_text(a->cache[at]), a->no, stamp_text(b->cache[at]), b->no);
}

void check_clean(struct sim_vol *v)
{
	if (v->corrupt && v->corrupt->cache[v->corrupt_block] != v->corrupt_stamp)
		v->corrupt = NULL;
	if (v->corrupt || v->judgement_open)
		return;
	for (int i = 0; i < DRAY_MAX_LEGS; i++)
		if (secondary(v, &v->legs[i]) && !v->legs[i].detaching)
			for (unsigned r = 0; r < v->n_regions; r++)
				check_region(v, &v->legs[i], i, r);
}

bool check_given_up(const struct sim_vol *v, const struct sim_disk *d, unsigned block)
{
	if (!v->force || d != v->next_primary || d == v->primary)
		return false;
	for (int i = 0; i < DRAY_MAX_LEGS; i++)
		if (v->legs[i].used && v->legs[i].disk == d)
			return dray_vol_leg_lacks(v->eng, i, block / v->region_blocks);
	return false;
}

void check_takeover(struct sim_vol *v, const struct sim_disk *d, bool durable, const char *what)
{
	struct sim *s = v->s;
	uint64_t now = ++s->oracle_time;
	for (unsigned b = 0; b < v->n_blocks; b++) {
		bool lost, bad = check_bad(v, b, &lost);
		if (check_given_up(v, d, b))
			continue;
		if (bad && d == v->primary && lost)
			continue; /* reads fail */
		if (bad && d != v->primary && !oracle_readable(v, b, d->cache[b], now, now + 1)) {
			if (!lost && !v->accept_bad)
				sim_fail(s, "bad-not-refused",
					"volume %u: a switch to disk %u may go ahead; its block %u is bad, and nobody accepted that", v->no, d->no, b);
			continue;
		}
		if (!oracle_readable(v, b, d->cache[b], now, now + 1))
			sim_fail(s, "takeover-content", "volume %u: %s (disk %u) holds %s in block %u, the old one %s; its history: %s",
				v->no, what, d->no, stamp_text(d->cache[b]), b, stamp_text(v->primary->cache[b]), oracle_history(v, b));
	}
	s->oracle_time++;
	if (durable)
		crash_what_if_power(v, d, "takeover-volatile", what);
}

void check_drained(struct sim_vol *v)
{
	struct sim *s = v->s;
	if (!v->next_primary)
		return;
	struct sim_leg *leg = vol_leg_of(v, v->next_primary);
	struct dray_leg_info info;
	if (!leg || dray_vol_leg_info(v->eng, (int)(leg - v->legs), &info))
		sim_fail(s, "drained", "volume %u: ready to switch to a leg that is not there", v->no);
	if (((info.dirty_bytes || info.doubt_bytes) && !v->force) || info.unsettled)
		sim_fail(s, "switch-to-dirty", "volume %u: ready to switch to leg %d with %" PRIu64 " bytes dirty, %" PRIu64
			" in doubt, %u operations unsettled", v->no, (int)(leg - v->legs), info.dirty_bytes, info.doubt_bytes, info.unsettled);
	check_takeover(v, v->next_primary, true, "the new primary after the drain");
}

/* ---- answers ---- */

static unsigned targets(const struct sim_vol *v)
{
	unsigned n = 0;
	for (int i = 0; i < DRAY_MAX_LEGS; i++)
		n += secondary(v, &v->legs[i]);
	return n;
}

void check_answered(struct sim_vol *v, struct sim_req *r, int error)
{
	struct sim *s = v->s;
	uint64_t waited = s->now - r->at_ns, excused = v->excused_ns - r->excused_ns;
	uint64_t most = v->leg_timeout_ns * (1 + targets(v)) + 100 * MS;
	if (waited > excused + most && r->req.op != DRAY_OP_EXTENTS && r->req.op != DRAY_OP_CACHE)
		sim_fail(s, "waited-too-long",
			"volume %u: operation %d on blocks %u+%u waited %" PRIu64 " ms, of which %" PRIu64
			" ms have an excuse; leg_timeout is %" PRIu64 " ms", v->no, r->req.op, r->first, r->n, waited / MS, excused / MS,
			v->leg_timeout_ns / MS);
	if (error)
		return;
	bool doubt = v->doubt && v->next_primary; /* a split in doubt has no other side */
	if (r->req.op == DRAY_OP_FLUSH) {
		for (unsigned b = 0; b < v->n_blocks; b++) {
			bool lost, bad = check_bad(v, b, &lost);
			if (!oracle_survives(v, b, v->primary->durable[b]) && !lost)
				sim_fail(s, "flush-lied", "volume %u: a flush was answered, and block %u is %s on the platter; its history: %s",
					v->no, b, stamp_text(v->primary->durable[b]), oracle_history(v, b));
			if (doubt && !bad && !check_given_up(v, v->next_primary, b) && !oracle_survives(v, b, v->next_primary->durable[b]))
				sim_fail(s, "doubt-flush", "volume %u: in doubt, a flush was answered, and block %u is %s on the new side; its history: %s",
					v->no, b, stamp_text(v->next_primary->durable[b]), oracle_history(v, b));
		}
	}
	if (doubt && r->recs == NULL && r->n && r->req.op != DRAY_OP_READ && r->req.op != DRAY_OP_EXTENTS && r->req.op != DRAY_OP_CACHE) {
		uint64_t now = ++s->oracle_time;
		for (unsigned b = r->first; b < r->first + r->n; b++)
			if (!oracle_readable(v, b, v->next_primary->cache[b], now, now + 1) &&
				!(check_given_up(v, v->next_primary, b) && oracle_dropped_elsewhere(v, b)))
				sim_fail(s, "doubt-one-sided",
					"volume %u: in doubt, a write was answered, and the new side has %s in block %u; its history: %s", v->no,
					stamp_text(v->next_primary->cache[b]), b, oracle_history(v, b));
		s->oracle_time++;
	}
}

/* ---- legs ---- */

int check_image(struct sim_vol *v, const struct sim_disk *d)
{
	uint64_t now = ++v->s->oracle_time;
	int bad = -1;
	for (unsigned b = 0; b < v->n_blocks && bad < 0; b++)
		if (!oracle_readable(v, b, d->cache[b], now, now + 1) && !check_bad(v, b, NULL))
			bad = (int)b;
	v->s->oracle_time++;
	return bad;
}

void check_detached(struct sim_vol *v, struct sim_leg *leg, int error)
{
	struct sim *s = v->s;
	if (!leg || !leg->detaching)
		sim_fail(s, "detached", "volume %u: a leg was let go that nobody detached", v->no);
	if (leg->disk->in_flight)
		sim_fail(s, "detached-busy", "volume %u: disk %u was let go with %u operations under way", v->no, leg->disk->no,
			leg->disk->in_flight);
	if (leg->is_image && !error && leg->bad_image >= 0)
		sim_fail(s, "image-content", "volume %u: disk %u was left behind as an image of the switch, and its block %d is not of that instant; its history by now: %s",
			v->no, leg->disk->no, leg->bad_image, oracle_history(v, (unsigned)leg->bad_image));
	if (v->undo_to == leg->disk) {
		sim_cover(s, COVER_COMMITTED);
		v->undo_to = NULL;
	}
	leg->used = false;
}

void check_verified(struct sim_vol *v, struct sim_leg *leg, int error)
{
	struct sim *s = v->s;
	struct dray_leg_info info;
	if (!leg->verifying)
		sim_fail(s, "verified", "volume %u: a verify ended that nobody started", v->no);
	leg->verifying = false;
	if (dray_vol_leg_info(v->eng, (int)(leg - v->legs), &info))
		return;
	bool present = v->corrupt == leg->disk && v->corrupt->cache[v->corrupt_block] == v->corrupt_stamp;
	if (v->was_corrupt != leg->disk && !leg->verify_excused && info.verify_differing_bytes)
		sim_fail(s, "verify-false-alarm", "volume %u: a verify found %" PRIu64 " bytes that differ; none do", v->no,
			info.verify_differing_bytes);
	/* (Dirty by now, it is the copy's business.) */
	bool judged = present && dray_vol_leg_region(v->eng, (int)(leg - v->legs), v->corrupt_block / v->region_blocks) >= DRAY_REGION_CLEAN;
	if (judged && !error && leg->verify_all) {
		if (!info.verify_differing_bytes)
			sim_fail(s, "verify-blind", "volume %u: a verify missed the corrupted block %u", v->no, v->corrupt_block);
		if (leg->verify_repair)
			sim_fail(s, "verify-no-repair", "volume %u: a verify with repair left block %u corrupt", v->no, v->corrupt_block);
	}
	if (info.verify_differing_bytes)
		sim_cover(s, COVER_H16_CORRUPTION_FOUND);
	leg->excuse = true;
	/* (Or the corrupted one was brought right by a copy, and became the primary.) */
	if (!present && (v->was_corrupt == leg->disk || (!v->corrupt && v->was_corrupt == v->primary)))
		v->corrupt = v->was_corrupt = NULL;
}

void check_note_write(struct sim_vol *v, const struct sim_leg *leg, const struct sim_req *r)
{
	struct sim *s = v->s;
	unsigned region = r->first / v->region_blocks;
	int state = dray_vol_leg_region(v->eng, (int)(leg - v->legs), region);
	if (state == DRAY_REGION_DIRTY && leg->state == DRAY_LEG_COPYING &&
		disk_busy_with(leg->disk, DRAY_OP_WRITE, region * v->region_blocks, v->region_blocks))
		sim_cover(s, COVER_H4_WRITE_TO_PART_COPIED);
	if (state == DRAY_REGION_RECORDED && leg->state == DRAY_LEG_DEGRADED)
		sim_cover(s, COVER_H12_WRITE_PAST_CLEAN);
	if (state >= DRAY_REGION_CLEAN && r->req.op == DRAY_OP_DISCARD)
		sim_cover(s, COVER_H15_DISCARD_MIRRORED);
}

/* ---- every step ---- */

void check_step(struct sim_vol *v)
{
	struct sim *s = v->s;
	struct dray_vol_info info;
	dray_vol_info(v->eng, &info);
	if (info.primary < 0 || info.primary >= DRAY_MAX_LEGS || !v->legs[info.primary].used || v->legs[info.primary].disk != v->primary) {
		if (v->members)
			sim_fail(s, "primary", "volume %u: the engine's primary is leg %d, the host's disk %u", v->no, info.primary,
				v->primary->no);
		return;
	}
	if (info.suspended && !v->suspended)
		sim_fail(s, "suspended", "volume %u: suspended, and nobody asked for it or it said RESUMED", v->no);
	if (info.suspended && s->now > v->deadline + 2 * MS)
		sim_fail(s, "suspend-never-ends", "volume %u: still suspended %" PRIu64 " us after the deadline", v->no,
			(s->now - v->deadline) / US);
	/* The heavier ones often enough: an interleaving leaves its mark for longer than a few events. */
	if (rng_one_in(&s->rng, 6)) {
		for (int i = 0; i < DRAY_MAX_LEGS; i++)
			if (secondary(v, &v->legs[i]))
				check_progress(v, &v->legs[i], i);
		check_clean(v);
		check_bad_all(v);
	}
	if (rng_one_in(&s->rng, 24))
		crash_what_if(v);
}

void check_rest(struct sim_vol *v)
{
	struct sim *s = v->s;
	for (int i = 0; i < DRAY_MAX_LEGS; i++) {
		struct sim_leg *leg = &v->legs[i];
		if (!secondary(v, leg))
			continue;
		check_progress(v, leg, i);
		for (unsigned b = 0; b < v->n_blocks; b++)
			if (leg->disk->cache[b] != v->primary->cache[b] && !check_bad(v, b, NULL))
				sim_fail(s, "end-differs", "volume %u: at the end block %u is %s on the primary and %s on leg %d", v->no, b,
					stamp_text(v->primary->cache[b]), stamp_text(leg->disk->cache[b]), i);
	}
	check_takeover(v, v->primary, true, "the primary at the end");
	crash_what_if(v);
}
