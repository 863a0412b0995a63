/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Who is looked at in the next wake-up.
 *
 * A wake-up costs by what changed, not by what exists: it looks at the sessions and pairs that were put on the list here, and at no
 * other. Whatever may lead a pair further puts it there:
 *
 *   its volume in dray-iod changed          observe.c, by the name of the volume
 *   a list came that its last call needed   observe.c; such pairs are in a->unlisted
 *   a call of it was answered               call.c
 *   a change of it was recorded             change.c, for those that it touched
 *   its session's pause reasons changed     all its pairs, in the next wake-up (core.c)
 *   its time has come                       run_wake_by, a heap of moments
 *   dray-iod came back                      core.c, all that have something there
 *
 * Beside that all live pairs are looked at now and then (SWEEP): a wake-up is harmless at any time, and the timer of old is still
 * the answer to what nobody thought of; and to a clock that was set, or a zone that was changed. What was looked at is counted (a->work, shown in /v1/status).
 */
#include "agent/agent.h"

#include "base/min.h"

#include <stdlib.h>
#include <string.h>

#define SWEEP (15 * SECOND)

/* A moment at which a run (or its session) is to be looked at. One that was superseded by an earlier one stays, and is passed over. */
struct moment {
	uint64_t at;
	struct job *job;
	struct pair_run *run; /* or NULL */
};

void job_wake(struct job *job)
{
	struct agent *a = job->agent;
	if (job->looked)
		job->look_again = true;
	else if (dray_list_empty(&job->look_node))
		dray_list_add_tail(&a->looks, &job->look_node);
	a->wake_wanted = true;
}

void run_wake(struct pair_run *run)
{
	dray_bitmap_set(&run->job->look, run->index);
	job_wake(run->job);
}

void job_wake_pairs(struct job *job)
{
	for (size_t i = 0; i < job->s->n_pairs; i++)
		if (!dray_state_final(job->s->pairs[i].state) || job->runs[i].goal != GOAL_NONE)
			run_wake(&job->runs[i]);
	job_wake(job);
}

void agent_turn(struct agent *a)
{
	a->wake_wanted = true;
}

void agent_turn_by(struct agent *a, uint64_t when)
{
	if (when < a->wake_at)
		a->wake_at = when;
}

/* ---- moments ---- */

static void swap(struct moment *x, struct moment *y)
{
	struct moment t = *x;
	*x = *y;
	*y = t;
}

static void sink(struct agent *a, size_t i)
{
	for (;;) {
		size_t least = i;
		for (size_t k = 2 * i + 1; k <= 2 * i + 2 && k < a->n_moments; k++)
			if (a->moments[k].at < a->moments[least].at)
				least = k;
		if (least == i)
			return;
		swap(&a->moments[i], &a->moments[least]);
		i = least;
	}
}

static void add(struct agent *a, struct moment m)
{
	if (a->n_moments == a->room_moments) {
		a->room_moments = a->room_moments ? a->room_moments * 2 : 64;
		a->moments = realloc(a->moments, a->room_moments * sizeof *a->moments);
		if (!a->moments)
			abort();
	}
	size_t i = a->n_moments++;
	a->moments[i] = m;
	for (; i && a->moments[(i - 1) / 2].at > a->moments[i].at; i = (i - 1) / 2)
		swap(&a->moments[i], &a->moments[(i - 1) / 2]);
}

void run_wake_by(struct pair_run *run, uint64_t when)
{
	if (run->wake_at && run->wake_at <= when)
		return;
	run->wake_at = when;
	add(run->job->agent, (struct moment){ when, run->job, run });
}

void job_wake_by(struct job *job, uint64_t when)
{
	if (job->wake_at && job->wake_at <= when)
		return;
	job->wake_at = when;
	add(job->agent, (struct moment){ when, job, NULL });
}

uint64_t wake_next(const struct agent *a)
{
	uint64_t at = min_u64(a->sweep_at, a->wake_at);
	return a->n_moments && a->moments[0].at < at ? a->moments[0].at : at;
}

static void come(struct agent *a, const struct moment *m)
{
	uint64_t *own = m->run ? &m->run->wake_at : &m->job->wake_at;
	if (*own != m->at)
		return;
	*own = 0;
	if (m->run)
		run_wake(m->run);
	else
		job_wake(m->job);
}

void wake_due(struct agent *a)
{
	while (a->n_moments && a->moments[0].at <= a->now) {
		struct moment m = a->moments[0];
		a->moments[0] = a->moments[--a->n_moments];
		sink(a, 0);
		come(a, &m);
	}
	if (a->now < a->sweep_at)
		return;
	a->sweep_at = a->now + SWEEP;
	clock_zone();
	a->work.sweeps++;
	dray_list_for_each (n, &a->jobs)
		job_wake_pairs(dray_container(n, struct job, node));
}

void wake_forget(struct job *job)
{
	struct agent *a = job->agent;
	size_t kept = 0;
	dray_list_del(&job->look_node);
	for (size_t i = 0; i < job->s->n_pairs; i++)
		dray_list_del(&job->runs[i].unlisted_node);
	for (size_t i = 0; i < a->n_moments; i++)
		if (a->moments[i].job != job)
			a->moments[kept++] = a->moments[i];
	if (kept == a->n_moments)
		return;
	a->n_moments = kept;
	for (size_t i = kept / 2; i-- > 0;)
		sink(a, i);
}
