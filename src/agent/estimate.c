/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * An estimate
 *
 * What a pair has to move is what its source holds: of a file, what is not a hole; of anything else, its size. How fast that goes is not known
 * before it is tried. What can be known is how fast the source can be read, from a few reads (speed.c). A copy reads and
 * writes, perhaps on one disk, beside an application that it gives way to: of what reading alone gives, six tenths are assumed, and the
 * range goes from all of it to three tenths. Where nothing could be measured, 100 MiB a second are assumed, and the range is as wide as that deserves.
 *
 * Where copies to the same target, from the same source if there are any, were made before and nothing limited them, what they took goes before all of
 * that (speeds.c), and the range is from the slowest to the fastest.
 *
 * Then the session is played through (estimate-play.c), with its limits, timetables and windows, and pairs of one disk sharing its speed. So a
 * limit that binds makes the range narrow, and a window makes the end jump.
 *
 * The core only says what it alone knows (estimate_take): the agent's limits, and when the session would begin. All else is done on the request's thread.
 *
 * Not known, and said: what other sessions do at that time, and what the application writes meanwhile.
 */
#include "agent/estimate.h"

#include "agent/clock.h"
#include "agent/speeds.h"
#include "base/instant.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MIB      UINT64_C(1048576)
#define ASSUMED  (100 * MIB)

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
	const struct dray_session *s;
	const struct probe_set *probes;
	const struct estimate_facts *facts;
	struct estimate_rules rules;
	struct estimate_pair *pairs;
	uint64_t measured; /* the median of the sources' rates; 0: none was measured */
	uint64_t fallback; /* for those that were not */
	size_t unmeasured;
	struct speeds_found *before; /* of each pair */
	size_t n_before;
};

enum luck { GOOD, USUAL, BAD };

static double play(struct basis *b, enum luck luck)
{
	static const double of_reading[] = { 1, 0.6, 0.3 }, of_guess[] = { 10, 1, 0.1 };
	for (size_t i = 0; i < b->s->n_pairs; i++) {
		uint64_t read = b->probes->pairs[i].source.speed.read_rate;
		const struct speeds_found *f = &b->before[i];
		const double *of = b->measured ? of_reading : of_guess;
		b->pairs[i].speed = f->n ? (luck == GOOD ? f->high : luck == USUAL ? f->mid : f->low) : (uint64_t)((double)(read ? read : b->fallback) * of[luck]);
	}
	return estimate_play(&b->rules, b->pairs, b->s->n_pairs);
}

static json_t *seconds(double s)
{
	return s < 0 ? json_null() : json_integer((json_int_t)ceil(s));
}

static json_t *pairs_json(const struct basis *b, double wait)
{
	const struct dray_session *s = b->s;
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

static void say_before(const struct basis *b, json_t *list)
{
	size_t copies = 0, others = 0, first = 0;
	for (size_t i = 0; i < b->s->n_pairs; i++) {
		copies += b->before[i].n;
		others += b->before[i].target_only;
		first = b->before[first].n ? first : i;
	}
	if (!b->n_before)
		return;
	assume(list, "%zu of %zu pairs go by what earlier copies to the same target took (%zu of them from other sources): %zu on record, such as %.0f MiB/s", b->n_before,
		b->s->n_pairs, others, copies, (double)b->before[first].mid / (double)MIB);
}

static void say(const struct basis *b, json_t *list, uint64_t holes)
{
	const struct dray_session *s = b->s;
	char at[40];
	say_before(b, list);
	if (b->measured && b->n_before < s->n_pairs)
		assume(list, "the sources were read for a moment: %.0f MiB/s; of that a copy is taken to reach six tenths, all of it at best, three tenths at "
			"worst", (double)b->measured / (double)MIB);
	if (b->unmeasured)
		assume(list, "%zu of %zu sources were not measured: %.0f MiB/s are assumed for them", b->unmeasured, s->n_pairs,
			(double)b->fallback / (double)MIB);
	if (holes)
		assume(list, "%.0f MiB of the sources are holes, which are not moved", (double)holes / (double)MIB);
	if (b->rules.active_pairs < s->n_pairs)
		assume(list, "%llu of %zu pairs are active at a time", (unsigned long long)b->rules.active_pairs, s->n_pairs);
	if (s->limits.rate_table || s->limits.rate != DRAY_UNKNOWN || b->facts->rate != DRAY_UNKNOWN)
		assume(list, "the limits of the rate are as they are now%s, and no other session shares the agent's", s->limits.rate_table ? " and the timetable" : "");
	if (s->window.n)
		assume(list, "data moves in the window only");
	if (b->rules.from > b->facts->now)
		assume(list, "it begins at %s", dray_instant_format(b->rules.from, at, sizeof at));
	else if (s->start_event)
		assume(list, "it is counted from the event %s, whenever that comes", s->start_event);
	assume(list, "what the applications write meanwhile is not known, nor how much they leave to the copy");
}

static int by_name(const void *x, const void *y)
{
	const char *const *const *a = x, *const *const *b = y;
	return strcmp(**a, **b);
}

/* Disks are numbered, from 1; 0 is one of its own. */
static void number_disks(const struct probe_set *probes, struct estimate_pair *pairs, size_t n)
{
	const char **names = calloc(n ? n : 1, sizeof *names), ***order = calloc(n ? n : 1, sizeof *order);
	size_t known = 0;
	unsigned number = 0;
	if (!names || !order)
		abort();
	for (size_t i = 0; i < n; i++)
		if ((names[i] = disk_of(&probes->pairs[i].source)))
			order[known++] = &names[i];
	qsort(order, known, sizeof *order, by_name);
	for (size_t k = 0; k < known; k++) {
		number += !k || strcmp(*order[k], *order[k - 1]) != 0;
		pairs[order[k] - names].disk = number;
	}
	free(names);
	free(order);
}

static const char *source_identity(const struct dray_pair *p)
{
	return p->origin.identity ? p->origin.identity : p->source_identity;
}

void estimate_take(struct agent *a, const struct dray_session *s, struct estimate_facts *facts)
{
	uint64_t session_most = s->limits.active_pairs, agent_most = a->config->active_pairs;
	time_t begins = schedule_begins(s);
	*facts = (struct estimate_facts){ .now = wall_now(), .rate = a->config->rate,
		.active_pairs = session_most < agent_most ? session_most : agent_most, .speeds = speeds_all(a) };
	facts->from = begins > facts->now ? begins : facts->now;
}

json_t *estimate_make(const struct dray_session *s, const struct probe_set *probes, const struct estimate_facts *facts)
{
	struct basis b = { .s = s, .probes = probes, .facts = facts, .rules = { .from = facts->from, .rate = facts->rate, .limits = &s->limits,
		.window = &s->window, .active_pairs = facts->active_pairs } };
	if (s->max_duration_ns != DRAY_UNKNOWN)
		b.rules.run_most = (double)s->max_duration_ns / 1e9;
	b.pairs = calloc(s->n_pairs ? s->n_pairs : 1, sizeof *b.pairs);
	b.before = calloc(s->n_pairs ? s->n_pairs : 1, sizeof *b.before);
	if (!b.pairs || !b.before)
		abort();
	uint64_t holes = 0, total = 0;
	for (size_t i = 0; i < s->n_pairs; i++) {
		const struct probe *p = &probes->pairs[i].source;
		uint64_t size = s->pairs[i].progress.bytes_total == DRAY_UNKNOWN ? 0 : s->pairs[i].progress.bytes_total;
		bool known = p->speed.data_bytes != DRAY_UNKNOWN && p->speed.data_bytes < size;
		b.pairs[i] = (struct estimate_pair){ .bytes = known ? p->speed.data_bytes : size, .limits = &s->pairs[i].limits };
		holes += known ? size - p->speed.data_bytes : 0;
		total += b.pairs[i].bytes;
		b.before[i] = speeds_find(facts->speeds, source_identity(&s->pairs[i]), s->pairs[i].n_targets ? s->pairs[i].targets[0].identity : NULL);
		b.n_before += b.before[i].n > 0;
		b.unmeasured += !p->speed.read_rate && !b.before[i].n;
	}
	number_disks(probes, b.pairs, s->n_pairs);
	b.measured = median_rate(probes);
	b.fallback = b.measured ? b.measured : ASSUMED;
	double wait = (double)(b.rules.from - facts->now), low = play(&b, GOOD), high = play(&b, BAD), mid = play(&b, USUAL);
	json_t *list = json_array();
	say(&b, list, holes);
	if (mid < 0 && b.rules.run_most > 0)
		assume(list, "its max_duration is used up before it ends: it would be paused then");
	else if (mid < 0)
		assume(list, "by its limits and windows it would not end within a year");
	else if (b.rules.run_most > 0 && high < 0)
		assume(list, "at worst its max_duration would be used up before it ends");
	json_t *answer = json_pack("{s:s, s:I, s:o, s:o, s:o, s:o, s:o}", "name", s->name, "bytes", (json_int_t)total, "seconds",
		seconds(mid < 0 ? mid : mid + wait), "seconds_low", seconds(low < 0 ? low : low + wait), "seconds_high",
		seconds(high < 0 ? high : high + wait), "assumptions", list, "pairs", pairs_json(&b, wait));
	free(b.pairs);
	free(b.before);
	return answer;
}
