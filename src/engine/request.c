/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The application's requests, from arrival to answer.
 *
 *   read, extents, cache, flush:  READY -> RUNNING -> answer
 *   read of another leg:          LOCKING -> READY -> RUNNING -> VOUCH -> answer
 *   write, zero, discard:         LOCKING -> INTENT -> READY -> RUNNING -> (next chunk) -> answer
 *
 * A write stands in the queue for its range first. Granted, it looks which regions the disk may call clean of any leg, has
 * an intent for each made durable and looks again: only then may bytes leave, to any leg, the primary too. (A write that
 * reached the primary alone, under a map that says "clean", would be lost by the next switch after a crash.) The legs it goes
 * to are decided as late as possible, when it is sent, because a leg may have failed while it waited.
 */
#include "engine/internal.h"

#include <string.h>

/* What is told of requests is of lately: the copy of today does not disappear in the requests of a month. */
static void latency_turn(struct dray_vol *v)
{
	uint64_t since = v->now_ns - v->latency_ns;
	if (since < DRAY_LATENCY_NS)
		return;
	v->latency_before = since < 2 * DRAY_LATENCY_NS ? v->latency : (struct latency){ 0 };
	v->latency = (struct latency){ 0 };
	v->latency_ns = v->now_ns;
}

static void answer(struct dray_vol *v, struct dray_request *req)
{
	if (req->error && dray_takeover_keeps_failed(v)) {
		req->error = 0;
		req->tried_legs = 0;
		req->not_waited = false;
		req->state = RQ_NONE;
		v->running--;
		dray_list_add_tail(&v->held, &req->node);
		return;
	}
	uint64_t took = v->now_ns - req->arrived_ns;
	unsigned bucket = 0;
	for (uint64_t us = took / 1000; us > 1 && bucket < DRAY_LATENCY_BUCKETS - 1; us = (us + 1) / 2)
		bucket++;
	latency_turn(v);
	if (req->op == DRAY_OP_READ) {
		v->n_reads++;
		v->read_bytes += req->length;
		v->latency.read[bucket]++;
	} else if (is_write(req->op)) {
		v->n_writes++;
		v->write_bytes += req->length;
		v->latency.write[bucket]++;
		v->longest_ns = max_u64(v->longest_ns, took);
		v->write_ewma_ns = v->write_ewma_ns ? v->write_ewma_ns - v->write_ewma_ns / 16 + took / 16 : took;
	} else if (req->op == DRAY_OP_FLUSH) {
		v->n_flushes++;
		if (!req->error)
			req->error = v->flush_owed; /* the application must not take what was lost for durable */
		if (req->error)
			v->flush_owed = v->takeover.owed_before = 0;
	}
	/* (What a switch made it wait for is not the copy's doing.) */
	if ((req->op == DRAY_OP_READ || is_write(req->op)) && v->takeover.phase == TK_NONE)
		dray_pacer_answered(&v->pacer, v->now_ns, took,
			v->step_bytes_in_flight || v->step_over_ns >= req->arrived_ns || v->others_copy);
	v->n_errors += req->error != 0;
	v->running--;
	req->replied = true;
	req->state = RQ_NONE;
	bool settled = !req->unsettled;
	v->ops->reply(v->host, req, req->error);
	if (settled)
		v->ops->release(v->host, req);
}

static void enter_chunk(struct dray_vol *v, struct dray_request *req, uint64_t offset)
{
	uint64_t length = req->offset + req->length - offset;
	if (req->op != DRAY_OP_WRITE)
		length = min_u64(length, v->config.chunk_bytes);
	req->sent = offset;
	req->state = RQ_LOCKING;
	if (dray_lock_enter(&v->locks, &req->lock, offset, offset + length, false))
		dray_request_granted(v, req);
}

void dray_request_start(struct dray_vol *v, struct dray_request *req)
{
	v->running++;
	if (is_write(req->op)) {
		enter_chunk(v, req, req->offset);
		return;
	}
	req->sent = req->offset;
	/* In doubt a read may not see a write that one leg has and the other not yet: the next read may be the other's. */
	if (dray_in_doubt(v) && (req->op == DRAY_OP_READ || req->op == DRAY_OP_EXTENTS)) {
		req->state = RQ_LOCKING;
		if (!dray_lock_enter(&v->locks, &req->lock, req->offset, req->offset + req->length, false))
			return;
	}
	req->state = RQ_READY;
	dray_list_add_tail(&v->ready, &req->node);
}

/* Whether nothing on disk can call a region of the chunk clean any more; asks for what is missing. */
static bool intents_durable(struct dray_vol *v, struct dray_request *req)
{
	bool durable = true;
	for_links(v, i) {
		struct leg *leg = &v->legs[i];
		if (!leg_tracked(leg) || !leg->link->map.durable)
			continue;
		if (PLANT(H12_DIRTY_IN_MEMORY_ONLY) && !leg_active(leg))
			continue;
		for_regions(v, r, req->lock.start, req->lock.end - req->lock.start) {
			if (dray_map_want(&leg->link->map, r) == MAP_CLEAN)
				dray_record_intent(v, leg->link, r);
			if (dray_map_may_be_clean(&leg->link->map, r))
				durable = false;
		}
	}
	return durable || PLANT(INTENT_AFTER_WRITE);
}

void dray_request_granted(struct dray_vol *v, struct dray_request *req)
{
	if (!is_write(req->op)) {
		req->state = RQ_READY;
		dray_list_add_tail(&v->ready, &req->node);
		return;
	}
	/* It may wait for io structs before it is sent: a record batch that is under way already must not call its regions clean
	 * behind its back (batches that begin later see the lock). */
	dray_record_touch(v, req->lock.start, req->lock.end - req->lock.start);
	if (PLANT(H17_CLEARED_WHEN_SENT))
		dray_bad_remove(v, req->lock.start, req->lock.end - req->lock.start, &req->clear_gen);
	if (intents_durable(v, req)) {
		req->state = RQ_READY;
		dray_list_add_tail(&v->ready, &req->node);
	} else {
		req->state = RQ_INTENT;
		dray_list_add_tail(&v->intent_wait, &req->node);
	}
}

static void send_with(struct dray_vol *v, struct dray_request *req, enum dray_op op, uint32_t flags, uint64_t offset,
	uint64_t length, void *data, int leg)
{
	struct dray_io *io = dray_io_get(v);
	assert(io);
	io->op = op;
	io->flags = flags;
	io->offset = offset;
	io->length = length;
	io->data = data;
	io->extents = req->extents;
	io->max_extents = req->max_extents;
	io->n_extents = 0;
	req->ios++;
	if (leg != v->primary && is_write(op))
		v->legs[leg].mirrored += length;
	dray_io_send(v, io, ROLE_REQUEST, req, leg);
}

static void send_one(struct dray_vol *v, struct dray_request *req, enum dray_op op, uint32_t flags, uint64_t offset,
	uint64_t length, int leg)
{
	send_with(v, req, op, flags, offset, length, req->data ? (char *)req->data + (offset - req->offset) : NULL, leg);
}

static unsigned ios_free(const struct dray_vol *v)
{
	return v->config.max_ios - v->ios_in_use;
}

/* Sends the chunk as far as there are ios. The chunk is cut where the set of legs changes. */
static bool send_write(struct dray_vol *v, struct dray_request *req)
{
	bool secondaries = false;
	for_links(v, i)
		secondaries |= leg_tracked(&v->legs[i]);
	enum dray_op op = req->op;
	uint32_t flags = req->flags;
	if (op == DRAY_OP_DISCARD && secondaries && !PLANT(H15_DISCARD_PASSED_ON)) {
		/* What a discarded range reads as is each storage's own affair: two legs could differ for ever (H15). */
		op = DRAY_OP_ZERO;
		flags |= DRAY_F_MAY_UNMAP;
	}
	while (req->sent < req->lock.end) {
		if (ios_free(v) < DRAY_MAX_LEGS)
			return false;
		if (req->sent == req->lock.start)
			req->flush_failures = v->flush_failures; /* one from before has dropped nothing of this */
		uint64_t length = req->lock.end - req->sent;
		unsigned mirrored = 0;
		for_links(v, i) {
			struct leg *leg = &v->legs[i];
			if (!leg_tracked(leg))
				continue;
			if (PLANT(REVERSE_FORGETS_DISCARD) && v->switches && op != DRAY_OP_WRITE)
				continue;
			if (dray_link_mirrored(v, leg, req->sent, &length))
				mirrored |= 1u << i;
		}
		for_links(v, i) {
			struct leg *leg = &v->legs[i];
			/* A leg that was set aside misses this write: what it had is dirty from now. */
			if (leg->state == DRAY_LEG_DEGRADED)
				dray_link_dirty(v, leg, req->sent, length, false);
		}
		uint64_t offset = req->sent;
		req->sent += length;
		send_one(v, req, op, flags, offset, length, v->primary);
		for (; mirrored; mirrored &= mirrored - 1)
			send_one(v, req, op, flags, offset, length, __builtin_ctz(mirrored));
	}
	return true;
}

/* The primary holds something there that is nobody's data (bad.c). Returns whether that answers the request. */
static bool answer_lost(struct dray_vol *v, struct dray_request *req)
{
	if (!dray_bad_lost(v, req->offset, req->length))
		return false;
	if (req->op == DRAY_OP_READ && !PLANT(H17_ZEROES_SERVED)) {
		req->error = -EIO;
		return true;
	}
	if (req->op != DRAY_OP_EXTENTS || PLANT(H17_EXTENTS_SAY_ZERO))
		return false;
	req->extents[0] = (struct dray_extent){ .length = req->length };
	req->n_extents = 1;
	return true;
}

static bool send_other(struct dray_vol *v, struct dray_request *req)
{
	if (ios_free(v) < DRAY_MAX_LEGS)
		return false;
	if (v->bad.set.n && answer_lost(v, req))
		return true;
	int leg = v->primary;
	uint32_t flags = req->flags;
	if (req->op == DRAY_OP_READ) {
		leg = dray_read_leg(v, req, &flags);
		if (leg == DRAY_NO_LEG)
			return true; /* what another had is gone by now: the error stands */
		req->error = 0;
	}
	/* One that the primary may have to answer after all keeps its payload clear of what another leg may bring late. */
	void *own = req->not_waited && leg != v->primary ? v->ops->buf_get(v->host, req->length) : NULL;
	if (req->not_waited && !own) {
		req->not_waited = false;
		leg = v->primary;
	}
	send_with(v, req, req->op, flags, req->offset, req->length, own ? own : req->data, leg);
	if (req->op == DRAY_OP_FLUSH) {
		for_links(v, i) {
			if (leg_active(&v->legs[i]))
				send_one(v, req, DRAY_OP_FLUSH, 0, 0, 0, (int)i);
		}
	}
	return true;
}

/* ---- a write over a bad range (the essay is in bad.c) ---- */

/* Returns whether the chunk is not done yet. */
static bool clear_bad(struct dray_vol *v, struct dray_request *req)
{
	uint64_t offset = req->lock.start, length = req->lock.end - offset;
	if (req->error || (req->clear == CLEAR_NONE && !dray_bad_any(v, offset, length))) {
		req->clear = CLEAR_NONE;
		return false;
	}
	switch (req->clear) {
	case CLEAR_NONE: req->clear = PLANT(H17_CLEARED_UNFLUSHED) ? CLEAR_FLUSH : CLEAR_WANTED; break;
	case CLEAR_WANTED: return true;
	case CLEAR_FLUSH: break;
	case CLEAR_LIST: req->clear = CLEAR_NONE; return false;
	}
	if (req->clear == CLEAR_FLUSH) {
		/* A flush of the primary that failed since may have dropped what this wrote, and a later one knows nothing of it (H13). */
		if (req->flush_failures != v->flush_failures ||
			dray_bad_remove(v, offset, length, &req->clear_gen)) {
			req->error = -EIO;
			req->clear = CLEAR_NONE;
			return false;
		}
		req->clear = CLEAR_LIST;
	}
	req->state = RQ_CLEAR;
	dray_list_add_tail(&v->clearing, &req->node);
	return true;
}

static bool clear_pump(struct dray_vol *v)
{
	bool moved = false;
	dray_list_for_each_safe(n, &v->clearing) {
		struct dray_request *req = dray_container(n, struct dray_request, node);
		if (req->clear == CLEAR_WANTED) {
			/* In doubt it is not known which leg has to be flushed. */
			if (dray_in_doubt(v) || ios_free(v) < DRAY_MAX_LEGS)
				continue;
			dray_list_del(&req->node);
			req->clear = CLEAR_FLUSH;
			req->state = RQ_RUNNING;
			send_one(v, req, DRAY_OP_FLUSH, 0, 0, 0, v->primary);
		} else {
			if (!dray_bad_reached(v, req->clear_gen) && !PLANT(H17_CLEAR_NOT_AWAITED))
				continue;
			dray_list_del(&req->node);
			dray_request_chunk_done(v, req);
		}
		moved = true;
	}
	return moved;
}

bool dray_request_pump(struct dray_vol *v)
{
	bool moved = clear_pump(v);
	moved |= dray_read_pump(v);
	dray_list_for_each_safe(n, &v->intent_wait) {
		struct dray_request *req = dray_container(n, struct dray_request, node);
		if (!intents_durable(v, req))
			continue;
		dray_list_del(&req->node);
		req->state = RQ_READY;
		dray_list_add_tail(&v->ready, &req->node);
		moved = true;
	}
	while (!dray_list_empty(&v->ready)) {
		struct dray_request *req = dray_container(v->ready.next, struct dray_request, node);
		if (!(is_write(req->op) ? send_write(v, req) : send_other(v, req)))
			break; /* no ios left: it goes on when some come back, before those behind it */
		dray_list_del(&req->node);
		req->state = RQ_RUNNING;
		moved = true;
		if (!req->ios)
			dray_request_chunk_done(v, req);
	}
	return moved;
}

void dray_request_chunk_done(struct dray_vol *v, struct dray_request *req)
{
	if (is_write(req->op)) {
		uint64_t end = req->lock.end;
		if ((v->bad.set.n || req->clear) && clear_bad(v, req))
			return;
		dray_lock_leave(&v->locks, &req->lock);
		if (!req->error && end < req->offset + req->length) {
			enter_chunk(v, req, end);
			return;
		}
	} else if (req->lock.queued) {
		dray_lock_leave(&v->locks, &req->lock);
	}
	answer(v, req);
}

/* A read into a buffer of its own. */
static bool aside(const struct dray_io *io)
{
	return io->op == DRAY_OP_READ && io->data != ((const struct dray_request *)io->owner)->data;
}

void dray_request_io_done(struct dray_vol *v, struct dray_io *io)
{
	struct dray_request *req = io->owner;
	int leg = io->leg, error = io->error;
	uint64_t since_ns = io->since_ns;
	bool abandoned = io->abandoned;
	enum dray_op op = io->op;
	bool not_waited = io->flags & DRAY_F_NO_WAIT && error == -ENOTCONN;
	if (aside(io)) {
		if (!error && !abandoned)
			memcpy(req->data, io->data, io->length);
		v->ops->buf_put(v->host, io->data, io->length);
		v->out_of_buffers = false;
	}
	if (!error)
		req->n_extents = io->n_extents;
	dray_io_put(v, io);
	if (abandoned) {
		if (is_write(op))
			v->legs[leg].unsettled--;
		if (!--req->unsettled && req->replied)
			v->ops->release(v->host, req);
		return;
	}
	req->ios--;
	if (op == DRAY_OP_READ) {
		req->not_waited |= not_waited;
		dray_read_answered(v, req, leg, error, since_ns);
		return;
	}
	if (error && (leg == v->primary || op == DRAY_OP_EXTENTS || op == DRAY_OP_CACHE)) {
		/* These were asked of one leg, which need not be the primary any more when it answers. */
		req->error = error;
	} else if (error && op != DRAY_OP_FLUSH) {
		/* A failed secondary is the pair's trouble, not the application's. (A failed flush: dray_leg_flush_end.) */
		dray_leg_failed(v, leg, error, "write failed");
	}
	if (!req->ios && req->state == RQ_RUNNING)
		dray_request_chunk_done(v, req);
}

static void abandon(struct dray_vol *v, struct leg *leg, struct dray_io *io)
{
	struct dray_request *req = io->owner;
	dray_list_del(&io->node);
	io->abandoned = true;
	if (is_write(io->op)) {
		leg->unsettled++;
		if (leg->link && !PLANT(H7_DEGRADED_STAYS_CLEAN))
			dray_link_dirty(v, leg, io->offset, io->length, false);
	}
	req->unsettled++;
	req->ios--;
	if (aside(io)) { /* there is the primary, still */
		req->tried_legs |= 1u << io->leg;
		dray_request_granted(v, req);
		return;
	}
	/* A read that fell back to this leg, or went to it while it was the primary, has no answer, and may hold its range. */
	if (io->op == DRAY_OP_READ || io->op == DRAY_OP_EXTENTS)
		req->error = -EIO;
	if (!req->ios && req->state == RQ_RUNNING)
		dray_request_chunk_done(v, req);
}

void dray_request_abandon_leg(struct dray_vol *v, int leg_no)
{
	struct leg *leg = &v->legs[leg_no];
	dray_list_for_each_safe(n, &leg->outstanding) {
		struct dray_io *io = dray_container(n, struct dray_io, node);
		if (io->role == ROLE_REQUEST)
			abandon(v, leg, io);
	}
}

void dray_request_abandon_flush(struct dray_vol *v, struct dray_io *io)
{
	abandon(v, &v->legs[io->leg], io);
}
