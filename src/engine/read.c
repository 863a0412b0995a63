/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Whose data a read brings: the primary's, or that of another leg where the primary can't be read.
 *
 * A leg that drops what it could not flush says so when the flush is answered, and may have dropped it long before. A read in between sees what was
 * there earlier, of writes that were acknowledged; and unlike with a disk of its own, nobody would tell the application: its flushes are those of the
 * primary, which do well. So what was read where a flush could still have such news is not given to it before all flushes that were under way
 * then were answered; if one failed, the leg is dirty there, and it was read in vain. Those that began since have no news of what was read before:
 * an application that writes and flushes all the time would never be answered otherwise. What was asked of the primary itself needs none of this:
 * its failure is the application's.
 *
 * The range is let go of meanwhile: what was read is what was there while nothing else was under way, and writes don't wait for the leg's flush (H7).
 * A flush may take seconds on a disk that works, and nobody else has what was read, so the read is given up on with the leg itself, after give_up: then
 * it counts as failed.
 */
#include "engine/internal.h"

/* A leg other than the primary that has the whole range, for a read that the primary can't serve. */
static int other_leg_for_read(const struct dray_vol *v, const struct dray_request *req)
{
	if (dray_bad_any(v, req->offset, req->length) && !PLANT(H17_ZEROES_SERVED_BY_LEG))
		return DRAY_NO_LEG;
	return dray_leg_other(v, req->tried_legs, req->offset, req->length);
}

/* The primary; where it failed, another leg. The primary waits for a lost connection only where there is no other, and then it is asked once
 * more: what another leg had may be gone by the time that it would be read. */
int dray_read_leg(const struct dray_vol *v, struct dray_request *req, uint32_t *flags)
{
	int other = other_leg_for_read(v, req);
	if (!req->tried_legs) {
		*flags |= other != DRAY_NO_LEG ? DRAY_F_NO_WAIT : 0;
		return v->primary;
	}
	if (other != DRAY_NO_LEG || !req->not_waited || PLANT(H17_NOT_ASKED_AGAIN))
		return other;
	req->not_waited = false;
	return v->primary;
}

static void tell_elsewhere(struct dray_vol *v, int leg, const struct dray_request *req)
{
	if (v->next_elsewhere_event_ns > v->now_ns)
		return;
	v->next_elsewhere_event_ns = v->now_ns + UINT64_C(1000000000);
	dray_emit(v, (struct dray_event){ .kind = DRAY_EV_READ_ELSEWHERE, .leg = leg, .leg_state = v->legs[leg].state,
		.error = req->first_error, .why = "the primary can't be read", .offset = req->offset, .length = req->length });
}

/* A read of one leg has its outcome. */
static void read_done(struct dray_vol *v, struct dray_request *req, int leg, int error)
{
	if (!error) {
		if (req->tried_legs && leg != v->primary)
			tell_elsewhere(v, leg, req);
		dray_request_chunk_done(v, req);
		return;
	}
	if (!req->tried_legs)
		req->first_error = error;
	req->tried_legs |= 1u << leg;
	req->error = error;
	if (!req->not_waited && other_leg_for_read(v, req) == DRAY_NO_LEG) {
		dray_request_chunk_done(v, req);
		return;
	}
	/* Another leg may be ahead of the primary, or behind, by the writes under way: the read waits for its range, or
	 * two reads could see them come and go. */
	req->state = RQ_LOCKING;
	if (req->lock.queued || dray_lock_enter(&v->locks, &req->lock, req->offset, req->offset + req->length, false))
		dray_request_granted(v, req);
}

static void await_flush(struct dray_vol *v, struct dray_request *req, int leg, uint64_t since_ns)
{
	if (req->lock.queued)
		dray_lock_leave(&v->locks, &req->lock);
	req->read_leg = leg;
	req->read_since_ns = since_ns;
	req->flush_turn = v->legs[leg].flush_turn;
	req->state = RQ_VOUCH;
	dray_list_add_tail(&v->vouching, &req->node);
}

static void vouched(struct dray_vol *v, struct dray_request *req, int error)
{
	dray_list_del(&req->node);
	req->state = RQ_RUNNING;
	read_done(v, req, req->read_leg, error);
}

/* Whether what was read is still what the leg has: a primary answers for itself. */
static enum leg_has look_again(const struct dray_vol *v, const struct dray_request *req, int leg)
{
	return leg == v->primary ? LEG_HAS : dray_leg_has(v, leg, req->offset, req->length);
}

void dray_read_answered(struct dray_vol *v, struct dray_request *req, int leg, int error, uint64_t since_ns)
{
	enum leg_has has = error ? LEG_HAS : look_again(v, req, leg);
	if (has == LEG_MAY_LOSE && !PLANT(H13_READ_NOT_VOUCHED))
		await_flush(v, req, leg, since_ns);
	else
		read_done(v, req, leg, has == LEG_HAS_NOT ? -EIO : error);
}

bool dray_read_pump(struct dray_vol *v)
{
	bool moved = false;
	dray_list_for_each_safe(n, &v->vouching) {
		struct dray_request *req = dray_container(n, struct dray_request, node);
		enum leg_has has = look_again(v, req, req->read_leg);
		if (has == LEG_MAY_LOSE && !dray_leg_flushes_over(&v->legs[req->read_leg], req->flush_turn))
			continue;
		vouched(v, req, has != LEG_HAS_NOT ? 0 : -EIO);
		moved = true;
	}
	return moved;
}

uint64_t dray_read_tick(struct dray_vol *v)
{
	uint64_t next = DRAY_TIME_NEVER;
	dray_list_for_each_safe(n, &v->vouching) {
		struct dray_request *req = dray_container(n, struct dray_request, node);
		uint64_t until = req->read_since_ns + v->limits.give_up_ns;
		if (until <= v->now_ns)
			vouched(v, req, -EIO);
		else
			next = min_u64(next, until);
	}
	return next;
}
