/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Random applications: small and large, aligned, overlapping, sequential, with hot spots; reads, writes, zeroes, discards,
 * flushes, FUA, extents, cache hints, and now and then a request that is plainly wrong.
 *
 * The payload of a write belongs to the application again at release, and it makes use of that: it fills it with junk,
 * so an engine that keeps writing from it is caught by the next reader.
 */
#include "sim/app.h"

#include "sim/check.h"
#include "sim/cover.h"
#include "sim/disk.h"
#include "sim/host.h"
#include "sim/oracle.h"
#include "sim/sched.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

void app_draw(struct sim_vol *v)
{
	struct rng *g = &v->s->rng;
	v->n_apps = (unsigned)rng_range(g, 1, SIM_APPS);
	unsigned hot = (unsigned)rng_below(g, v->n_blocks);
	for (unsigned i = 0; i < v->n_apps; i++) {
		struct sim_app *a = &v->apps[i];
		a->depth = (unsigned)rng_range(g, 1, 6);
		a->pattern = (unsigned)rng_below(g, 4);
		a->hot = rng_one_in(g, 3) ? (unsigned)rng_below(g, v->n_blocks) : hot; /* often the same spot */
		a->cursor = (unsigned)rng_below(g, v->n_blocks);
		a->largest = rng_one_in(g, 3) ? v->region_blocks + v->region_blocks / 2 : (unsigned)rng_range(g, 1, 8);
		a->w_read = (unsigned)rng_range(g, 1, 10);
		a->w_write = (unsigned)rng_range(g, 2, 12);
		a->w_zero = rng_one_in(g, 2) ? (unsigned)rng_below(g, 4) : 0;
		a->w_discard = v->s->mix.discards ? (unsigned)rng_below(g, 4) : 0;
		a->w_flush = (unsigned)rng_range(g, 0, 3);
		a->think_ns = rng_range(g, 50 * US, 4 * MS);
	}
}

static unsigned pick_block(struct sim_vol *v, struct sim_app *a, enum dray_op op)
{
	struct rng *g = &v->s->rng;
	unsigned spread = v->region_blocks / 4 + 1;
	/* Where something could not be read, the most can go wrong. */
	/* What is written to a bad block while the list of them is on its way matters more than what is written to one at any time. */
	bool reads = op == DRAY_OP_READ || op == DRAY_OP_EXTENTS;
	if (v->s->mix.latent && rng_one_in(g, reads ? 5 : map_oldest(v->bad) != UINT64_MAX ? 8 : 200)) {
		unsigned from = (unsigned)rng_below(g, v->n_blocks);
		for (unsigned i = 0; i < v->n_blocks; i++)
			if (v->lost_ok[(from + i) % v->n_blocks])
				return (from + i) % v->n_blocks;
	}
	if (reads && v->dropper && v->dropped_block >= 0 && disk_dropped(v->dropper) && rng_one_in(g, 2))
		return (unsigned)v->dropped_block;
	/* Beside one: what is copied then, back to an old primary too, has it in its middle. */
	if (v->s->mix.latent && !reads && rng_one_in(g, 20)) {
		unsigned from = (unsigned)rng_below(g, v->n_blocks);
		for (unsigned i = 0; i < v->n_blocks; i++)
			if (v->lost_ok[(from + i) % v->n_blocks])
				return (from + i + 1) % v->n_blocks;
	}
	switch (a->pattern == 3 ? rng_below(g, 3) : a->pattern) {
	case 1: a->cursor = (a->cursor + 1) % v->n_blocks; return a->cursor;
	case 2: return (unsigned)((a->hot + rng_below(g, spread)) % v->n_blocks);
	default: return (unsigned)rng_below(g, v->n_blocks);
	}
}

static enum dray_op pick_op(struct sim *s, const struct sim_app *a)
{
	uint64_t total = a->w_read + a->w_write + a->w_zero + a->w_discard + a->w_flush;
	uint64_t x = rng_below(&s->rng, total);
	if (x < a->w_read)
		return rng_one_in(&s->rng, s->mix.latent ? 5 : 12) ? DRAY_OP_EXTENTS : rng_one_in(&s->rng, 20) ? DRAY_OP_CACHE : DRAY_OP_READ;
	x -= a->w_read;
	if (x < a->w_write)
		return DRAY_OP_WRITE;
	x -= a->w_write;
	if (x < a->w_zero)
		return DRAY_OP_ZERO;
	x -= a->w_zero;
	return x < a->w_discard ? DRAY_OP_DISCARD : DRAY_OP_FLUSH;
}

static void fill(struct sim_vol *v, struct sim_req *r)
{
	r->buf = aligned_alloc(4096, ((size_t)r->n * v->block_bytes + 4095) & ~(size_t)4095);
	if (!r->buf)
		abort();
	memset(r->buf, 0, (size_t)r->n * v->block_bytes);
	if (r->req.op != DRAY_OP_WRITE)
		return;
	bool zeroes = rng_one_in(&v->s->rng, 24); /* an application that writes zeroes the long way */
	for (unsigned i = 0; i < r->n; i++)
		stamp_put(r->buf + (size_t)i * v->block_bytes, v->block_bytes,
			zeroes ? 0 : stamp_make(v->no, r->first + i, v->s->next_gen++));
}

/* What the generator made happen, looked at before the engine sees the request. */
static void note_situation(struct sim_vol *v, const struct sim_req *r)
{
	struct sim *s = v->s;
	if (!r->recs)
		return;
	if (disk_busy_with(v->primary, DRAY_OP_READ, r->first, r->n) && v->outstanding == 1)
		sim_cover(s, COVER_H3_WRITE_UNDER_COPY_READ);
	if (disk_busy_with(v->primary, DRAY_OP_EXTENTS, r->first, r->n))
		sim_cover(s, COVER_H5_WRITE_UNDER_EXTENTS);
	for (int i = 0; i < DRAY_MAX_LEGS; i++) {
		struct sim_leg *leg = &v->legs[i];
		if (!leg->used || leg->disk == v->primary)
			continue;
		if (leg->disk->stall_until > s->now && disk_busy_with(leg->disk, DRAY_OP_WRITE, 0, v->n_blocks))
			sim_cover(s, COVER_H7_STALL_WITH_WRITE);
		if (leg->verifying)
			sim_cover(s, COVER_H16_WRITE_UNDER_VERIFY);
		check_note_write(v, leg, r);
	}
}

static void send(struct sim_vol *v, unsigned app)
{
	struct sim *s = v->s;
	struct sim_app *a = &v->apps[app];
	struct sim_req *r = req_new(v);
	r->app = app;
	r->req.op = pick_op(s, a);
	r->at_ns = s->now;
	r->excused_ns = v->excused_ns;
	r->primary = v->primary;
	r->primary_errors = v->primary->errors;
	if (r->req.op != DRAY_OP_FLUSH) {
		r->n = (unsigned)rng_range(&s->rng, 1, rng_one_in(&s->rng, 4) ? a->largest : 2);
		if ((r->req.op == DRAY_OP_ZERO || r->req.op == DRAY_OP_DISCARD) && rng_one_in(&s->rng, 16))
			r->n = (unsigned)rng_range(&s->rng, 1, v->n_blocks);
		if (r->n > v->n_blocks)
			r->n = v->n_blocks;
		r->first = pick_block(v, a, r->req.op);
		if (r->first + r->n > v->n_blocks)
			r->first = v->n_blocks - r->n;
		r->req.offset = (uint64_t)r->first * v->block_bytes;
		r->req.length = (uint64_t)r->n * v->block_bytes;
	}
	if (r->req.op == DRAY_OP_READ || r->req.op == DRAY_OP_WRITE) {
		fill(v, r);
		r->req.data = r->buf;
	}
	if (r->req.op == DRAY_OP_EXTENTS) {
		r->req.extents = r->ext;
		r->req.max_extents = (unsigned)rng_range(&s->rng, 1, 8);
	}
	if ((r->req.op == DRAY_OP_WRITE || r->req.op == DRAY_OP_ZERO) && rng_one_in(&s->rng, 8))
		r->req.flags |= DRAY_F_FUA;
	if (r->req.op == DRAY_OP_ZERO) {
		r->req.flags |= rng_one_in(&s->rng, 2) ? DRAY_F_MAY_UNMAP : 0;
		r->req.flags |= rng_one_in(&s->rng, 8) ? DRAY_F_FAST : 0;
	}
	if (rng_one_in(&s->rng, 400) && r->req.op != DRAY_OP_FLUSH) {
		/* A client that cannot count: refused, and nothing happens. */
		r->bad = true;
		if (rng_one_in(&s->rng, 2))
			r->req.offset = v->config.size_bytes - r->req.length + v->block_bytes;
		else
			r->req.offset += v->block_bytes / 2;
	}
	dray_list_add_tail(&v->reqs, &r->node);
	v->outstanding++;
	a->outstanding++;
	if (!r->bad)
		oracle_invoke(v, r);
	else
		r->invoked = ++s->oracle_time;
	vol_enter(v);
	note_situation(v, r);
	sim_trace(s, "  app %u.%u: operation %d on %u+%u%s%s", v->no, app, r->req.op, r->first, r->n,
		r->req.flags & DRAY_F_FUA ? " fua" : "", r->bad ? ", out of bounds" : "");
	dray_vol_submit(v->eng, &r->req);
	vol_leave(v);
}

static void on_app(struct sim *s, void *arg, uint32_t app)
{
	struct sim_vol *v = arg;
	struct sim_app *a = &v->apps[app];
	a->sleeping = false;
	if (s->calm || !v->eng)
		return;
	unsigned burst = rng_one_in(&s->rng, 4) ? a->depth : 1;
	while (burst-- && a->outstanding < a->depth && v->eng)
		send(v, app);
	if (a->outstanding < a->depth && !a->sleeping) {
		a->sleeping = true;
		sched_at(s, s->now + rng_below(&s->rng, a->think_ns) + 10 * US, true, on_app, v, app);
	}
}

void app_start(struct sim_vol *v)
{
	for (unsigned i = 0; i < v->n_apps; i++) {
		v->apps[i].sleeping = true;
		v->apps[i].outstanding = 0;
		sched_at(v->s, v->s->now + rng_below(&v->s->rng, MS), true, on_app, v, i);
	}
}

void app_crash(struct sim_vol *v)
{
	while (!dray_list_empty(&v->reqs)) {
		struct sim_req *r = dray_container(dray_list_pop(&v->reqs), struct sim_req, node);
		if (!r->replied)
			oracle_orphan(v, r);
		req_free(r);
	}
	v->outstanding = 0;
}

/* An error has to have a reason on some disk. */
static void check_error(struct sim_vol *v, const struct sim_req *r, int error)
{
	struct sim *s = v->s;
	if (r->bad) {
		if (error != -EINVAL)
			sim_fail(s, "bad-request-accepted", "volume %u: a request out of range or alignment got %d", v->no, error);
		return;
	}
	if (!error)
		return;
	if (r->req.op == DRAY_OP_FLUSH && v->flush_owed) {
		v->flush_owed = false;
		return;
	}
	if (v->force && v->suspended && !v->drained && (r->req.op != DRAY_OP_READ || !memchr(v->lost_ok + r->first, 1, r->n)))
		sim_fail(s, "forced-error", "volume %u: operation %d on blocks %u+%u got %d of the primary that is given up while it was drained",
			v->no, r->req.op, r->first, r->n, error);
	if (error == -ENOTSUP && (r->req.flags & DRAY_F_FAST))
		return;
	if (r->req.op == DRAY_OP_READ && memchr(v->lost_ok + r->first, 1, r->n)) {
		sim_cover(s, COVER_H17_LOST_READ);
		return;
	}
	if (error == -EINVAL || (v->primary == r->primary && v->primary->errors == r->primary_errors && !v->doubt && !v->sealed && !v->group &&
		v->primary->last_error_ns + 500 * MS < s->now))
		sim_fail(s, "needless-error",
			"volume %u: an application's request (operation %d, blocks %u+%u) failed with %d though no operation on the primary failed",
			v->no, r->req.op, r->first, r->n, error);
}

void app_reply(struct sim_vol *v, struct sim_req *r, int error)
{
	struct sim *s = v->s;
	struct sim_app *a = &v->apps[r->app];
	sim_trace(s, "  app %u.%u: answer %d to operation %d on %u+%u", v->no, r->app, error, r->req.op, r->first, r->n);
	check_error(v, r, error);
	if (!r->bad) {
		bool changes = r->recs;
		/* Under way when the volume was drained, and answered on the other side. */
		if (!error && r->primary != v->primary && r->at_ns < v->suspended_at && s->now > v->suspended_at)
			sim_cover(s, COVER_H19_FORCED_KEPT);
		oracle_reply(v, r, error);
		/* A long zero is carried out in chunks: what was written first can go bad before all of it is answered. */
		for (unsigned b = r->first; changes && !error && b < r->first + r->n; b++)
			v->lost_ok[b] &= v->lost_at[b] >= r->invoked;
		check_answered(v, r, error);
	}
	v->outstanding--;
	a->outstanding--;
	if (!a->sleeping && !s->calm) {
		a->sleeping = true;
		sched_at(s, s->now + rng_below(&s->rng, a->think_ns), true, on_app, v, r->app);
	}
}

void app_release(struct sim_vol *v, struct sim_req *r)
{
	if (r->buf)
		for (unsigned i = 0; i < r->n; i++)
			stamp_put(r->buf + (size_t)i * v->block_bytes, v->block_bytes, UINT64_C(0xdddddddddddddddd));
	dray_list_del(&r->node);
	req_free(r);
}

bool app_writing(const struct sim_vol *v, unsigned first, unsigned n)
{
	dray_list_for_each(node, &v->reqs) {
		const struct sim_req *r = dray_container(node, struct sim_req, node);
		enum dray_op op = r->req.op;
		if ((op == DRAY_OP_WRITE || op == DRAY_OP_ZERO || op == DRAY_OP_DISCARD) && !r->bad && !r->replied &&
			r->first < first + n && first < r->first + r->n)
			return true;
	}
	return false;
}
