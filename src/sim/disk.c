/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The life of an operation on a simulated disk
 *
 * submit: errors are decided, a latency is drawn (a stall: not before its end). The bytes of a write are remembered as
 * stamps, so that the disk can tell if the payload changes under it, and so that the write can land after its memory is gone.
 *
 * An operation takes effect at some moment between submission and completion: all at once at completion, or one part earlier
 * and the rest at completion, split at a random block. Reads see the cache at their own moment, part by part. So two
 * overlapping operations under way apply in any order and in a mixture, which is what disks do.
 *
 * A write is volatile when it is in the cache only. It reaches the platter by a flush that was submitted after the
 * write completed, by FUA, or by itself (`destage`) at any time: without a flush nothing can be said about the order.
 *
 * A failed flush may have dropped what was completed and not flushed before: the cache falls back to the old contents (fsync
 * on Linux), when it is answered; on a secondary now and then long before. Every other flush under way on the disk from then on fails, too: a
 * storage that reports the error to nobody who waits is beyond anyone's help.
 *
 * Local and network disks differ in one thing: a network disk's request can outlive its connection, and the process
 * that sent it. Late operations land within settle_ns, or never.
 */
#include "sim/disk.h"

#include "sim/cover.h"
#include "sim/disk_op.h"
#include "sim/host.h"
#include "sim/oracle.h"
#include "sim/sched.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

struct sim_disk *disk_new(struct sim_vol *v, unsigned no, bool net)
{
	struct sim *s = v->s;
	struct sim_disk *d = sim_alloc(s, sizeof *d);
	d->s = s;
	d->v = v;
	d->no = no;
	d->net = net;
	d->cache = sim_alloc(s, v->n_blocks * sizeof *d->cache);
	d->durable = sim_alloc(s, v->n_blocks * sizeof *d->durable);
	d->dirty = sim_alloc(s, v->n_blocks);
	d->done = sim_alloc(s, v->n_blocks * sizeof *d->done);
	d->latent = sim_alloc(s, v->n_blocks);
	dray_list_init(&d->ops);
	return d;
}

void disk_heal(struct sim_disk *d)
{
	d->stall_until = d->errors_until = d->no_space_until = d->flush_errors_until = d->dead_until = 0;
	d->bad_n = 0;
}

/* ---- operations ---- */

static struct dop *dop_new(struct sim_disk *d, enum dray_op op)
{
	struct sim *s = d->s;
	struct dop *o = s->free_ops;
	if (o) {
		s->free_ops = o->next_free;
	} else {
		o = calloc(1, sizeof *o);
		if (!o)
			abort();
		o->next_all = s->all_ops;
		s->all_ops = o;
	}
	uint32_t gen = o->gen + 1;
	uint64_t *snap = o->snap;
	uint8_t *page = o->page;
	struct dop *next_all = o->next_all;
	unsigned room = o->room;
	*o = (struct dop){ .gen = gen, .snap = snap, .page = page, .next_all = next_all, .room = room, .d = d };
	o->op = op;
	if (op_is_map(op))
		o->map = op == DRAY_OP_BAD_WRITE || op == DRAY_OP_BAD_SYNC ? d->v->bad : map_of(d->v, d);
	dray_list_add_tail(o->map ? &o->map->ops : &d->ops, &o->node);
	return o;
}

void dop_free(struct dop *o)
{
	dray_list_del(&o->node);
	o->gen++;
	o->next_free = o->d->s->free_ops;
	o->d->s->free_ops = o;
}

void disk_free_ops(struct sim *s)
{
	for (struct dop *o = s->all_ops, *next; o; o = next) {
		next = o->next_all;
		free(o->snap);
		free(o->page);
		free(o);
	}
	s->all_ops = s->free_ops = NULL;
}

static bool overlaps(const struct dop *o, unsigned first, unsigned n)
{
	return o->first < first + n && first < o->first + o->n;
}

bool disk_unsettled(const struct sim_disk *d, unsigned first, unsigned n)
{
	dray_list_for_each(node, &d->ops) {
		const struct dop *o = dray_container(node, struct dop, node);
		if (op_changes(o->op) && overlaps(o, first, n))
			return true;
	}
	return false;
}

bool disk_busy_with(const struct sim_disk *d, enum dray_op op, unsigned first, unsigned n)
{
	dray_list_for_each(node, &d->ops) {
		const struct dop *o = dray_container(node, struct dop, node);
		if (o->io && o->op == op && overlaps(o, first, n))
			return true;
	}
	return false;
}

bool disk_dropped(const struct sim_disk *d)
{
	dray_list_for_each(node, &d->ops) {
		const struct dop *o = dray_container(node, struct dop, node);
		if (o->io && o->dropped)
			return true;
	}
	return false;
}

uint64_t disk_oldest(const struct sim_disk *d)
{
	uint64_t oldest = UINT64_MAX;
	dray_list_for_each(node, &d->ops) {
		const struct dop *o = dray_container(node, struct dop, node);
		if (o->io && o->submitted_ns < oldest)
			oldest = o->submitted_ns;
	}
	return oldest;
}

/* ---- taking effect ---- */

static void put(struct sim_disk *d, unsigned b, uint64_t stamp, bool fua)
{
	d->cache[b] = stamp;
	d->latent[b] = 0;
	if (fua || rng_one_in(&d->s->rng, 8)) {
		d->durable[b] = stamp;
		d->dirty[b] = 0;
		d->done[b] = 0;
	} else {
		d->dirty[b] = 1;
	}
}

static void check_payload(const struct dop *o, unsigned i)
{
	const struct sim_vol *v = o->d->v;
	uint64_t stamp;
	if (!stamp_get((const uint8_t *)o->io->data + (size_t)i * v->block_bytes, v->block_bytes, &stamp) ||
		stamp != o->snap[i])
		sim_fail(o->d->s, "payload-changed",
			"volume %u disk %u: block %u of a write changed while the write was under way: %s is %s now", v->no,
			o->d->no, o->first + i, stamp_text(o->snap[i]), stamp_text(stamp));
}

static void effect(struct dop *o, unsigned from, unsigned to)
{
	struct sim_disk *d = o->d;
	struct sim_vol *v = d->v;
	for (unsigned i = from; i < to; i++) {
		unsigned b = o->first + i;
		switch (o->op) {
		case DRAY_OP_READ:
			if (o->io)
				stamp_put((uint8_t *)o->io->data + (size_t)i * v->block_bytes, v->block_bytes, d->cache[b]);
			break;
		case DRAY_OP_WRITE:
			if (o->io)
				check_payload(o, i);
			put(d, b, o->snap[i], o->flags & DRAY_F_FUA);
			break;
		case DRAY_OP_ZERO: put(d, b, 0, o->flags & DRAY_F_FUA); break;
		case DRAY_OP_DISCARD:
			if (d->discard_zeroes || rng_one_in(&d->s->rng, 3))
				put(d, b, 0, false);
			break;
		default: break;
		}
	}
}

/* The early part, or the rest. */
static void effect_part(struct dop *o, bool early)
{
	if (op_is_map(o->op) || o->op == DRAY_OP_FLUSH || o->op == DRAY_OP_EXTENTS || o->op == DRAY_OP_CACHE)
		return;
	bool low = early == o->low_first;
	if (low)
		effect(o, 0, o->cut);
	else
		effect(o, o->cut, o->n);
}

static void extents(struct dop *o)
{
	struct sim_disk *d = o->d;
	struct sim *s = d->s;
	struct dray_io *io = o->io;
	unsigned b = o->first, end = o->first + o->n;
	io->n_extents = 0;
	while (b < end && io->n_extents < io->max_extents) {
		bool zero = d->extents && d->cache[b] == 0;
		unsigned from = b;
		while (b < end && (d->extents && d->cache[b] == 0) == zero)
			b++;
		uint32_t flags = 0;
		if (zero)
			flags = rng_one_in(&s->rng, 6) ? 0 :
				rng_one_in(&s->rng, 6) ? DRAY_EXTENT_ZERO :
							 DRAY_EXTENT_ZERO | DRAY_EXTENT_HOLE;
		io->extents[io->n_extents++] =
			(struct dray_extent){ .length = (uint64_t)(b - from) * d->v->block_bytes, .flags = flags };
	}
}

static void flush(struct dop *o)
{
	struct sim_disk *d = o->d;
	for (unsigned b = 0; b < d->v->n_blocks; b++) {
		if (!d->dirty[b])
			continue;
		bool must = d->done[b] && d->done[b] <= o->clock;
		if (must || rng_one_in(&d->s->rng, 2)) {
			d->durable[b] = d->cache[b];
			d->dirty[b] = 0;
			d->done[b] = 0;
		}
	}
}

/* Returns a block that was there to be dropped; -1: none was. */
static int drop(struct dop *o, bool counts)
{
	struct sim_disk *d = o->d;
	struct sim_vol *v = d->v;
	int dropped = -1;
	dray_list_for_each(node, &d->ops) {
		struct dop *other = dray_container(node, struct dop, node);
		if (other != o && other->op == DRAY_OP_FLUSH)
			other->error = -EIO;
	}
	for (unsigned b = 0; b < v->n_blocks; b++) {
		if (!d->dirty[b] || !d->done[b] || rng_one_in(&d->s->rng, 2) || disk_unsettled(d, b, 1))
			continue;
		if (d->cache[b] != d->durable[b] && counts)
			oracle_dropped(v, b, d != v->primary || v->group);
		if (d->cache[b] != d->durable[b])
			dropped = (int)b;
		d->cache[b] = d->durable[b];
		d->dirty[b] = 0;
		d->done[b] = 0;
	}
	return dropped;
}

static void flush_failed(struct dop *o)
{
	struct sim_disk *d = o->d;
	struct sim_vol *v = d->v;
	bool counts = d == v->primary || (v->doubt && d == v->next_primary);
	bool dropped = drop(o, counts) >= 0;
	if (d == v->primary)
		v->flush_owed = true;
	if (v->group && (counts || v->doubt)) {
		v->judgement_open = true;
		for (int i = 0; i < DRAY_MAX_LEGS; i++)
			v->legs[i].verify_excused = true;
	}
	if (v->group && d == v->primary)
		sim_cover(d->s, COVER_H18_OLD_FLUSH_FAILED);
	if (dropped)
		sim_cover(d->s, d == v->primary ? COVER_H13_PRIMARY_FLUSH_DROPPED : COVER_H13_FLUSH_DROPPED);
}

static void disk_trace(const struct dop *o, const char *what)
{
	static const char *const names[] = { "read", "write", "zero", "discard", "flush", "extents", "cache", "map-write", "map-sync", "bad-write",
		"bad-sync" };
	sim_trace_line(o->d->s, "    disk %u.%u %s %s %u+%u%s%s", o->d->v->no, o->d->no, what, names[o->op], o->first, o->n,
		o->flags & DRAY_F_FUA ? " fua" : "", o->error ? strerror(-o->error) : "");
}

/* ---- the two moments of an operation ---- */

static void on_early(struct sim *s, void *arg, uint32_t gen)
{
	struct dop *o = arg;
	if (o->gen != gen || o->early_done || o->never)
		return;
	o->early_done = true;
	if (!o->error || o->keep)
		effect_part(o, true);
}

/* A flush that will fail drops something now. (Not where the roles of legs may change before it is answered.) */
static void on_drop(struct sim *s, void *arg, uint32_t gen)
{
	struct dop *o = arg;
	struct sim_vol *v = o->d->v;
	if (o->gen != gen || o->d == v->primary || v->group)
		return;
	o->dropped = true;
	v->dropper = o->d;
	for (int i = 0; i < DRAY_MAX_LEGS; i++)
		v->legs[i].verify_excused |= v->legs[i].disk == o->d;
	v->dropped_block = drop(o, false);
	if (v->dropped_block < 0)
		return;
	sim_cover(s, COVER_H13_DROPPED_EARLY);
	/* Where the primary can't be read just there, whoever wants it comes here. */
	if (s->mix.errors && rng_one_in(&s->rng, 2)) {
		v->primary->bad_first = (unsigned)v->dropped_block;
		v->primary->bad_n = 1;
		v->primary->bad_reads = true;
		v->primary->bad_writes = false;
	}
}

/* What is left to take effect at completion, given the outcome. */
static void finish_effect(struct dop *o)
{
	if (o->never)
		return;
	if (!o->error || o->keep) {
		if (!o->early_done)
			effect_part(o, true);
		if (!o->error || o->keep > 1)
			effect_part(o, false);
	}
	if (op_is_map(o->op))
		map_effect(o);
}

/* From now on a flush has to take it along. */
static void arrived(struct dop *o)
{
	struct sim_disk *d = o->d;
	d->clock++;
	for (unsigned b = o->first; b < o->first + o->n; b++)
		if (d->dirty[b] && !d->done[b])
			d->done[b] = d->clock;
}

static void completed_well(struct dop *o)
{
	struct sim_disk *d = o->d;
	if (op_changes(o->op)) {
		d->attached_written += (uint64_t)o->n * d->v->block_bytes;
		if (d->known_zero && o->op == DRAY_OP_WRITE)
			d->known_zero = false;
	}
	if (o->op == DRAY_OP_FLUSH)
		flush(o);
	if (o->op == DRAY_OP_EXTENTS && o->io)
		extents(o);
}

static void on_done(struct sim *s, void *arg, uint32_t gen)
{
	struct dop *o = arg;
	struct sim_disk *d = o->d;
	if (o->gen != gen)
		return;
	if (!o->io) { /* nobody waits: it lands, late or after its process */
		if (o->late)
			d->late--;
		if (o->orphan)
			d->orphans--;
		if (!o->never && op_changes(o->op)) {
			finish_effect(o);
			arrived(o);
			sim_cover(s, o->late ? COVER_H6_LANDED_LATE : COVER_H6_LANDED_AFTER_RESTART);
			sim_trace(s, "disk %u.%u: blocks %u+%u landed late", d->v->no, d->no, o->first, o->n);
		}
		dop_free(o);
		return;
	}
	struct dray_io *io = o->io;
	struct sim_vol *v = d->v;
	int error = o->error;
	vol_excuse(v); /* while it still shows that this was under way */
	finish_effect(o);
	if (op_changes(o->op))
		arrived(o); /* a failed one, too: what it left can be read, and the next flush takes it along */
	if (!error)
		completed_well(o);
	else if (o->op == DRAY_OP_FLUSH && !o->lost)
		flush_failed(o);
	if (o->refused)
		sim_cover(s, COVER_H17_NOT_WAITED);
	if (error && error != -ENOTSUP && !o->map && !o->refused) {
		d->errors++;
		d->last_error_ns = s->now;
		/* Nothing may be called unreadable that was only read in company. */
		if (d == v->primary && o->op == DRAY_OP_READ && o->n == 1) {
			v->lost_ok[o->first] = 1;
			v->lost_at[o->first] = s->oracle_time;
		}
		if (d == v->primary && op_changes(o->op))
			sim_cover(s, COVER_PRIMARY_WRITE_ERROR);
	}
	if (d != v->primary && op_changes(o->op) && s->now - o->submitted_ns > v->leg_timeout_ns)
		sim_cover(s, COVER_H6_LATE_COMPLETION);
	if (s->trace)
		disk_trace(o, "done");
	d->in_flight -= of_leg(o);
	if (o->lost && op_changes(o->op)) {
		o->io = NULL;
		o->late = true;
		d->late++;
		o->never = !o->lands;
		o->keep = 2;
		sched_at(s, o->lands_at, false, on_done, o, o->gen);
		vol_complete(v, io, error, DRAY_C_MAY_LAND_LATE);
		return;
	}
	dop_free(o);
	vol_complete(v, io, error, 0);
}

/* ---- submission ---- */

static int draw_error(struct sim_disk *d, const struct dop *o)
{
	struct sim *s = d->s;
	if (o->op == DRAY_OP_READ && memchr(d->latent + o->first, 1, o->n))
		return rng_one_in(&s->rng, 3) ? -ENODATA : -EIO;
	if (s->calm)
		return 0;
	if (op_is_map(o->op))
		return o->map->errors_until > s->now && rng_one_in(&s->rng, 2) ? -EIO : 0;
	if (d->dead_until > s->now)
		return -EIO;
	if (o->op == DRAY_OP_FLUSH)
		return d->flush_errors_until > s->now && rng_one_in(&s->rng, 2) ? -EIO : 0;
	if (d->bad_n && o->first < d->bad_first + d->bad_n && d->bad_first < o->first + o->n &&
		((o->op == DRAY_OP_READ && d->bad_reads) || (op_changes(o->op) && d->bad_writes)))
		return -EIO;
	if (d->no_space_until > s->now && o->op == DRAY_OP_WRITE)
		return -ENOSPC;
	if (o->op == DRAY_OP_ZERO && (o->flags & DRAY_F_FAST) && (!d->has_zero || rng_one_in(&s->rng, 4)))
		return -ENOTSUP;
	if (d->errors_until > s->now && o->op != DRAY_OP_CACHE && rng_one_in(&s->rng, 4))
		return -EIO;
	return 0;
}

static uint64_t draw_latency(struct sim_disk *d, const struct sim_map *map)
{
	struct sim *s = d->s;
	uint64_t t = rng_range(&s->rng, 20 * US, 300 * US);
	unsigned r = (unsigned)rng_below(&s->rng, 64);
	if (r < 4)
		t += rng_below(&s->rng, 2 * MS);
	else if (r == 4)
		t += rng_below(&s->rng, 8 * MS);
	uint64_t stalled = map ? map->stall_until : d->stall_until;
	if (!s->calm && stalled > s->now + t)
		t = stalled - s->now + rng_below(&s->rng, MS);
	return t;
}

static void take_payload(struct dop *o)
{
	struct sim_disk *d = o->d;
	if (op_is_page(o->op)) {
		if (!o->page)
			o->page = malloc(DRAY_MAP_PAGE_BYTES);
		if (!o->page)
			abort();
		memcpy(o->page, o->io->data, DRAY_MAP_PAGE_BYTES);
		return;
	}
	if (o->op != DRAY_OP_WRITE)
		return;
	if (o->room < o->n) {
		o->snap = realloc(o->snap, o->n * sizeof *o->snap);
		if (!o->snap)
			abort();
		o->room = o->n;
	}
	for (unsigned i = 0; i < o->n; i++)
		if (!stamp_get((const uint8_t *)o->io->data + (size_t)i * d->v->block_bytes, d->v->block_bytes, &o->snap[i]))
			sim_fail(d->s, "torn-write", "volume %u disk %u: block %u is written in pieces of two writes", d->v->no,
				d->no, o->first + i);
}

static void check_range(struct sim_disk *d, const struct dray_io *io)
{
	struct sim_vol *v = d->v;
	uint64_t unit = v->block_bytes, size = v->config.size_bytes;
	if (io->op == DRAY_OP_FLUSH || io->op == DRAY_OP_MAP_SYNC || io->op == DRAY_OP_BAD_SYNC)
		return;
	if (op_is_page(io->op)) {
		unit = DRAY_MAP_PAGE_BYTES;
		size = (uint64_t)(io->op == DRAY_OP_MAP_WRITE ? map_of(v, d) : v->bad)->n_pages * DRAY_MAP_PAGE_BYTES;
		if (io->offset % unit == 0 && io->offset < size)
			return;
	} else if (io->length && io->length <= size && io->offset <= size - io->length && io->offset % unit == 0 &&
		   io->length % unit == 0) {
		return;
	}
	sim_fail(d->s, "bad-operation", "volume %u disk %u: operation %d at %" PRIu64 "+%" PRIu64, v->no, d->no, io->op,
		io->offset, io->length);
}

void disk_submit(struct sim_disk *d, struct dray_io *io)
{
	struct sim *s = d->s;
	struct sim_vol *v = d->v;
	check_range(d, io);
	struct dop *o = dop_new(d, io->op);
	o->io = io;
	o->flags = io->flags;
	o->submitted_ns = s->now;
	o->clock = o->map ? o->map->clock : d->clock;
	if (op_is_map(o->op)) {
		o->first = (unsigned)(io->offset / DRAY_MAP_PAGE_BYTES);
	} else if (o->op != DRAY_OP_FLUSH) {
		o->first = (unsigned)(io->offset / v->block_bytes);
		o->n = (unsigned)(io->length / v->block_bytes);
	}
	if (op_changes(o->op) && d != v->primary) {
		dray_list_for_each(node, &d->ops) {
			const struct dop *other = dray_container(node, struct dop, node);
			if (other != o && other->io && op_changes(other->op) && overlaps(other, o->first, o->n))
				sim_fail(s, "overlap-on-leg",
					"volume %u disk %u: blocks %u+%u are written while an earlier write of %u+%u is not settled",
					v->no, d->no, o->first, o->n, other->first, other->n);
		}
	}
	take_payload(o);
	o->error = o->op == DRAY_OP_FLUSH && disk_dropped(d) ? -EIO : draw_error(d, o);
	/* As over a connection that is lost, which one that waits does not notice. */
	o->refused = s->mix.net_source && !s->calm && !o->error && o->flags & DRAY_F_NO_WAIT && rng_one_in(&s->rng, 12);
	if (o->refused)
		o->error = -ENOTCONN;
	o->keep = o->error == -ENOSPC || o->error == -ENOTSUP ? 0 : (unsigned)rng_below(&s->rng, 3);
	o->cut = o->n > 1 ? (unsigned)rng_range(&s->rng, 1, o->n - 1) : o->n;
	o->low_first = o->n <= 1 || rng_one_in(&s->rng, 2);
	uint64_t t = draw_latency(d, o->map);
	d->in_flight += of_leg(o);
	if (!op_is_map(o->op) && o->op != DRAY_OP_FLUSH && rng_one_in(&s->rng, 3))
		sched_at(s, s->now + rng_below(&s->rng, t), false, on_early, o, o->gen);
	if (o->op == DRAY_OP_FLUSH && o->error && d != v->primary && rng_one_in(&s->rng, 2)) {
		sched_at(s, s->now + rng_below(&s->rng, t), false, on_drop, o, o->gen);
		t += rng_below(&s->rng, 20 * MS); /* it tried for long */
	}
	sched_at(s, s->now + t, false, on_done, o, o->gen);
	if (s->trace)
		disk_trace(o, "sent");
}

/* ---- losing things ---- */

void disk_lose_connections(struct sim_disk *d)
{
	struct sim *s = d->s;
	uint64_t settle = d->v->config.settle_ns;
	dray_list_for_each(node, &d->ops) {
		struct dop *o = dray_container(node, struct dop, node);
		if (!o->io)
			continue;
		o->gen++; /* its events are void */
		o->lost = true;
		o->error = -ENOTCONN;
		if (op_changes(o->op)) {
			o->lands = !rng_one_in(&s->rng, 3);
			o->keep = 0;
		}
		uint64_t answer = s->now + rng_below(&s->rng, MS);
		d->lost_until = s->now + MS + settle;
		o->lands_at = answer + rng_below(&s->rng, settle);
		sched_at(s, answer, false, on_done, o, o->gen);
	}
}

void disk_reopened(struct sim_disk *d)
{
	bool dropped = false;
	for (unsigned b = 0; b < d->v->n_blocks; b++) {
		if (!d->dirty[b] || rng_one_in(&d->s->rng, 2) || disk_unsettled(d, b, 1))
			continue;
		bool differs = d->cache[b] != d->durable[b];
		if (differs && d == d->v->primary)
			oracle_dropped(d->v, b, false);
		dropped |= differs;
		d->cache[b] = d->durable[b];
		d->dirty[b] = 0;
		d->done[b] = 0;
	}
	if (d == d->v->primary)
		d->v->flush_owed = true;
	if (dropped)
		sim_cover(d->s, d == d->v->primary ? COVER_H13_PRIMARY_REOPENED_DROPPED : COVER_H13_REOPENED_DROPPED);
	d->dead_until = d->errors_until = d->flush_errors_until = 0;
}

void disk_process_died(struct sim_disk *d)
{
	struct sim *s = d->s;
	dray_list_for_each_safe(node, &d->ops) {
		struct dop *o = dray_container(node, struct dop, node);
		if (!o->io)
			continue;
		o->io = NULL;
		d->in_flight--;
		if (!op_changes(o->op) || rng_one_in(&s->rng, 3)) {
			dop_free(o);
			continue;
		}
		o->gen++;
		o->orphan = true;
		o->error = 0;
		d->orphans++;
		/* A local disk's requests end before the process's lock on it is gone; a stalled one holds the lock. */
		uint64_t most = d->net ? d->v->config.settle_ns : rng_one_in(&s->rng, 8) ? 200 * MS : 5 * MS;
		sched_at(s, s->now + rng_below(&s->rng, most), false, on_done, o, o->gen);
	}
	/* Whatever is in the cache is there for good, and the next flush takes it along. */
	d->clock++;
	for (unsigned b = 0; b < d->v->n_blocks; b++)
		if (d->dirty[b] && !d->done[b])
			d->done[b] = d->clock;
	d->attached_written = 0;
}

void disk_power_lost(struct sim_disk *d)
{
	struct sim *s = d->s;
	dray_list_for_each_safe(node, &d->ops) {
		struct dop *o = dray_container(node, struct dop, node);
		if (op_changes(o->op)) {
			o->io = NULL;
			for (unsigned i = 0; i < o->n; i++)
				if (rng_one_in(&s->rng, 2))
					effect(o, i, i + 1);
		}
		dop_free(o);
	}
	d->in_flight = d->orphans = d->late = 0;
	for (unsigned b = 0; b < d->v->n_blocks; b++) {
		if (d->dirty[b] && rng_one_in(&s->rng, 2))
			d->durable[b] = d->cache[b];
		d->cache[b] = d->durable[b];
		d->dirty[b] = 0;
		d->done[b] = 0;
	}
	d->attached_written = 0;
}
