/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The region map of a leg: the durable trace of what is clean.
 *
 * A page is 4096 bytes: a header of 64 and two bits for each of 16,128 regions (docs/ONDISK.md). Pages are written in place, a
 * few at a time, then synced: that is one commit; one is under way at a time, and what changes meanwhile goes into the next.
 * A page that is torn, unreadable or not this leg's own says "dirty" of all its regions.
 *
 * Per region three codes are kept: what the disk is to say (want), what it says (disk), and what the image under way says
 * (flight). Between a commit's start and its end either of the last two may be true, and after a failed one either of them
 * may be for ever; so "may be clean" means any of them is. That question guards every write: nothing leaves while the disk may call
 * its region clean (H12). In the other direction nothing waits: "clean" is recorded when it gets round to it (record.c).
 */
#include "engine/internal.h"

#include <endian.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#define HEADER_BYTES 64
#define PER_PAGE     ((uint64_t)(DRAY_MAP_PAGE_BYTES - HEADER_BYTES) * 4)
#define RETRY_NS     UINT64_C(100000000)

struct page_header {
	char magic[8];
	uint8_t map_id[16];
	uint64_t page_no, seq, region_bytes;
	uint64_t reserved;
	uint64_t checksum; /* XXH64 of the page with this field zero */
};
_Static_assert(sizeof(struct page_header) == HEADER_BYTES, "the header is what docs/ONDISK.md says");

static const char magic[8] = "draymap1";

static uint64_t page_checksum(const uint8_t *page)
{
	uint8_t copy[DRAY_MAP_PAGE_BYTES];
	memcpy(copy, page, sizeof copy);
	memset(copy + offsetof(struct page_header, checksum), 0, sizeof(uint64_t));
	return XXH64(copy, sizeof copy, 0);
}

static void page_seal(uint8_t *page, const uint8_t id[16], uint64_t page_no, uint64_t seq, uint64_t region_bytes)
{
	struct page_header h = { .page_no = htole64(page_no), .seq = htole64(seq), .region_bytes = htole64(region_bytes) };
	memcpy(h.magic, magic, sizeof h.magic);
	memcpy(h.map_id, id, sizeof h.map_id);
	memcpy(page, &h, sizeof h);
	h.checksum = htole64(page_checksum(page));
	memcpy(page, &h, sizeof h);
}

static bool page_valid(const uint8_t *page, const uint8_t id[16], uint64_t page_no, uint64_t region_bytes, uint64_t *seq)
{
	struct page_header h;
	memcpy(&h, page, sizeof h);
	*seq = le64toh(h.seq);
	return !memcmp(h.magic, magic, sizeof magic) && !memcmp(h.map_id, id, sizeof h.map_id) &&
		le64toh(h.page_no) == page_no && le64toh(h.region_bytes) == region_bytes && !h.reserved &&
		le64toh(h.checksum) == page_checksum(page);
}

uint64_t dray_map_n_pages(uint64_t size_bytes, uint64_t region_bytes)
{
	uint64_t regions = (size_bytes + region_bytes - 1) / region_bytes;
	return (regions + PER_PAGE - 1) / PER_PAGE;
}

void dray_map_page_format(void *page, const uint8_t map_id[16], uint64_t page_no, uint64_t region_bytes)
{
	memset(page, 0, DRAY_MAP_PAGE_BYTES);
	page_seal(page, map_id, page_no, 0, region_bytes);
}

/* ---- the three codes ---- */

static enum map_code code_get(const struct map *m, uint64_t r, unsigned shift)
{
	return (enum map_code)(m->code[r] >> shift & 3);
}

static void code_set(struct map *m, uint64_t r, unsigned shift, enum map_code code)
{
	m->code[r] = (uint8_t)((m->code[r] & ~(3u << shift)) | (unsigned)code << shift);
}

#define WANT   0
#define DISK   2
#define FLIGHT 4

int dray_map_new(struct map *m, const struct dray_vol *v, const struct dray_leg_config *config)
{
	m->durable = config->durable;
	if (!m->durable)
		return 0;
	memcpy(m->id, config->map_id, sizeof m->id);
	m->n_pages = dray_map_n_pages(v->config.size_bytes, v->config.region_bytes);
	m->code = malloc(v->n_regions);
	m->images = calloc(min_u64(m->n_pages, MAX_MAP_PAGES_IN_COMMIT), sizeof *m->images);
	if (!m->code || !m->images || dray_bitmap_new(&m->stale, m->n_pages))
		return -ENOMEM;
	memset(m->code, MAP_NONE << FLIGHT, v->n_regions);
	return 0;
}

void dray_map_free(struct map *m)
{
	free(m->code);
	free(m->images);
	dray_bitmap_free(&m->stale);
}

enum map_code dray_map_want(const struct map *m, uint64_t r)
{
	return code_get(m, r, WANT);
}

void dray_map_set(struct dray_vol *v, struct link *l, uint64_t r, enum map_code code)
{
	struct map *m = &l->map;
	m->n_intent += code == MAP_INTENT;
	m->n_intent -= code_get(m, r, WANT) == MAP_INTENT;
	code_set(m, r, WANT, code);
	dray_bitmap_set(&m->stale, r / PER_PAGE);
}

bool dray_map_may_be_clean(const struct map *m, uint64_t r)
{
	return code_get(m, r, WANT) == MAP_CLEAN || code_get(m, r, DISK) == MAP_CLEAN || code_get(m, r, FLIGHT) == MAP_CLEAN;
}

void dray_map_load(struct dray_vol *v, struct link *l, const struct dray_leg_config *config)
{
	struct map *m = &l->map;
	for (uint64_t r = 0; r < v->n_regions; r++) {
		enum map_code code = MAP_DIRTY;
		if (m->durable && config->pages) {
			uint64_t page_no = r / PER_PAGE, i = r % PER_PAGE, seq = 0;
			const uint8_t *page = page_no < config->n_pages ? config->pages[page_no] : NULL;
			/* Checked once a page. */
			if (!i && !(page && page_valid(page, m->id, page_no, v->config.region_bytes, &seq)))
				dray_bitmap_set(&m->stale, page_no);
			m->seq = max_u64(m->seq, seq);
			if (!dray_bitmap_test(&m->stale, page_no))
				code = (enum map_code)(page[HEADER_BYTES + i / 4] >> i % 4 * 2 & 3);
			else if (PLANT(TORN_PAGE_CLEAN))
				code = MAP_CLEAN;
			if (code == MAP_NONE)
				code = MAP_DIRTY;
		}
		if (m->durable) {
			code_set(m, r, WANT, code);
			/* A page that could not be read this time may well be read the next time, and one with a bad sector be good
			 * again after a torn write to just that sector: then it says what it said before, "clean" perhaps. */
			bool bad = config->pages && dray_bitmap_test(&m->stale, r / PER_PAGE);
			code_set(m, r, DISK, bad ? MAP_CLEAN : code);
			m->n_intent += code == MAP_INTENT;
		}
		if (code != MAP_DIRTY)
			dray_bitmap_set(&l->seen, r);
		if (code == MAP_CLEAN) {
			dray_bitmap_set(&l->clean, r);
			continue;
		}
		if (code == MAP_INTENT)
			dray_bitmap_set(&l->suspect, r);
		/* Writes that an earlier incarnation sent over the network may land on what is about to be copied. */
		if (config->late_writes && config->pages) {
			dray_bitmap_set(&l->doubt, r);
			l->doubt_until_ns = v->now_ns + v->config.settle_ns;
		}
	}
}

/* ---- commits ---- */

static void image_build(struct dray_vol *v, struct map *m, uint8_t *page, uint64_t page_no)
{
	memset(page, 0, DRAY_MAP_PAGE_BYTES);
	uint64_t first = page_no * PER_PAGE, end = min_u64(first + PER_PAGE, v->n_regions);
	for (uint64_t r = first; r < end; r++) {
		enum map_code code = code_get(m, r, WANT);
		code_set(m, r, FLIGHT, code);
		page[HEADER_BYTES + (r - first) / 4] |= (uint8_t)(code << (r - first) % 4 * 2);
	}
	page_seal(page, m->id, page_no, m->seq, v->config.region_bytes);
}

bool dray_map_pump(struct dray_vol *v, int leg_no)
{
	struct leg *leg = &v->legs[leg_no];
	struct link *l = leg->link;
	struct map *m = &l->map;
	if (!m->durable || m->busy || !m->stale.nset || leg->state == DRAY_LEG_DETACHED || m->retry_at_ns > v->now_ns)
		return false;
	m->busy = true;
	m->started_ns = v->now_ns;
	m->n_commit = 0;
	m->commit_error = 0;
	m->seq++;
	for (uint64_t p = 0; m->n_commit < MAX_MAP_PAGES_IN_COMMIT; p++) {
		p = dray_bitmap_next_set(&m->stale, p);
		if (p == DRAY_BITMAP_NONE)
			break;
		dray_bitmap_clear(&m->stale, p);
		image_build(v, m, m->images[m->n_commit], p);
		m->commit_pages[m->n_commit++] = p;
	}
	m->pending = m->n_commit;
	for (unsigned i = 0; i < m->n_commit; i++) {
		struct dray_io *io = &m->ios[i];
		io->op = DRAY_OP_MAP_WRITE;
		io->flags = 0;
		io->offset = m->commit_pages[i] * DRAY_MAP_PAGE_BYTES;
		io->length = DRAY_MAP_PAGE_BYTES;
		io->data = m->images[i];
		dray_io_send(v, io, ROLE_MAP, l, leg_no);
	}
	return true;
}

static struct leg *leg_of(struct dray_vol *v, const struct link *l)
{
	for (int i = 0; i < DRAY_MAX_LEGS; i++) {
		if (v->legs[i].link == l)
			return &v->legs[i];
	}
	assert(!"a link belongs to a leg");
	return NULL;
}

static void commit_end(struct dray_vol *v, struct link *l)
{
	struct map *m = &l->map;
	struct leg *leg = leg_of(v, l);
	for (unsigned i = 0; i < m->n_commit; i++) {
		uint64_t first = m->commit_pages[i] * PER_PAGE, end = min_u64(first + PER_PAGE, v->n_regions);
		for (uint64_t r = first; r < end; r++) {
			enum map_code flight = code_get(m, r, FLIGHT);
			/* After a failure either image may be on disk: whichever says clean counts. */
			if (!m->commit_error || flight == MAP_CLEAN)
				code_set(m, r, DISK, flight);
			code_set(m, r, FLIGHT, MAP_NONE);
		}
		if (m->commit_error)
			dray_bitmap_set(&m->stale, m->commit_pages[i]);
	}
	m->busy = false;
	if (m->commit_error) {
		m->retry_at_ns = v->now_ns + RETRY_NS;
		if (!m->failed)
			dray_emit(v, (struct dray_event){ .kind = DRAY_EV_MAP_ERROR, .leg = leg_index(v, leg),
				.leg_state = leg->state, .error = m->commit_error });
	}
	m->failed = m->commit_error != 0;
	dray_leg_io_settled(v, leg_index(v, leg));
}

void dray_map_io_done(struct dray_vol *v, struct dray_io *io)
{
	struct link *l = io->owner;
	struct map *m = &l->map;
	if (io->error)
		m->commit_error = io->error;
	if (--m->pending)
		return;
	if (io->op == DRAY_OP_MAP_SYNC || m->commit_error) {
		commit_end(v, l);
		return;
	}
	struct dray_io *sync = &m->ios[0];
	sync->op = DRAY_OP_MAP_SYNC;
	sync->flags = 0;
	sync->offset = sync->length = 0;
	sync->data = NULL;
	m->pending = 1;
	dray_io_send(v, sync, ROLE_MAP, l, leg_index(v, leg_of(v, l)));
}
