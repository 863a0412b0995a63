/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * An estimate
 *
 * What a pair has to move is what its source holds: of a file, what is not a hole; of an export that is looked at, what
 * its server does not call zero; of anything else, its size. How fast that goes is not known
 * before it is tried. What can be known is how fast some of the sources can be read, from a few reads (speed.c). A copy reads and
 * writes, perhaps on one disk, beside an application that it gives way to, and on a machine with other things to do; and with several requests at a
 * time, where that read had one. So of what reading alone gives a share is assumed, with a wide range (of_reading below); where nothing could be
 * measured, 100 MiB a second, and a range as wide as that deserves.
 *
 * Where copies were made before and nothing limited them, what they took goes before all of that (speeds.c): those to the same target, from the same source
 * if there are any, or else between the same disks. Then the range is from the slowest to the fastest, and somewhat beyond.
 *
 * Whatever its size, a pair takes some writes that must be durable: that is most of what small ones take. What it is, is measured from small ones
 * that were copied before (speeds_fixed).
 *
 * Then the session is played through (estimate-play.c), with its limits, timetables and windows, and pairs of one disk sharing its speed: once as is usual,
 * and with good and with bad luck. So a limit that binds makes the range narrow, and a window makes the end jump. Seconds are told whole: the
 * range's ends are rounded away from its middle.
 *
 * The core only says what it alone knows (estimate_take): the agent's limits, who goes before, and when the session would begin. All else is done on the request's thread.
 *
 * Others who have the agent's places, or wait for one before it, are waited for (ahead.h). Not known, and said: what they take of the agent's rate and of the disks, and
 * what the application writes meanwhile.
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

/* Of the speed at which a source was read; of what is assumed. */
static const double of_reading[] = { 3, 0.45, 0.15 }, of_guess[] = { 10, 1, 0.1 };
/* With bad luck, and a target of which nothing is known but that it is not here. */
#define OF_REMOTE 0.3
/* Seconds of a session, whatever is in it. */
static const double of_session[] = { 0, 0.15, 1 };
/* Of the time that others have their places. */
static const double of_others[] = { 0.8, 1, 1.25 };
/* Of the bytes, how many are moved in fact: a limit is not quite reached, and something is copied again. */
static const double of_bytes[] = { 1, 1, 1.08 };

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
	uint64_t *bytes;   /* of each pair */
	uint64_t measured; /* the median of the sources' rates; 0: none was measured */
	uint64_t fallback; /* for those that were not */
	size_t unmeasured; /* and with nothing to go by instead */
	size_t probed;
	struct speeds_found *before; /* of each pair */
	size_t n_before;
	double *taken; /* of facts.ahead */
};

enum luck { GOOD, USUAL, BAD };

/* Some target is behind a network, or another's server. */
static bool remote(const struct dray_pair *p)
{
	for (size_t t = 0; t < p->n_targets; t++)
		if (!strncmp(p->targets[t].at.resource, "nbd", 3))
			return true;
	return false;
}

static uint64_t speed(const struct basis *b, size_t i, enum luck luck)
{
	const struct speeds_found *f = &b->before[i];
	uint64_t read = b->probes->pairs[i].source.speed.read_rate;
	if (f->n)
		return luck == GOOD ? f->high : luck == USUAL ? f->mid : f->low;
	/* Of one target a half of the work is to write it, if it is on the same disk. */
	double writes = luck == GOOD ? 1 : 2 / (1 + (double)b->s->pairs[i].n_targets);
	if (luck == BAD && remote(&b->s->pairs[i]))
		writes *= OF_REMOTE;
	return (uint64_t)((double)(read ? read : b->fallback) * (read ? of_reading : of_guess)[luck] * writes);
}

/* Places that others have, from when it would begin. Their time is known as well as an ETA is. */
static void set_taken(struct basis *b, enum luck luck)
{
	const struct ahead *ahead = &b->facts->ahead;
	double wait = (double)(b->rules.from - b->facts->now);
	size_t n = 0;
	for (size_t i = 0; i < ahead->n; i++) {
		double until = ahead->until[i] * of_others[luck] - wait;
		if (until > 0)
			b->taken[n++] = until;
	}
	b->rules.places = ahead->places;
	b->rules.taken = b->taken;
	b->rules.n_taken = n;
}

static double play(struct basis *b, enum luck luck)
{
	const struct speeds_fixed *f = &b->facts->fixed;
	set_taken(b, luck);
	for (size_t i = 0; i < b->s->n_pairs; i++) {
		b->pairs[i].bytes = (uint64_t)((double)b->bytes[i] * of_bytes[luck]);
		b->pairs[i].speed = speed(b, i, luck);
		b->pairs[i].fixed = luck == GOOD ? f->low : luck == USUAL ? f->mid : f->high;
	}
	double took = estimate_play(&b->rules, b->pairs, b->s->n_pairs);
	return took < 0 ? took : took + of_session[luck] + (double)(b->rules.from - b->facts->now);
}

/* Of what takes any time at all: a second at least. */
static json_t *seconds(double s)
{
	return s < 0 ? json_null() : json_integer(s > 0 && s < 1 ? 1 : llround(s));
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
			p->vehicle_chosen ? p->vehicle_chosen : p->vehicle, "bytes", (json_int_t)b->bytes[i], "rate",
			took > 0 ? json_integer(llround((double)b->bytes[i] / took)) : json_null(), "begins", seconds(e->begins < 0 ? -1 : e->begins + wait), "seconds",
			seconds(took)));
	}
	return list;
}

/* Of the pairs that go by the one basis or the other: an example, for they may be many with a history each. */
static void say_example(const struct basis *b, json_t *list, size_t n, size_t example, const char *what)
{
	const struct speeds_found *f = &b->before[example];
	if (n)
		assume(list, "%zu of %zu pairs go by what %s: such as %.0f MiB/s, the median of %zu on record", n, b->s->n_pairs, what,
			(double)f->mid / (double)MIB, f->n);
}

static void say_before(const struct basis *b, json_t *list)
{
	size_t others = 0, places = 0, to_target = 0, place = 0, target = 0;
	char what[120];
	for (size_t i = 0; i < b->s->n_pairs; i++) {
		const struct speeds_found *f = &b->before[i];
		if (f->n && f->by == SPEEDS_PLACES)
			place = places++ ? place : i;
		else if (f->n)
			target = to_target++ ? target : i;
		others += f->n && f->by == SPEEDS_SAME_TARGET;
	}
	snprintf(what, sizeof what, "earlier copies to the same target took (%zu of them from other sources)", others);
	say_example(b, list, to_target, target, what);
	say_example(b, list, places, place, "earlier copies between the same disks or file systems took");
}

static void say_fixed(const struct basis *b, json_t *list)
{
	const struct speeds_fixed *f = &b->facts->fixed;
	double n = (double)b->s->n_pairs;
	if (f->mid * n >= 1)
		assume(list, "each pair takes %.0f ms beside its bytes (%.0f to %.0f): %s", f->mid * 1e3, f->low * 1e3, f->high * 1e3,
			f->n ? "as small ones before" : "no small ones were copied yet by which that could be known better");
}

static void say_measured(const struct basis *b, json_t *list)
{
	const struct dray_session *s = b->s;
	if (b->measured && b->n_before < s->n_pairs && b->probed == s->n_pairs)
		assume(list, "the sources were read for a moment: %.0f MiB/s; of that a copy is taken to reach %g, and from %g to %g of it with bad or good luck",
			(double)b->measured / (double)MIB, of_reading[USUAL], of_reading[BAD], of_reading[GOOD]);
	else if (b->measured && b->n_before < s->n_pairs)
		assume(list, "%zu of %zu sources were read for a moment, others of the same disks are taken to be as fast: %.0f MiB/s; of that a copy is taken to "
			"reach %g, and from %g to %g of it with bad or good luck", b->probed, s->n_pairs, (double)b->measured / (double)MIB, of_reading[USUAL],
			of_reading[BAD], of_reading[GOOD]);
	if (b->n_before < s->n_pairs)
		assume(list, "nothing is written to find out how fast the targets are: that is not known%s", b->n_before ? " of those without earlier copies" : "");
	if (b->unmeasured)
		assume(list, "%zu of %zu sources were not measured: %.0f MiB/s are assumed for them, and from %g to %g times that with bad or good luck",
			b->unmeasured, s->n_pairs, (double)b->fallback / (double)MIB, of_guess[BAD], of_guess[GOOD]);
}

static void say_holes(const struct basis *b, json_t *list, uint64_t holes)
{
	size_t counted = 0;
	for (size_t i = 0; i < b->s->n_pairs; i++)
		counted += b->probes->pairs[i].source.speed.counted;
	if (holes)
		assume(list, "%.0f MiB of the sources are holes, which are not moved", (double)holes / (double)MIB);
	if (counted)
		assume(list, "of %zu of %zu sources only the number of their blocks was looked at, not where they are", counted, b->s->n_pairs);
}

static void say_limits(const struct basis *b, json_t *list)
{
	const struct dray_session *s = b->s;
	bool any = s->limits.rate_table || s->limits.rate != DRAY_UNKNOWN || b->facts->rate != DRAY_UNKNOWN, table = s->limits.rate_table || s->pair_tables;
	size_t targets = 0;
	for (size_t i = 0; i < s->n_pairs; i++) {
		any |= s->pairs[i].limits.rate_table || s->pairs[i].limits.rate != DRAY_UNKNOWN;
		targets = s->pairs[i].n_targets > targets ? s->pairs[i].n_targets : targets;
	}
	if (any)
		assume(list, "the limits of the rate are as they are now%s, and no other session shares the agent's%s", table ? " and as the timetables say" : "",
			targets > 1 ? "; what goes to several targets counts for each of them" : "");
}

static void say_others(const struct basis *b, json_t *list)
{
	const struct ahead *ahead = &b->facts->ahead;
	if (ahead->n)
		assume(list, "pairs of other sessions have %zu of the agent's %llu places, and %zu wait before it: it begins as these get through, by what is left of them and their "
			"limits, at %.0f MiB/s where nothing was measured yet", ahead->active, (unsigned long long)ahead->places, ahead->waiting, (double)AHEAD_GUESS / (double)MIB);
	if (ahead->unknown)
		assume(list, "of %zu pairs of other sessions, which have places or wait for one before it, it is not known when they get through: they are not counted", ahead->unknown);
}

static void say(const struct basis *b, json_t *list, uint64_t holes)
{
	const struct dray_session *s = b->s;
	char at[40];
	say_before(b, list);
	say_measured(b, list);
	say_holes(b, list, holes);
	say_fixed(b, list);
	if (b->rules.active_pairs < s->n_pairs)
		assume(list, "%llu of %zu pairs are active at a time", (unsigned long long)b->rules.active_pairs, s->n_pairs);
	say_limits(b, list);
	say_others(b, list);
	if (s->window.n)
		assume(list, "data moves in the window only");
	if (b->rules.from > b->facts->now)
		assume(list, "it begins at %s", dray_instant_format(b->rules.from, at, sizeof at));
	else if (s->start_event)
		assume(list, "it is counted from the event %s, whenever that comes", s->start_event);
	if (s->start == DRAY_START_EVERY)
		assume(list, "it is told until all is in the working images; the generations come at their moments after that");
	assume(list, "what the applications write meanwhile is not known, nor how much they leave to the copy");
}

static int by_name(const void *x, const void *y)
{
	const char *const *const *a = x, *const *const *b = y;
	return strcmp(**a, **b);
}

/* Places are numbered, from 1. */
static void number_disks(const struct dray_session *s, struct estimate_pair *pairs)
{
	size_t n = s->n_pairs;
	const char **names = calloc(n ? n : 1, sizeof *names), ***order = calloc(n ? n : 1, sizeof *order);
	unsigned number = 0;
	if (!names || !order)
		abort();
	for (size_t i = 0; i < n; i++) {
		names[i] = s->pairs[i].source_place ? s->pairs[i].source_place : "";
		order[i] = &names[i];
	}
	qsort(order, n, sizeof *order, by_name);
	for (size_t k = 0; k < n; k++) {
		number += !k || strcmp(*order[k], *order[k - 1]) != 0;
		pairs[order[k] - names].disk = number;
	}
	free(names);
	free(order);
}

void estimate_take(struct agent *a, const struct dray_session *s, struct estimate_facts *facts)
{
	time_t begins = schedule_begins(s);
	*facts = (struct estimate_facts){ .now = wall_now(), .rate = a->config->rate,
		.active_pairs = session_places(a, s), .speeds = speeds_all(a), .fixed = speeds_fixed(a) };
	facts->from = begins > facts->now ? begins : facts->now;
	ahead_take(a, s->priority, s->n_pairs, &facts->ahead);
}

json_t *estimate_make(const struct dray_session *s, const struct probe_set *probes, const struct estimate_facts *facts)
{
	struct basis b = { .s = s, .probes = probes, .facts = facts, .rules = { .from = facts->from, .rate = facts->rate, .limits = &s->limits,
		.window = &s->window, .active_pairs = facts->active_pairs } };
	if (s->max_duration_ns != DRAY_UNKNOWN)
		b.rules.run_most = (double)s->max_duration_ns / 1e9;
	b.pairs = calloc(s->n_pairs ? s->n_pairs : 1, sizeof *b.pairs);
	b.bytes = calloc(s->n_pairs ? s->n_pairs : 1, sizeof *b.bytes);
	b.before = calloc(s->n_pairs ? s->n_pairs : 1, sizeof *b.before);
	b.taken = calloc(facts->ahead.n + 1, sizeof *b.taken);
	if (!b.pairs || !b.bytes || !b.before || !b.taken)
		abort();
	struct speeds_list *speeds = speeds_list(facts->speeds);
	uint64_t holes = 0, total = 0;
	for (size_t i = 0; i < s->n_pairs; i++) {
		const struct probe *p = &probes->pairs[i].source;
		uint64_t size = s->pairs[i].progress.bytes_total == DRAY_UNKNOWN ? 0 : s->pairs[i].progress.bytes_total;
		bool known = p->speed.data_bytes != DRAY_UNKNOWN && p->speed.data_bytes < size;
		b.bytes[i] = known ? p->speed.data_bytes : size;
		b.pairs[i] = (struct estimate_pair){ .targets = (unsigned)s->pairs[i].n_targets, .limits = &s->pairs[i].limits };
		holes += known ? size - p->speed.data_bytes : 0;
		total += b.bytes[i];
		b.before[i] = speeds_find(speeds, &s->pairs[i]);
		b.probed += p->speed.measured;
		b.n_before += b.before[i].n > 0;
		b.unmeasured += !p->speed.read_rate && !b.before[i].n && b.bytes[i];
	}
	number_disks(s, b.pairs);
	b.measured = median_rate(probes);
	b.fallback = b.measured ? b.measured : ASSUMED;
	double wait = (double)(b.rules.from - facts->now), low = play(&b, GOOD), high = play(&b, BAD), mid = play(&b, USUAL);
	if (high >= 0 && mid >= 0 && high < mid)
		high = mid; /* a timetable may favour the slow */
	if (low > mid && mid >= 0)
		low = mid;
	if (low > 0 && (b.rules.from > facts->now || s->window.n))
		low = low > 1 ? low - 1 : 0; /* to a moment it is a part of a second less than was counted: now is told whole, too */
	json_t *list = json_array();
	say(&b, list, holes);
	if (mid < 0 && b.rules.run_most > 0)
		assume(list, "its max_duration is used up before it ends: it would be paused then");
	else if (mid < 0)
		assume(list, "by its limits and windows it would not end within a year");
	else if (b.rules.run_most > 0 && high < 0)
		assume(list, "at worst its max_duration would be used up before it ends");
	json_t *answer = json_pack("{s:s, s:I, s:o, s:o, s:o, s:o, s:o}", "name", s->name, "bytes", (json_int_t)total, "seconds",
		seconds(mid), "seconds_low", seconds(low < 0 ? low : floor(low)), "seconds_high", seconds(high < 0 ? high : ceil(high)), "assumptions", list, "pairs", pairs_json(&b, wait));
	free(b.pairs);
	free(b.bytes);
	free(b.before);
	free(b.taken);
	free(speeds);
	return answer;
}
