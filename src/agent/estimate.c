/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * An estimate
 *
 * What a pair has to move is what its source holds: of a file, what is not a hole; of anything else, its size. How fast that goes is not known
 * before it is tried. What can be known is how fast the source can be read, from a few reads (speed.c). A copy reads and
 * writes, perhaps on one disk, beside an application that it gives way to: of what reading alone gives, six tenths are assumed, and the
 * range goes from all of it to three tenths. Where nothing could be measured, 100 MiB a second are assumed, and the range is as wide as that deserves.
 *
 * Then the session is played through, from one moment at which something changes to the next: a pair ends, a window opens or closes, an entry of
 * a timetable begins to hold. In between the pairs that may be active share what the limits leave, and those that
 * lie on one disk share its speed. So a limit that binds makes the range narrow, and a window makes the end jump.
 *
 * Not known, and said: what other sessions do at that time, and what the application writes meanwhile.
 */
#include "agent/estimate.h"

#include "agent/clock.h"
#include "base/instant.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MIB      UINT64_C(1048576)
#define ASSUMED  (100 * MIB)
#define HORIZON  (400 * 86400.0)
#define AT_ONCE  1e-3 /* seconds: what ends so soon after something else ends with it */

/* ---- playing it through ---- */

static uint64_t rate_at(const struct dray_limits *l, time_t t)
{
	return l->rate_table ? dray_timetable_at(l->rate_table, t) : l->rate;
}

static double sooner(double a, time_t at, double now)
{
	return at && (double)at > now && (double)at < a ? (double)at : a;
}

/* When a limit says something else. */
static double next_change(const struct estimate_rules *r, const struct estimate_pair *pairs, size_t n, double now)
{
	double next = INFINITY;
	if (r->window->n)
		next = sooner(next, dray_windows_change(r->window, (time_t)now), now);
	if (r->limits->rate_table)
		next = sooner(next, dray_timetable_change(r->limits->rate_table, (time_t)now), now);
	for (size_t i = 0; i < n; i++)
		if (pairs[i].limits->rate_table)
			next = sooner(next, dray_timetable_change(pairs[i].limits->rate_table, (time_t)now), now);
	return next;
}

static bool same_disk(const struct estimate_pair *a, const struct estimate_pair *b)
{
	return a == b || (a->disk && b->disk && !strcmp(a->disk, b->disk));
}

static uint64_t equal(uint64_t whole, size_t n)
{
	return whole == DRAY_UNKNOWN || !whole ? whole : whole / n ? whole / n : 1;
}

/* What each of the active pairs moves a second: the least of what its disk gives it, its own limit, and its equal part of the session's and
 * the agent's, as limits.c divides them. */
static void set_rates(const struct estimate_rules *r, const struct estimate_pair *pairs, const size_t *active, size_t n, double now, double *rates)
{
	uint64_t session = equal(rate_at(r->limits, (time_t)now), n), agent = equal(r->rate, n);
	for (size_t i = 0; i < n; i++) {
		size_t beside = 0;
		for (size_t k = 0; k < n; k++)
			beside += same_disk(&pairs[active[i]], &pairs[active[k]]);
		uint64_t rate = equal(pairs[active[i]].speed, beside), own = rate_at(pairs[active[i]].limits, (time_t)now);
		rate = own < rate ? own : rate;
		rate = session < rate ? session : rate;
		rates[i] = (double)(agent < rate ? agent : rate);
	}
}

double estimate_play(const struct estimate_rules *r, struct estimate_pair *pairs, size_t n)
{
	double now = (double)r->from, from = now;
	double *left = calloc(n ? n : 1, sizeof *left), *rates = calloc(n ? n : 1, sizeof *rates);
	size_t *active = calloc(n ? n : 1, sizeof *active), done = 0, most = r->active_pairs < n ? (size_t)r->active_pairs : n;
	if (!left || !rates || !active)
		abort();
	for (size_t i = 0; i < n; i++) {
		left[i] = (double)pairs[i].bytes;
		pairs[i].begins = pairs[i].ends = -1;
	}
	while (done < n && now < from + HORIZON) {
		if (r->window->n && !dray_windows_open(r->window, (time_t)now)) {
			time_t at = dray_windows_opening(r->window, (time_t)now);
			if (!at)
				break;
			now = (double)at;
			continue;
		}
		size_t k = 0;
		for (size_t i = 0; i < n && k < most; i++)
			if (pairs[i].ends < 0)
				active[k++] = i;
		set_rates(r, pairs, active, k, now, rates);
		double next = next_change(r, pairs, n, now);
		for (size_t i = 0; i < k; i++) {
			if (pairs[active[i]].begins < 0)
				pairs[active[i]].begins = now - from;
			double end = rates[i] > 0 ? now + left[active[i]] / rates[i] : left[active[i]] > 0 ? INFINITY : now;
			next = end < next ? end : next;
		}
		if (isinf(next))
			break;
		for (size_t i = 0; i < k; i++) {
			double *l = &left[active[i]];
			*l -= rates[i] * (next - now);
			if (*l <= rates[i] * AT_ONCE) {
				pairs[active[i]].ends = next - from;
				done++;
			}
		}
		now = next;
	}
	free(left);
	free(rates);
	free(active);
	return done == n ? now - from : -1;
}

/* ---- of a session ---- */

static int by_size(const void *x, const void *y)
{
	uint64_t a = *(const uint64_t *)x, b = *(const uint64_t *)y;
	return a < b ? -1 : a > b;
}

/* Of those that were measured; 0: none was. */
static uint64_t median_rate(const struct probe_set *probes)
{
	uint64_t *rates = calloc(probes->n ? probes->n : 1, sizeof *rates);
	size_t n = 0;
	if (!rates)
		abort();
	for (size_t i = 0; i < probes->n; i++)
		if (probes->pairs[i].source.speed.read_rate)
			rates[n++] = probes->pairs[i].source.speed.read_rate;
	qsort(rates, n, sizeof *rates, by_size);
	uint64_t median = n ? rates[(n - 1) / 2] : 0;
	free(rates);
	return median;
}

static const char *disk_of(const struct probe *p)
{
	return p->lineage.n_below ? p->lineage.below[p->lineage.n_below - 1] : p->info.identity[0] ? p->info.identity : NULL;
}

static void __attribute__((format(printf, 2, 3))) assume(json_t *list, const char *fmt, ...)
{
	char text[300];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	json_array_append_new(list, json_string(text));
}

struct basis {
	const struct job *job;
	const struct probe_set *probes;
	struct estimate_rules rules;
	struct estimate_pair *pairs;
	uint64_t measured; /* the median of the sources' rates; 0: none was measured */
	uint64_t fallback; /* for those that were not */
	size_t unmeasured;
};

static double play(struct basis *b, double of_reading)
{
	for (size_t i = 0; i < b->job->s->n_pairs; i++) {
		uint64_t read = b->probes->pairs[i].source.speed.read_rate;
		b->pairs[i].speed = (uint64_t)((double)(read ? read : b->fallback) * of_reading);
	}
	return estimate_play(&b->rules, b->pairs, b->job->s->n_pairs);
}

static json_t *seconds(double s)
{
	return s < 0 ? json_null() : json_integer((json_int_t)ceil(s));
}

static json_t *pairs_json(const struct basis *b, double wait)
{
	const struct dray_session *s = b->job->s;
	json_t *list = json_array();
	for (size_t i = 0; i < s->n_pairs; i++) {
		const struct dray_pair *p = &s->pairs[i];
		const struct estimate_pair *e = &b->pairs[i];
		double took = e->ends < 0 ? -1 : e->ends - e->begins;
		char id[16];
		snprintf(id, sizeof id, "%u", p->id);
		json_array_append_new(list, json_pack("{s:s, s:s, s:s?, s:I, s:o, s:o, s:o}", "id", id, "source", p->source.resource, "vehicle",
			p->vehicle_chosen ? p->vehicle_chosen : p->vehicle, "bytes", (json_int_t)e->bytes, "rate",
			took > 0 ? json_integer((json_int_t)((double)e->bytes / took)) : json_null(), "begins", seconds(e->begins < 0 ? -1 : e->begins + wait), "seconds",
			seconds(took)));
	}
	return list;
}

static void say(const struct basis *b, const struct agent *a, json_t *list, uint64_t holes)
{
	const struct dray_session *s = b->job->s;
	char at[40];
	if (b->measured)
		assume(list, "the sources were read for a moment: %.0f MiB/s; of that a copy is taken to reach six tenths, all of it at best, three tenths at "
			"worst", (double)b->measured / (double)MIB);
	if (b->unmeasured)
		assume(list, "%zu of %zu sources were not measured: %.0f MiB/s are assumed for them", b->unmeasured, s->n_pairs,
			(double)b->fallback / (double)MIB);
	if (holes)
		assume(list, "%.0f MiB of the sources are holes, which are not moved", (double)holes / (double)MIB);
	if (b->rules.active_pairs < s->n_pairs)
		assume(list, "%llu of %zu pairs are active at a time", (unsigned long long)b->rules.active_pairs, s->n_pairs);
	if (s->limits.rate_table || s->limits.rate != DRAY_UNKNOWN || a->config->rate != DRAY_UNKNOWN)
		assume(list, "the limits of the rate are as they are now%s, and no other session shares the agent's", s->limits.rate_table ? " and the timetable" : "");
	if (s->window.n)
		assume(list, "data moves in the window only");
	if (b->rules.from > wall_now())
		assume(list, "it begins at %s", dray_instant_format(b->rules.from, at, sizeof at));
	else if (s->start_event)
		assume(list, "it is counted from the event %s, whenever that comes", s->start_event);
	assume(list, "what the applications write meanwhile is not known, nor how much they leave to the copy");
	if (s->max_duration_ns != DRAY_UNKNOWN)
		assume(list, "max_duration is not taken into account");
}

json_t *estimate_make(struct agent *a, const struct job *job, const struct probe_set *probes)
{
	const struct dray_session *s = job->s;
	time_t due = schedule_due(job), now = wall_now();
	uint64_t session_most = s->limits.active_pairs, agent_most = a->config->active_pairs;
	struct basis b = { .job = job, .probes = probes, .rules = { .from = due > now ? due : now, .rate = a->config->rate, .limits = &s->limits,
		.window = &s->window, .active_pairs = session_most < agent_most ? session_most : agent_most } };
	b.pairs = calloc(s->n_pairs ? s->n_pairs : 1, sizeof *b.pairs);
	if (!b.pairs)
		abort();
	uint64_t holes = 0, total = 0;
	for (size_t i = 0; i < s->n_pairs; i++) {
		const struct probe *p = &probes->pairs[i].source;
		uint64_t size = s->pairs[i].progress.bytes_total == DRAY_UNKNOWN ? 0 : s->pairs[i].progress.bytes_total;
		bool known = p->speed.data_bytes != DRAY_UNKNOWN && p->speed.data_bytes < size;
		b.pairs[i] = (struct estimate_pair){ .bytes = known ? p->speed.data_bytes : size, .disk = disk_of(p), .limits = &s->pairs[i].limits };
		holes += known ? size - p->speed.data_bytes : 0;
		total += b.pairs[i].bytes;
		b.unmeasured += !p->speed.read_rate;
	}
	b.measured = median_rate(probes);
	bool guessed = !b.measured;
	b.fallback = guessed ? ASSUMED : b.measured;
	double wait = (double)(b.rules.from - now), low = play(&b, guessed ? 10 : 1), high = play(&b, guessed ? 0.1 : 0.3), mid = play(&b, guessed ? 1 : 0.6);
	json_t *list = json_array();
	say(&b, a, list, holes);
	if (mid < 0)
		assume(list, "by its limits and windows it would not end within a year");
	json_t *answer = json_pack("{s:s, s:I, s:o, s:o, s:o, s:o, s:o}", "name", s->name, "bytes", (json_int_t)total, "seconds",
		seconds(mid < 0 ? mid : mid + wait), "seconds_low", seconds(low < 0 ? low : low + wait), "seconds_high",
		seconds(high < 0 ? high : high + wait), "assumptions", list, "pairs", pairs_json(&b, wait));
	free(b.pairs);
	return answer;
}
