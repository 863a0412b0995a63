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

static uint64_t able(const struct share_pair *p)
{
	return p->need && p->need < p->cap ? p->need : p->cap;
}

static int groups_by_need(const void *x, const void *y)
{
	const struct share_group *a = x, *b = y;
	return by_ratio(a->able, a->weight, b->able, b->weight);
}

static int pairs_by_need(const void *x, const void *y)
{
	const struct share_pair *a = x, *b = y;
	return able(a) < able(b) ? -1 : able(a) > able(b);
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

/* Who limits what a pair gets beside itself. */
static enum share_by beside(uint64_t whole, const struct share_group *g)
{
	if (whole == SHARE_ALL)
		return g->cap == SHARE_ALL ? SHARE_BY_NOBODY : SHARE_BY_GROUP;
	return g->share >= g->cap ? SHARE_BY_GROUP : SHARE_BY_WHOLE;
}

static void divide_pairs(struct share_group *g, enum share_by others)
{
	uint64_t left = g->share;
	if (g->n)
		qsort(g->pairs, g->n, sizeof *g->pairs, pairs_by_need);
	for (size_t i = 0; i < g->n; i++) {
		struct share_pair *p = &g->pairs[i];
		p->share = g->share ? part(left, 1, g->n - i, able(p)) : 0;
		left = less(left, p->share);
		p->by = p->cap != SHARE_ALL && p->share >= p->cap ? SHARE_BY_PAIR : others;
	}
}

void shares_divide(uint64_t whole, struct share_group *groups, size_t n)
{
	uint64_t weights = 0, left = whole;
	for (size_t i = 0; i < n; i++) {
		uint64_t sum = 0;
		for (size_t k = 0; k < groups[i].n; k++)
			sum = sum > SHARE_ALL - able(&groups[i].pairs[k]) ? SHARE_ALL : sum + able(&groups[i].pairs[k]);
		groups[i].able = sum < groups[i].cap ? sum : groups[i].cap;
		weights += groups[i].weight;
	}
	if (n)
		qsort(groups, n, sizeof *groups, groups_by_need);
	for (size_t i = 0; i < n; i++) {
		groups[i].share = part(left, groups[i].weight, weights, groups[i].able);
		left = less(left, groups[i].share);
		weights -= groups[i].weight;
		divide_pairs(&groups[i], beside(whole, &groups[i]));
	}
}
