/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Stamped blocks, and a record of which generations of each block may be seen: the oracle of the demo and of
 * the crash tests. It shares no code with the engine.
 *
 * A block holds, little endian:
 *
 *     0  magic "DRAYSTMP"     8  volume id     16 offset in the volume     24 generation (32 bit), zero (32
 * bit) 32 sequence number      40 XXH64 of all other bytes of the block     48 filler made from the fields
 * above
 *
 * Each write of a block has the next generation, so a block that is read back tells which write it shows. The
 * record keeps for each block the range of generations that a read may show now:
 *
 *     event                          low        high      durable
 *     write sent (generation g)                 g
 *     write acknowledged             g
 *     flush acknowledged                                  low as it was when the flush was sent
 *     connection or server lost      durable
 *     block read (generation g)      g          g
 *
 * So after a crash an unflushed write may be seen or not, a flushed one must be, and once a read has shown
 * one of them it must not change again by itself (a late write of the old server would). Generation 0 is what
 * was there before: its content is unknown, and anything but a stamp of ours is accepted for it.
 *
 * The record lives in a file that is mapped shared, so that it survives a killed writer.
 */
#ifndef TESTS_LIB_STAMP_H
#define TESTS_LIB_STAMP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define STAMP_BLOCK_MIN 512

struct stamp {
	uint64_t volume, offset, seq;
	uint32_t generation;
};

enum stamp_kind {
	STAMP_GOOD,    /* a whole stamp; *out is set */
	STAMP_ZERO,    /* all bytes zero */
	STAMP_FOREIGN, /* no stamp */
	STAMP_TORN,    /* begins as a stamp, its checksum is wrong */
};

void stamp_fill(void *block, size_t block_bytes, const struct stamp *s);
enum stamp_kind stamp_read(const void *block, size_t block_bytes, struct stamp *out);
const char *stamp_kind_word(enum stamp_kind kind);

struct record_block {
	uint32_t low, high, durable;
	uint32_t top;      /* highest generation ever sent: numbers are never used twice */
	uint32_t zero_gen; /* newest generation that was a write of zeroes; 0: none */
};

struct record {
	uint64_t volume, block_bytes, n_blocks;
	bool clean; /* the writer ended in order: low = high for all blocks it knows */
	struct record_block *blocks;
	void *map; /* of the journal file */
	size_t map_bytes;
};

/* Makes or opens the journal. An existing one must have the same shape (-EINVAL); one that was not closed in
 * order is taken as after a crash. 0 or negative errno. */
int record_open(struct record *r, const char *path, uint64_t volume, uint64_t block_bytes, uint64_t n_blocks);
/* Opens an existing journal, read only. */
int record_load(struct record *r, const char *path);
void record_close(struct record *r, bool clean);
/* The server or the connection was lost. */
void record_crashed(struct record *r);

/* Judges block i's content; true: legal, and the block's range shrinks to what was seen. Else `why` says what
 * is wrong. `settle`: false leaves the record as it is. */
bool record_check(struct record *r, uint64_t i, const void *block, bool settle, char *why, size_t why_size);

/* Latencies: 32 steps an octave, in nanoseconds. */
struct latency {
	uint64_t count, longest_ns;
	uint32_t bucket[2048];
};

void latency_add(struct latency *l, uint64_t ns);
/* The smallest latency that `part` (0..1) of the samples do not exceed, in microseconds. */
uint64_t latency_us(const struct latency *l, double part);

#endif
