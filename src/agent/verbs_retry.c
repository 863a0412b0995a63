/* SPDX-License-Identifier: BSD-3-Clause */
/* Retry: a pair that failed goes on from what is there, perhaps with another vehicle. */
#include "agent/verbs.h"

#include "agent/trouble.h"
#include "agent/verify.h"

#include <stdio.h>
#include <stdlib.h>

/* Whether the vehicle that was asked for can go on with the pair. */
static bool check_vehicle(struct ask *q, size_t i, const struct dray_vehicle **vehicle)
{
	const struct dray_pair *p = &q->job->s->pairs[i];
	struct dray_error err;
	char pointer[40];
	struct dray_vehicle_facts facts = { .online = dray_source_volume(&p->source), .iod_ready = iod_ready(q->a->iod),
		.n_targets = (unsigned)p->n_targets, .mode = q->job->s->mode,
		.size_bytes = p->progress.bytes_total == DRAY_UNKNOWN ? 0 : p->progress.bytes_total };
	*vehicle = dray_vehicle_choose(q->vehicle, &facts, &err);
	if (*vehicle)
		return true;
	snprintf(pointer, sizeof pointer, "/pairs/%zu/vehicle", i);
	dray_problems_add(&q->call->problems, pointer, 0, "vehicle", q->vehicle, dray_vehicle_words(), "pair %u: %s", p->id, err.text);
	return false;
}

/* One that is still letting go of its legs goes on from what is there by then. */
static bool may_retry(const struct ask *q, size_t i)
{
	enum pair_goal goal = q->job->runs[i].goal;
	return verb_legal(q, i) == DRAY_LEGAL && (goal == GOAL_NONE || goal == GOAL_HALT);
}

/* With another vehicle (S13): what the last one attached is gone, for a pair that fails at its start lets its legs go (GOAL_HALT); a pair
 * that failed later keeps them, and they are its own vehicle's. */
void verb_retry(struct ask *q)
{
	struct job *job = q->job;
	const struct dray_vehicle *vehicle = NULL;
	bool any = false;
	for (size_t i = 0; i < job->s->n_pairs; i++) {
		bool look = q->pairs[i] && trouble_may_look_again(job, i);
		if (q->pairs[i] && q->named && verb_legal(q, i) != DRAY_LEGAL && !look) {
			verb_refuse(q, &job->s->pairs[i]);
			return;
		}
		if (may_retry(q, i)) {
			any = true;
			if (q->vehicle && check_vehicle(q, i, &vehicle) && vehicle != job->runs[i].vehicle && job->runs[i].view_valid &&
				job->runs[i].view.targets[0].found)
				dray_problems_add(&q->call->problems, "/vehicle", 0, "vehicle", q->vehicle, job->runs[i].vehicle->name,
					"pair %u: the vehicle %s has a part of it already: cancel the pair, and move it anew", job->s->pairs[i].id,
					job->runs[i].vehicle->name);
		}
		any |= look;
	}
	if (!any) {
		verb_refuse(q, NULL);
		return;
	}
	if (q->call->problems.n) {
		api_problems(q->call, &q->call->problems);
		free(q->pairs);
		return;
	}
	struct change c;
	change_begin(&c, q->a, job, q->call->actor);
	for (size_t i = 0; i < job->s->n_pairs; i++) {
		struct dray_pair *p = &job->s->pairs[i];
		/* Not failed, but its source may be able to read again what it could not. */
		if (q->pairs[i] && trouble_may_look_again(job, i))
			change_event(&c, p->id, "retry", NULL, NULL, "bad ranges of the source are looked at once more");
		if (!may_retry(q, i))
			continue;
		if (q->vehicle) {
			check_vehicle(q, i, &vehicle);
			change_touch(&c, &job->runs[i]);
			job->runs[i].vehicle = vehicle;
			set_text(&p->vehicle_chosen, "%s", vehicle->name);
		}
		pair_again(&c, &job->runs[i]);
		p->vouched = true;
	}
	change_session_reason(&c, NULL);
	if (change_end(&c)) {
		verb_not_recorded(q, &c);
		return;
	}
	for (size_t i = 0; i < job->s->n_pairs; i++)
		if (q->pairs[i] && trouble_may_look_again(job, i))
			trouble_look_again(job, i);
	verb_answer_now(q);
}
