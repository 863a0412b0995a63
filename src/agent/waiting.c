/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Verbs that wait: the call of one that was recorded is answered when its pairs are where it leads, or when it turned out that they
 * can't come there. What is recorded is carried out even if nobody waits any more.
 */
#include "agent/agent.h"

#include "agent/api.h"
#include "agent/verify.h"

#include <stdlib.h>
#include <string.h>

#define PATIENCE (60 * SECOND) /* for an answer; what was asked goes on */

static void waiter_free(struct waiter *w)
{
	dray_list_del(&w->node);
	json_decref(w->not_done);
	free(w->pairs);
	free(w);
}

void waiter_add(struct job *job, enum dray_verb verb, struct api_call *call, bool *pairs, json_t *not_done)
{
	struct agent *a = job->agent;
	struct waiter *w = calloc(1, sizeof *w);
	if (!w)
		abort();
	bool bounded = verb != DRAY_VERB_SWITCH && verb != DRAY_VERB_UNDO && verb != DRAY_VERB_VERIFY && verb != DRAY_VERB_RETIRE;
	*w = (struct waiter){ .call = call, .job = job, .verb = verb, .pairs = pairs, .not_done = not_done,
		.deadline = bounded ? a->now + PATIENCE : NEVER };
	w->made = job->s->generations.made;
	dray_list_add_tail(&a->waiters, &w->node);
	agent_turn_by(a, w->deadline);
	job_wake(job);
}

static bool still(const struct waiter *w, const struct pair_run *run, const struct dray_pair *p)
{
	switch (w->verb) {
	case DRAY_VERB_PAUSE:
		return p->state == DRAY_PAIR_STARTING || p->state == DRAY_PAIR_COPYING || p->state == DRAY_PAIR_SYNCED ||
		       (p->state == DRAY_PAIR_SWITCHING && job_periodic(w->job));
	case DRAY_VERB_RESUME: return p->state == DRAY_PAIR_PAUSED;
	case DRAY_VERB_CANCEL: return run->goal == GOAL_CANCEL;
	case DRAY_VERB_COMMIT: return run->goal == GOAL_COMMIT;
	case DRAY_VERB_SWITCH:
		if (job_periodic(w->job) && w->job->s->generations.made == w->made && w->job->s->generations.making.step != DRAY_MAKING_NOTHING)
			return true;
		return p->state == DRAY_PAIR_SWITCHING;
	case DRAY_VERB_UNDO: return p->state == DRAY_PAIR_SWITCHING;
	case DRAY_VERB_VERIFY: return run->verify_asked;
	case DRAY_VERB_RETIRE: return p->retired.state == DRAY_RETIRED_PENDING;
	default: return false;
	}
}

static bool reached(const struct waiter *w, const struct pair_run *run, const struct dray_pair *p)
{
	switch (w->verb) {
	case DRAY_VERB_SWITCH:
		if (job_periodic(w->job))
			return w->job->s->generations.made != w->made;
		return p->state == DRAY_PAIR_SWITCHED || p->state == DRAY_PAIR_COMMITTED || p->state == DRAY_PAIR_COMPLETED;
	case DRAY_VERB_UNDO: return p->state == DRAY_PAIR_SYNCED || p->state == DRAY_PAIR_COPYING;
	case DRAY_VERB_CANCEL: return p->state == DRAY_PAIR_CANCELED;
	case DRAY_VERB_COMMIT: return p->state == DRAY_PAIR_COMMITTED;
	case DRAY_VERB_VERIFY: return run->verify_done;
	case DRAY_VERB_RETIRE: return p->retired.state == DRAY_RETIRED_DONE;
	default: return true;
	}
}

static void check(struct waiter *w)
{
	struct job *job = w->job;
	bool waits = false, all = true;
	const char *trouble = NULL;
	for (size_t i = 0; i < job->s->n_pairs; i++) {
		if (!w->pairs[i])
			continue;
		if (still(w, &job->runs[i], &job->s->pairs[i])) {
			waits = true;
			if (job->runs[i].op_error[0])
				trouble = job->runs[i].op_error;
		} else if (!reached(w, &job->runs[i], &job->s->pairs[i])) {
			all = false;
			const struct dray_pair *p = &job->s->pairs[i];
			const char *why = w->verb == DRAY_VERB_RETIRE ? p->retired.reason :
				w->verb == DRAY_VERB_VERIFY && job->runs[i].verify_ended[0] ? job->runs[i].verify_ended :
											      p->reason;
			trouble = trouble ? trouble : why;
		}
	}
	const char *verb = dray_verb_word(w->verb);
	bool by_switch = w->verb == DRAY_VERB_SWITCH || w->verb == DRAY_VERB_UNDO;
	if (waits && trouble && !by_switch)
		api_problem(w->call, 500, 1, "failed", "%s of session %s: %s; it is tried again", verb, job->s->name, trouble);
	else if (waits && job->agent->now >= w->deadline)
		api_problem(w->call, 504, 7, "timeout", "%s of session %s is not done after %u s%s; it goes on", verb,
			job->s->name, (unsigned)(PATIENCE / SECOND),
			iod_ready(job->agent->iod) ? "" : " because dray-iod does not answer");
	else if (waits)
		return;
	else if (!all)
		api_problem(w->call, 500, 1, by_switch ? "not_switched" : "failed", "%s of session %s: %s", verb, job->s->name,
			by_switch && job_periodic(job) && job->s->generations.why ? job->s->generations.why :
			by_switch && job->switch_error[0] ? job->switch_error : trouble ? trouble : "not done");
	else if (w->verb == DRAY_VERB_VERIFY)
		api_reply(w->call, 200, verify_report(job, w->pairs));
	else
		api_document(w->call, 200, job, w->not_done ? json_pack("{s:O}", "not_paused", w->not_done) : NULL);
	waiter_free(w);
}

void waiters_check(struct agent *a)
{
	dray_list_for_each_safe (n, &a->waiters) {
		struct waiter *w = dray_container(n, struct waiter, node);
		agent_turn_by(a, w->deadline);
		if (w->job->looked || a->now >= w->deadline)
			check(w);
	}
}

void waiters_stop(struct agent *a)
{
	dray_list_for_each_safe (n, &a->waiters) {
		struct waiter *w = dray_container(n, struct waiter, node);
		api_problem(w->call, 503, 6, "stopping", "the agent stops; the %s goes on", dray_verb_word(w->verb));
		waiter_free(w);
	}
}
