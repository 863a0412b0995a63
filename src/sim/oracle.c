/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Each block is a register. Its history is a list of records, one a write, with the moments (oracle time: a counter that each
 * request and each reply advances, so no two are equal) that bound when the write can have taken effect:
 *
 *     invoked   the request came in: not before
 *     end       it was answered, or the process died: not begun any more by a later write's point of view
 *     must_by   it has taken effect for sure: acknowledged, or seen by a read that ended then; else never
 *     dead_at   a read ended then that saw a younger value after one had seen this: it cannot come back
 *
 * A write x is hidden from a moment t by a write w that began after x ended and took effect for sure before t. A read
 * may return x if x was invoked before the read ended and is not hidden from the moment the read began. This is
 * linearizability of a register with unique values, except that zeroes are not unique; there the check is lenient.
 *
 * Durability works the same way with another question: a flush that was asked for after w was acknowledged, and answered
 * well, makes w durable (FUA: at once). After a power loss x may be there unless a durable w began after x ended.
 *
 * A write that failed stays possible for ever, until a later one hides it. A discard leaves any older value of the
 * block, or zero: what the storage makes of it is its own affair, but only one of these.
 *
 * A failed flush of the primary may throw away what was acknowledged but never flushed (`maybe`): such data may be gone from
 * then on, and the application has to hear of it: until one of its own flushes failed, a flush that succeeds vouches for it.
 */
#include "sim/oracle.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NEVER UINT64_MAX

enum rec_kind { REC_BASE, REC_WRITE, REC_ZERO, REC_DISCARD };

struct wrec {
	struct wrec *next; /* older */
	struct dray_list node; /* on volatile_recs until durable */
	uint64_t val, invoked, end, ack, must_by, seen, dead_at, dropped;
	unsigned block;
	enum rec_kind kind;
	bool durable, fua, maybe, told;
	bool elsewhere; /* dropped by one side during a switch: what reads see of the other proves nothing */
};

void stamp_put(uint8_t *block, uint32_t block_bytes, uint64_t stamp)
{
	for (uint32_t i = 0; i < block_bytes; i += 512)
		memcpy(block + i, &stamp, sizeof stamp);
}

bool stamp_get(const uint8_t *block, uint32_t block_bytes, uint64_t *stamp)
{
	memcpy(stamp, block, sizeof *stamp);
	for (uint32_t i = 512; i < block_bytes; i += 512)
		if (memcmp(block + i, stamp, sizeof *stamp) != 0)
			return false;
	return true;
}

const char *stamp_text(uint64_t stamp)
{
	static char buf[6][64];
	static unsigned turn;
	char *b = buf[turn++ % 6];
	if (!stamp)
		snprintf(b, 64, "zeroes");
	else
		snprintf(b, 64, "v%u:b%u:gen%" PRIu64, stamp_vol(stamp), stamp_block(stamp), stamp_gen(stamp));
	return b;
}

const char *oracle_history(const struct sim_vol *v, unsigned block)
{
	static const char *const names[] = { "base", "write", "zero", "discard" };
	static char text[420];
	size_t at = 0;
	text[0] = 0;
	for (const struct wrec *r = v->hist[block]; r && at < sizeof text - 80; r = r->next)
		at += (size_t)snprintf(text + at, sizeof text - at, "%s%s %s%s%s%s", at ? "; " : "", names[r->kind],
			stamp_text(r->val), r->must_by != NEVER ? " done" : r->end != NEVER ? " failed" : " open",
			r->durable ? " durable" : "", r->maybe ? " maybe dropped" : "");
	return text;
}

static struct wrec *rec_new(struct sim_vol *v, unsigned block, enum rec_kind kind, uint64_t val)
{
	struct sim *s = v->s;
	if (!s->free_recs) {
		struct wrec *chunk = sim_alloc(s, 512 * sizeof *chunk);
		for (unsigned i = 0; i < 512; i++) {
			chunk[i].next = s->free_recs;
			s->free_recs = &chunk[i];
		}
	}
	struct wrec *r = s->free_recs;
	s->free_recs = r->next;
	*r = (struct wrec){ .block = block, .kind = kind, .val = val };
	r->invoked = ++s->oracle_time;
	r->end = r->ack = r->must_by = r->dead_at = NEVER;
	r->next = v->hist[block];
	v->hist[block] = r;
	dray_list_add_tail(&v->volatile_recs, &r->node);
	return r;
}

static void rec_durable(struct wrec *r)
{
	r->durable = true;
	dray_list_del(&r->node);
}

static void rec_free(struct sim_vol *v, struct wrec *r)
{
	dray_list_del(&r->node);
	r->next = v->s->free_recs;
	v->s->free_recs = r;
}

/* Forgets what neither a read under way nor a power loss can bring back. */
static void prune(struct sim_vol *v, unsigned block)
{
	uint64_t oldest = v->s->oracle_time;
	dray_list_for_each(n, &v->reqs) {
		struct sim_req *r = dray_container(n, struct sim_req, node);
		if (!r->replied && r->invoked < oldest)
			oldest = r->invoked;
	}
	uint64_t limit = 0;
	for (struct wrec *w = v->hist[block]; w; w = w->next)
		if (w->durable && w->must_by < oldest && w->invoked > limit)
			limit = w->invoked;
	for (struct wrec **p = &v->hist[block]; *p;) {
		struct wrec *x = *p;
		if (x->end < limit) {
			*p = x->next;
			rec_free(v, x);
		} else {
			p = &x->next;
		}
	}
}

static struct wrec *base(struct sim_vol *v, unsigned block, uint64_t val, bool durable)
{
	struct wrec *r = rec_new(v, block, REC_BASE, val);
	r->end = r->ack = r->must_by = r->invoked;
	if (durable)
		rec_durable(r);
	return r;
}

void oracle_init(struct sim_vol *v, const uint64_t *initial)
{
	v->hist = sim_alloc(v->s, v->n_blocks * sizeof *v->hist);
	v->junk = sim_alloc(v->s, v->n_blocks * sizeof *v->junk);
	dray_list_init(&v->volatile_recs);
	for (unsigned b = 0; b < v->n_blocks; b++)
		base(v, b, initial[b], true);
}

static bool hidden(const struct sim_vol *v, const struct wrec *x, uint64_t from)
{
	if (x->dead_at < from)
		return true;
	for (const struct wrec *w = v->hist[x->block]; w; w = w->next)
		if (w->invoked > x->end && w->must_by < from)
			return true;
	return false;
}

static bool matches(const struct sim_vol *v, const struct wrec *x, uint64_t val)
{
	if (x->kind != REC_DISCARD)
		return x->val == val;
	return val == 0 || val == v->junk[x->block][0] || val == v->junk[x->block][1] ||
		(stamp_vol(val) == v->no && stamp_block(val) == x->block && stamp_gen(val) < x->val);
}

bool oracle_readable(const struct sim_vol *v, unsigned block, uint64_t val, uint64_t from, uint64_t to)
{
	for (const struct wrec *x = v->hist[block]; x; x = x->next)
		if (x->invoked < to && matches(v, x, val) && !hidden(v, x, from))
			return true;
	return false;
}

bool oracle_survives(const struct sim_vol *v, unsigned block, uint64_t val)
{
	for (const struct wrec *x = v->hist[block]; x; x = x->next) {
		if (!matches(v, x, val))
			continue;
		bool gone = false;
		for (const struct wrec *w = v->hist[block]; w && !gone; w = w->next)
			gone = w->durable && w->invoked > x->end;
		if (!gone)
			return true;
	}
	return false;
}

/* A read that ran from `from` until now saw this value. */
static void observe(struct sim_vol *v, unsigned block, uint64_t val, uint64_t from, uint64_t to)
{
	if (!val)
		return; /* not unique */
	struct wrec *seen = NULL;
	/* A read that began before the storage dropped things says nothing about what is left. */
	for (struct wrec *x = v->hist[block]; x; x = x->next)
		if (x->dropped > from || x->elsewhere)
			return;
	for (struct wrec *x = v->hist[block]; x; x = x->next)
		if (x->kind != REC_DISCARD && x->val == val)
			seen = x;
	for (struct wrec *x = v->hist[block]; x; x = x->next)
		if (x != seen && x->seen && x->seen < from && x->kind == REC_WRITE && x->dead_at > to)
			x->dead_at = to;
	if (!seen)
		return;
	seen->seen = to;
	if (seen->must_by > to)
		seen->must_by = to;
}

void oracle_invoke(struct sim_vol *v, struct sim_req *r)
{
	struct sim *s = v->s;
	enum dray_op op = r->req.op;
	r->invoked = ++s->oracle_time;
	if (op != DRAY_OP_WRITE && op != DRAY_OP_ZERO && op != DRAY_OP_DISCARD)
		return;
	r->recs = malloc(r->n * sizeof *r->recs);
	if (!r->recs)
		abort();
	for (unsigned i = 0; i < r->n; i++) {
		uint64_t val = 0;
		enum rec_kind kind = REC_ZERO;
		if (op == DRAY_OP_WRITE) {
			kind = REC_WRITE;
			stamp_get(r->buf + (size_t)i * v->block_bytes, v->block_bytes, &val);
		} else if (op == DRAY_OP_DISCARD) {
			kind = REC_DISCARD;
			val = s->next_gen; /* older ones may show */
		}
		r->recs[i] = rec_new(v, r->first + i, kind, val);
		r->recs[i]->fua = r->req.flags & DRAY_F_FUA;
	}
}

static void changed(struct sim_vol *v, struct sim_req *r, int error)
{
	uint64_t now = ++v->s->oracle_time;
	for (unsigned i = 0; i < r->n; i++) {
		struct wrec *w = r->recs[i];
		w->end = now;
		if (error)
			continue;
		w->ack = now;
		if ((!w->maybe || w->fua) && w->must_by > now)
			w->must_by = now;
		if (w->fua) {
			w->must_by = now;
			rec_durable(w);
			prune(v, w->block);
		}
	}
	free(r->recs);
	r->recs = NULL;
}

static void flushed(struct sim_vol *v, struct sim_req *r, int error)
{
	dray_list_for_each_safe(n, &v->volatile_recs) {
		struct wrec *w = dray_container(n, struct wrec, node);
		if (error) {
			w->told |= w->maybe;
		} else if (w->ack < r->invoked && !w->told) {
			rec_durable(w);
			w->maybe = false;
			if (w->must_by > w->ack)
				w->must_by = w->ack;
		}
	}
	if (!error)
		for (unsigned b = 0; b < v->n_blocks; b++)
			if (v->hist[b]->next)
				prune(v, b);
}

static void check_block(struct sim_vol *v, struct sim_req *r, unsigned i, uint64_t val, uint64_t to, const char *how)
{
	struct sim *s = v->s;
	unsigned b = r->first + i;
	if (v->hist[b]->end == NEVER)
		sim_cover(s, COVER_READ_AGAINST_WRITE);
	if (!oracle_readable(v, b, val, r->invoked, to))
		sim_fail(s, "stale-read", "volume %u: %s of block %u gave %s; its history: %s", v->no, how, b,
			stamp_text(val), oracle_history(v, b));
}

static void check_extents(struct sim_vol *v, struct sim_req *r, uint64_t to)
{
	struct sim *s = v->s;
	uint64_t at = 0;
	if (r->req.n_extents == 0 || r->req.n_extents > r->req.max_extents)
		sim_fail(s, "extents", "volume %u: %u extents for a request with room for %u", v->no, r->req.n_extents,
			r->req.max_extents);
	for (unsigned e = 0; e < r->req.n_extents; e++) {
		const struct dray_extent *x = &r->req.extents[e];
		if (x->length == 0)
			sim_fail(s, "extents", "volume %u: an empty extent", v->no);
		for (uint64_t o = at; o < at + x->length && o < r->req.length; o += v->block_bytes)
			if (x->flags & DRAY_EXTENT_ZERO)
				check_block(v, r, (unsigned)(o / v->block_bytes), 0, to, "the extent 'reads as zeroes'");
		at += x->length;
	}
}

void oracle_reply(struct sim_vol *v, struct sim_req *r, int error)
{
	struct sim *s = v->s;
	if (r->recs) {
		changed(v, r, error);
	} else if (r->req.op == DRAY_OP_FLUSH) {
		flushed(v, r, error);
	} else if (r->req.op == DRAY_OP_READ && !error) {
		uint64_t to = ++s->oracle_time;
		for (unsigned i = 0; i < r->n; i++) {
			uint64_t val;
			if (!stamp_get(r->buf + (size_t)i * v->block_bytes, v->block_bytes, &val))
				sim_fail(s, "torn-read", "volume %u: block %u was read in pieces of two writes", v->no,
					r->first + i);
			check_block(v, r, i, val, to, "a read");
			observe(v, r->first + i, val, r->invoked, to);
		}
	} else if (r->req.op == DRAY_OP_EXTENTS && !error) {
		check_extents(v, r, ++s->oracle_time);
	}
}

void oracle_orphan(struct sim_vol *v, struct sim_req *r)
{
	uint64_t now = ++v->s->oracle_time;
	if (!r->recs)
		return;
	for (unsigned i = 0; i < r->n; i++)
		r->recs[i]->end = now;
	free(r->recs);
	r->recs = NULL;
}

void oracle_dropped(struct sim_vol *v, unsigned block, bool elsewhere)
{
	uint64_t now = ++v->s->oracle_time;
	for (struct wrec *x = v->hist[block]; x; x = x->next) {
		x->dead_at = NEVER;
		if (x->durable)
			continue;
		x->maybe = true;
		x->must_by = NEVER;
		x->dropped = now;
		x->elsewhere = elsewhere;
	}
}

bool oracle_dropped_elsewhere(const struct sim_vol *v, unsigned block)
{
	for (const struct wrec *x = v->hist[block]; x; x = x->next)
		if (x->elsewhere)
			return true;
	return false;
}

void oracle_settle(struct sim_vol *v, unsigned block, uint64_t val, bool durable)
{
	struct wrec *b = v->hist[block];
	if (b->kind == REC_BASE && b->val == val && b->durable && !b->next)
		return;
	base(v, block, val, durable);
	if (durable)
		prune(v, block);
}

void oracle_given_up(struct sim_vol *v, unsigned block, uint64_t val, uint64_t platter)
{
	v->junk[block][0] = val;
	v->junk[block][1] = platter;
	/* What a write under way has put there already is that write's: no flush has to take it along before its answer. */
	bool under_way = false;
	for (const struct wrec *w = v->hist[block]; w; w = w->next)
		under_way |= w->end == NEVER && matches(v, w, val);
	base(v, block, platter, true);
	if (val != platter && !under_way)
		base(v, block, val, false);
	prune(v, block);
}
