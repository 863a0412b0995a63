/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Entering and leaving the engine.
 *
 * The engine's contract says that the host never calls back into the engine from one of its functions. So these only
 * take note: an operation becomes events of its disk, a reply goes to the oracle, an event is queued and handled after
 * the engine returned.
 */
#include "sim/host.h"

#include "sim/app.h"
#include "sim/check.h"
#include "sim/cover.h"
#include "sim/disk.h"
#include "sim/group.h"
#include "sim/oracle.h"
#include "sim/sched.h"
#include "sim/verbs.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

struct sim_buffer {
	struct sim_buffer *next;
	uint64_t bytes;
	struct sim_vol *v; /* NULL: free */
	uint8_t *data;
};

int leg_index(const struct sim_vol *v, const struct sim_leg *leg)
{
	return (int)(leg - v->legs);
}

/* ---- what the engine calls ---- */

static void host_submit(void *host, struct dray_io *io)
{
	struct sim_vol *v = host;
	struct sim *s = v->s;
	if (io->leg < 0 || io->leg >= DRAY_MAX_LEGS || !v->legs[io->leg].used)
		sim_fail(s, "bad-operation", "volume %u: operation %d on leg %d, which is not attached", v->no, io->op, io->leg);
	if (!v->inside)
		sim_fail(s, "bad-operation", "volume %u: an operation from outside the engine", v->no);
	bool writes = io->op == DRAY_OP_WRITE || io->op == DRAY_OP_ZERO || io->op == DRAY_OP_DISCARD;
	if (v->legs[io->leg].kept && writes)
		sim_fail(s, "kept-image-written", "volume %u: operation %d on disk %u, which is kept as an image of a split", v->no, io->op,
			v->legs[io->leg].disk->no);
	for (int l = 0; writes && v->legs[io->leg].disk == v->primary && l < DRAY_MAX_LEGS; l++)
		if (v->legs[l].used && v->legs[l].kept)
			sim_cover(s, COVER_H21_WRITTEN);
	disk_submit(v->legs[io->leg].disk, io);
}

static void host_reply(void *host, struct dray_request *req, int error)
{
	struct sim_vol *v = host;
	struct sim_req *r = dray_container(req, struct sim_req, req);
	if (r->replied)
		sim_fail(v->s, "two-replies", "volume %u: a request was answered twice", v->no);
	r->replied = true;
	app_reply(v, r, error);
}

static void host_release(void *host, struct dray_request *req)
{
	struct sim_vol *v = host;
	struct sim_req *r = dray_container(req, struct sim_req, req);
	if (!r->replied)
		sim_fail(v->s, "released-early", "volume %u: a request was released before it was answered", v->no);
	app_release(v, r);
}

static void host_event(void *host, const struct dray_event *ev)
{
	struct sim_vol *v = host;
	if (v->n_ev == SIM_EVENTS)
		sim_fail(v->s, "event-flood", "volume %u: more than %d events from one call", v->no, SIM_EVENTS);
	v->evq[v->n_ev++] = *ev;
}

static void *host_buf_get(void *host, uint64_t bytes)
{
	struct sim_vol *v = host;
	struct sim *s = v->s;
	if (s->mix.no_buffers && !s->calm && rng_one_in(&s->rng, 8))
		return NULL;
	struct sim_buffer *b;
	for (b = s->buffers; b; b = b->next)
		if (!b->v && b->bytes == bytes)
			break;
	if (!b) {
		b = calloc(1, sizeof *b);
		if (!b || posix_memalign((void **)&b->data, 4096, bytes))
			abort();
		memset(b->data, 0, bytes);
		b->bytes = bytes;
		b->next = s->buffers;
		s->buffers = b;
	}
	b->v = v;
	return b->data;
}

static void host_buf_put(void *host, void *buf, uint64_t bytes)
{
	struct sim_vol *v = host;
	for (struct sim_buffer *b = v->s->buffers; b; b = b->next)
		if (b->data == buf && b->v == v && b->bytes == bytes) {
			b->v = NULL;
			/* Whoever still uses it gets caught. */
			for (uint64_t i = 0; i < bytes; i += 512)
				memset(b->data + i, 0xdd, 8);
			return;
		}
	sim_fail(v->s, "bad-buffer", "volume %u: a buffer was given back that is not out", v->no);
}

const struct dray_host_ops sim_host_ops = {
	.submit = host_submit,
	.reply = host_reply,
	.release = host_release,
	.event = host_event,
	.buf_get = host_buf_get,
	.buf_put = host_buf_put,
};

void host_forget(struct sim *s)
{
	for (struct sim_buffer *b = s->buffers; b; b = b->next)
		b->v = NULL;
}

void host_check_buffers(struct sim *s)
{
	for (struct sim_buffer *b = s->buffers; b; b = b->next)
		if (b->v)
			sim_fail(s, "bad-buffer", "volume %u: the engine is idle and keeps a buffer", b->v->no);
}

void host_free_buffers(struct sim *s)
{
	for (struct sim_buffer *b = s->buffers, *next; b; b = next) {
		next = b->next;
		free(b->data);
		free(b);
	}
	s->buffers = NULL;
}

/* ---- requests' memory ---- */

struct sim_req *req_new(struct sim_vol *v)
{
	struct sim *s = v->s;
	struct sim_req *r = s->free_reqs;
	if (r)
		s->free_reqs = (struct sim_req *)r->req.host[0];
	else
		r = sim_alloc(s, sizeof *r);
	memset(r, 0, sizeof *r);
	r->v = v;
	return r;
}

void req_free(struct sim_req *r)
{
	free(r->buf);
	free(r->recs);
	r->buf = NULL;
	r->recs = NULL;
	r->req.host[0] = r->v->s->free_reqs;
	r->v->s->free_reqs = r;
}

/* ---- entering and leaving ---- */

static void on_tick(struct sim *s, void *arg, uint32_t gen)
{
	struct sim_vol *v = arg;
	if (gen != v->tick_gen || !v->eng)
		return;
	v->tick_at = DRAY_TIME_NEVER;
	vol_enter(v);
	vol_leave(v);
}

/* Time in which a write's waiting is not the engine's doing: the suspend of a switch, strict mirroring in doubt, a primary or
 * a map that does not answer, or answers with errors. */
void vol_excuse(struct sim_vol *v)
{
	struct sim *s = v->s;
	uint64_t dt = s->now - v->excuse_mark;
	v->excuse_mark = s->now;
	if (!dt)
		return;
	bool excuse = v->suspended || v->doubt || v->group || v->primary->lost_until + 5 * MS > s->now;
	uint64_t old = 5 * MS;
	uint64_t first = disk_oldest(v->primary);
	excuse |= first != UINT64_MAX && first + old < s->now;
	excuse |= v->primary->last_error_ns && v->primary->last_error_ns + 20 * MS > s->now;
	for (int i = 0; i < DRAY_MAX_LEGS && !excuse; i++) {
		struct sim_leg *leg = &v->legs[i];
		if (!leg->used)
			continue;
		if (leg->disk == v->primary)
			continue;
		const struct sim_map *m = map_of(v, leg->disk);
		first = map_oldest(m);
		excuse = (first != UINT64_MAX && first + old < s->now) || m->errors_until + 200 * MS > s->now;
	}
	first = map_oldest(v->bad);
	excuse |= (first != UINT64_MAX && first + old < s->now) || v->bad->errors_until + 200 * MS > s->now;
	/* Operations that a stalled leg keeps take io structs from the pool: with a pool this small nobody else gets one. */
	unsigned in_flight = 0;
	for (int i = 0; i < DRAY_MAX_LEGS; i++)
		in_flight += v->legs[i].used ? v->legs[i].disk->in_flight : 0;
	if (excuse || in_flight + DRAY_MAX_LEGS >= v->config.max_ios)
		v->excused_ns += dt;
}

static void handle(struct sim_vol *v, const struct dray_event *ev);

static void handle_all(struct sim_vol *v)
{
	for (unsigned i = 0; i < v->n_ev; i++)
		handle(v, &v->evq[i]);
	v->n_ev = 0;
}

void vol_enter(struct sim_vol *v)
{
	if (v->inside)
		sim_fail(v->s, "sim", "the simulator entered the engine twice");
	vol_excuse(v);
	v->inside = true;
	dray_vol_tick(v->eng, v->s->now);
	handle_all(v); /* a deadline that passed, before the verb that comes too late for it */
}

void vol_leave(struct sim_vol *v)
{
	struct sim *s = v->s;
	uint64_t next = dray_vol_tick(v->eng, s->now);
#ifndef DRAY_TEETH /* a planted fault is to be found by the rules of the simulator, not by the engine's own assertions */
	dray_vol_check(v->eng);
#endif
	v->inside = false;
	if (next < v->tick_at || v->tick_at == DRAY_TIME_NEVER) {
		v->tick_at = next;
		v->tick_gen++;
		if (next != DRAY_TIME_NEVER) {
			uint64_t at = next < s->now ? s->now : next;
			if (rng_one_in(&s->rng, 4))
				at += rng_below(&s->rng, 300 * US);
			sched_at(s, at, true, on_tick, v, v->tick_gen);
		}
	}
	handle_all(v);
	check_step(v);
}

void vol_complete(struct sim_vol *v, struct dray_io *io, int error, unsigned flags)
{
	vol_enter(v);
	if (error)
		check_excuse_all(v);
	dray_vol_complete(v->eng, io, error, flags);
	vol_leave(v);
}

/* ---- legs ---- */

int vol_attach(struct sim_vol *v, struct sim_disk *d, const void *const *pages, bool paused, bool tracked_only)
{
	struct sim *s = v->s;
	bool primary = d == v->primary;
	struct dray_leg_config config = {
		.id = d->leg_id,
		.durable = !(v->unmapped >> d->no & 1),
		.late_writes = d->net,
		.extents = d->extents,
		.thin = d->thin,
		.has_zero = d->has_zero,
		.known_zero = d->known_zero && !primary && !pages,
		.copy_role = v->copy_roles >> d->no & 1,
		.paused = paused,
		.tracked_only = tracked_only,
		.pages = primary ? NULL : pages,
	};
	if (!primary) {
		config.n_pages = pages ? map_of(v, d)->n_pages : 0;
		memcpy(config.map_id, map_of(v, d)->id, sizeof config.map_id);
	}
	vol_enter(v);
	int idx = dray_vol_leg_attach(v->eng, &config);
	sim_trace(s, "volume %u: attach disk %u%s%s%s -> %d", v->no, d->no, primary ? " as primary" : "", pages ? " with map" : "",
		config.known_zero ? " known zero" : "", idx);
	if (idx < 0) {
		vol_leave(v);
		return idx;
	}
	if (v->legs[idx].used)
		sim_fail(s, "leg-index", "volume %u: attach gave leg %d, which is in use", v->no, idx);
	v->legs[idx] = (struct sim_leg){ .used = true, .disk = d, .paused = paused, .held = tracked_only, .durable = config.durable,
		.copy_role = config.copy_role, .state = primary ? DRAY_LEG_PRIMARY : DRAY_LEG_COPYING, .excuse = true };
	d->attached_written = 0;
	v->members |= 1u << d->no;
	vol_leave(v);
	return idx;
}

void vol_exchange(struct sim_vol *v, struct sim_disk *new_primary)
{
	if (new_primary == v->primary)
		return;
	uint32_t was = 1u << v->primary->no, is = 1u << new_primary->no;
	bool unmapped = v->unmapped & is;
	v->unmapped &= ~(was | is);
	if (unmapped)
		v->unmapped |= was;
	v->copy_roles &= ~(was | is);
	v->primary = new_primary;
}

void vol_detach(struct sim_vol *v, struct sim_leg *leg)
{
	struct sim *s = v->s;
	uint32_t before = v->members;
	v->members &= ~(1u << leg->disk->no);
	vol_enter(v);
	int rc = dray_vol_leg_detach(v->eng, leg_index(v, leg));
	sim_trace(s, "volume %u: detach leg %d -> %d", v->no, leg_index(v, leg), rc);
	if (rc == 0)
		leg->detaching = true;
	else if (rc == -EBUSY)
		v->members = before; /* refused and nothing happened: the host remembers it again */
	else
		sim_fail(s, "detach", "volume %u: detach of leg %d gave %d", v->no, leg_index(v, leg), rc);
	vol_leave(v);
}

/* A leg that was set aside rests: its storage is closed and opened anew, as the host does for one that failed and somebody's retry does for
 * any. Between the two looks of the host a switch may begin, or the engine try the leg again: then it isn't. */
static void on_reopen(struct sim *s, void *arg, uint32_t gen)
{
	struct sim_disk *d = arg;
	struct sim_vol *v = d->v;
	if (!v->eng || v->group)
		return;
	for (int i = 0; i < DRAY_MAX_LEGS; i++) {
		struct sim_leg *leg = &v->legs[i];
		struct dray_leg_info info;
		if (!leg->used || leg->detaching || leg->disk != d || d == v->primary || dray_vol_leg_info(v->eng, i, &info) ||
			info.state != DRAY_LEG_DEGRADED || !info.settled)
			continue;
		vol_enter(v);
		/* The clock may have brought it back. */
		if (!dray_vol_leg_info(v->eng, i, &info) && info.state == DRAY_LEG_DEGRADED && info.settled) {
			int rc = dray_vol_leg_closed(v->eng, i);
			sim_trace(s, "volume %u: leg %d closed -> %d", v->no, i, rc);
			if (rc)
				sim_fail(s, "closed", "volume %u: closing leg %d gave %d", v->no, i, rc);
			disk_reopened(d);
		}
		vol_leave(v);
	}
}

/* The primary's storage is found dead and opened anew. It rests when nothing is under way on it: the host sees to that, here it is waited for. */
static void on_reopen_primary(struct sim *s, void *arg, uint32_t gen)
{
	struct sim_vol *v = arg;
	(void)gen;
	v->reopening = false;
	if (!v->eng || v->group || v->suspended)
		return;
	vol_enter(v);
	int primary = DRAY_NO_LEG;
	struct dray_leg_info info;
	for (int i = 0; i < DRAY_MAX_LEGS; i++)
		if (v->legs[i].used && v->legs[i].disk == v->primary)
			primary = i;
	if (primary != DRAY_NO_LEG && dray_vol_leg_info(v->eng, primary, &info) == 0) {
		int rc = dray_vol_leg_closed(v->eng, primary);
		sim_trace(s, "volume %u: primary closed -> %d", v->no, rc);
		if (rc != (info.settled ? 0 : -EBUSY))
			sim_fail(s, "closed", "volume %u: closing the primary gave %d", v->no, rc);
		if (rc) {
			vol_reopen_primary(v);
		} else {
			check_excuse_all(v);
			disk_reopened(v->primary);
		}
	}
	vol_leave(v);
}

void vol_reopen_primary(struct sim_vol *v)
{
	if (v->reopening)
		return;
	v->reopening = true;
	sched_at(v->s, v->s->now + rng_below(&v->s->rng, MS), true, on_reopen_primary, v, 0);
}

/* ---- events ---- */

static const char *event_name(enum dray_event_kind k)
{
	static const char *const names[] = { "LEG_STATE", "LEG_SYNCED", "LEG_UNSYNCED", "LEG_DETACHED", "LEG_HELD", "LEG_SETTLED",
		"PREPARED", "DRAINED", "RESUMED", "IN_DOUBT", "VERIFIED", "MAP_ERROR", "PAUSED", "SOURCE_READ", "READ_ELSEWHERE", "BAD_RANGE" };
	return k < sizeof names / sizeof *names ? names[k] : "?";
}

static void handle(struct sim_vol *v, const struct dray_event *ev)
{
	struct sim *s = v->s;
	sim_trace(s, "volume %u: %s leg %d state %d error %d token %" PRIu64 " %s", v->no, event_name(ev->kind), ev->leg,
		ev->leg_state, ev->error, ev->token, ev->why ? ev->why : "");
	struct sim_leg *leg = ev->leg >= 0 && ev->leg < DRAY_MAX_LEGS && v->legs[ev->leg].used ? &v->legs[ev->leg] : NULL;
	switch (ev->kind) {
	case DRAY_EV_LEG_STATE:
		if (leg) {
			leg->state = ev->leg_state;
			leg->excuse = true;
		}
		break;
	case DRAY_EV_LEG_UNSYNCED:
		if (leg)
			leg->excuse = true;
		break;
	case DRAY_EV_LEG_SETTLED:
		if (leg && s->mix.reopens && !leg->kept) /* the host has no reason to */
			sched_at(s, s->now + rng_below(&s->rng, MS), true, on_reopen, leg->disk, 0);
		break;
	case DRAY_EV_LEG_HELD:
		sim_cover(s, COVER_LEG_HELD);
		if (leg)
			leg->held = true;
		break;
	case DRAY_EV_LEG_DETACHED:
		check_detached(v, leg, ev->error);
		break;
	case DRAY_EV_VERIFIED:
		if (leg)
			check_verified(v, leg, ev->error);
		break;
	case DRAY_EV_PREPARED:
	case DRAY_EV_DRAINED:
	case DRAY_EV_RESUMED:
	case DRAY_EV_IN_DOUBT: group_event(v, ev); break;
	case DRAY_EV_BAD_RANGE:
		sim_cover(s, ev->error ? COVER_H17_LISTED : COVER_H17_CLEARED);
		check_excuse_all(v);
		break;
	case DRAY_EV_READ_ELSEWHERE: sim_cover(s, COVER_H17_READ_ELSEWHERE); break;
	default: break;
	}
}
