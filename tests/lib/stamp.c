/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/lib/stamp.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

static const char magic[8] = "DRAYSTMP";
static const char journal_magic[8] = "DRAYJRN1";

enum { HEAD_BYTES = 48, SUM_AT = 40 };

struct journal_head {
	char magic[8];
	uint64_t volume, block_bytes, n_blocks;
	uint32_t clean, unused;
};

static uint64_t checksum(const unsigned char *b, size_t n)
{
	return XXH64(b + HEAD_BYTES, n - HEAD_BYTES, XXH64(b, SUM_AT, 0));
}

void stamp_fill(void *block, size_t n, const struct stamp *s)
{
	unsigned char *b = block;
	uint64_t head[5] = {
		0, htole64(s->volume), htole64(s->offset), htole64(s->generation), htole64(s->seq)};
	memcpy(head, magic, sizeof magic);
	memcpy(b, head, sizeof head);
	uint64_t x = XXH64(head, sizeof head, 1) | 1;
	for (size_t i = HEAD_BYTES; i < n; i += 8) { /* xorshift: differs in every block, does not compress */
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		memcpy(b + i, &x, 8);
	}
	uint64_t sum = htole64(checksum(b, n));
	memcpy(b + SUM_AT, &sum, sizeof sum);
}

enum stamp_kind stamp_read(const void *block, size_t n, struct stamp *out)
{
	const unsigned char *b = block;
	if (memcmp(b, magic, sizeof magic) != 0) {
		bool zero = b[0] == 0 && memcmp(b, b + 1, n - 1) == 0;
		return zero ? STAMP_ZERO : STAMP_FOREIGN;
	}
	uint64_t head[6];
	memcpy(head, b, sizeof head);
	if (le64toh(head[5]) != checksum(b, n))
		return STAMP_TORN;
	*out = (struct stamp){.volume = le64toh(head[1]),
		.offset = le64toh(head[2]),
		.generation = (uint32_t)le64toh(head[3]),
		.seq = le64toh(head[4])};
	return STAMP_GOOD;
}

const char *stamp_kind_word(enum stamp_kind kind)
{
	static const char *const words[] = {"a stamp", "zeroes", "bytes that are no stamp", "a torn stamp"};
	return words[kind];
}

static int map_journal(struct record *r, int fd, size_t bytes, bool writable)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, writable ? MAP_SHARED : MAP_PRIVATE, fd, 0);
	if (p == MAP_FAILED)
		return -errno;
	const struct journal_head *h = p;
	r->volume = h->volume;
	r->block_bytes = h->block_bytes;
	r->n_blocks = h->n_blocks;
	r->clean = h->clean != 0;
	r->blocks = (struct record_block *)((char *)p + sizeof *h);
	r->map = p;
	r->map_bytes = bytes;
	return 0;
}

int record_open(struct record *r, const char *path, uint64_t volume, uint64_t block_bytes, uint64_t n_blocks)
{
	size_t bytes = sizeof(struct journal_head) + n_blocks * sizeof(struct record_block);
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
	if (fd < 0)
		return -errno;
	int rc = 0;
	struct stat st;
	struct journal_head h = {
		.volume = volume, .block_bytes = block_bytes, .n_blocks = n_blocks, .clean = 1};
	memcpy(h.magic, journal_magic, sizeof h.magic);
	if (fstat(fd, &st) != 0)
		rc = -errno;
	else if (st.st_size == 0) {
		if (ftruncate(fd, (off_t)bytes) != 0)
			rc = -errno;
		else if (pwrite(fd, &h, sizeof h, 0) != sizeof h)
			rc = -EIO;
	} else if ((size_t)st.st_size != bytes)
		rc = -EINVAL;
	if (rc == 0)
		rc = map_journal(r, fd, bytes, true);
	close(fd);
	if (rc != 0)
		return rc;
	h.clean = r->clean;
	if (memcmp(r->map, &h, sizeof h) != 0) {
		munmap(r->map, bytes);
		return -EINVAL;
	}
	if (!r->clean)
		record_crashed(r);
	r->clean = false;
	((struct journal_head *)r->map)->clean = 0;
	return 0;
}

int record_load(struct record *r, const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	struct journal_head h;
	struct stat st;
	int rc = -EINVAL;
	if (pread(fd, &h, sizeof h, 0) == sizeof h && memcmp(h.magic, journal_magic, sizeof h.magic) == 0 &&
		fstat(fd, &st) == 0 &&
		(size_t)st.st_size == sizeof h + h.n_blocks * sizeof(struct record_block))
		rc = map_journal(r, fd, (size_t)st.st_size, false);
	close(fd);
	if (rc == 0 && !r->clean)
		record_crashed(r);
	return rc;
}

void record_close(struct record *r, bool clean)
{
	((struct journal_head *)r->map)->clean = clean;
	munmap(r->map, r->map_bytes);
	r->map = NULL;
}

void record_crashed(struct record *r)
{
	for (uint64_t i = 0; i < r->n_blocks; i++)
		r->blocks[i].low = r->blocks[i].durable;
}

bool record_check(struct record *r, uint64_t i, const void *block, bool settle, char *why, size_t why_size)
{
	struct record_block *b = &r->blocks[i];
	struct stamp s = {0};
	uint64_t offset = i * r->block_bytes;
	enum stamp_kind kind = stamp_read(block, r->block_bytes, &s);
	uint32_t seen = 0;
	bool legal = false;
	switch (kind) {
	case STAMP_GOOD:
		if (s.volume != r->volume || s.offset != offset) {
			snprintf(why, why_size,
				"offset %" PRIu64 ": holds the block of volume %" PRIu64 " offset %" PRIu64,
				offset, s.volume, s.offset);
			return false;
		}
		seen = s.generation;
		legal = seen >= b->low && seen <= b->high && seen != b->zero_gen;
		break;
	case STAMP_ZERO:
		seen = b->zero_gen;
		legal = b->low == 0 || (b->zero_gen != 0 && b->zero_gen >= b->low);
		break;
	case STAMP_FOREIGN: legal = b->low == 0; break;
	case STAMP_TORN: break;
	}
	if (!legal) {
		char got[64];
		if (kind == STAMP_GOOD)
			snprintf(got, sizeof got, "generation %" PRIu32 " (sequence %" PRIu64 ")", seen,
				s.seq);
		else
			snprintf(got, sizeof got, "%s", stamp_kind_word(kind));
		snprintf(why, why_size,
			"offset %" PRIu64 ": reads %s, must be generation %" PRIu32 "..%" PRIu32
			" (durable %" PRIu32 ", sent %" PRIu32 ", zeroed %" PRIu32 ")",
			offset, got, b->low, b->high, b->durable, b->top, b->zero_gen);
		return false;
	}
	if (settle && kind != STAMP_FOREIGN)
		b->low = b->high = seen;
	else if (settle)
		b->high = 0;
	return true;
}

static unsigned bucket_of(uint64_t ns)
{
	if (ns < 64)
		return (unsigned)ns / 2;
	unsigned octave = 63 - (unsigned)__builtin_clzll(ns);
	return (octave - 5) * 32 + (unsigned)((ns >> (octave - 5)) & 31);
}

static uint64_t bucket_top(unsigned b)
{
	if (b < 32)
		return b * 2 + 1;
	unsigned octave = b / 32 + 5;
	return ((uint64_t)(32 + b % 32 + 1) << (octave - 5)) - 1;
}

void latency_add(struct latency *l, uint64_t ns)
{
	l->count++;
	if (ns > l->longest_ns)
		l->longest_ns = ns;
	l->bucket[bucket_of(ns)]++;
}

uint64_t latency_us(const struct latency *l, double part)
{
	uint64_t want = (uint64_t)((double)l->count * part + 0.5), n = 0;
	for (unsigned i = 0; i < 2048; i++) {
		n += l->bucket[i];
		if (l->bucket[i] && n >= want) {
			uint64_t ns = bucket_top(i);
			return (ns < l->longest_ns ? ns : l->longest_ns) / 1000;
		}
	}
	return 0;
}
