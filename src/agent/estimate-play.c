/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A session played through, from one moment at which something changes to the next: a pair ends, a window opens or closes, an entry of a
 * timetable begins to hold. In between the pairs that may be active share what the limits leave, and those that lie on one disk share its speed.
 * Each pair begins with what it takes whatever its size; the agent has one hand for that, so those of pairs that begin together take turns.
 *
 * A document may have ten thousand pairs, all of them active at once. So a moment costs a few operations for each active pair: disks are
 * numbers, and what a timetable says is worked out when it changes, once for all pairs that have the same.
 */
#include "agent/estimate.h"

#include "base/min.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define HORIZON  (400 * 86400.0)
#define AT_ONCE  1e-3 /* seconds: what ends so soon after something else ends with it */

/* A rate, or a timetable with what it says until its next change. */
struct rate_now {
	const struct dray_timetable *table; /* or NULL */
	uint64_t rate;
	double until;
};

struct play {
	const struct estimate_rules *r;
	struct estimate_pair *pairs;
	size_t n, n_tables;
	struct rate_now session, *tables;
	int *table_of;      /* of each pair; -1: none */
	double *left, *fixed; /* bytes of each pair; seconds beside these, which come first */
	size_t *active;     /* the pairs that are */
	size_t n_fixed;     /* of these, in their fixed part */
	double *rates;      /* of the active */
	unsigned *beside;   /* by disk: how many of its pairs are active */
	unsigned n_disks;
	double now, next;
};

static void look_at_rate(struct rate_now *r, double now)
{
	if (!r->table || now < r->until)
		return;
	time_t change = dray_timetable_change(r->table, (time_t)now);
	r->rate = dray_timetable_at(r->table, (time_t)now);
	r->until = change ? (double)change : INFINITY;
}

static bool same_table(const struct dray_timetable *a, const struct dray_timetable *b)
{
	for (size_t i = 0; i < a->n && a->n == b->n; i++)
		if (a->entries[i].from != b->entries[i].from || a->entries[i].rate != b->entries[i].rate)
			return false;
	return a->n == b->n;
}

/* Documents have a few of them, if any: each pair's is compared with the one before, then with all. */
static int table_number(struct play *p, const struct dray_timetable *t, int last)
{
	if (!t)
		return -1;
	if (last >= 0 && same_table(p->tables[last].table, t))
		return last;
	for (size_t i = 0; i < p->n_tables && i < 256; i++)
		if (same_table(p->tables[i].table, t))
			return (int)i;
	p->tables[p->n_tables] = (struct rate_now){ t, 0, -INFINITY };
	return (int)p->n_tables++;
}

static void *room(size_t n, size_t size)
{
	void *p = calloc(n ? n : 1, size);
	if (!p)
		abort();
	return p;
}

static void begin(struct play *p)
{
	int last = -1;
	p->now = (double)p->r->from;
	p->left = room(p->n, sizeof *p->left);
	p->fixed = room(p->n, sizeof *p->fixed);
	p->active = room(p->n, sizeof *p->active);
	p->rates = room(p->n, sizeof *p->rates);
	p->tables = room(p->n, sizeof *p->tables);
	p->table_of = room(p->n, sizeof *p->table_of);
	for (size_t i = 0; i < p->n; i++) {
		struct estimate_pair *e = &p->pairs[i];
		p->left[i] = (double)e->bytes;
		p->fixed[i] = e->fixed;
		e->begins = e->ends = -1;
		p->n_disks = e->disk > p->n_disks ? e->disk : p->n_disks;
		p->table_of[i] = last = table_number(p, e->limits->rate_table, last);
	}
	p->beside = room(p->n_disks + 1, sizeof *p->beside);
	p->session = (struct rate_now){ p->r->limits->rate_table, p->r->limits->rate, -INFINITY };
}

static void end(struct play *p)
{
	free(p->left);
	free(p->fixed);
	free(p->active);
	free(p->rates);
	free(p->tables);
	free(p->table_of);
	free(p->beside);
}

static uint64_t equal(uint64_t whole, size_t n)
{
	return whole == DRAY_UNKNOWN || !whole ? whole : whole / n ? whole / n : 1;
}

static double sooner(double a, double b)
{
	return b < a ? b : a;
}

/* What each of the active pairs that move bytes moves a second: the least of what its disk gives it, its own limit, and its equal part of the session's and
 * the agent's, as limits.c divides them. And when that may change, at the earliest. */
static void set_rates(struct play *p, size_t n)
{
	look_at_rate(&p->session, p->now);
	p->next = p->session.table ? p->session.until : INFINITY;
	for (size_t i = 0; i < p->n_tables; i++) {
		look_at_rate(&p->tables[i], p->now);
		p->next = sooner(p->next, p->tables[i].until);
	}
	memset(p->beside, 0, (p->n_disks + 1) * sizeof *p->beside);
	p->n_fixed = 0;
	for (size_t i = 0; i < n; i++) {
		if (p->fixed[p->active[i]] > 0)
			p->n_fixed++;
		else
			p->beside[p->pairs[p->active[i]].disk]++;
	}
	size_t move = n - p->n_fixed ? n - p->n_fixed : 1;
	uint64_t all = min_u64(equal(p->session.rate, move), equal(p->r->rate, move));
	for (size_t i = 0; i < n; i++) {
		p->rates[i] = 0;
		if (p->fixed[p->active[i]] > 0)
			continue;
		const struct estimate_pair *e = &p->pairs[p->active[i]];
		int table = p->table_of[p->active[i]];
		uint64_t own = table >= 0 ? p->tables[table].rate : e->limits->rate;
		uint64_t disk = e->disk ? equal(e->speed, p->beside[e->disk]) : e->speed;
		unsigned targets = e->targets ? e->targets : 1;
		p->rates[i] = (double)min_u64(disk, equal(min_u64(own, all), targets));
	}
}

/* When the next of the active pairs is through with what it is at: its fixed part, or its bytes. */
static double next_through(struct play *p, size_t n, double next)
{
	for (size_t i = 0; i < n; i++) {
		size_t k = p->active[i];
		if (p->fixed[k] > 0)
			next = sooner(next, p->now + p->fixed[k] * (double)p->n_fixed);
		else
			next = sooner(next, p->rates[i] > 0 ? p->now + p->left[k] / p->rates[i] : p->left[k] > 0 ? INFINITY : p->now);
	}
	return next;
}

/* Until `next`; returns how many pairs end. */
static size_t go_on(struct play *p, size_t n, double next)
{
	size_t ended = 0;
	double from = (double)p->r->from;
	for (size_t i = 0; i < n; i++) {
		size_t k = p->active[i];
		double rate = p->rates[i];
		if (p->fixed[k] > 0) {
			p->fixed[k] -= (next - p->now) / (double)p->n_fixed;
			if (p->fixed[k] * (double)p->n_fixed > AT_ONCE)
				continue;
			p->fixed[k] = rate = 0;
		} else {
			p->left[k] -= rate * (next - p->now);
		}
		if (p->left[k] <= rate * AT_ONCE) {
			p->pairs[k].ends = next - from;
			ended++;
		}
	}
	return ended;
}

/* Closed: on to its opening. false: it opens never. Open: until when. */
static bool through_window(struct play *p, double *closes)
{
	const struct dray_windows *w = p->r->window;
	*closes = INFINITY;
	if (!w->n)
		return true;
	if (!dray_windows_open(w, (time_t)p->now)) {
		time_t at = dray_windows_opening(w, (time_t)p->now);
		if ((double)at <= p->now)
			return false;
		p->now = (double)at;
	}
	time_t at = dray_windows_change(w, (time_t)p->now);
	if (at)
		*closes = (double)at;
	return true;
}

/* How many of the places are free now, and `until` when, at least. */
static size_t free_places(const struct play *p, size_t *gone, double *until)
{
	const struct estimate_rules *r = p->r;
	while (*gone < r->n_taken && (double)r->from + r->taken[*gone] <= p->now)
		++*gone;
	size_t taken = r->n_taken - *gone;
	*until = taken ? (double)r->from + r->taken[*gone] : INFINITY;
	return !taken ? SIZE_MAX : r->places > taken ? (size_t)r->places - taken : 0;
}

double estimate_play(const struct estimate_rules *r, struct estimate_pair *pairs, size_t n)
{
	struct play p = { .r = r, .pairs = pairs, .n = n };
	size_t done = 0, first = 0, gone = 0, most = r->active_pairs < n ? (size_t)r->active_pairs : n;
	double from = (double)r->from, closes = 0, ran = 0, ran_most = r->run_most > 0 ? r->run_most : INFINITY;
	begin(&p);
	while (done < n && p.now < from + HORIZON && ran + AT_ONCE < ran_most) {
		if ((p.now >= closes || !closes) && !through_window(&p, &closes))
			break;
		double until;
		size_t k = 0, room = free_places(&p, &gone, &until);
		room = room < most ? room : most;
		while (pairs[first].ends >= 0)
			first++;
		for (size_t i = first; i < n && k < room; i++)
			if (pairs[i].ends < 0)
				p.active[k++] = i;
		set_rates(&p, k);
		double next = sooner(sooner(sooner(p.next, closes), until), p.now + ran_most - ran);
		for (size_t i = 0; i < k; i++)
			if (pairs[p.active[i]].begins < 0)
				pairs[p.active[i]].begins = p.now - from;
		next = next_through(&p, k, next);
		if (isinf(next))
			break;
		done += go_on(&p, k, next);
		ran += next - p.now;
		p.now = next > p.now ? next : p.now + AT_ONCE; /* never in one place, whatever numbers are rounded to */
	}
	double took = p.now - from;
	end(&p);
	return done == n ? took : -1;
}
