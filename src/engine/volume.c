/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The border of a volume's engine, and the pump behind it.
 *
 * Two things are kept here because every path goes through them, so that no path can forget them:
 *
 *  - io_send: whatever changes a leg voids the proof that it is zero (H5), counts as unflushed there (H13) and takes the
 *    range out of the record batch under way (H1, H12), all before the operation leaves.
 *  - complete: whatever failed on a leg leaves its range dirty (a write of unknown outcome may or may not be there), and, if
 *    it may still land, in doubt (H6).
 *
 * Requests
 *   read    primary; if that fails, a leg that is clean there, bad ranges apart (H17)
 *   write   lock -> durable intent for every region that the disk may call clean -> each leg where it is mirrored -> answer
 *           when the primary has it and every mirrored leg has it or was given up on
 *   zero    as write; discard: as a zero that may unmap while any secondary exists (H15), in chunks
 *   flush   every leg that takes part; the primary's answer counts
 */
#include "engine/internal.h"

#include <limits.h>

#include <stdlib.h>

#define NS_MS UINT64_C(1000000)
#define NS_S  UINT64_C(1000000000)

static bool power_of_two(uint64_t n)
{
	return n && !(n & (n - 1));
}

int dray_vol_new(struct dray_vol **vol, const struct dray_vol_config *config, const struct dray_host_ops *ops, void *host)
{
	struct dray_vol_config c = *config;
	if (!c.region_bytes)
		c.region_bytes = 1 << 20;
	if (!c.max_ios)
		c.max_ios = 1024;
	if (!c.record_every_ns)
		c.record_every_ns = 250 * NS_MS;
	if (!c.intent_idle_ns)
		c.intent_idle_ns = 5 * NS_S;
	if (!c.max_intents)
		c.max_intents = 2048;
	if (!c.intent_group)
		c.intent_group = 32;
	if (!c.settle_ns)
		c.settle_ns = 5 * NS_S;
	if (!c.read_retry_ns)
		c.read_retry_ns = 100 * NS_MS;
	if (!c.chunk_bytes)
		c.chunk_bytes = 8 << 20;
	if (!power_of_two(c.region_bytes) || c.region_bytes < (64 << 10) || c.region_bytes > (1 << 30) ||
		!power_of_two(c.block_bytes) || c.block_bytes > c.region_bytes || !c.size_bytes ||
		c.size_bytes % c.block_bytes || c.size_bytes > INT64_MAX || c.chunk_bytes % c.block_bytes || !power_of_two(c.intent_group) ||
		c.max_ios < 2 * DRAY_MAX_LEGS)
		return -EINVAL;

	struct dray_vol *v = calloc(1, sizeof *v);
	if (!v)
		return -ENOMEM;
	v->io_pool = calloc(c.max_ios, sizeof *v->io_pool);
	if (!v->io_pool) {
		free(v);
		return -ENOMEM;
	}
	v->config = c;
	v->config.bad_slots = NULL; /* only good during this call */
	int rc = dray_bad_new(v, config);
	if (rc) {
		dray_bad_free(v);
		free(v->io_pool);
		free(v);
		return rc;
	}
	v->unread = (struct bad_set){ .r = v->unread_ranges, .most = MAX_UNREAD, .add_most = MAX_UNREAD };
	v->witness = UINT64_MAX;
	v->ops = ops;
	v->host = host;
	v->primary = DRAY_NO_LEG;
	v->n_regions = (c.size_bytes + c.region_bytes - 1) / c.region_bytes;
	v->part_bytes = max_u64(c.region_bytes / PARTS, c.block_bytes);
	dray_lock_queue_init(&v->locks);
	dray_list_init(&v->held);
	dray_list_init(&v->intent_wait);
	dray_list_init(&v->ready);
	dray_list_init(&v->parked);
	dray_list_init(&v->settling);
	dray_list_init(&v->clearing);
	dray_list_init(&v->vouching);
	dray_list_init(&v->io_free);
	for (unsigned i = 0; i < c.max_ios; i++)
		dray_list_add_tail(&v->io_free, &v->io_pool[i].node);
	for (int i = 0; i < DRAY_MAX_LEGS; i++)
		dray_list_init(&v->legs[i].outstanding);
	for (int i = 0; i < MAX_STEPS; i++) {
		dray_list_init(&v->steps[i].io[0].node);
		dray_list_init(&v->steps[i].io[1].node);
	}
	dray_pacer_init(&v->pacer);
	v->others_window = UINT_MAX;
	dray_vol_set_limits(v, &(struct dray_copy_limits){ 0 });
	*vol = v;
	return 0;
}

void dray_vol_free(struct dray_vol *v, bool crash)
{
	if (!v)
		return;
	assert(crash || (!v->running && !v->ios_in_use && dray_list_empty(&v->held)));
	for (int i = 0; i < DRAY_MAX_LEGS; i++) {
		struct leg *leg = &v->legs[i];
		assert(crash || !leg->in_flight);
		dray_link_free(leg->link);
		dray_bitmap_free(&leg->dirty_cache);
		dray_bitmap_free(&leg->dirty_cache_old);
		dray_bitmap_free(&leg->known_zero);
	}
	dray_bad_free(v);
	free(v->io_pool);
	free(v);
}

void dray_emit(struct dray_vol *v, struct dray_event ev)
{
	ev.primary = v->primary;
	v->ops->event(v->host, &ev);
}

struct dray_io *dray_io_get(struct dray_vol *v)
{
	struct dray_list *n = dray_list_pop(&v->io_free);
	if (!n)
		return NULL;
	v->ios_in_use++;
	return dray_container(n, struct dray_io, node);
}

void dray_io_put(struct dray_vol *v, struct dray_io *io)
{
	v->ios_in_use--;
	dray_list_add_head(&v->io_free, &io->node);
}

void dray_io_send(struct dray_vol *v, struct dray_io *io, enum io_role role, void *owner, int leg_no)
{
	struct leg *leg = &v->legs[leg_no];
	io->leg = leg_no;
	io->role = (uint8_t)role;
	io->owner = owner;
	io->since_ns = v->now_ns;
	io->abandoned = false;
	io->error = 0;
	dray_list_init(&io->node);
	if (role != ROLE_MAP && role != ROLE_BAD) {
		leg->in_flight++;
		leg->settled_told = false;
	}
	if (role == ROLE_REQUEST || (role == ROLE_STEP && io->op != DRAY_OP_EXTENTS))
		dray_list_add_tail(&leg->outstanding, &io->node);
	if (io->op == DRAY_OP_FLUSH) {
		leg->flushes[leg->flush_turn % 2]++;
		io->turn = leg->flush_turn;
		io->gen = dray_leg_flush_begin(v, leg);
	}
	if (is_write(io->op)) {
		dray_leg_wrote(v, leg, io->offset, io->length);
		dray_record_touch(v, io->offset, io->length);
		if (leg->known_zero.nset && !PLANT(H5_ZERO_PROOF_KEPT)) {
			for_regions(v, r, io->offset, io->length)
				dray_bitmap_clear(&leg->known_zero, r);
		}
		if (leg_no == v->primary && (v->n_trouble || v->unread.n || v->probe.busy))
			dray_probe_wrote(v, io->offset, io->length);
	}
	v->ops->submit(v->host, io);
}

/* A write to a leg failed: its outcome is unknown. */
static void write_failed(struct dray_vol *v, const struct dray_io *io)
{
	if (io->leg == v->primary) {
		if (PLANT(PRIMARY_ERROR_STAYS_CLEAN))
			return;
		for (int i = 0; i < DRAY_MAX_LEGS; i++) {
			if (v->legs[i].link)
				dray_link_dirty(v, &v->legs[i], io->offset, io->length, false);
		}
	} else if (v->legs[io->leg].link) {
		dray_link_dirty(v, &v->legs[io->leg], io->offset, io->length, false);
	}
}

/* ... and it may still land, on top of whatever comes next (H6). If that happens on the primary, every secondary may end up
 * different from it. */
static void write_may_land(struct dray_vol *v, const struct dray_io *io)
{
	if (PLANT(H6_LATE_NOT_DOUBTED))
		return;
	for (int i = 0; i < DRAY_MAX_LEGS; i++) {
		if (v->legs[i].link && (i == io->leg || io->leg == v->primary || dray_in_doubt(v)))
			dray_link_doubt(v, &v->legs[i], io->offset, io->length);
	}
}

static void dispatch(struct dray_vol *v, struct dray_io *io)
{
	if (io->error && is_write(io->op))
		write_failed(v, io);
	switch ((enum io_role)io->role) {
	case ROLE_REQUEST: dray_request_io_done(v, io); break;
	case ROLE_STEP: dray_step_io_done(v, io); break;
	case ROLE_MAP: dray_map_io_done(v, io); break;
	case ROLE_RECORD: dray_record_io_done(v, io); break;
	case ROLE_TAKEOVER: dray_takeover_io_done(v, io); break;
	case ROLE_BAD: dray_bad_io_done(v, io); break;
	case ROLE_PROBE: dray_probe_io_done(v, io); break;
	}
}

static void completed(struct dray_vol *v, struct dray_io *io);

void dray_vol_complete(struct dray_vol *v, struct dray_io *io, int error, unsigned flags)
{
	assert(error <= 0);
	struct leg *leg = &v->legs[io->leg];
	io->error = error;
	dray_list_del(&io->node);
	if (is_write(io->op)) {
		/* It was under way while flushes began: none of those is known to cover it. */
		dray_leg_wrote(v, leg, io->offset, io->length);
		if (error && (flags & DRAY_C_MAY_LAND_LATE)) {
			write_may_land(v, io);
			/* On the primary there is nothing to recheck it against: an answer now, and the application's next write to
			 * the range could be overtaken by this one. So it keeps its range until it can't land any more. */
			if (io->role == ROLE_REQUEST && (io->leg == v->primary || (dray_in_doubt(v) && io->leg == v->takeover.leg))) {
				io->since_ns = v->now_ns + v->config.settle_ns;
				dray_list_add_tail(&v->settling, &io->node);
				return;
			}
		}
	}
	completed(v, io);
}

static void completed(struct dray_vol *v, struct dray_io *io)
{
	struct leg *leg = &v->legs[io->leg];
	int error = io->error;
	if (io->role != ROLE_MAP && io->role != ROLE_BAD) {
		assert(leg->in_flight);
		leg->in_flight--;
	}
	if (io->op == DRAY_OP_FLUSH) {
		leg->flushes[io->turn % 2]--;
		dray_leg_flush_end(v, io->leg, io->gen, io->since_ns, error);
	}
	/* What was dropped had been acknowledged, and the storage reports it once, to us. Also when an application's flush failed:
	 * its answer may still wait for another leg while the next one succeeds. */
	if (io->op == DRAY_OP_FLUSH && error && io->leg == v->primary)
		dray_takeover_owes(v, io, error);
	/* In doubt, what a failed flush dropped can't be brought again yet: no later flush of that leg can vouch for it. */
	if (io->op == DRAY_OP_FLUSH && io->role == ROLE_REQUEST && !error && dray_in_doubt(v) && leg->flush_poisoned)
		error = io->error = leg->last_error ? leg->last_error : -EIO;
	/* While it is not known which of two legs is the primary, an error on either can't be judged, nor answered (H8). */
	if (error && io->role == ROLE_REQUEST && dray_in_doubt(v) && (is_write(io->op) || io->op == DRAY_OP_FLUSH) &&
		(io->leg == v->primary || io->leg == v->takeover.leg))
		dray_list_add_tail(&v->parked, &io->node);
	else
		dispatch(v, io);
	dray_leg_io_settled(v, (int)(leg - v->legs));
	dray_pump(v);
}

static uint64_t settling_tick(struct dray_vol *v)
{
	while (!dray_list_empty(&v->settling)) {
		struct dray_io *io = dray_container(v->settling.next, struct dray_io, node);
		if (io->since_ns > v->now_ns)
			return io->since_ns;
		dray_list_del(&io->node);
		/* It may have landed until now: behind a flush that succeeded meanwhile. */
		dray_leg_wrote(v, &v->legs[io->leg], io->offset, io->length);
		completed(v, io);
	}
	return DRAY_TIME_NEVER;
}

/* The doubt is over: judge what was parked. */
static bool unpark(struct dray_vol *v)
{
	if (dray_in_doubt(v) || dray_list_empty(&v->parked))
		return false;
	struct dray_list *n;
	while ((n = dray_list_pop(&v->parked)))
		dispatch(v, dray_container(n, struct dray_io, node));
	return true;
}

bool dray_pump(struct dray_vol *v)
{
	if (v->pumping)
		return false;
	v->pumping = true;
	bool moved, any = false;
	do {
		moved = unpark(v);
		struct dray_lock *lock;
		while ((lock = dray_lock_next_granted(&v->locks))) {
			moved = true;
			if (lock->is_step)
				dray_step_granted(v, dray_container(lock, struct step, lock));
			else
				dray_request_granted(v, dray_container(lock, struct dray_request, lock));
		}
		for_links(v, i)
			moved |= dray_map_pump(v, (int)i);
		moved |= dray_bad_pump(v);
		moved |= dray_step_pump(v);
		moved |= dray_probe_pump(v);
		moved |= dray_request_pump(v);
		moved |= dray_takeover_pump(v);
		moved |= dray_copy_pump(v);
		any |= moved;
	} while (moved);
	v->pumping = false;
	return any;
}

uint64_t dray_vol_tick(struct dray_vol *v, uint64_t now_ns)
{
	assert(now_ns >= v->now_ns);
	v->now_ns = now_ns;
	if (v->primary == DRAY_NO_LEG)
		return DRAY_TIME_NEVER;
	/* What runs may make more to run, and moves the time at which something is due: until nothing moves. */
	uint64_t next;
	do {
		next = settling_tick(v);
		next = min_u64(next, dray_takeover_tick(v));
		next = min_u64(next, dray_leg_tick(v));
		next = min_u64(next, dray_read_tick(v));
		next = min_u64(next, dray_record_tick(v));
		next = min_u64(next, dray_bad_tick(v));
		next = min_u64(next, dray_probe_tick(v));
		next = min_u64(next, dray_copy_tick(v));
	} while (dray_pump(v));
	return max_u64(next, now_ns);
}

static bool valid(const struct dray_vol *v, const struct dray_request *req)
{
	if (req->op == DRAY_OP_FLUSH)
		return true;
	uint64_t end;
	return req->length && !__builtin_add_overflow(req->offset, req->length, &end) && end <= v->config.size_bytes &&
		!(req->offset % v->config.block_bytes) && !(req->length % v->config.block_bytes);
}

void dray_vol_submit(struct dray_vol *v, struct dray_request *req)
{
	dray_list_init(&req->node);
	req->lock.queued = req->lock.granted = false;
	req->ios = req->unsettled = req->tried_legs = 0;
	req->not_waited = false;
	req->error = 0;
	req->clear = CLEAR_NONE;
	req->state = RQ_NONE;
	req->replied = false;
	req->arrived_ns = v->now_ns;
	if (v->primary == DRAY_NO_LEG || req->op > DRAY_OP_CACHE || !valid(v, req)) {
		v->ops->reply(v->host, req, v->primary == DRAY_NO_LEG ? -ENXIO : -EINVAL);
		v->ops->release(v->host, req);
		return;
	}
	dray_pacer_asked(&v->pacer, v->now_ns);
	if (v->suspended) {
		req->state = RQ_HELD;
		dray_list_add_tail(&v->held, &req->node);
		return;
	}
	dray_request_start(v, req);
	dray_pump(v);
}

int dray_vol_leg_info(const struct dray_vol *v, int leg_no, struct dray_leg_info *info)
{
	if (leg_no < 0 || leg_no >= DRAY_MAX_LEGS || v->legs[leg_no].state == DRAY_LEG_NONE)
		return -ENOENT;
	const struct leg *leg = &v->legs[leg_no];
	const struct link *link = leg->link;
	*info = (struct dray_leg_info){
		.state = leg->state,
		.copy_role = leg->config.copy_role,
		.paused = leg->paused,
		.held = leg->held,
		.synced = link && dray_leg_ready(v, leg),
		.durable = leg->config.durable,
		.image_error = leg->image_error,
		.copied_bytes = leg->copied,
		.skipped_bytes = leg->skipped,
		.zeroed_bytes = leg->zeroed,
		.compared_bytes = leg->compared,
		.recopied_bytes = leg->recopied,
		.mirrored_bytes = leg->mirrored,
		.unsettled = leg->unsettled,
		.settled = !leg->in_flight,
		.last_error = leg->last_error,
		.degraded_since_ns = leg->state == DRAY_LEG_DEGRADED ? leg->degraded_since_ns : 0,
		.verify_compared_bytes = leg->verify_compared,
		.verify_differing_bytes = leg->verify_differing,
		.verify_repaired_bytes = leg->verify_repaired,
		.verify_skipped_bytes = leg->verify_skipped,
		.verify_ranges = leg->verify_ranges,
		.done_bytes = v->config.size_bytes,
	};
	for (unsigned i = 0; i < leg->verify_ranges; i++) {
		info->verify_range[i].offset = leg->verify_range[i].offset;
		info->verify_range[i].length = leg->verify_range[i].length;
	}
	if (!link)
		return 0;
	info->dirty_bytes = dray_link_dirty_bytes(v, link);
	info->done_bytes = v->config.size_bytes - info->dirty_bytes;
	info->doubt_bytes = min_u64(link->doubt.nset * v->config.region_bytes, v->config.size_bytes);
	info->intents = (unsigned)link->map.n_intent;
	info->verifying = link->verifying;
	if (link->map.durable) {
		for (uint64_t r = 0; r < v->n_regions; r++) {
			if ((link->map.code[r] >> 2 & 3) == MAP_CLEAN && dray_bitmap_test(&link->clean, r))
				info->recorded_bytes += region_end(v, r) - r * v->config.region_bytes;
		}
	}
	return 0;
}

void dray_vol_info(const struct dray_vol *v, struct dray_vol_info *info)
{
	*info = (struct dray_vol_info){
		.primary = v->primary,
		.suspended = v->suspended,
		.switching = v->takeover.phase != TK_NONE,
		.in_doubt = v->takeover.phase == TK_DOUBT,
		.requests_in_flight = v->running,
		.window = (unsigned)max_u64(v->links ? dray_copy_window(v) : dray_pacer_window(&v->pacer, v->now_ns, v->running), DRAY_PACER_LEAST),
		.app_ns = v->pacer.seen_ns,
		.app_base_ns = v->pacer.base_ns,
		.app_allowed_ns = v->pacer.allowed_ns,
		.bound = dray_vol_bound(v),
		.paced_bytes = v->paced_bytes,
		.ios_in_flight = v->ios_in_use,
		.reads = v->n_reads,
		.writes = v->n_writes,
		.read_bytes = v->read_bytes,
		.write_bytes = v->write_bytes,
		.flushes = v->n_flushes,
		.errors = v->n_errors,
		.longest_ns = v->longest_ns,
		.write_ewma_ns = v->write_ewma_ns,
		.bad_ranges = v->bad.set.n,
	};
	for (unsigned i = 0; i < v->bad.set.n; i++)
		info->bad_bytes += v->bad.set.r[i].length;
	for (unsigned i = 0; i < v->n_trouble; i++) {
		info->trouble_bytes += v->trouble[i].length;
		info->source_error = v->trouble[i].error;
	}
	if (v->primary != DRAY_NO_LEG)
		info->bad_behind_bytes = dray_bad_behind(v, false);
	for (unsigned i = 0; i < 8 && v->flush_ns[i]; i++)
		info->flush_ns = i ? min_u64(info->flush_ns, v->flush_ns[i]) : v->flush_ns[i];
	for (int i = 0; i < DRAY_MAX_LEGS; i++)
		info->legs += v->legs[i].state != DRAY_LEG_NONE;
	dray_list_for_each(n, &v->held)
		info->requests_waiting++;
	for (int i = 0; i < DRAY_LATENCY_BUCKETS; i++) {
		info->latency_read[i] = v->latency.read[i] + v->latency_before.read[i];
		info->latency_write[i] = v->latency.write[i] + v->latency_before.write[i];
	}
}

void dray_vol_longest_reset(struct dray_vol *v)
{
	v->longest_ns = 0;
}
