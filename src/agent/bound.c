/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Which limit holds a pair back now, and whose it is: what `bound_by` says.
 *
 * dray-iod says what the copy waits for (engine/bound.c): its rate, bytes in flight, steps, the window, or nothing of these. A rate and bytes
 * in flight are shares of what several levels allow, so who worked them out knows whose limit it was (shares.h). Of steps and of the latency the
 * least counts. Files of a generation drayd copies itself, and knows what they wait for (clones.c). A comparison (a verification) is bound
 * as a copy is. A pair that waits for a place waits for a number of pairs.
 */
#include "agent/clones.h"

#include <stdlib.h>
#include <string.h>

/* A limit by the key that changes it: `dray set SESSION KEY=...`, or `dray settings KEY=...` where it is the agent's. */
static json_t *bound(const char *limit, const char *of, json_t *key, uint64_t value)
{
	return json_pack("{s:s, s:s, s:o*, s:o*}", "limit", limit, "of", of, "key", key, "value",
		value == DRAY_UNKNOWN ? NULL : json_integer((json_int_t)value));
}

static json_t *of_pair(const struct dray_pair *p, const char *limit, uint64_t value)
{
	return bound(limit, "pair", json_sprintf("pairs.%u.limits.%s", p->id, limit), value);
}

static json_t *of_session(const char *limit, uint64_t value)
{
	return bound(limit, "session", json_sprintf("limits.%s", limit), value);
}

static json_t *of_agent(const char *limit, uint64_t value)
{
	return bound(limit, "agent", json_string(limit), value);
}

/* The pair's own where it is as tight. */
static json_t *tightest(const struct pair_run *run, const char *limit, uint64_t pair, uint64_t session, uint64_t agent)
{
	const struct dray_pair *p = &run->job->s->pairs[run->index];
	if (pair == DRAY_UNKNOWN && session == DRAY_UNKNOWN && agent == DRAY_UNKNOWN)
		return bound(limit, "default", NULL, DRAY_UNKNOWN);
	if (pair <= session && pair <= agent)
		return of_pair(p, limit, pair);
	return session <= agent ? of_session(limit, session) : of_agent(limit, agent);
}

static json_t *by_rate(const struct pair_run *run)
{
	const struct job *job = run->job;
	const struct dray_pair *p = &job->s->pairs[run->index];
	switch (run->rate_by) {
	case SHARE_BY_PAIR: return of_pair(p, "rate", p->limits.rate);
	case SHARE_BY_GROUP: return of_session("rate", job->s->limits.rate);
	case SHARE_BY_WHOLE: return of_agent("rate", job->agent->config->rate);
	default: return NULL; /* it was lifted a moment ago */
	}
}

/* The files of a session may have all that its pairs have (limits_of_clone): less than its own limits is its part of the agent's. */
static json_t *by_rate_of_clone(const struct job *job, const struct dray_pair *p)
{
	uint64_t rate = limits_of_clone(job, p->id);
	if (rate == DRAY_UNKNOWN)
		return NULL; /* it was lifted a moment ago */
	if (p->limits.rate <= rate)
		return of_pair(p, "rate", p->limits.rate);
	return job->s->limits.rate <= rate ? of_session("rate", job->s->limits.rate) : of_agent("rate", job->agent->config->rate);
}

static json_t *by_in_flight(const struct pair_run *run)
{
	const struct dray_limits *s = &run->job->s->limits;
	const struct agent_config *c = run->job->agent->config;
	const struct dray_pair *p = &run->job->s->pairs[run->index];
	switch (run->in_flight_by) {
	case SHARE_BY_PAIR: return of_pair(p, "in_flight", p->limits.in_flight);
	case SHARE_BY_GROUP:
		if (s->host_in_flight < s->in_flight)
			return bound("in_flight", "vehicle", json_string("limits.vehicle.host.in_flight"), s->host_in_flight);
		return of_session("in_flight", s->in_flight);
	case SHARE_BY_WHOLE:
		if (c->host_in_flight < c->in_flight)
			return bound("in_flight", "vehicle", json_string("vehicle.host.in_flight"), c->host_in_flight);
		return of_agent("in_flight", c->in_flight);
	default: return NULL;
	}
}

static json_t *by_places(const struct pair_run *run)
{
	const struct job *job = run->job;
	const struct places *q = &job->agent->places;
	struct places_wait w;
	if (!dray_bitmap_test(&job->places.waiting, run->index) || !places_waits(q, &job->places, run->index, &w))
		return NULL;
	const char *key = w.of_session ? job->places.limit_key : q->limit_key;
	const char *of = strstr(key, "vehicle.") ? "vehicle" : w.of_session ? "session" : "agent";
	return bound("active_pairs", of, json_string(key), w.limit);
}

json_t *pair_bound(const struct pair_run *run)
{
	const struct job *job = run->job;
	const struct dray_pair *p = &job->s->pairs[run->index];
	const struct dray_limits *s = &job->s->limits;
	const struct agent_config *c = job->agent->config;
	const char *word = run->view.bound;
	if (run->goal != GOAL_NONE || pair_pause_wanted(job, p))
		return NULL;
	if (p->state == DRAY_PAIR_QUEUED)
		return by_places(run);
	if ((p->state != DRAY_PAIR_STARTING && p->state != DRAY_PAIR_COPYING && !run->verifying) || !run->view_valid || !iod_answers(job->agent))
		return NULL;
	const char *clone = clones_bound(job, p);
	if (clone)
		word = clone;
	if (!strcmp(word, "rate"))
		return clone ? by_rate_of_clone(job, p) : by_rate(run);
	if (!strcmp(word, "in_flight"))
		return by_in_flight(run);
	if (!strcmp(word, "steps"))
		return tightest(run, "steps", p->limits.steps, s->steps, c->steps);
	if (!strcmp(word, "window")) {
		json_t *b = tightest(run, "app_latency", p->limits.app_latency_ns, s->app_latency_ns, c->app_latency_ns);
		json_t *ns = json_object_get(b, "value");
		if (ns)
			json_integer_set(ns, json_integer_value(ns) / 1000);
		return b;
	}
	if (!strcmp(word, "neighbour"))
		return bound("app_latency", "neighbour", NULL, DRAY_UNKNOWN);
	return !strcmp(word, "storage") ? json_pack("{s:s}", "limit", "none") : NULL;
}

/* ---- of a session ---- */

static int by_number(const void *a, const void *b)
{
	json_int_t x = json_integer_value(json_object_get(*(json_t *const *)a, "pairs")), y = json_integer_value(json_object_get(*(json_t *const *)b, "pairs"));
	return x < y ? 1 : x > y ? -1 : 0;
}

static void count(json_t *list, json_t *one, size_t n)
{
	size_t i;
	json_t *seen;
	const char *of = json_string_value(json_object_get(one, "of"));
	if (of && !strcmp(of, "pair")) /* each pair has its own */
		json_object_del(one, "key");
	json_array_foreach (list, i, seen) {
		json_t *pairs = json_incref(json_object_get(seen, "pairs"));
		json_object_del(seen, "pairs");
		bool same = json_equal(seen, one);
		json_object_set_new(seen, "pairs", pairs);
		if (same) {
			json_integer_set(pairs, json_integer_value(pairs) + (json_int_t)n);
			return;
		}
	}
	json_object_set_new(one, "pairs", json_integer((json_int_t)n));
	json_array_append(list, one);
}

static void count_one(json_t *list, const struct pair_run *run)
{
	json_t *one = pair_bound(run);
	if (one)
		count(list, one, 1);
	json_decref(one);
}

static void count_moving(json_t *list, const struct job *job, enum dray_pair_state state)
{
	job_each_of (&job->in[state], i)
		count_one(list, &job->runs[i]);
}

static void count_comparing(json_t *list, const struct job *job)
{
	for (size_t i = 0; job->n_comparing && i < job->s->n_pairs; i++)
		if (job->runs[i].verifying)
			count_one(list, &job->runs[i]);
}

/* There may be thousands, and those that are not about to start wait for the same limit: one of them is asked. */
static void count_waiting(json_t *list, const struct job *job)
{
	size_t last = job->s->n_pairs, n = 0;
	job_each_of (&job->places.waiting, i)
		if (job->s->pairs[i].state == DRAY_PAIR_QUEUED) {
			last = i;
			n++;
		}
	json_t *one = n ? pair_bound(&job->runs[last]) : NULL;
	if (one)
		count(list, one, n);
	json_decref(one);
}

json_t *job_bound(const struct job *job)
{
	json_t *list = json_array();
	count_moving(list, job, DRAY_PAIR_STARTING);
	count_moving(list, job, DRAY_PAIR_COPYING);
	count_comparing(list, job);
	count_waiting(list, job);
	size_t n = json_array_size(list);
	json_t **sorted = calloc(n + 1, sizeof *sorted);
	if (!sorted)
		abort();
	for (size_t i = 0; i < n; i++)
		sorted[i] = json_incref(json_array_get(list, i));
	qsort(sorted, n, sizeof *sorted, by_number);
	json_array_clear(list);
	for (size_t i = 0; i < n; i++)
		json_array_append_new(list, sorted[i]);
	free(sorted);
	if (!n) {
		json_decref(list);
		return NULL;
	}
	return list;
}
