/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A fixed-size set of small numbers, one bit each, with a count that is always right.
 */
#ifndef DRAY_BASE_BITMAP_H
#define DRAY_BASE_BITMAP_H

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

struct dray_bitmap {
	uint64_t *words;
	uint64_t nbits;
	uint64_t nset;
};

#define DRAY_BITMAP_NONE UINT64_MAX

static inline uint64_t dray_bitmap_nwords(const struct dray_bitmap *b)
{
	return (b->nbits + 63) / 64;
}

/* 0 or -ENOMEM; all bits clear. */
static inline int dray_bitmap_new(struct dray_bitmap *b, uint64_t nbits)
{
	b->nbits = nbits;
	b->nset = 0;
	b->words = calloc((nbits + 63) / 64 + 1, sizeof *b->words);
	return b->words ? 0 : -ENOMEM;
}

static inline void dray_bitmap_free(struct dray_bitmap *b)
{
	free(b->words);
	b->words = NULL;
	b->nbits = b->nset = 0;
}

static inline bool dray_bitmap_test(const struct dray_bitmap *b, uint64_t i)
{
	assert(i < b->nbits);
	return b->words[i / 64] >> (i % 64) & 1;
}

/* Returns whether the bit changed. */
static inline bool dray_bitmap_set(struct dray_bitmap *b, uint64_t i)
{
	if (dray_bitmap_test(b, i))
		return false;
	b->words[i / 64] |= UINT64_C(1) << (i % 64);
	b->nset++;
	return true;
}

/* Returns whether the bit changed. */
static inline bool dray_bitmap_clear(struct dray_bitmap *b, uint64_t i)
{
	if (!dray_bitmap_test(b, i))
		return false;
	b->words[i / 64] &= ~(UINT64_C(1) << (i % 64));
	b->nset--;
	return true;
}

static inline void dray_bitmap_clear_all(struct dray_bitmap *b)
{
	memset(b->words, 0, dray_bitmap_nwords(b) * sizeof *b->words);
	b->nset = 0;
}

static inline void dray_bitmap_set_all(struct dray_bitmap *b)
{
	for (uint64_t i = 0; i < b->nbits; i++)
		dray_bitmap_set(b, i);
}

/* The first bit >= from that is set, or DRAY_BITMAP_NONE. */
static inline uint64_t dray_bitmap_next_set(const struct dray_bitmap *b, uint64_t from)
{
	for (uint64_t w = from / 64; w < dray_bitmap_nwords(b); w++) {
		uint64_t v = b->words[w];
		if (w == from / 64)
			v &= ~UINT64_C(0) << (from % 64);
		if (v) {
			uint64_t i = w * 64 + (uint64_t)__builtin_ctzll(v);
			return i < b->nbits ? i : DRAY_BITMAP_NONE;
		}
	}
	return DRAY_BITMAP_NONE;
}

/* The first bit >= from that is clear, or DRAY_BITMAP_NONE. */
static inline uint64_t dray_bitmap_next_clear(const struct dray_bitmap *b, uint64_t from)
{
	for (uint64_t w = from / 64; w < dray_bitmap_nwords(b); w++) {
		uint64_t v = ~b->words[w];
		if (w == from / 64)
			v &= ~UINT64_C(0) << (from % 64);
		if (v) {
			uint64_t i = w * 64 + (uint64_t)__builtin_ctzll(v);
			return i < b->nbits ? i : DRAY_BITMAP_NONE;
		}
	}
	return DRAY_BITMAP_NONE;
}

#endif
