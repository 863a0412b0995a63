/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Those who can use least for their weight come first: each gets its fair part of what is left, or its limit if that is less, and
 * what it leaves raises the parts of those behind it. One pass is enough, since none behind needs less than its fair part.
 */
#include "agent/shares.h"

#include <stdlib.h>

/* a/b < c/d, without a division. */
static int by_ratio(uint64_t a, uint64_t b, uint64_t c, uint64_t d)
{
	unsigned __int128 x = (unsigned __int128)a * d, y = (unsigned __int128)c * b;
	return x < y ? -1 : x > y;
}

static int groups_by_need(const void *x, const void *y)
{
	const struct share_group *a = x, *b = y;
	return by_ratio(a->cap, a->weight, b->cap, b->weight);
}

static int pairs_by_need(const void *x, const void *y)
{
	const struct share_pair *a = x, *b = y;
	return a->cap < b->cap ? -1 : a->cap > b->cap;
}

/* The part of one of weight w, of `left` that is for `weights` together. Not 0: that would stop it. */
static uint64_t part(uint64_t left, uint64_t w, uint64_t weights, uint64_t cap)
{
	if (left == SHARE_ALL || !cap)
		return cap;
	uint64_t fair = (uint64_t)((unsigned __int128)left * w / weights);
	fair = fair < cap ? fair : cap;
	return fair ? fair : 1;
}

static uint64_t less(uint64_t left, uint64_t share)
{
	return left == SHARE_ALL ? left : left > share ? left - share : 0;
}

static void divide_pairs(struct share_group *g)
{
	uint64_t left = g->share;
	if (g->n)
		qsort(g->pairs, g->n, sizeof *g->pairs, pairs_by_need);
	for (size_t i = 0; i < g->n; i++) {
		g->pairs[i].share = g->share ? part(left, 1, g->n - i, g->pairs[i].cap) : 0;
		left = less(left, g->pairs[i].share);
	}
}

void shares_divide(uint64_t whole, struct share_group *groups, size_t n)
{
	uint64_t weights = 0, left = whole;
	for (size_t i = 0; i < n; i++) {
		uint64_t sum = 0;
		for (size_t k = 0; k < groups[i].n; k++)
			sum = sum > SHARE_ALL - groups[i].pairs[k].cap ? SHARE_ALL : sum + groups[i].pairs[k].cap;
		if (sum < groups[i].cap)
			groups[i].cap = sum; /* more it can't use */
		weights += groups[i].weight;
	}
	if (n)
		qsort(groups, n, sizeof *groups, groups_by_need);
	for (size_t i = 0; i < n; i++) {
		groups[i].share = part(left, groups[i].weight, weights, groups[i].cap);
		left = less(left, groups[i].share);
		weights -= groups[i].weight;
		divide_pairs(&groups[i]);
	}
}
