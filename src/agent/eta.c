/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * When what is under way will be in sync: what is left of each pair, at the speed that it was seen to have, played through as an estimate is
 * (estimate-play.c), with the windows, timetables and limits that are still to come.
 *
 * The speed of a pair is what was measured last while no limit held it, or, if that is more, what it reached in spite of one (observe.c); of one that has not
 * begun yet, the median of the others'; where all are over before they have one, their part of what the session moves. One that a limit holds now can have,
 * when others are through, what they all move now at least. Nobody knows when a person resumes what is paused, when an event comes, or who goes on
 * when max_duration is used up: then there is none (null). What other sessions leave of the agent's places and of its rate is not foreseen; what they take
 * now is in what was measured.
 */
#include "agent/eta.h"

#include "agent/clock.h"
#include "agent/estimate.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* More operations than that are not made while everybody waits: all of it is one pair then. */
#define WORK_MOST 4000000

static bool waits(enum dray_pair_state state)
{
	return state == DRAY_PAIR_SCHEDULED || state == DRAY_PAIR_QUEUED || state == DRAY_PAIR_PAUSED;
}

static bool moves(enum dray_pair_state state)
{
	return state == DRAY_PAIR_STARTING || state == DRAY_PAIR_COPYING;
}

static int by_size(const void *x, const void *y)
{
	uint64_t a = *(const uint64_t *)x, b = *(const uint64_t *)y;
	return a < b ? -1 : a > b;
}

/* Of one that has none: the median of those that have; or its part of what they all move. 0: that is not known either. */
static uint64_t usual_speed(const struct job *job)
{
	size_t n = 0;
	uint64_t *speeds = malloc((job->s->n_pairs ? job->s->n_pairs : 1) * sizeof *speeds);
	if (!speeds)
		abort();
	for (size_t i = 0; i < job->s->n_pairs; i++)
		if (job->runs[i].speed)
			speeds[n++] = job->runs[i].speed;
	qsort(speeds, n, sizeof *speeds, by_size);
	uint64_t median = n ? speeds[(n - 1) / 2] : 0, rate, n_moving = job_count(job, DRAY_PAIR_STARTING) + job_count(job, DRAY_PAIR_COPYING);
	free(speeds);
	if (n || (rate = job_rate(job)) == DRAY_UNKNOWN)
		return median;
	return rate / (n_moving ? n_moving : 1);
}

struct eta {
	const struct job *job;
	struct estimate_pair *pairs;
	size_t *index, n; /* which pair of the document each of them is; those that move come first */
	bool held;        /* some pair waits for a person */
	uint64_t together; /* what all move now, bytes a second */
	uint64_t guess;    /* the speed where none was measured; 0: then it is not known */
};

/* Puts it among those that are played. false: what is left of it, or its speed, is not known. */
static bool add(struct eta *e, size_t i, uint64_t otherwise)
{
	const struct dray_pair *p = &e->job->s->pairs[i];
	const struct dray_progress *g = &p->progress;
	uint64_t speed = e->job->runs[i].speed;
	speed = speed ? speed : otherwise ? otherwise : e->guess;
	if (e->job->runs[i].held && moves(p->state) && speed && speed < e->together)
		speed = e->together;
	if (g->bytes_total == DRAY_UNKNOWN || !speed)
		return false;
	uint64_t done = g->bytes_done == DRAY_UNKNOWN ? 0 : g->bytes_done;
	unsigned targets = 0;
	for (size_t t = 0; t < p->n_targets; t++)
		targets += !t || (!p->targets[t].error && strcmp(p->targets[t].state, "detached"));
	e->index[e->n] = i;
	e->pairs[e->n++] = (struct estimate_pair){ .bytes = g->bytes_total > done ? g->bytes_total - done : 0, .speed = speed, .targets = targets, .limits = &p->limits };
	return true;
}

static bool collect(struct eta *e)
{
	const struct dray_session *s = e->job->s;
	uint64_t otherwise = usual_speed(e->job);
	for (size_t i = 0; i < s->n_pairs; i++)
		if (moves(s->pairs[i].state) && s->pairs[i].progress.rate != DRAY_UNKNOWN)
			e->together += s->pairs[i].progress.rate;
	for (int waiting = 0; waiting <= 1; waiting++)
		for (size_t i = 0; i < s->n_pairs; i++) {
			if (!(waiting ? waits : moves)(s->pairs[i].state))
				continue;
			if (s->pairs[i].pause_reasons || e->job->runs[i].goal != GOAL_NONE)
				e->held = true;
			else if (!add(e, i, otherwise))
				return false;
		}
	return true;
}

static void merge(struct eta *e)
{
	struct estimate_pair all = e->pairs[0];
	for (size_t i = 1; i < e->n; i++) {
		all.bytes += e->pairs[i].bytes;
		all.speed += moves(e->job->s->pairs[e->index[i]].state) ? e->pairs[i].speed : 0;
	}
	all.limits = &e->job->s->limits;
	e->pairs[0] = all;
}

static void put(json_t *doc, double seconds)
{
	json_t *progress = json_object_get(doc, "progress");
	if (progress)
		json_object_set_new(progress, "eta_seconds", seconds < 0 ? json_null() : json_integer((json_int_t)ceil(seconds)));
}

static void put_pairs(const struct eta *e, json_t *doc, double wait, bool known)
{
	json_t *list = json_object_get(doc, "pairs");
	for (size_t i = 0; i < e->job->s->n_pairs; i++)
		if (waits(e->job->s->pairs[i].state) || moves(e->job->s->pairs[i].state))
			put(json_array_get(list, i), -1);
	for (size_t i = 0; known && i < e->n; i++)
		put(json_array_get(list, e->index[i]), e->pairs[i].ends < 0 ? -1 : e->pairs[i].ends + wait);
}

/* All that is to come, played through. `wait`: until the first of it. false: nobody knows. `many`: as one pair. */
static bool play(struct eta *e, double *wait, double *took, bool *many)
{
	const struct job *job = e->job;
	const struct dray_session *s = job->s;
	time_t now = wall_now(), begins = s->started ? now : schedule_begins(s);
	struct estimate_rules r = { .from = begins > now ? begins : now, .rate = job->agent->config->rate, .limits = &s->limits, .window = &s->window,
		.active_pairs = session_places(job->agent, s), .run_most = schedule_left(job) };
	size_t places = s->n_pairs ? s->n_pairs : 1;
	e->pairs = calloc(places, sizeof *e->pairs);
	e->index = calloc(places, sizeof *e->index);
	if (!e->pairs || !e->index)
		abort();
	*wait = (double)(r.from - now);
	*took = -1;
	bool known = begins && !(s->pause_reasons & ~(unsigned)DRAY_PAUSE_WINDOW) && r.run_most >= 0 && collect(e);
	*many = (double)e->n * (double)(r.active_pairs < e->n ? r.active_pairs : e->n) > WORK_MOST;
	if (known && *many)
		merge(e);
	if (known)
		*took = estimate_play(&r, e->pairs, *many ? 1 : e->n);
	return known;
}

static void done(struct eta *e)
{
	free(e->pairs);
	free(e->index);
}

void eta_put(const struct job *job, json_t *doc, bool details)
{
	struct eta e = { .job = job };
	double wait, took;
	bool many;
	if (!job_count(job, DRAY_PAIR_SCHEDULED) && !job_count(job, DRAY_PAIR_QUEUED) && !job_count(job, DRAY_PAIR_STARTING) &&
		!job_count(job, DRAY_PAIR_COPYING) && !job_count(job, DRAY_PAIR_PAUSED))
		return; /* which is told as it stands */
	bool known = play(&e, &wait, &took, &many);
	put(doc, took < 0 || e.held ? -1 : took + wait);
	if (details)
		put_pairs(&e, doc, wait, known && !many);
	done(&e);
}

double eta_ends(const struct job *job, uint64_t guess, double *ends, size_t room, size_t *n)
{
	struct eta e = { .job = job, .guess = guess };
	double wait, took;
	bool many, known = play(&e, &wait, &took, &many);
	*n = 0;
	for (size_t i = 0; i < e.n && *n < room && moves(job->s->pairs[e.index[i]].state); i++)
		ends[(*n)++] = !known || many || e.pairs[i].ends < 0 ? (took < 0 ? -1 : took + wait) : e.pairs[i].ends + wait;
	done(&e);
	return took < 0 || e.held ? -1 : took + wait;
}
