/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Limits, shared out and told to dray-iod.
 *
 * A limit of the session (rate, bytes in flight) is for all its pairs together: each pair that transfers gets an equal share
 * of it, and at most its own limit. The agent's rate is shared among all pairs that transfer, weighted by priority. The shares are
 * worked out anew at every wake-up and sent only where they changed, so that a change takes effect at once.
 */
#include "agent/agent.h"

#include "base/log.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool transfers(enum dray_pair_state s)
{
	return s == DRAY_PAIR_STARTING || s == DRAY_PAIR_COPYING;
}

static uint64_t least(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* The equal share of one of n; a limit never becomes 0 (which would stop it) by being divided. */
static uint64_t share(uint64_t whole, uint64_t n)
{
	if (whole == DRAY_UNKNOWN || n < 2 || !whole)
		return whole;
	return whole / n ? whole / n : 1;
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

static void push(struct pair_run *run, uint64_t in_session, uint64_t weights)
{
	const struct dray_session *s = run->job->s;
	const struct dray_pair *p = run_pair(run);
	uint64_t agent_rate = run->job->agent->config->rate;
	struct dray_limits l = {
		.active_pairs = DRAY_UNKNOWN,
		.app_latency_ns = DRAY_UNKNOWN,
		.rate = least(p->limits.rate, share(s->limits.rate, in_session)),
		.in_flight = least(p->limits.in_flight, share(s->limits.in_flight, in_session)),
		.step = either(p->limits.step, s->limits.step),
		.steps = either(p->limits.steps, s->limits.steps),
	};
	if (agent_rate != DRAY_UNKNOWN && weights) {
		uint64_t part = (uint64_t)((double)agent_rate * s->priority / (double)weights);
		l.rate = least(l.rate, part ? part : 1);
	}
	if (run->pushed_valid && !memcmp(&run->pushed, &l, sizeof l))
		return;
	run->pushed = l;
	run->pushed_valid = true;
	run->vehicle->set_limits(&run->job->agent->rpc, p, &l, s->leg_timeout_ns, told, run);
}

void limits_push(struct agent *a)
{
	if (!iod_ready(a->iod))
		return;
	uint64_t weights = 0;
	dray_list_for_each (n, &a->jobs) {
		struct job *job = dray_container(n, struct job, node);
		for (size_t i = 0; i < job->s->n_pairs; i++)
			if (transfers(job->s->pairs[i].state))
				weights += job->s->priority;
	}
	dray_list_for_each (n, &a->jobs) {
		struct job *job = dray_container(n, struct job, node);
		uint64_t in_session = 0;
		for (size_t i = 0; i < job->s->n_pairs; i++)
			in_session += transfers(job->s->pairs[i].state);
		for (size_t i = 0; i < job->s->n_pairs; i++) {
			struct pair_run *run = &job->runs[i];
			const struct dray_pair *p = &job->s->pairs[i];
			bool on = transfers(p->state) || p->state == DRAY_PAIR_SYNCED || p->state == DRAY_PAIR_SWITCHED;
			if (on && run->vehicle && run->vehicle->limits && run->view_valid && run->view.found)
				push(run, in_session, weights);
		}
	}
}
