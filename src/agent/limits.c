/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Limits, shared out and told to dray-iod.
 *
 * A limit of the session (rate, bytes in flight) is for all its pairs together: each that transfers gets an equal part of it, and at
 * most its own limit. The agent's is for all sessions together: of its rate sessions get parts by priority, of its bytes in flight by
 * the number of their pairs, and what one can't use goes to the others (shares.h). All hold at once. The shares are worked out anew at every wake-up, for the pairs that transfer then, and sent only where they changed: before a
 * pair is started, so that it never runs without them.
 *
 * Bytes in flight are counted in copy steps, and one step is always possible (or nothing would ever move): a share smaller
 * than the step makes the step smaller.
 */
#include "agent/agent.h"

#include "agent/shares.h"
#include "base/log.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STEP_DEFAULT (256u << 10) /* as dray-iod has it where nothing is said */
#define STEP_LEAST   (16u << 10)

static bool transfers(const struct pair_run *run, const struct dray_pair *p)
{
	return (p->state == DRAY_PAIR_STARTING || p->state == DRAY_PAIR_COPYING) && run->goal == GOAL_NONE;
}

static uint64_t least(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static uint64_t either(uint64_t own, uint64_t session)
{
	return own != DRAY_UNKNOWN ? own : session;
}

static void told(void *arg, const struct dray_error *err, json_t *result)
{
	struct pair_run *run = arg;
	if (!err)
		return;
	/* A lost connection: told again when it is back. A refusal: told again when the limits change. */
	if (err->code == -ENOTCONN)
		run->pushed_valid = false;
	else if (err->code != -ECANCELED)
		dray_log(DRAY_LOG_WARN, "limits-refused", "session %s pair %u: %s", run->job->s->id, run_pair(run)->id, err->text);
}

static void push(struct pair_run *run, uint64_t rate, uint64_t in_flight)
{
	const struct dray_session *s = run->job->s;
	const struct dray_pair *p = run_pair(run);
	struct dray_limits l = {
		.active_pairs = DRAY_UNKNOWN,
		.app_latency_ns = DRAY_UNKNOWN,
		.rate = rate,
		.in_flight = in_flight,
		.step = either(p->limits.step, s->limits.step),
		.steps = either(p->limits.steps, s->limits.steps),
	};
	uint64_t step = l.step == DRAY_UNKNOWN ? STEP_DEFAULT : l.step;
	if (in_flight < step) {
		while (step > in_flight && step > STEP_LEAST)
			step /= 2;
		l.step = step;
	}
	if (run->pushed_valid && !memcmp(&run->pushed, &l, sizeof l))
		return;
	run->pushed = l;
	run->pushed_valid = true;
	run->vehicle->set_limits(&run->job->agent->rpc, p, &l, s->leg_timeout_ns, told, run);
}

static uint64_t session_rate(const struct dray_session *s)
{
	return s->limits.rate;
}

static uint64_t pair_rate(const struct dray_pair *p)
{
	return p->limits.rate;
}

static uint64_t session_in_flight(const struct dray_session *s)
{
	return s->limits.in_flight;
}

static uint64_t pair_in_flight(const struct dray_pair *p)
{
	return p->limits.in_flight;
}

/* One of the limits, and where the shares of it go. */
struct kind {
	uint64_t agent;
	uint64_t (*session)(const struct dray_session *s);
	uint64_t (*pair)(const struct dray_pair *p);
	bool by_priority;
	size_t into; /* of struct pair_run */
};

/* The equal part of one of n; a limit never becomes 0 (which would stop it) by being divided. */
static uint64_t equal(uint64_t whole, size_t n)
{
	if (whole == DRAY_UNKNOWN || n < 2 || !whole)
		return whole;
	return whole / n ? whole / n : 1;
}

/* The session's pairs that transfer, as a group; the pairs are appended to `pairs`. */
static struct share_group group_of(struct job *job, const struct kind *kind, struct share_pair *pairs)
{
	struct share_group g = { .cap = kind->session(job->s), .pairs = pairs };
	for (size_t i = 0; i < job->s->n_pairs; i++)
		if (transfers(&job->runs[i], &job->s->pairs[i]))
			pairs[g.n++] = (struct share_pair){ .cap = kind->pair(&job->s->pairs[i]), .owner = &job->runs[i] };
	for (size_t k = 0; k < g.n; k++)
		pairs[k].cap = least(pairs[k].cap, equal(g.cap, g.n));
	g.weight = kind->by_priority ? job->s->priority : g.n;
	return g;
}

static void divide(struct agent *a, const struct kind *kind, struct share_group *groups, struct share_pair *pairs)
{
	size_t n_groups = 0, n = 0;
	dray_list_for_each (node, &a->jobs) {
		struct share_group g = group_of(dray_container(node, struct job, node), kind, pairs + n);
		if (g.n)
			groups[n_groups++] = g;
		n += g.n;
	}
	shares_divide(kind->agent, groups, n_groups);
	for (size_t i = 0; i < n; i++)
		*(uint64_t *)((char *)pairs[i].owner + kind->into) = pairs[i].share;
}

static size_t count(const struct agent *a)
{
	size_t n = 0;
	dray_list_for_each (node, &a->jobs) {
		const struct job *job = dray_container(node, struct job, node);
		for (size_t i = 0; i < job->s->n_pairs; i++)
			n += transfers(&job->runs[i], &job->s->pairs[i]);
	}
	return n;
}

void limits_push(struct agent *a)
{
	if (!iod_ready(a->iod))
		return;
	size_t n = count(a);
	struct share_group *groups = calloc(n + 1, sizeof *groups); /* not more groups than pairs */
	struct share_pair *pairs = calloc(n + 1, sizeof *pairs);
	if (!groups || !pairs)
		abort();
	const struct kind rate = { a->config->rate, session_rate, pair_rate, true, offsetof(struct pair_run, share_rate) };
	const struct kind in_flight = { a->config->in_flight, session_in_flight, pair_in_flight, false,
		offsetof(struct pair_run, share_in_flight) };
	divide(a, &rate, groups, pairs);
	divide(a, &in_flight, groups, pairs);
	free(groups);
	free(pairs);
	dray_list_for_each (node, &a->jobs) {
		struct job *job = dray_container(node, struct job, node);
		size_t together = 0;
		for (size_t i = 0; i < job->s->n_pairs; i++)
			together += transfers(&job->runs[i], &job->s->pairs[i]);
		for (size_t i = 0; i < job->s->n_pairs; i++) {
			struct pair_run *run = &job->runs[i];
			const struct dray_pair *p = &job->s->pairs[i];
			bool able = run->vehicle && run->vehicle->limits && run->view_valid && run->view.found;
			if (!able)
				continue;
			if (transfers(run, p))
				push(run, run->share_rate, run->share_in_flight);
			else if (p->state == DRAY_PAIR_SYNCED || p->state == DRAY_PAIR_SWITCHED)
				/* What is brought again after a stall; rare enough not to count among those that share. */
				push(run, least(least(p->limits.rate, equal(job->s->limits.rate, together)), rate.agent),
					least(least(p->limits.in_flight, equal(job->s->limits.in_flight, together)), in_flight.agent));
		}
	}
}
