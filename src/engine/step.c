/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One step: a few parts of one region, for one leg.
 *
 *   claim the range -> look again whether it is still wanted
 *     copy:    ask the source for holes -> all zero: zero or skip
 *                                       -> else read, and write what is not zero
 *     compare: read both legs -> equal: done -> else (repair, recheck, suspect): write the primary's bytes
 *   -> release the claim
 *
 * Where the source can't be read, another leg that has the range is read. If there is none the step ends, and the range is left to
 * probe.c; when it was found out which blocks they are, a step reads around them (`gaps`): they become zeroes in its buffer, and are listed
 * as bad, durably, before anything of it is written (ST_BAD; bad.c says why). A target that can't be read in a comparison is written.
 *
 * Everything is decided inside the claim: no write of the application is in flight to the range from the grant to the end (H3),
 * the extents are asked there (H5), both reads of a comparison happen there (H16). Buffers are taken before the claim,
 * so that nothing but storage is waited for while holding it; a storage that keeps it too long loses it (dray_step_abandon):
 * the step's operations then finish into nothing, and a leg with an unsettled write is not written again before it settled (H6).
 *
 * A range of zeroes is skipped only if the target is proved to read as zeroes: known so since it was created and never written
 * (known_zero), or its own extents, asked inside the claim, say so. Otherwise zeroes are written, as holes where the target is thin.
 */
#include "engine/internal.h"

#include <string.h>

#define ZERO_UNIT UINT64_C(4096)
#define ZERO_RUN  UINT64_C(16384) /* shorter runs of zeroes inside data are copied with it */

static struct leg *step_leg(struct dray_vol *v, struct step *s)
{
	return &v->legs[s->leg];
}

static struct open_region *step_open(struct step *s)
{
	return s->open < 0 ? NULL : &s->link->open[s->open];
}

static uint64_t step_mask(struct dray_vol *v, struct step *s)
{
	return dray_parts_mask(v, region_of(v, s->offset), s->offset, s->length);
}

static void step_free(struct dray_vol *v, struct step *s)
{
	for (int i = 0; i < 2; i++) {
		if (s->buf[i])
			v->ops->buf_put(v->host, s->buf[i], s->length);
		s->buf[i] = NULL;
	}
	s->phase = ST_FREE;
	v->out_of_buffers = false;
}

/* Lets go of the range and of the place in the region. */
static void step_release(struct dray_vol *v, struct step *s)
{
	struct leg *leg = step_leg(v, s);
	leg->n_steps--;
	v->step_bytes_in_flight -= s->length;
	dray_copy_step_over(v, leg, v->now_ns - s->began_ns);
	if (s->lock.queued)
		dray_lock_leave(&v->locks, &s->lock);
	struct open_region *o = step_open(s);
	if (o) {
		o->in_flight &= ~step_mask(v, s);
		o->spoiled &= ~step_mask(v, s);
		dray_link_close_if_done(v, leg, o);
	}
	if (s->walk == WALK_VERIFY)
		s->link->verify_in_flight--;
}

/* A verification that did not see everything says so. */
/* The claim was kept for too long. A primary that does not answer may be busy with a bad sector: the range is not asked for again before
 * it did. */
void dray_step_give_up(struct dray_vol *v, struct step *s)
{
	if (s->phase == ST_READ && s->sent & 1 && s->io[0].leg == v->primary && s->walk != WALK_VERIFY &&
		!dray_probe_note(v, s->io[0].offset, s->io[0].length, -ETIMEDOUT, true))
		step_leg(v, s)->copy_after_ns = v->now_ns + v->config.read_retry_ns;
	dray_step_abandon(v, s);
}

static void note_unseen(struct step *s, int error)
{
	if (s->walk == WALK_VERIFY && !s->link->verify_error)
		s->link->verify_error = error;
}

static void step_end(struct dray_vol *v, struct step *s)
{
	step_release(v, s);
	step_free(v, s);
}

void dray_step_abandon(struct dray_vol *v, struct step *s)
{
	if (s->abandoned)
		return;
	struct leg *leg = step_leg(v, s);
	for (int i = 0; i < 2; i++) {
		if (s->ios && s->io[i].owner == s && is_write(s->io[i].op) && s->phase == ST_WRITE) {
			leg->unsettled++;
			s->io[i].abandoned = true;
		}
	}
	note_unseen(s, -ETIMEDOUT);
	step_release(v, s);
	s->abandoned = true;
	if (!s->ios)
		step_free(v, s);
}

static void send(struct dray_vol *v, struct step *s, int i, enum dray_op op, uint32_t flags, uint64_t offset, uint64_t length,
	void *data, int leg)
{
	struct dray_io *io = &s->io[i];
	io->op = op;
	io->flags = flags | v->limits.prio << DRAY_F_PRIO_SHIFT;
	io->offset = offset;
	io->length = length;
	io->data = data;
	io->extents = s->extents;
	io->max_extents = DRAY_STEP_EXTENTS;
	io->n_extents = 0;
	s->ios++;
	s->sent |= 1u << i;
	if (is_write(op))
		dray_takeover_step_writes(v, leg);
	dray_io_send(v, io, ROLE_STEP, s, leg);
}

/* ---- the phases ---- */

/* Another leg that has the whole range, in the place of the primary; a verification is about the primary itself. */
static int other_source(const struct dray_vol *v, const struct step *s)
{
	if (s->source != v->primary || s->walk == WALK_VERIFY || dray_bad_any(v, s->offset, s->length))
		return DRAY_NO_LEG;
	return dray_leg_other(v, 1u << s->leg, s->offset, s->length);
}

/* Sends the next read of one side, or none if that side is through. */
static void read_on(struct dray_vol *v, struct step *s, int side)
{
	while (s->rd[side] < s->length) {
		uint64_t at = s->rd[side], run = s->length - at;
		bool gap = false;
		if (s->gaps)
			run = dray_bad_run(v, s, side, s->offset + at, s->offset + s->length, &gap);
		if (!gap) {
			s->rd_run[side] = run;
			bool elsewhere = !side && other_source(v, s) != DRAY_NO_LEG;
			send(v, s, side, DRAY_OP_READ, elsewhere ? DRAY_F_NO_WAIT : 0, s->offset + at, run, (uint8_t *)s->buf[side] + at,
				side ? s->leg : s->source);
			return;
		}
		memset((uint8_t *)s->buf[side] + at, 0, run);
		s->rd[side] += run;
	}
}

static void has_read(struct dray_vol *v, struct step *s);

static void read_source(struct dray_vol *v, struct step *s)
{
	s->phase = ST_READ;
	s->rd[0] = s->rd[1] = 0;
	bool unread = v->unread.n && dray_set_find(&v->unread, s->offset, s->length);
	int other = unread ? other_source(v, s) : DRAY_NO_LEG;
	if (other != DRAY_NO_LEG)
		s->source = other;
	s->gaps = unread || dray_bad_any(v, s->offset, s->length);
	read_on(v, s, 0);
	if (s->compare)
		read_on(v, s, 1);
	if (!s->ios)
		has_read(v, s);
}

static void ask_source(struct dray_vol *v, struct step *s)
{
	s->phase = ST_EXTENTS;
	send(v, s, 0, DRAY_OP_EXTENTS, 0, s->offset, s->length, NULL, v->primary);
}

static bool wants_extents(struct dray_vol *v, struct step *s)
{
	return !s->compare && primary_leg(v)->config.extents;
}

void dray_step_begin(struct dray_vol *v, struct step *s)
{
	step_leg(v, s)->n_steps++;
	v->step_bytes_in_flight += s->length;
	struct open_region *o = step_open(s);
	if (o)
		o->in_flight |= step_mask(v, s);
	if (s->walk == WALK_VERIFY)
		s->link->verify_in_flight++;
	s->phase = ST_LOCK;
	s->since_ns = s->began_ns = v->now_ns;
	if (PLANT(H5_EXTENTS_BEFORE_CLAIM) && wants_extents(v, s)) {
		ask_source(v, s);
		return;
	}
	if ((PLANT(H16_VERIFY_WITHOUT_CLAIM) && s->walk == WALK_VERIFY) ||
		dray_lock_enter(&v->locks, &s->lock, s->offset, s->offset + s->length, true))
		dray_step_granted(v, s);
}

/* The world may have changed while the step waited for its range. */
static bool still_wanted(struct dray_vol *v, struct step *s)
{
	const struct leg *leg = step_leg(v, s);
	const struct open_region *o = step_open(s);
	if (!leg_active(leg) || leg->link != s->link || v->suspended)
		return false;
	switch (s->walk) {
	case WALK_COPY:
		return !o->closing;
	case WALK_RECHECK:
		return !o->closing && dray_bitmap_test(&s->link->clean, o->region);
	case WALK_VERIFY:
		return s->link->verifying && dray_link_range_clean(v, s->link, s->offset, s->length);
	}
	return false;
}

static void next_run(struct dray_vol *v, struct step *s);

void dray_step_granted(struct dray_vol *v, struct step *s)
{
	s->since_ns = v->now_ns;
	if (!still_wanted(v, s)) {
		note_unseen(s, -EAGAIN);
		dray_copy_refund(v, s->length);
		step_end(v, s);
	} else if (PLANT(H5_EXTENTS_BEFORE_CLAIM) && s->is_zero) {
		next_run(v, s);
	} else if (wants_extents(v, s) && !PLANT(H5_EXTENTS_BEFORE_CLAIM)) {
		ask_source(v, s);
	} else {
		read_source(v, s);
	}
}

static bool all_zero(const struct dray_io *io)
{
	uint64_t covered = 0;
	for (unsigned i = 0; i < io->n_extents && covered < io->length; i++) {
		if (!(io->extents[i].flags & DRAY_EXTENT_ZERO))
			return false;
		covered += io->extents[i].length;
	}
	return covered >= io->length;
}

static bool zeroes(const uint8_t *p, uint64_t n)
{
	return n == 0 || (!p[0] && !memcmp(p, p + 1, n - 1));
}

/* The length of the run at `at` and whether it is zero; runs are multiples of ZERO_UNIT or stop at `end`. */
static uint64_t find_run(const struct step *s, uint64_t at, uint64_t end, bool *zero)
{
	const uint8_t *p = s->buf[0];
	uint64_t pos = at, zero_from = at;
	bool in_zero = false;
	for (; pos < end; pos = min_u64(pos + ZERO_UNIT, end)) {
		uint64_t n = min_u64(ZERO_UNIT, end - pos);
		bool z = zeroes(p + pos, n);
		if (z && !in_zero)
			zero_from = pos;
		if (!z && in_zero && pos - zero_from >= ZERO_RUN)
			break;
		in_zero = z;
	}
	/* Here: pos ends a long zero run, or the step. */
	bool tail = pos < end || (in_zero && (pos - zero_from >= ZERO_RUN || zero_from == at));
	if (tail && zero_from == at) {
		*zero = true;
		return pos - at;
	}
	*zero = false;
	return (tail ? zero_from : pos) - at;
}

static void finish(struct dray_vol *v, struct step *s);

static void write_data(struct dray_vol *v, struct step *s)
{
	send(v, s, 1, DRAY_OP_WRITE, 0, s->offset + s->at, s->run, (uint8_t *)s->buf[0] + s->at, s->leg);
	s->wrote += s->run;
}

static void write_zero(struct dray_vol *v, struct step *s)
{
	send(v, s, 1, DRAY_OP_ZERO, DRAY_F_MAY_UNMAP, s->offset + s->at, s->run, NULL, s->leg);
	s->zeroed += s->run;
}

/* Sends the next run to the target, or ends the step. */
static void next_run(struct dray_vol *v, struct step *s)
{
	struct leg *leg = step_leg(v, s);
	if (PLANT(PROGRESS_BEFORE_WRITE) && !s->at && s->walk == WALK_COPY)
		step_open(s)->done |= step_mask(v, s);
	s->phase = ST_WRITE;
	while (s->at < s->length) {
		bool zero = s->is_zero, gap = false;
		bool known = dray_bitmap_test(&leg->known_zero, region_of(v, s->offset));
		uint64_t end = s->length;
		if (dray_bad_any(v, s->offset + s->at, s->length - s->at))
			end = s->at + dray_bad_run(v, s, 1, s->offset + s->at, s->offset + s->length, &gap);
		if (gap) { /* nothing of ours is better than what the leg has */
			s->at = end;
			continue;
		}
		s->run = end - s->at;
		if (!s->is_zero && (known || leg->config.thin || leg->config.has_zero))
			s->run = find_run(s, s->at, end, &zero);
		if (!zero) {
			write_data(v, s);
			return;
		}
		if (known) {
			s->skipped += s->run;
			dray_copy_refund(v, s->run);
			s->at += s->run;
			continue;
		}
		dray_copy_refund(v, s->run);
		if (leg->config.extents && !s->differed) {
			s->phase = ST_TARGET_EXTENTS;
			send(v, s, 1, DRAY_OP_EXTENTS, 0, s->offset + s->at, s->run, NULL, s->leg);
		} else {
			write_zero(v, s);
		}
		return;
	}
	finish(v, s);
}

static void note_difference(struct dray_vol *v, struct step *s)
{
	struct leg *leg = step_leg(v, s);
	const uint8_t *a = s->buf[0], *b = s->buf[1];
	uint64_t block = v->config.block_bytes;
	for (uint64_t at = 0; at < s->length; at += block) {
		if (!memcmp(a + at, b + at, block))
			continue;
		uint64_t offset = s->offset + at;
		leg->verify_differing += block;
		unsigned n = leg->verify_ranges;
		if (n && leg->verify_range[n - 1].offset + leg->verify_range[n - 1].length == offset)
			leg->verify_range[n - 1].length += block;
		else if (n < 64) {
			leg->verify_range[n].offset = offset;
			leg->verify_range[n].length = block;
			leg->verify_ranges++;
		}
	}
}

static void compare(struct dray_vol *v, struct step *s)
{
	struct leg *leg = step_leg(v, s);
	bool equal = !s->target_unread && !memcmp(s->buf[0], s->buf[1], s->length);
	if (s->walk == WALK_VERIFY && !dray_link_range_clean(v, s->link, s->offset, s->length)) {
		/* Dirty since the claim (a failed flush): what differs here is no finding, the copy will bring it. */
		note_unseen(s, -EAGAIN);
		step_end(v, s);
		return;
	}
	if (s->walk == WALK_VERIFY) {
		uint64_t skipped = 0, run;
		for (uint64_t at = s->offset, end = at + s->length; s->gaps && at < end; at += run) {
			bool gap;
			run = dray_bad_run(v, s, 1, at, end, &gap);
			skipped += gap ? run : 0;
		}
		leg->verify_skipped += skipped;
		leg->verify_compared += s->length - skipped;
		uint64_t before = leg->verify_differing;
		if (!equal)
			note_difference(v, s);
		if (s->fix)
			leg->verify_repaired += leg->verify_differing - before;
	} else if (equal) {
		leg->compared += s->length;
	}
	if (equal || !s->fix) {
		finish(v, s);
		return;
	}
	s->differed = true;
	/* Whatever was proved of the leg, it has been read now, and it is not so. */
	dray_bitmap_clear(&leg->known_zero, region_of(v, s->offset));
	if (PLANT(H16_REPAIR_FROM_TARGET) && s->walk == WALK_VERIFY) {
		s->phase = ST_WRITE;
		s->at = 0;
		s->run = s->length;
		send(v, s, 1, DRAY_OP_WRITE, 0, s->offset, s->length, s->buf[1], v->primary);
		return;
	}
	next_run(v, s);
}

/* The step's range is equal on both legs. */
static void finish(struct dray_vol *v, struct step *s)
{
	struct leg *leg = step_leg(v, s);
	struct open_region *o = step_open(s);
	leg->zeroed += s->zeroed;
	leg->skipped += s->skipped;
	leg->copied += s->wrote;
	if (dray_bitmap_test(&s->link->seen, region_of(v, s->offset)))
		leg->recopied += s->wrote;
	if (o && !o->closing && !(o->spoiled & step_mask(v, s))) {
		uint64_t mask = step_mask(v, s) & ~o->done;
		o->done |= mask;
		if (o->walk == WALK_COPY)
			s->link->open_done_bytes += s->length;
	}
	dray_leg_progress(v, leg);
	step_end(v, s);
}

/* The source can't be read there. */
static void source_failed(struct dray_vol *v, struct step *s)
{
	struct leg *leg = step_leg(v, s);
	int other = other_source(v, s);
	if (other != DRAY_NO_LEG) {
		s->source = other;
		s->error = 0;
		read_source(v, s);
		return;
	}
	int source = s->source, error = s->error;
	uint64_t offset = s->io[0].offset, length = s->io[0].length;
	enum walk walk = s->walk;
	step_end(v, s);
	if (source != v->primary)
		dray_leg_failed(v, source, error, "read failed");
	else if (walk != WALK_VERIFY && !dray_probe_note(v, offset, length, error, false))
		leg->copy_after_ns = v->now_ns + v->config.read_retry_ns;
}

static void fail(struct dray_vol *v, struct step *s)
{
	int error = s->error, error_leg = s->error_leg;
	if (s->walk == WALK_VERIFY) {
		s->link->verify_error = error;
		/* The leg has what the primary has lost: there is nothing to compare it with, now or later. */
		if (error_leg == v->primary && dray_of_the_medium(error))
			step_leg(v, s)->verify_skipped += s->length;
	}
	if (error_leg != s->leg) {
		source_failed(v, s);
		return;
	}
	step_end(v, s);
	dray_leg_failed(v, error_leg, error, "copy failed");
}

/* All has been read that can be. */
static void has_read(struct dray_vol *v, struct step *s)
{
	if (!s->error && s->source != v->primary && dray_leg_has(v, s->source, s->offset, s->length) != LEG_HAS) {
		step_leg(v, s)->copy_after_ns = v->now_ns + v->config.read_retry_ns;
		step_end(v, s);
		return;
	}
	if (s->error) {
		fail(v, s);
		return;
	}
	if (s->source == v->primary && s->rd_run[0])
		dray_probe_good(v, s->io[0].offset);
	if (s->gaps && s->source != v->primary)
		dray_set_remove(&v->unread, s->offset, s->length);
	if (s->gaps && s->walk != WALK_VERIFY) {
		int leg = s->leg;
		if (s->source == v->primary && dray_bad_list_unread(v, s->offset, s->length)) {
			step_end(v, s);
			dray_leg_give_up(v, leg, -EIO, "too many bad ranges on the source");
			return;
		}
		if (!dray_bad_durable(v, s->offset, s->length) && !PLANT(H17_ZEROED_BEFORE_DURABLE)) {
			s->phase = ST_BAD;
			return;
		}
	}
	if (s->compare)
		compare(v, s);
	else
		next_run(v, s);
}

bool dray_step_pump(struct dray_vol *v)
{
	bool moved = false;
	for (int i = 0; i < MAX_STEPS && v->bad.set.n && v->step_bytes_in_flight; i++) {
		struct step *s = &v->steps[i];
		if (s->phase != ST_BAD || !dray_bad_durable(v, s->offset, s->length))
			continue;
		if (s->compare)
			compare(v, s);
		else
			next_run(v, s);
		moved = true;
	}
	return moved;
}

void dray_step_io_done(struct dray_vol *v, struct dray_io *io)
{
	struct step *s = io->owner;
	int leg_no = io->leg, side = (int)(io - s->io);
	s->ios--;
	s->sent &= ~(1u << side);
	if (io->abandoned)
		v->legs[leg_no].unsettled--;
	if (s->abandoned) {
		if (io->op == DRAY_OP_READ && !side && leg_no == v->primary && v->n_trouble)
			dray_probe_late(v, io->offset, io->length, io->error);
		if (!s->ios)
			step_free(v, s);
		return;
	}
	if (io->error && s->phase == ST_READ && side && s->walk != WALK_VERIFY) {
		/* What can't be read there can be written; if not, that is the leg's failure. */
		s->target_unread = true;
		s->rd[1] = s->length;
		s->rd_run[1] = 0;
	} else if (io->error && s->phase != ST_EXTENTS && s->phase != ST_TARGET_EXTENTS && (!s->error || leg_no == s->source)) {
		s->error = io->error;
		s->error_leg = leg_no;
	}
	if (s->phase == ST_READ && !s->error) { /* in runs only if something is in between */
		s->rd[side] += s->rd_run[side];
		read_on(v, s, side);
	}
	if (s->ios)
		return;
	if (s->phase == ST_READ) {
		has_read(v, s);
		return;
	}
	if (s->error) {
		fail(v, s);
		return;
	}
	switch (s->phase) {
	case ST_EXTENTS:
		s->is_zero = !io->error && all_zero(io);
		if (PLANT(H5_EXTENTS_BEFORE_CLAIM)) {
			s->phase = ST_LOCK;
			if (dray_lock_enter(&v->locks, &s->lock, s->offset, s->offset + s->length, true))
				dray_step_granted(v, s);
		} else if (s->is_zero) {
			next_run(v, s);
		} else {
			read_source(v, s);
		}
		break;
	case ST_TARGET_EXTENTS:
		s->phase = ST_WRITE;
		if (!io->error && all_zero(io)) {
			s->skipped += s->run;
			s->at += s->run;
			next_run(v, s);
		} else {
			write_zero(v, s);
		}
		break;
	case ST_WRITE:
		s->at += s->run;
		next_run(v, s);
		break;
	default:
		assert(!"a step without a phase");
	}
}
