/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Legs: coming, going, failing, stalling, coming back; and what a flush covers.
 *
 * A secondary that fails or stalls is set aside (DEGRADED): the application is answered from the primary, writes to what it had
 * make it dirty, and it is tried again with back-off, from what is there, but not before its last operation has settled: until
 * then an old write could land on top of a new one (H6). Without progress for give_up_ns, or out of space, it is held
 * until someone says retry.
 *
 * Flushes (H13). Per leg two sets of regions: written since the tracked flush began, and before it. One flush at a time is
 * tracked; when it succeeds the older set is forgotten. When any flush fails, both sets count as lost: the storage may have
 * dropped them and may say OK next time. Lost regions of a secondary are dirty; those of the primary are dirty on every
 * secondary, for reads of the primary may now return anything older. During a switch that judgement waits for the outcome: the old
 * primary may be dying, and its failure must not close the way out of it (H18).
 *
 * A storage that is closed takes the knowledge of its failure with it: a file system that was shut down and mounted again, a disk that lost
 * its power, a server that was started anew, has nothing to flush and says OK. So closing counts as a failed flush: of the primary, as
 * one that nobody has told the application of yet.
 */
#include "engine/internal.h"

#include <stdlib.h>
#include <string.h>

#define BACKOFF_FIRST_NS UINT64_C(100000000)
#define BACKOFF_MOST_NS  UINT64_C(5000000000)

static void leg_clear(struct dray_vol *v, struct leg *leg)
{
	v->links &= ~(1u << leg_index(v, leg));
	dray_link_free(leg->link);
	dray_bitmap_free(&leg->dirty_cache);
	dray_bitmap_free(&leg->dirty_cache_old);
	dray_bitmap_free(&leg->known_zero);
	memset(leg, 0, sizeof *leg);
	dray_list_init(&leg->outstanding);
}

int dray_vol_leg_attach(struct dray_vol *v, const struct dray_leg_config *config)
{
	if (v->takeover.phase != TK_NONE)
		return -EBUSY;
	int n = 0;
	while (n < DRAY_MAX_LEGS && v->legs[n].state != DRAY_LEG_NONE)
		n++;
	if (n == DRAY_MAX_LEGS)
		return -ENOSPC;
	struct leg *leg = &v->legs[n];
	leg_clear(v, leg);
	leg->config = *config;
	if (!config->id)
		leg->config.id = (uint32_t)n + 1;
	leg->config.pages = NULL; /* only good during this call */
	if (dray_bitmap_new(&leg->dirty_cache, v->n_regions) || dray_bitmap_new(&leg->dirty_cache_old, v->n_regions) ||
		dray_bitmap_new(&leg->known_zero, v->n_regions))
		goto no_memory;
	/* What was written before our time may sit in its cache: the first flush covers it, and if that fails, it is lost (but for what
	 * a map calls clean: that was durable before it was called so). */
	dray_bitmap_set_all(&leg->dirty_cache);
	if (v->primary == DRAY_NO_LEG) {
		leg->state = DRAY_LEG_PRIMARY;
		v->primary = n;
		return n;
	}
	if (dray_link_new(&leg->link, v, config))
		goto no_memory;
	v->links |= 1u << n;
	if (config->known_zero)
		dray_bitmap_set_all(&leg->known_zero);
	dray_map_load(v, leg->link, config);
	for (uint64_t r = 0; leg->link->clean.nset && (r = dray_bitmap_next_set(&leg->link->clean, r)) != DRAY_BITMAP_NONE; r++)
		dray_bitmap_clear(&leg->dirty_cache, r);
	leg->paused = config->paused;
	leg->state = DRAY_LEG_COPYING;
	if (config->tracked_only) {
		leg->state = DRAY_LEG_DEGRADED;
		leg->held = leg->set_aside = true;
		leg->degraded_since_ns = v->now_ns;
	}
	/* What the application has in flight was not tracked for this leg; but all it could touch is dirty there, or, after
	 * a restart, nothing is in flight yet. */
	leg->attached = true; /* the next tick looks what it is: the host does not know its number yet */
	return n;
no_memory:
	leg_clear(v, leg);
	return -ENOMEM;
}

int dray_vol_leg_detach(struct dray_vol *v, int leg_no)
{
	if (leg_no < 0 || leg_no >= DRAY_MAX_LEGS || v->legs[leg_no].state == DRAY_LEG_NONE)
		return -ENOENT;
	if (leg_no == v->primary)
		return -EINVAL;
	if (v->takeover.phase != TK_NONE)
		return -EBUSY;
	v->legs[leg_no].state = DRAY_LEG_DETACHED;
	dray_request_abandon_leg(v, leg_no);
	dray_leg_io_settled(v, leg_no);
	dray_pump(v);
	return 0;
}

/* ---- failure and return ---- */

static void set_aside(struct dray_vol *v, int leg_no, int error, const char *why)
{
	struct leg *leg = &v->legs[leg_no];
	leg->last_error = error;
	if (!leg_active(leg))
		return;
	leg->state = DRAY_LEG_DEGRADED;
	if (!leg->failing_since_ns || v->now_ns - leg->degraded_since_ns > v->limits.give_up_ns) {
		leg->failing_since_ns = max_u64(v->now_ns, 1);
		leg->backoff_ns = 0;
	}
	leg->degraded_since_ns = v->now_ns;
	leg->backoff_ns = leg->backoff_ns ? min_u64(2 * leg->backoff_ns, BACKOFF_MOST_NS) : BACKOFF_FIRST_NS;
	leg->retry_at_ns = v->now_ns + leg->backoff_ns;
	leg->settled_told = false;
	dray_leg_review(v, leg_no, error, why);
	dray_emit(v, (struct dray_event){ .kind = DRAY_EV_LEG_STATE, .leg = leg_no, .leg_state = leg->state, .error = error, .why = why });
	if (error == -ENOSPC) {
		leg->held = true;
		dray_emit(v, (struct dray_event){ .kind = DRAY_EV_LEG_HELD, .leg = leg_no, .leg_state = leg->state, .error = error, .why = why });
	}
}

void dray_leg_failed(struct dray_vol *v, int leg_no, int error, const char *why)
{
	if (leg_no == v->primary || !v->legs[leg_no].link)
		return;
	set_aside(v, leg_no, error, why);
}

void dray_leg_give_up(struct dray_vol *v, int leg_no, int error, const char *why)
{
	struct leg *leg = &v->legs[leg_no];
	set_aside(v, leg_no, error, why);
	if (leg->state != DRAY_LEG_DEGRADED || leg->held)
		return;
	leg->held = true;
	dray_emit(v, (struct dray_event){ .kind = DRAY_EV_LEG_HELD, .leg = leg_no, .leg_state = leg->state, .error = error, .why = why });
}

void dray_leg_stalled(struct dray_vol *v, int leg_no)
{
	struct leg *leg = &v->legs[leg_no];
	set_aside(v, leg_no, -ETIMEDOUT, "stalled");
	dray_request_abandon_leg(v, leg_no);
	for (int i = 0; i < MAX_STEPS; i++) {
		if (v->steps[i].phase != ST_FREE && v->steps[i].leg == leg_no)
			dray_step_abandon(v, &v->steps[i]);
	}
	/* Steps' operations still listed can't be judged twice. */
	while (dray_list_pop(&leg->outstanding))
		;
}

void dray_leg_progress(struct dray_vol *v, struct leg *leg)
{
	leg->failing_since_ns = 0;
	leg->backoff_ns = 0;
	leg->last_error = 0;
}

static void come_back(struct dray_vol *v, int leg_no)
{
	struct leg *leg = &v->legs[leg_no];
	leg->state = DRAY_LEG_COPYING;
	/* Late writes land when the storage is there again, not while it is stopped or out of reach: the time they have counts
	 * from now (H6). */
	if (leg->link->doubt.nset)
		leg->link->doubt_until_ns = v->now_ns + v->config.settle_ns;
	dray_emit(v, (struct dray_event){ .kind = DRAY_EV_LEG_STATE, .leg = leg_no, .leg_state = leg->state });
	dray_leg_review(v, leg_no, 0, NULL);
}

void dray_leg_io_settled(struct dray_vol *v, int leg_no)
{
	struct leg *leg = &v->legs[leg_no];
	if (leg->in_flight)
		return;
	if (leg->state == DRAY_LEG_DEGRADED) {
		if (leg->settled_told)
			return;
		leg->settled_told = true;
		dray_emit(v, (struct dray_event){ .kind = DRAY_EV_LEG_SETTLED, .leg = leg_no, .leg_state = leg->state });
	} else if (leg->state == DRAY_LEG_DETACHED) {
		if (leg->link && (leg->link->map.busy || leg->link->batch))
			return;
		for (int i = 0; i < MAX_STEPS; i++) {
			struct step *s = &v->steps[i];
			if (s->phase == ST_FREE || s->leg != leg_no)
				continue;
			/* It waits for the primary, or for its range: it has nothing to do any more. */
			dray_step_abandon(v, s);
		}
		int error = leg->image_error;
		leg_clear(v, leg);
		if (!v->links) {
			/* Nobody was given zeroes, nobody wants to know. */
			dray_probe_reset(v);
			dray_bad_again(v);
		}
		dray_emit(v, (struct dray_event){ .kind = DRAY_EV_LEG_DETACHED, .leg = leg_no, .leg_state = DRAY_LEG_DETACHED, .error = error });
	}
}

/* The oldest operations on a leg, against leg_timeout. Returns when to look again. */
static uint64_t look_for_stall(struct dray_vol *v, int leg_no)
{
	struct leg *leg = &v->legs[leg_no];
	uint64_t limit = v->limits.leg_timeout_ns;
	if (leg_no == v->primary || dray_in_doubt(v))
		return DRAY_TIME_NEVER;
	dray_list_for_each_safe(n, &leg->outstanding) {
		struct dray_io *io = dray_container(n, struct dray_io, node);
		if (io->since_ns + limit > v->now_ns)
			return io->since_ns + limit;
		if (io->op == DRAY_OP_FLUSH) {
			/* A flush may take long on a healthy leg; nothing but this answer waits for it. */
			if (io->role == ROLE_REQUEST)
				dray_request_abandon_flush(v, io);
			continue;
		}
		if (leg_active(leg)) {
			dray_leg_stalled(v, leg_no);
			return DRAY_TIME_NEVER;
		}
		if (io->role == ROLE_REQUEST) {
			dray_request_abandon_leg(v, leg_no);
			return DRAY_TIME_NEVER;
		}
	}
	return DRAY_TIME_NEVER;
}

/* A degraded leg: when to try again, when to give up. */
static uint64_t look_for_return(struct dray_vol *v, int leg_no)
{
	struct leg *leg = &v->legs[leg_no];
	if (leg->state != DRAY_LEG_DEGRADED || leg->held)
		return DRAY_TIME_NEVER;
	if (leg->failing_since_ns && leg->failing_since_ns + v->limits.give_up_ns <= v->now_ns) {
		leg->held = true;
		dray_emit(v, (struct dray_event){ .kind = DRAY_EV_LEG_HELD, .leg = leg_no, .leg_state = leg->state,
			.error = leg->last_error, .why = "no progress" });
		return DRAY_TIME_NEVER;
	}
	uint64_t give_up = leg->failing_since_ns ? leg->failing_since_ns + v->limits.give_up_ns : DRAY_TIME_NEVER;
	if (leg->in_flight && !PLANT(H6_UNSETTLED_IGNORED))
		return give_up;
	if (v->takeover.phase != TK_NONE)
		return give_up;
	if (leg->retry_at_ns > v->now_ns)
		return min_u64(leg->retry_at_ns, give_up);
	come_back(v, leg_no);
	return DRAY_TIME_NEVER;
}

uint64_t dray_leg_tick(struct dray_vol *v)
{
	uint64_t next = DRAY_TIME_NEVER;
	for_links(v, n) {
		int i = (int)n;
		if (v->legs[i].attached) {
			v->legs[i].attached = false;
			dray_leg_review(v, i, 0, NULL);
		}
		next = min_u64(next, look_for_stall(v, i));
		next = min_u64(next, look_for_return(v, i));
	}
	/* A claim is held no longer than that either, whoever is slow: writes wait behind it (H7). */
	for (int i = 0; i < MAX_STEPS && v->step_bytes_in_flight; i++) {
		struct step *s = &v->steps[i];
		if (s->phase == ST_FREE || s->abandoned || !s->lock.granted)
			continue;
		if (s->since_ns + v->limits.leg_timeout_ns > v->now_ns)
			next = min_u64(next, s->since_ns + v->limits.leg_timeout_ns);
		else if (s->phase == ST_WRITE && leg_active(&v->legs[s->leg]))
			dray_leg_stalled(v, s->leg); /* a write that is given up on takes the leg with it (H6) */
		else
			dray_step_give_up(v, s);
	}
	return next;
}

void dray_vol_held_up(struct dray_vol *v, uint64_t ns)
{
	for_links(v, i) {
		struct leg *leg = &v->legs[i];
		leg->failing_since_ns += leg->failing_since_ns ? ns : 0;
		dray_list_for_each(n, &leg->outstanding) {
			struct dray_io *io = dray_container(n, struct dray_io, node);
			if (io->op != DRAY_OP_FLUSH) /* nothing is set aside for one, and when it began is asked for */
				io->since_ns += ns;
		}
	}
	dray_list_for_each(n, &v->vouching)
		dray_container(n, struct dray_request, node)->read_since_ns += ns;
	for (int i = 0; i < MAX_STEPS; i++)
		v->steps[i].since_ns += v->steps[i].phase != ST_FREE ? ns : 0;
}

/* ---- verbs ---- */

static struct leg *secondary(struct dray_vol *v, int leg_no, int *rc)
{
	*rc = -ENOENT;
	if (leg_no < 0 || leg_no >= DRAY_MAX_LEGS || v->legs[leg_no].state == DRAY_LEG_NONE ||
		v->legs[leg_no].state == DRAY_LEG_DETACHED)
		return NULL;
	*rc = leg_no == v->primary ? -EINVAL : 0;
	return *rc ? NULL : &v->legs[leg_no];
}

int dray_vol_leg_pause(struct dray_vol *v, int leg_no, bool paused)
{
	int rc;
	struct leg *leg = secondary(v, leg_no, &rc);
	if (!leg)
		return rc;
	leg->paused = leg->pausing = paused;
	dray_pump(v);
	return 0;
}

int dray_vol_leg_set_aside(struct dray_vol *v, int leg_no)
{
	int rc;
	struct leg *leg = secondary(v, leg_no, &rc);
	if (!leg)
		return rc;
	if (v->takeover.phase != TK_NONE)
		return -EBUSY;
	leg->held = leg->set_aside = true;
	if (leg_active(leg)) {
		leg->state = DRAY_LEG_DEGRADED;
		leg->degraded_since_ns = v->now_ns;
		dray_leg_review(v, leg_no, 0, "set aside");
		dray_emit(v, (struct dray_event){ .kind = DRAY_EV_LEG_STATE, .leg = leg_no, .leg_state = leg->state, .why = "set aside" });
	}
	dray_leg_io_settled(v, leg_no);
	dray_pump(v);
	return 0;
}

int dray_vol_leg_fail(struct dray_vol *v, int leg_no, int error)
{
	int rc;
	if (!secondary(v, leg_no, &rc))
		return rc;
	if (v->takeover.phase != TK_NONE)
		return -EBUSY;
	dray_leg_failed(v, leg_no, error, "its storage is dead");
	dray_leg_io_settled(v, leg_no);
	dray_pump(v);
	return 0;
}

int dray_vol_leg_retry(struct dray_vol *v, int leg_no)
{
	int rc;
	struct leg *leg = secondary(v, leg_no, &rc);
	if (!leg)
		return rc;
	leg->held = leg->set_aside = false;
	leg->retry_at_ns = v->now_ns;
	leg->backoff_ns = 0;
	leg->failing_since_ns = 0;
	leg->copy_after_ns = 0;
	dray_bad_again(v);
	dray_leg_tick(v);
	dray_pump(v);
	return 0;
}

int dray_vol_leg_set_role(struct dray_vol *v, int leg_no, bool copy_role)
{
	int rc;
	struct leg *leg = secondary(v, leg_no, &rc);
	if (leg)
		leg->config.copy_role = copy_role;
	return rc;
}

/* ---- what it is now ---- */

bool dray_leg_ready(const struct dray_vol *v, const struct leg *leg)
{
	return leg->link && leg_active(leg) && leg->link->clean.nset == v->n_regions && !leg->link->doubt.nset && !leg->unsettled;
}

void dray_leg_review(struct dray_vol *v, int leg_no, int error, const char *why)
{
	struct leg *leg = &v->legs[leg_no];
	if (!leg->link)
		return;
	if (leg_active(leg)) {
		enum dray_leg_state state =
			leg->link->clean.nset == v->n_regions ? DRAY_LEG_MIRROR : DRAY_LEG_COPYING;
		if (state != leg->state) {
			leg->state = state;
			dray_emit(v, (struct dray_event){ .kind = DRAY_EV_LEG_STATE, .leg = leg_no, .leg_state = state, .error = error, .why = why });
		}
	}
	bool synced = dray_leg_ready(v, leg);
	if (synced != leg->link->was_synced) {
		leg->link->was_synced = synced;
		dray_emit(v, (struct dray_event){ .kind = synced ? DRAY_EV_LEG_SYNCED : DRAY_EV_LEG_UNSYNCED, .leg = leg_no,
			.leg_state = leg->state, .error = error, .why = why });
	}
}

/* ---- flushes ---- */

void dray_leg_wrote(struct dray_vol *v, struct leg *leg, uint64_t offset, uint64_t length)
{
	for_regions(v, r, offset, length)
		dray_bitmap_set(&leg->dirty_cache, r);
}

/* Nothing that was written there (in whole regions) waits for a flush: none that fails can take it away. */
static bool flushed(const struct dray_vol *v, const struct leg *leg, uint64_t offset, uint64_t length)
{
	for_regions(v, r, offset, length) {
		if (dray_bitmap_test(&leg->dirty_cache, r) || dray_bitmap_test(&leg->dirty_cache_old, r))
			return false;
	}
	return true;
}

enum leg_has dray_leg_has(const struct dray_vol *v, int leg_no, uint64_t offset, uint64_t length)
{
	const struct leg *leg = &v->legs[leg_no];
	if (!leg_active(leg) || leg->unsettled || !dray_link_range_clean(v, leg->link, offset, length))
		return LEG_HAS_NOT;
	if ((!leg->flushes[0] && !leg->flushes[1] && !leg->flush_poisoned) || flushed(v, leg, offset, length))
		return LEG_HAS;
	return leg->flush_poisoned ? LEG_HAS_NOT : LEG_MAY_LOSE;
}

int dray_leg_other(const struct dray_vol *v, unsigned but, uint64_t offset, uint64_t length)
{
	for_links(v, i) {
		if (!(but & 1u << i) && dray_leg_has(v, (int)i, offset, length) != LEG_HAS_NOT)
			return (int)i;
	}
	return DRAY_NO_LEG;
}

uint64_t dray_leg_flush_begin(struct dray_vol *v, struct leg *leg)
{
	if (leg->tracked_flush)
		return 0;
	leg->tracked_flush = true;
	struct dray_bitmap *old = &leg->dirty_cache_old, *now = &leg->dirty_cache;
	for (uint64_t r = 0; now->nset && (r = dray_bitmap_next_set(now, r)) != DRAY_BITMAP_NONE; r++) {
		dray_bitmap_set(old, r);
		dray_bitmap_clear(now, r);
	}
	return ++leg->flush_gen;
}

bool dray_leg_flushes_over(struct leg *leg, unsigned turn)
{
	/* The next turn begins when somebody asks about this one and none of the one before is under way: two counts do. */
	if (turn == leg->flush_turn && !leg->flushes[(turn + 1) % 2])
		leg->flush_turn++;
	return turn != leg->flush_turn && (turn + 1 != leg->flush_turn || !leg->flushes[turn % 2]);
}

/* The leg may have dropped what was written since its last good flush; what it kept this time it may drop next time, so the sets
 * stay until a flush succeeds. */
static void flush_lost(struct dray_vol *v, int leg_no)
{
	struct leg *leg = &v->legs[leg_no];
	leg->flush_poisoned = false;
	for (uint64_t r = 0; r < v->n_regions; r++) {
		if (!dray_bitmap_test(&leg->dirty_cache, r) && !dray_bitmap_test(&leg->dirty_cache_old, r))
			continue;
		uint64_t start = r * v->config.region_bytes;
		for (int i = 0; i < DRAY_MAX_LEGS && !PLANT(H13_FLUSH_ERROR_FORGOTTEN); i++) {
			if (v->legs[i].link && (i == leg_no || leg_no == v->primary))
				dray_link_dirty(v, &v->legs[i], start, region_end(v, r) - start, true);
		}
	}
}

void dray_leg_flush_end(struct dray_vol *v, int leg_no, uint64_t gen, uint64_t since_ns, int error)
{
	struct leg *leg = &v->legs[leg_no];
	bool tracked = gen && gen == leg->flush_gen;
	if (tracked)
		leg->tracked_flush = false;
	if (!error) {
		uint64_t took = v->now_ns - since_ns;
		if (leg->link)
			v->flush_ns[v->n_flush_ns++ % 8] = max_u64(took, 1);
		if (tracked && !leg->flush_poisoned)
			dray_bitmap_clear_all(&leg->dirty_cache_old);
		return;
	}
	leg->last_error = error;
	v->flush_failures += leg_no == v->primary || dray_in_doubt(v);
	if ((leg_no == v->primary && v->takeover.phase != TK_NONE) || dray_in_doubt(v)) {
		leg->flush_poisoned = true;
		return;
	}
	flush_lost(v, leg_no);
	dray_leg_failed(v, leg_no, error, "flush failed");
}

void dray_leg_judge_flushes(struct dray_vol *v)
{
	for (int i = 0; i < DRAY_MAX_LEGS; i++) {
		struct leg *leg = &v->legs[i];
		if (leg->state == DRAY_LEG_NONE || !leg->flush_poisoned)
			continue;
		flush_lost(v, i);
		dray_leg_failed(v, i, leg->last_error, "flush failed");
	}
}

static int primary_closed(struct dray_vol *v)
{
	struct leg *leg = primary_leg(v);
	if (v->takeover.phase != TK_NONE || leg->in_flight)
		return -EBUSY;
	v->flush_failures++;
	if ((leg->dirty_cache.nset || leg->dirty_cache_old.nset) && !PLANT(H13_CLOSED_NOT_OWED))
		v->flush_owed = -EIO;
	if (!PLANT(H13_PRIMARY_CLOSED_FORGOTTEN))
		flush_lost(v, v->primary);
	dray_pump(v);
	return 0;
}

int dray_vol_leg_closed(struct dray_vol *v, int leg_no)
{
	int rc;
	struct leg *leg = secondary(v, leg_no, &rc);
	if (!leg)
		return rc == -EINVAL ? primary_closed(v) : rc;
	if (!PLANT(H13_CLOSED_FORGOTTEN))
		flush_lost(v, leg_no);
	dray_pump(v); /* the map has news */
	return 0;
}
