/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Finding out what of the primary can't be read.
 *
 * A copy step that fails to read its source lets go of its claim at once and reports the range here; its parts are left out by the copy
 * until the matter is settled, everything else goes on. What follows needs no claim, and so it may take as long as a dying disk likes
 * (tens of seconds for one sector) while the application waits for nothing:
 *
 *   the range again, a few times, with back-off
 *     -> it can be read:    the copy goes there again
 *     -> it can't:          its halves, each once -> ... -> single blocks, twice
 *   a block that can't      between two reads of a witness, a block that could be read not long ago
 *     -> the witness can:   the primary is flushed, so that what it holds there, if it comes back, is not lost by then; the block is
 *                           unreadable (v->unread); the copy goes around it, and lists it (bad.c)
 *     -> nor can that:      it is the source that is gone, not a sector of it: wait, try again, with back-off
 *
 * Only errors that speak of the medium are counted; a connection that is lost, or a storage that is not open, says nothing about a block.
 * One probe is under way at a time, the shortest range first, so that halving needs little room. Where the neighbour is known to be
 * unreadable fewer attempts are made: a scratch over a thousand blocks must not cost a thousand times the back-off.
 *
 * A write to the primary voids what was found out about its range: it may have healed it. The verdict "unreadable" is only ever acted upon
 * inside a step's claim, when no write is under way there.
 */
#include "engine/internal.h"

#define TRIES            3
#define BACKOFF_MOST_NS  UINT64_C(5000000000)
#define EVENT_EVERY_NS   UINT64_C(1000000000)
#define WITNESS_FRESH_NS UINT64_C(20000000)
#define CROWD            3
#define NOTED_MOST       (MAX_TROUBLE / 2) /* the rest is for halves */

bool dray_of_the_medium(int error)
{
	return error == -EIO || error == -ENODATA || error == -EREMOTEIO || error == -EILSEQ || error == -EBADMSG || error == -EUCLEAN;
}

static bool overlaps(const struct trouble *t, uint64_t offset, uint64_t length)
{
	return t->offset < offset + length && offset < t->offset + t->length;
}

static void drop(struct dray_vol *v, struct trouble *t)
{
	*t = v->trouble[--v->n_trouble];
}

static struct trouble *find(struct dray_vol *v, uint64_t offset, uint64_t length)
{
	for (unsigned i = 0; i < v->n_trouble; i++) {
		if (v->trouble[i].offset == offset && v->trouble[i].length == length)
			return &v->trouble[i];
	}
	return NULL;
}

static void tell(struct dray_vol *v, uint64_t offset, uint64_t length, int error)
{
	if (v->next_source_event_ns > v->now_ns)
		return;
	v->next_source_event_ns = v->now_ns + EVENT_EVERY_NS;
	dray_emit(v, (struct dray_event){ .kind = DRAY_EV_SOURCE_READ, .leg = v->primary, .leg_state = DRAY_LEG_PRIMARY, .error = error,
		.why = "source can't be read", .offset = offset, .length = length });
}

static bool beside_unreadable(const struct dray_vol *v, uint64_t offset, uint64_t length)
{
	uint64_t block = v->config.block_bytes, end = offset + length;
	return (offset && (dray_set_find(&v->unread, offset - block, block) || dray_bad_any(v, offset - block, block))) ||
		(end < v->config.size_bytes && (dray_set_find(&v->unread, end, block) || dray_bad_any(v, end, block)));
}

static void back_off(struct dray_vol *v, struct trouble *t)
{
	uint64_t ns = v->config.read_retry_ns;
	for (unsigned i = 0; i < t->failures && ns < BACKOFF_MOST_NS; i++)
		ns *= 2;
	t->failures++;
	t->at_ns = v->now_ns + min_u64(ns, BACKOFF_MOST_NS);
}

static void failed(struct dray_vol *v, struct trouble *t, int error)
{
	t->error = error;
	t->failed_ns = v->now_ns;
	if (!dray_of_the_medium(error)) {
		back_off(v, t);
	} else if (++t->attempts >= TRIES) {
		t->at_ns = v->now_ns;
	} else {
		back_off(v, t);
	}
}

bool dray_probe_note(struct dray_vol *v, uint64_t offset, uint64_t length, int error, bool reading)
{
	tell(v, offset, length, error);
	for (unsigned i = 0; i < v->n_trouble; i++) {
		if (overlaps(&v->trouble[i], offset, length))
			return true;
	}
	if (v->n_trouble >= NOTED_MOST)
		return false;
	struct trouble *t = &v->trouble[v->n_trouble++];
	*t = (struct trouble){ .offset = offset, .length = length, .reading = reading };
	if (!reading && dray_of_the_medium(error) && beside_unreadable(v, offset, length))
		t->attempts = TRIES;
	failed(v, t, error);
	return true;
}

void dray_probe_late(struct dray_vol *v, uint64_t offset, uint64_t length, int error)
{
	struct trouble *t = find(v, offset, length);
	if (!t || !t->reading)
		return;
	t->reading = false;
	if (error) {
		failed(v, t, error);
		return;
	}
	drop(v, t);
	dray_probe_good(v, offset);
}

void dray_probe_good(struct dray_vol *v, uint64_t offset)
{
	v->witness = offset;
	v->witness_ok_ns = max_u64(v->now_ns, 1);
}

void dray_probe_wrote(struct dray_vol *v, uint64_t offset, uint64_t length)
{
	for (unsigned i = v->n_trouble; i--;) {
		if (overlaps(&v->trouble[i], offset, length))
			drop(v, &v->trouble[i]);
	}
	struct probe *p = &v->probe;
	if (p->busy && p->offset < offset + length && offset < p->offset + p->length)
		p->stale = true;
	const struct bad_range *u;
	while ((u = dray_set_find(&v->unread, offset, length)) && dray_set_remove(&v->unread, offset, length))
		dray_set_remove(&v->unread, u->offset, u->length); /* no room to split it: it is found out anew */
}

void dray_probe_reset(struct dray_vol *v)
{
	v->n_trouble = v->unread.n = 0;
	v->probe.stale = true;
	v->witness = UINT64_MAX;
	v->witness_ok_ns = 0;
}

bool dray_probe_crowded(const struct dray_vol *v)
{
	unsigned n = 0;
	for (unsigned i = 0; i < v->n_trouble; i++)
		n += v->trouble[i].reading;
	return n >= CROWD;
}

uint64_t dray_probe_busy_parts(const struct dray_vol *v, uint64_t region)
{
	uint64_t start = region * v->config.region_bytes, mask = 0, length = region_end(v, region) - start;
	for (unsigned i = 0; i < v->n_trouble; i++) {
		if (overlaps(&v->trouble[i], start, length))
			mask |= dray_parts_mask(v, region, v->trouble[i].offset, v->trouble[i].length);
	}
	return mask;
}

/* Does anybody want to know? */
static bool wanted(const struct dray_vol *v)
{
	if (v->suspended || v->takeover.phase >= TK_DRAINING || v->limits.rate == DRAY_RATE_STOP)
		return false;
	for_links(v, i) {
		if (leg_active(&v->legs[i]) && !v->legs[i].paused)
			return true;
	}
	return false;
}

static struct trouble *next_due(struct dray_vol *v, bool now)
{
	struct trouble *best = NULL;
	for (unsigned i = 0; i < v->n_trouble; i++) {
		struct trouble *t = &v->trouble[i];
		if (t->reading || (now && t->at_ns > v->now_ns))
			continue;
		bool better = !best || (now ? t->length < best->length || (t->length == best->length && t->offset < best->offset)
					    : t->at_ns < best->at_ns);
		if (better)
			best = t;
	}
	return best;
}

/* Returns false if there is no room for another. */
static bool halve(struct dray_vol *v, struct trouble *t)
{
	if (v->n_trouble == MAX_TROUBLE)
		return false;
	uint64_t block = v->config.block_bytes, half = t->length / block / 2 * block;
	struct trouble *u = &v->trouble[v->n_trouble++];
	*u = *t;
	u->offset += half;
	u->length -= half;
	t->length = half;
	struct trouble *both[2] = { t, u };
	for (int i = 0; i < 2; i++) {
		both[i]->failures = 0;
		both[i]->witnessed = false;
		both[i]->attempts = TRIES - 1;
		if (both[i]->length == block && !beside_unreadable(v, both[i]->offset, block))
			both[i]->attempts = TRIES - 2;
		both[i]->at_ns = v->now_ns;
	}
	return true;
}

/* A block that ought to be readable. */
static uint64_t pick_witness(struct dray_vol *v)
{
	uint64_t block = v->config.block_bytes, blocks = v->config.size_bytes / block;
	for (int i = 0; i < 8; i++) {
		if (v->witness != UINT64_MAX && !dray_set_find(&v->unread, v->witness, block) && !dray_bad_any(v, v->witness, block)) {
			bool troubled = false;
			for (unsigned k = 0; k < v->n_trouble; k++)
				troubled |= overlaps(&v->trouble[k], v->witness, block);
			if (!troubled)
				break;
		}
		uint64_t at = v->witness == UINT64_MAX ? 0 : v->witness / block + 1;
		v->witness = (at + blocks / 7) % blocks * block;
	}
	return v->witness;
}

static bool fresh(const struct dray_vol *v)
{
	return v->witness_ok_ns && v->witness_ok_ns + WITNESS_FRESH_NS >= v->now_ns;
}

static bool start(struct dray_vol *v, struct trouble *t, int what)
{
	struct probe *p = &v->probe;
	uint64_t length = what == PROBE_RANGE ? t->length : what == PROBE_WITNESS ? v->config.block_bytes : 0;
	p->buf = length ? v->ops->buf_get(v->host, length) : NULL;
	if (length && !p->buf) {
		t->at_ns = v->now_ns + v->config.read_retry_ns;
		return false;
	}
	for (unsigned i = 0; i < v->n_trouble; i++)
		v->trouble[i].flushing = what == PROBE_FLUSH;
	if (what == PROBE_RANGE)
		t->witnessed = fresh(v);
	p->buf_bytes = length;
	p->busy = true;
	p->stale = false;
	p->what = what;
	p->offset = t->offset;
	p->length = t->length;
	p->io.op = length ? DRAY_OP_READ : DRAY_OP_FLUSH;
	p->io.flags = 0;
	p->io.offset = what == PROBE_RANGE ? t->offset : what == PROBE_WITNESS ? pick_witness(v) : 0;
	p->io.length = length;
	p->io.data = p->buf;
	dray_io_send(v, &p->io, ROLE_PROBE, v, v->primary);
	return true;
}

bool dray_probe_pump(struct dray_vol *v)
{
	if (!v->n_trouble || v->probe.busy || !wanted(v))
		return false;
	struct trouble *t = next_due(v, true);
	if (!t)
		return false;
	if (t->attempts < TRIES)
		return start(v, t, PROBE_RANGE);
	if (t->length > v->config.block_bytes) {
		if (halve(v, t))
			return true;
		t->at_ns = v->now_ns + v->config.read_retry_ns;
		return false;
	}
	/* A witness before and one after: a source that was gone, and is back, has no bad sectors. */
	if (!t->witnessed && fresh(v))
		return start(v, t, PROBE_RANGE);
	if (!t->witnessed || v->witness_ok_ns < t->failed_ns)
		return start(v, t, PROBE_WITNESS);
	if (!t->flushed)
		return start(v, t, PROBE_FLUSH);
	if (dray_set_add(&v->unread, (struct bad_range){ .offset = t->offset, .length = t->length }, UINT64_MAX)) {
		t->at_ns = v->now_ns + v->config.read_retry_ns; /* the copy has to list some first */
		return false;
	}
	drop(v, t);
	return true;
}

uint64_t dray_probe_tick(struct dray_vol *v)
{
	if (!v->n_trouble || v->probe.busy || !wanted(v))
		return DRAY_TIME_NEVER;
	const struct trouble *t = next_due(v, false);
	return t ? max_u64(t->at_ns, v->now_ns + 1) : DRAY_TIME_NEVER;
}

void dray_probe_io_done(struct dray_vol *v, struct dray_io *io)
{
	struct probe *p = &v->probe;
	if (p->buf)
		v->ops->buf_put(v->host, p->buf, p->buf_bytes);
	v->out_of_buffers = false;
	p->busy = false;
	if (p->what == PROBE_FLUSH) {
		/* (What is written to meanwhile is not in the list any more.) */
		for (unsigned i = 0; i < v->n_trouble && !io->error; i++)
			v->trouble[i].flushed |= v->trouble[i].flushing;
	}
	if (p->stale)
		return;
	struct trouble *t = find(v, p->offset, p->length);
	if (!io->error && p->what != PROBE_FLUSH)
		dray_probe_good(v, io->offset);
	if (!t)
		return;
	if (p->what == PROBE_RANGE) {
		if (io->error)
			failed(v, t, io->error);
		else
			drop(v, t);
	} else if (p->what == PROBE_FLUSH && io->error) {
		back_off(v, t);
	} else if (io->error) {
		/* The source as a whole: another witness the next time. */
		v->witness_ok_ns = 0;
		back_off(v, t);
		tell(v, t->offset, t->length, io->error);
		v->witness = io->offset / v->config.block_bytes + 1 < v->config.size_bytes / v->config.block_bytes ?
			io->offset + v->config.block_bytes : 0;
	}
}
