/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Limits, shared out and told to dray-iod.
 *
 * A limit of the session (rate, bytes in flight) is for all its pairs together, the agent's is for all sessions together: of its rate sessions get
 * parts by priority, of its bytes in flight by the number of their pairs. Nobody gets more than its own limit, and what one can't use goes to
 * the others (shares.h). A vehicle's limits stand beside the session's and the agent's. All hold at once: the tightest counts. The
 * shares are worked out anew where what they depend on changed, for the pairs that transfer then, and sent only where they
 * changed (pairs that are verified share like those that are copied). What dray-iod could not carry out is sent again. A pair is started when it has
 * answered, and not before: it carries calls out at once, and one that began first would run without limits for a moment, long enough for a small file.
 *
 * What a pair can use of a rate is measured. One that its rate holds back can use more than it has; one that is held back by anything else (its
 * disks, the application, another limit) uses what it uses: it keeps that and a quarter more, so that it can be seen to become
 * faster, and never less than an eighth of its share; the rest is lent, while there is a pair that can use it. The share itself is what dray-iod keeps on
 * record, so that what is lent is given back when it restarts, and the sum is never more than the whole.
 *
 * A timetable in the place of a rate is followed when its session is looked at, at the moments at which it changes: what it says then is the
 * rate. At 0 nothing moves, and the pair stays as it is, with that for its reason.
 *
 * A rate is paced in copy steps: unless their size is set, a low rate makes them smaller.
 *
 * Bytes in flight are counted in copy steps, and one step is always possible (or nothing would ever move): a share smaller
 * than the step makes the step smaller. A number of steps is each pair's own, and so are the size of one and the latency that the application
 * is to have: of agent, session and pair the least counts.
 */
#include "agent/agent.h"

#include "agent/clones.h"
#include "agent/generation.h"
#include "agent/shares.h"
#include "base/instant.h"
#include "base/log.h"
#include "base/min.h"
#include "base/prio.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STEP_DEFAULT (256u << 10) /* as dray-iod has it where nothing is said */
#define STEP_LEAST   (16u << 10)
#define NEED_EVERY   (400 * MS) /* of less time a measure says nothing */

static bool transfers(const struct pair_run *run, const struct dray_pair *p)
{
	return (p->state == DRAY_PAIR_STARTING || p->state == DRAY_PAIR_COPYING) && run->goal == GOAL_NONE;
}

static uint64_t least3(uint64_t a, uint64_t b, uint64_t c)
{
	return min_u64(min_u64(a, b), c);
}

static void push_run(struct pair_run *run);

static void told(void *arg, const struct dray_error *err, json_t *result)
{
	struct pair_run *run = arg;
	struct push *push = &run->push;
	push->under_way = false;
	if (!err) {
		push->backoff = push->again_at = 0;
		push_run(run); /* what changed meanwhile */
		if (!push->under_way && run_pair(run)->state == DRAY_PAIR_STARTING)
			run_wake(run); /* it may begin now */
		return;
	}
	if (err->code == -ECANCELED)
		return;
	push->valid = false;
	if (err->code == -ENOTCONN) /* told again when it is back */
		return;
	push->backoff = min_u64(push->backoff ? push->backoff * 2 : SECOND, 30 * SECOND);
	push->again_at = run->job->agent->now + push->backoff;
	run_wake_by(run, push->again_at);
	dray_log(DRAY_LOG_WARN, "limits-refused", "session %s pair %u: %s", run->job->s->id, run_pair(run)->id, err->text);
}

static struct agent_limits agent_limits(const struct agent *a)
{
	const struct agent_config *c = a->config;
	return (struct agent_limits){ c->rate, c->in_flight, c->step, c->steps, c->app_latency_ns, c->host_in_flight };
}

/* Where nobody says how large a step is: that of a low rate is small, so that a tenth of a second has one at least, to all targets. Large ones would be bursts, with
 * pauses of seconds or minutes between them, and a rate that is raised would have to wait for the end of one. */
static uint64_t step_for(uint64_t rate, size_t n_targets)
{
	uint64_t step = STEP_DEFAULT;
	while (rate && rate != DRAY_UNKNOWN && step > STEP_LEAST && step * n_targets > rate / 10)
		step /= 2;
	return step;
}

static void push(struct pair_run *run, uint64_t rate, uint64_t rate_now, uint64_t in_flight)
{
	const struct dray_session *s = run->job->s;
	const struct dray_pair *p = run_pair(run);
	const struct agent_config *config = run->job->agent->config;
	struct dray_vehicle_limits l = {
		.rate = rate,
		.rate_now = rate_now,
		.in_flight = in_flight,
		.step = least3(p->limits.step, s->limits.step, config->step),
		.steps = least3(p->limits.steps, s->limits.steps, config->steps),
		.app_latency_ns = least3(p->limits.app_latency_ns, s->limits.app_latency_ns, config->app_latency_ns),
		.leg_timeout_ns = s->leg_timeout_ns,
		.io_level = json_is_true(json_object_get(iod_hello(run->job->agent->iod), "io_level")) ? dray_prio_io_level(s->priority) : DRAY_UNKNOWN,
	};
	uint64_t most = l.step == DRAY_UNKNOWN ? STEP_DEFAULT : l.step, step = l.step == DRAY_UNKNOWN ? step_for(rate > rate_now ? rate : rate_now, p->n_targets) : l.step;
	while (step > in_flight && step > STEP_LEAST)
		step /= 2;
	if (step < most)
		l.step = step;
	if (run->push.valid && !memcmp(&run->push.last, &l, sizeof l))
		return;
	/* One call at a time: two that are under way may be carried out in either order, and the older one would stay. */
	if (run->push.under_way || run->job->agent->now < run->push.again_at)
		return;
	run->push.last = l;
	run->push.valid = run->push.under_way = true;
	run->vehicle->set_limits(&run->job->agent->rpc, p, &l, told, run);
}

static uint64_t session_rate(const struct dray_session *s)
{
	return s->limits.rate;
}

static uint64_t pair_rate(const struct dray_pair *p)
{
	return p->limits.rate;
}

/* Every pair's vehicle is host, so that its limits are of all pairs. */
static uint64_t session_in_flight(const struct dray_session *s)
{
	return min_u64(s->limits.in_flight, s->limits.host_in_flight);
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
	bool by_priority, needs; /* needs: what a pair can't use is lent */
	size_t into, by;         /* of struct pair_run */
};

/* The equal part of one of n; a limit never becomes 0 (which would stop it) by being divided. */
static uint64_t equal(uint64_t whole, size_t n)
{
	if (whole == DRAY_UNKNOWN || n < 2 || !whole)
		return whole;
	return whole / n ? whole / n : 1;
}

static void add_to(struct share_group *g, const struct kind *kind, struct pair_run *run)
{
	g->pairs[g->n++] = (struct share_pair){ .cap = kind->pair(run_pair(run)), .need = kind->needs ? run->rate_need : 0, .owner = run };
}

/* The session's pairs that move bytes, as a group; the pairs are appended to `pairs`. */
static struct share_group group_of(struct job *job, const struct kind *kind, struct share_pair *pairs)
{
	struct share_group g = { .cap = kind->session(job->s), .pairs = pairs };
	job_each_of (&job->places.active, i)
		add_to(&g, kind, &job->runs[i]);
	for (size_t i = 0; job->n_comparing && i < job->s->n_pairs; i++)
		if (job->runs[i].verifying && !dray_bitmap_test(&job->places.active, i))
			add_to(&g, kind, &job->runs[i]);
	g.weight = kind->by_priority ? job->s->priority : g.n;
	return g;
}

#define each_running(job, a)                                                                                   \
	for (size_t of_p = 0; of_p < PLACES_PRIORITIES; of_p++)                                                 \
		dray_list_for_each (of_run, &(a)->places.running[of_p])                                             \
			for (struct job *job = dray_container(of_run, struct job, places.running_node); job; job = NULL)

/* Of which pairs are being verified, and none is transferred. */
#define each_comparing(job, a)                                                                                  \
	dray_list_for_each (of_run, &(a)->comparing)                                                            \
		for (struct job *job = dray_container(of_run, struct job, compare_node); job; job = NULL)        \
			if (dray_list_empty(&job->places.running_node))

static size_t divide(struct agent *a, const struct kind *kind, struct share_group *groups, struct share_pair *pairs)
{
	size_t n_groups = 0, n = 0;
	each_running (job, a) {
		groups[n_groups] = group_of(job, kind, pairs + n);
		n += groups[n_groups++].n;
	}
	each_comparing (job, a) {
		groups[n_groups] = group_of(job, kind, pairs + n);
		n += groups[n_groups++].n;
	}
	shares_divide(kind->agent, groups, n_groups);
	for (size_t i = 0; i < n; i++) {
		*(uint64_t *)((char *)pairs[i].owner + kind->into) = pairs[i].share;
		*(enum share_by *)((char *)pairs[i].owner + kind->by) = pairs[i].by;
	}
	return n;
}

/* A rate is lent to those who could use more of it than their share, and their own limits let them. */
static bool anybody_lacks(struct agent *a)
{
	bool any = false;
	each_running (job, a)
		job_each_of (&job->places.active, i)
			any |= !job->runs[i].rate_need && job->runs[i].share_rate < job->s->pairs[i].limits.rate;
	return any;
}

#define INTO(share, whose) offsetof(struct pair_run, share), offsetof(struct pair_run, whose)

static void divide_all(struct agent *a)
{
	size_t n = a->places.active + a->n_comparing;
	struct share_group *groups = calloc(n + 1, sizeof *groups); /* not more groups than pairs */
	struct share_pair *pairs = calloc(n + 1, sizeof *pairs);
	if (!groups || !pairs)
		abort();
	const struct agent_config *c = a->config;
	const struct kind kinds[] = {
		{ c->rate, session_rate, pair_rate, true, false, INTO(share_rate, rate_by) },
		{ c->rate, session_rate, pair_rate, true, true, INTO(share_rate_now, rate_by) },
		{ min_u64(c->in_flight, c->host_in_flight), session_in_flight, pair_in_flight, false, false, INTO(share_in_flight, in_flight_by) },
	};
	for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
		n = divide(a, &kinds[i], groups, pairs);
	size_t n_lent = anybody_lacks(a) ? 0 : n;
	for (size_t i = 0; i < n_lent; i++)
		((struct pair_run *)pairs[i].owner)->share_rate_now = ((struct pair_run *)pairs[i].owner)->share_rate;
	free(groups);
	free(pairs);
}

static void push_run(struct pair_run *run)
{
	const struct job *job = run->job;
	const struct dray_pair *p = run_pair(run);
	const struct agent_config *config = job->agent->config;
	if (!run->vehicle || !run->vehicle->limits || !run->view_valid || !run->view.found)
		return;
	size_t together = job->places.active.nset;
	if (transfers(run, p) || run->verifying) {
		push(run, run->share_rate, run->share_rate_now, run->share_in_flight);
	} else if (p->state == DRAY_PAIR_SYNCED || p->state == DRAY_PAIR_SWITCHED) {
		/* What is brought again after a stall; rare enough not to count among those that share. */
		uint64_t rate = least3(p->limits.rate, equal(job->s->limits.rate, together), config->rate);
		push(run, rate, rate, least3(p->limits.in_flight, equal(session_in_flight(job->s), together), min_u64(config->in_flight, config->host_in_flight)));
	}
}

static void push_session(struct job *job)
{
	job_each (job, SYNCED, i)
		push_run(&job->runs[i]);
	job_each (job, SWITCHED, i)
		push_run(&job->runs[i]);
}

/* What the shares depend on beside the pairs that transfer. */
static bool basis_changed(struct agent *a)
{
	struct limits_basis now = { a->places.changes, a->needs_changed, agent_limits(a) };
	if (!memcmp(&now, &a->limits_basis, sizeof now))
		return false;
	a->limits_basis = now;
	return true;
}

/* ---- what a pair can use of a rate ---- */

void limits_measure(struct pair_run *run)
{
	struct agent *a = run->job->agent;
	struct need_measure *m = &run->measured;
	uint64_t paced = run->view.paced_bytes, ns = a->now - m->at_ns, before = run->rate_need;
	bool shared = run->share_rate != DRAY_UNKNOWN && json_is_true(json_object_get(iod_hello(a->iod), "rate_now"));
	if (!shared || !m->at_ns || !transfers(run, run_pair(run)) || paced < m->bytes) {
		/* From now on. */
		run->rate_need = 0;
	} else if (ns < NEED_EVERY || m->list == a->list_viewed) {
		return;
	} else if (!strcmp(run->view.bound, "rate") || generation_clones(run->job) || run_pair(run)->state == DRAY_PAIR_STARTING) {
		run->rate_need = 0;
	} else {
		uint64_t used = (uint64_t)((double)(paced - m->bytes) * 1e9 / (double)ns), floor = run->share_rate / 8, need = used + used / 4;
		need = need > floor ? need : floor;
		/* What is about the same is not worth telling. */
		if (!before || need > before + before / 8 || need + before / 8 < before)
			run->rate_need = need ? need : 1;
	}
	m->at_ns = a->now;
	m->bytes = paced;
	m->list = a->list_viewed;
	a->needs_changed += run->rate_need != before;
}

/* ---- generations ---- */

/* The files of a session are cloned one after the other, so that each may have what all its pairs have; these don't copy meanwhile. */
uint64_t limits_of_clone(const struct job *job, unsigned pair)
{
	uint64_t own = least3(job->s->pairs[pair - 1].limits.rate, job->s->limits.rate, job->agent->config->rate), sum = 0;
	if (!job->places.active.nset) /* paused: it is made to its end all the same */
		return own;
	job_each_of (&job->places.active, i)
		sum = job->runs[i].share_rate_now > DRAY_UNKNOWN - sum ? DRAY_UNKNOWN : sum + job->runs[i].share_rate_now;
	return min_u64(own, sum);
}

/* What the timetable says now becomes the rate. Whether that is another one than before. */
static bool follow_table(struct job *job, struct dray_limits *l)
{
	if (!l->rate_table)
		return false;
	time_t now = wall_now(), changes = dray_timetable_change(l->rate_table, now);
	uint64_t before = l->rate;
	l->rate = dray_timetable_at(l->rate_table, now);
	if (changes)
		job_wake_at_wall(job, changes);
	return l->rate != before;
}

static void follow_tables(struct job *job)
{
	bool other = false;
	if (!job_live(job))
		return;
	follow_table(job, &job->s->limits); /* which limits_look compares */
	for (size_t i = 0; job->s->pair_tables && i < job->s->n_pairs; i++)
		other |= follow_table(job, &job->s->pairs[i].limits);
	if (other)
		job->limits_seen = (struct shared_limits){ 0 };
}

static bool stopped(const struct dray_limits *l, const char *key, char *why, size_t size)
{
	char at[40];
	if (!l->rate_table || l->rate)
		return false;
	time_t until = dray_timetable_change(l->rate_table, wall_now());
	if (until)
		snprintf(why, size, "%s is 0 until %s", key, dray_instant_format(until, at, sizeof at));
	else
		snprintf(why, size, "%s is 0", key);
	return true;
}

bool limits_stop(const struct job *job, const struct dray_pair *p, char *why, size_t size)
{
	if (p ? p->state != DRAY_PAIR_STARTING && p->state != DRAY_PAIR_COPYING : job->s->state != DRAY_SESSION_COPYING)
		return false;
	return stopped(&job->s->limits, "limits.rate", why, size) || (p && stopped(&p->limits, "limits.rate of this pair", why, size));
}

bool limits_in_force(const struct pair_run *run)
{
	return !run->vehicle->limits || (run->push.valid && !run->push.under_way);
}

void limits_look(struct job *job)
{
	follow_tables(job);
	struct shared_limits now = { job->s->limits, job->s->leg_timeout_ns, agent_limits(job->agent), 0 };
	struct dray_limits *l = &job->s->limits;
	bool shared = l->rate != DRAY_UNKNOWN || session_in_flight(job->s) != DRAY_UNKNOWN;
	now.together = shared ? job->places.active.nset : 0;
	if (memcmp(&now, &job->limits_seen, sizeof now)) {
		job->limits_seen = now;
		job->limits_stale = true;
		job_wake(job);
		job->agent->limits_basis.changes = UINT64_MAX; /* worked out anew */
	}
}

void limits_push(struct agent *a)
{
	if (!iod_ready(a->iod))
		return;
	bool all = basis_changed(a);
	if (all) {
		divide_all(a);
		each_running (job, a) {
			limits_look(job); /* its equal parts are others now */
			if (generation_clones(job))
				clones_pace(job);
			job_each_of (&job->places.active, i)
				push_run(&job->runs[i]);
		}
		dray_list_for_each (n, &a->comparing) {
			struct job *job = dray_container(n, struct job, compare_node);
			for (size_t i = 0; i < job->s->n_pairs; i++)
				if (job->runs[i].verifying)
					push_run(&job->runs[i]);
		}
	}
}

void limits_push_job(struct job *job)
{
	if (!iod_ready(job->agent->iod))
		return;
	if (job->limits_stale)
		push_session(job);
	job->limits_stale = false;
	job_each_of (&job->looking, i)
		push_run(&job->runs[i]);
}
