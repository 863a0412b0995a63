/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Bad ranges: what can't be read any more (H17).
 *
 * A block of the primary that no amount of reading brings (probe.c finds out), and that no other leg has, is given to the target
 * as zeroes, because something has to be there, and is *bad* from then on: a leg can be synced with bad ranges outstanding, but
 * the zeroes are nobody's data, and whoever reads the block must never get them.
 *
 * Each bad range knows its origin, the leg that alone may still hold the data. All the rest follows from whether that leg is
 * the primary:
 *
 *   origin is the primary     a read goes to its storage, which may have recovered; if it fails, no other leg stands in.
 *                             The copy does not read it again, other targets get zeroes too. A switch would leave it behind: it is
 *                             refused, unless so many bytes were accepted (takeover.c).
 *   origin is another leg,    *lost*: reads fail with EIO, without asking anybody; asked for holes, the volume says "data".
 *   or one that is gone       The copy back to the origin leaves it alone: what is there is all there is. After an undo it is
 *                             the primary's again.
 *
 * How a bad range ends
 *   - overwritten, by a write, a zero or a discard; requests are whole blocks, so a block is overwritten wholly or not at all. In
 *     this order: written to all legs it goes to -> the primary flushed -> the list without it durable -> answered. The flush
 *     first: a power loss could take the write and leave zeroes behind that are not called bad any more. The answer last: an answered
 *     write has to be readable after a crash. (If a flush of the primary failed meanwhile, the write may be among what was dropped:
 *     then the request fails, and the range stays.)
 *   - looked at once more (dray_vol_leg_retry): every leg is dirtied there, durably; then it is taken off the list, on disk first, so that
 *     a write that comes meanwhile still knows what it clears; then the copy goes there again. The other order could leave zeroes that
 *     count as clean. (A forced switch may find it half-way, with its ranges dirty: it does not begin while they are being dropped from
 *     the list on disk, and what was not begun by then is off.)
 *   - the last secondary is let go: what was only unread on the primary concerns nobody any more.
 *
 * The list is durable before it counts: zeroes are sent to a leg only when the list on disk names the range (ST_BAD in step.c), for
 * the leg's map may call the region clean already, or soon after. It has two slots; a new list goes to the slot that does not hold the
 * present one, then to the other, so that at rest both are the same. A torn slot leaves the older list: one whose
 * newer entries had no consequences yet, or whose gone ones were not yet answered for. It does not depend on checkpoint: without region
 * maps, too, a new primary must know what it does not hold.
 *
 * The list is bounded. When it is full no more is added: the copy of that leg gives up (step.c). Some room is kept for a write in the
 * middle of a range, which makes two of one; when that is used up, too, such a write fails, like one to a disk
 * that is out of spare sectors.
 */
#include "engine/internal.h"

#include <endian.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#define HEADER_BYTES 64
#define ADDS_MOST    192
#define RETRY_NS     UINT64_C(100000000)

struct slot_header {
	char magic[8];
	uint8_t id[16];
	uint64_t seq;
	uint32_t block_bytes, n;
	uint64_t reserved[2];
	uint64_t checksum; /* XXH64 of the slot with this field zero */
};
_Static_assert(sizeof(struct slot_header) == HEADER_BYTES, "the header is what docs/ONDISK.md says");

struct slot_entry {
	uint64_t first;
	uint32_t blocks, origin;
};
_Static_assert(sizeof(struct slot_entry) * DRAY_BAD_RANGES_MOST + HEADER_BYTES == DRAY_BAD_SLOT_BYTES, "a slot is full");

static const char magic[8] = "draybad1";

/* ---- sets of ranges ---- */

static uint64_t end_of(const struct bad_range *r)
{
	return r->offset + r->length;
}

/* The first that ends behind `offset`. */
static unsigned search(const struct bad_set *set, uint64_t offset)
{
	unsigned low = 0, high = set->n;
	while (low < high) {
		unsigned mid = (low + high) / 2;
		if (end_of(&set->r[mid]) <= offset)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

const struct bad_range *dray_set_find(const struct bad_set *set, uint64_t offset, uint64_t length)
{
	unsigned i = search(set, offset);
	return i < set->n && set->r[i].offset < offset + length ? &set->r[i] : NULL;
}

static void insert(struct bad_set *set, unsigned at, struct bad_range range)
{
	memmove(&set->r[at + 1], &set->r[at], (set->n - at) * sizeof *set->r);
	set->r[at] = range;
	set->n++;
}

static void drop(struct bad_set *set, unsigned at)
{
	set->n--;
	memmove(&set->r[at], &set->r[at + 1], (set->n - at) * sizeof *set->r);
}

int dray_set_add(struct bad_set *set, struct bad_range range, uint64_t longest)
{
	unsigned at = search(set, range.offset);
	struct bad_range *before = at ? &set->r[at - 1] : NULL, *after = at < set->n ? &set->r[at] : NULL;
	if (after && after->offset == end_of(&range) && after->origin == range.origin && after->length + range.length <= longest) {
		after->offset = range.offset;
		after->length += range.length;
		after->gen = max_u64(after->gen, range.gen);
		range = *after;
		if (!before || end_of(before) != range.offset || before->origin != range.origin || before->length + range.length > longest)
			return 0;
		drop(set, at);
		before->length += range.length;
		before->gen = max_u64(before->gen, range.gen);
		return 0;
	}
	if (before && end_of(before) == range.offset && before->origin == range.origin && before->length + range.length <= longest) {
		before->length += range.length;
		before->gen = max_u64(before->gen, range.gen);
		return 0;
	}
	if (set->n >= set->add_most)
		return -ENOSPC;
	insert(set, at, range);
	return 0;
}

int dray_set_remove(struct bad_set *set, uint64_t offset, uint64_t length)
{
	uint64_t end = offset + length;
	unsigned at = search(set, offset);
	if (at < set->n && set->r[at].offset < offset && end_of(&set->r[at]) > end) {
		if (set->n == set->most)
			return -ENOSPC;
		struct bad_range rest = set->r[at];
		rest.offset = end;
		rest.length = end_of(&set->r[at]) - end;
		set->r[at].length = offset - set->r[at].offset;
		insert(set, at + 1, rest);
		return 0;
	}
	while (at < set->n && set->r[at].offset < end) {
		struct bad_range *r = &set->r[at];
		if (r->offset < offset) {
			r->length = offset - r->offset;
			at++;
		} else if (end_of(r) > end) {
			r->length = end_of(r) - end;
			r->offset = end;
			break;
		} else {
			drop(set, at);
		}
	}
	return 0;
}

/* ---- the slots ---- */

static uint64_t slot_checksum(const uint8_t *slot)
{
	uint8_t copy[DRAY_BAD_SLOT_BYTES];
	memcpy(copy, slot, sizeof copy);
	memset(copy + offsetof(struct slot_header, checksum), 0, sizeof(uint64_t));
	return XXH64(copy, sizeof copy, 0);
}

static void slot_seal(uint8_t *slot, const uint8_t id[16], uint64_t seq, uint32_t block_bytes, unsigned n)
{
	struct slot_header h = { .seq = htole64(seq), .block_bytes = htole32(block_bytes), .n = htole32(n) };
	memcpy(h.magic, magic, sizeof h.magic);
	memcpy(h.id, id, sizeof h.id);
	memcpy(slot, &h, sizeof h);
	h.checksum = htole64(slot_checksum(slot));
	memcpy(slot, &h, sizeof h);
}

void dray_bad_slot_format(void *slot, const uint8_t id[16], uint32_t block_bytes)
{
	memset(slot, 0, DRAY_BAD_SLOT_BYTES);
	slot_seal(slot, id, 0, block_bytes, 0);
}

static bool slot_valid(const struct dray_vol *v, const uint8_t *slot, struct slot_header *h)
{
	if (!slot)
		return false;
	memcpy(h, slot, sizeof *h);
	return !memcmp(h->magic, magic, sizeof magic) && !memcmp(h->id, v->config.bad_id, sizeof h->id) &&
		le32toh(h->block_bytes) == v->config.block_bytes && le32toh(h->n) <= DRAY_BAD_RANGES_MOST && !h->reserved[0] &&
		!h->reserved[1] && le64toh(h->checksum) == slot_checksum(slot);
}

static bool slot_load(struct dray_vol *v, const uint8_t *slot, unsigned n)
{
	uint64_t block = v->config.block_bytes, blocks = v->config.size_bytes / block, from = 0;
	struct bad_set *set = &v->bad.set;
	set->n = 0;
	for (unsigned i = 0; i < n; i++) {
		struct slot_entry e;
		memcpy(&e, slot + HEADER_BYTES + i * sizeof e, sizeof e);
		uint64_t first = le64toh(e.first), count = le32toh(e.blocks);
		if (first < from || !count || first >= blocks || count > blocks - first)
			return false;
		from = first + count;
		set->r[set->n++] = (struct bad_range){ first * block, count * block, le32toh(e.origin), 1 };
	}
	return true;
}

int dray_bad_new(struct dray_vol *v, const struct dray_vol_config *config)
{
	struct bad_list *b = &v->bad;
	b->set.r = calloc(DRAY_BAD_RANGES_MOST + 1, sizeof *b->set.r);
	b->set.most = DRAY_BAD_RANGES_MOST;
	b->set.add_most = ADDS_MOST;
	b->image = calloc(1, DRAY_BAD_SLOT_BYTES);
	if (!b->set.r || !b->image)
		return -ENOMEM;
	if (!config->bad_slots)
		return 0;
	struct slot_header h[2];
	bool valid[2];
	for (int i = 0; i < 2; i++)
		valid[i] = slot_valid(v, config->bad_slots[i], &h[i]);
	if (!valid[0] && !valid[1])
		return -EBADMSG;
	unsigned current = !valid[0] || (valid[1] && le64toh(h[1].seq) > le64toh(h[0].seq));
	if (!slot_load(v, config->bad_slots[current], le32toh(h[current].n)))
		return -EBADMSG;
	b->current = current;
	b->seq = le64toh(h[current].seq);
	b->gen = b->durable_gen = b->slot_gen[current] = 1;
	/* At rest both are the same: if they are not, a crash came in between. */
	if (valid[!current] && h[!current].n == h[current].n &&
		!memcmp((const uint8_t *)config->bad_slots[0] + HEADER_BYTES, (const uint8_t *)config->bad_slots[1] + HEADER_BYTES,
			DRAY_BAD_SLOT_BYTES - HEADER_BYTES))
		b->slot_gen[!current] = 1;
	return 0;
}

void dray_bad_free(struct dray_vol *v)
{
	free(v->bad.set.r);
	free(v->bad.image);
}

static bool again(const struct dray_vol *v, const struct bad_range *r);

static void image_build(struct dray_vol *v)
{
	struct bad_list *b = &v->bad;
	unsigned n = 0;
	b->flight_drops = b->dropping;
	memset(b->image, 0, DRAY_BAD_SLOT_BYTES);
	for (unsigned i = 0; i < b->set.n; i++) {
		const struct bad_range *r = &b->set.r[i];
		if (b->dropping && again(v, r))
			continue;
		struct slot_entry e = { htole64(r->offset / v->config.block_bytes), htole32((uint32_t)(r->length / v->config.block_bytes)),
			htole32(r->origin) };
		memcpy(b->image + HEADER_BYTES + n++ * sizeof e, &e, sizeof e);
	}
	slot_seal(b->image, v->config.bad_id, ++b->seq, v->config.block_bytes, n);
}

static void changed(struct dray_vol *v)
{
	v->bad.gen++;
}

static bool look_again(struct dray_vol *v);
static void dropped(struct dray_vol *v);

bool dray_bad_pump(struct dray_vol *v)
{
	struct bad_list *b = &v->bad;
	bool moved = look_again(v);
	unsigned slot = !b->current;
	if (v->primary == DRAY_NO_LEG || b->busy || b->slot_gen[slot] >= b->gen || b->retry_at_ns > v->now_ns)
		return moved;
	b->busy = true;
	b->flight_gen = b->gen;
	image_build(v);
	b->io.op = DRAY_OP_BAD_WRITE;
	b->io.flags = 0;
	b->io.offset = slot * DRAY_BAD_SLOT_BYTES;
	b->io.length = DRAY_BAD_SLOT_BYTES;
	b->io.data = b->image;
	dray_io_send(v, &b->io, ROLE_BAD, v, v->primary);
	return true;
}

void dray_bad_io_done(struct dray_vol *v, struct dray_io *io)
{
	struct bad_list *b = &v->bad;
	int error = io->error;
	if (!error && io->op == DRAY_OP_BAD_WRITE) {
		io->op = DRAY_OP_BAD_SYNC;
		io->offset = io->length = 0;
		io->data = NULL;
		dray_io_send(v, io, ROLE_BAD, v, v->primary);
		return;
	}
	b->busy = false;
	if (!error) {
		b->current = !b->current;
		b->slot_gen[b->current] = b->durable_gen = b->flight_gen;
		if (b->flight_drops)
			dropped(v);
	} else {
		/* The slot may hold the new list, the old one or neither: it is written again. */
		b->retry_at_ns = v->now_ns + RETRY_NS;
		if (!b->failed)
			dray_emit(v, (struct dray_event){ .kind = DRAY_EV_MAP_ERROR, .leg = v->primary, .leg_state = DRAY_LEG_PRIMARY,
				.error = error, .why = "the list of bad ranges can't be written" });
	}
	b->failed = error != 0;
}

uint64_t dray_bad_tick(struct dray_vol *v)
{
	const struct bad_list *b = &v->bad;
	return !b->busy && b->slot_gen[!b->current] < b->gen ? max_u64(b->retry_at_ns, v->now_ns + 1) : DRAY_TIME_NEVER;
}

/* ---- questions ---- */

static uint32_t primary_id(const struct dray_vol *v)
{
	return v->legs[v->primary].config.id;
}

/* Calls for each bad range that overlaps. */
#define for_bad(v, r, at, count)                                                                                   \
	for (const struct bad_range *r = dray_set_find(&(v)->bad.set, at, count), *r##_end = (v)->bad.set.r + (v)->bad.set.n; \
		r && r < r##_end && r->offset < (at) + (count); r++)

bool dray_bad_lost(const struct dray_vol *v, uint64_t offset, uint64_t length)
{
	if (!v->bad.set.n)
		return false;
	for_bad(v, r, offset, length) {
		if (r->origin != primary_id(v))
			return true;
	}
	return false;
}

bool dray_bad_durable(const struct dray_vol *v, uint64_t offset, uint64_t length)
{
	for_bad(v, r, offset, length) {
		if (r->gen > v->bad.durable_gen)
			return false;
	}
	return true;
}

uint64_t dray_bad_behind(const struct dray_vol *v, bool split)
{
	uint64_t bytes = 0;
	for (unsigned i = 0; i < v->bad.set.n; i++) {
		if (split || v->bad.set.r[i].origin == primary_id(v))
			bytes += v->bad.set.r[i].length;
	}
	return bytes;
}

uint64_t dray_bad_run(const struct dray_vol *v, const struct step *s, int side, uint64_t at, uint64_t end, bool *gap)
{
	uint32_t primary = primary_id(v), target = v->legs[s->leg].config.id;
	const struct bad_range *b = dray_set_find(&v->bad.set, at, end - at), *u = NULL;
	uint64_t stop = end;
	*gap = false;
	if (b && b->offset <= at) {
		stop = min_u64(stop, end_of(b));
		if (s->walk == WALK_VERIFY)
			*gap = true;
		else if (b->origin == target)
			*gap = !PLANT(H17_ORIGIN_OVERWRITTEN);
		else
			*gap = side == 0 && b->origin == primary && s->source == v->primary;
	} else if (b) {
		stop = min_u64(stop, b->offset);
	}
	/* What was just found unreadable; a verification finds that out by itself. */
	if (side == 0 && s->source == v->primary && s->walk != WALK_VERIFY)
		u = dray_set_find(&v->unread, at, end - at);
	if (u && u->offset <= at) {
		*gap = true;
		stop = min_u64(stop, end_of(u));
	} else if (u) {
		stop = min_u64(stop, u->offset);
	}
	return stop - at;
}

unsigned dray_vol_bad_ranges(const struct dray_vol *v, struct dray_bad_range *out, unsigned most)
{
	for (unsigned i = 0; i < v->bad.set.n && i < most; i++) {
		const struct bad_range *r = &v->bad.set.r[i];
		out[i] = (struct dray_bad_range){ r->offset, r->length, r->origin != primary_id(v) };
	}
	return v->bad.set.n;
}

bool dray_vol_bad_at(const struct dray_vol *v, uint64_t offset, bool *lost)
{
	const struct bad_range *r = dray_set_find(&v->bad.set, offset, 1);
	*lost = r && r->origin != primary_id(v);
	return r;
}

/* ---- changes ---- */

static void tell(struct dray_vol *v, uint64_t offset, uint64_t length, int error)
{
	dray_emit(v, (struct dray_event){ .kind = DRAY_EV_BAD_RANGE, .leg = v->primary, .leg_state = DRAY_LEG_PRIMARY, .offset = offset,
		.length = length, .error = error, .why = error ? "can't be read" : NULL });
}

int dray_bad_list_unread(struct dray_vol *v, uint64_t offset, uint64_t length)
{
	uint64_t end = offset + length, longest = (uint64_t)UINT32_MAX * v->config.block_bytes;
	for (uint64_t at = offset; at < end;) {
		const struct bad_range *u = dray_set_find(&v->unread, at, end - at);
		if (!u)
			break;
		uint64_t from = max_u64(u->offset, at), to = min_u64(end_of(u), end);
		const struct bad_range *b = dray_set_find(&v->bad.set, from, to - from);
		if (b && b->offset <= from) {
			at = end_of(b);
			continue; /* known already, whoever held it */
		}
		if (b)
			to = b->offset;
		if (dray_set_add(&v->bad.set, (struct bad_range){ from, to - from, primary_id(v), v->bad.gen + 1 }, longest))
			return -ENOSPC;
		changed(v);
		tell(v, from, to - from, -EIO);
		at = to;
	}
	dray_set_remove(&v->unread, offset, length);
	return 0;
}

int dray_bad_remove(struct dray_vol *v, uint64_t offset, uint64_t length, uint64_t *gen)
{
	if (dray_bad_any(v, offset, length)) {
		if (dray_set_remove(&v->bad.set, offset, length))
			return -ENOSPC;
		changed(v);
		tell(v, offset, length, 0);
	}
	*gen = v->bad.gen;
	return 0;
}

/* ---- looking again ---- */

static bool again(const struct dray_vol *v, const struct bad_range *r)
{
	return v->bad.again_gen && r->gen <= v->bad.again_gen && r->origin == primary_id(v);
}

void dray_bad_again(struct dray_vol *v)
{
	struct bad_list *b = &v->bad;
	if (v->takeover.phase != TK_NONE || b->dropping)
		return;
	b->again_gen = b->gen;
	for (unsigned n = 0; n < b->set.n; n++) {
		struct bad_range r = b->set.r[n];
		for (int i = 0; i < DRAY_MAX_LEGS && again(v, &r); i++) {
			if (v->legs[i].link)
				dray_link_dirty(v, &v->legs[i], r.offset, r.length, true);
		}
	}
}

/* Whether some leg may be taken for clean there after a crash. */
static bool may_be_clean(const struct dray_vol *v, const struct bad_range *range)
{
	if (PLANT(H17_RECHECK_BEFORE_DIRTY))
		return false;
	for_links(v, i) {
		const struct leg *leg = &v->legs[i];
		if (!leg->link->map.durable || leg->state == DRAY_LEG_DETACHED)
			continue;
		for_regions(v, r, range->offset, range->length) {
			if (dray_map_may_be_clean(&leg->link->map, r))
				return true;
		}
	}
	return false;
}

static bool look_again(struct dray_vol *v)
{
	struct bad_list *b = &v->bad;
	if (!b->again_gen || b->dropping || v->takeover.phase != TK_NONE)
		return false;
	bool any = false;
	for (unsigned i = 0; i < b->set.n; i++) {
		if (!again(v, &b->set.r[i]))
			continue;
		any = true;
		if (may_be_clean(v, &b->set.r[i]))
			return false;
	}
	if (!any) {
		b->again_gen = 0;
		return true;
	}
	/* They stay bad until the disk says that they are not: a write there has to know that it clears something. */
	b->dropping = true;
	changed(v);
	if (PLANT(H17_DROPPED_BEFORE_DURABLE))
		dropped(v);
	return true;
}

static void dropped(struct dray_vol *v)
{
	struct bad_list *b = &v->bad;
	for (unsigned i = 0; i < b->set.n;) {
		struct bad_range r = b->set.r[i];
		if (again(v, &r)) {
			drop(&b->set, i);
			tell(v, r.offset, r.length, 0);
		} else {
			i++;
		}
	}
	b->again_gen = 0;
	b->dropping = b->flight_drops = false;
}

void dray_bad_again_off(struct dray_vol *v)
{
	struct bad_list *b = &v->bad;
	if (b->dropping)
		changed(v); /* the image under way may be without them */
	b->again_gen = 0;
	b->dropping = b->flight_drops = false;
}

uint64_t dray_bad_busy_parts(const struct dray_vol *v, uint64_t region)
{
	uint64_t start = region * v->config.region_bytes, mask = 0, length = region_end(v, region) - start;
	if (v->bad.again_gen) {
		for_bad(v, r, start, length) {
			if (again(v, r))
				mask |= dray_parts_mask(v, region, r->offset, r->length);
		}
	}
	return mask;
}
