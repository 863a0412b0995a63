/* SPDX-License-Identifier: BSD-3-Clause */
/* Cancel and commit: the two ends that are asked for. */
#include "agent/verbs.h"

/* An offline pair that is being split off: a moment, and nobody's decision. Of a session with many of them there is always one, and
 * what is asked of all must not be refused because of it. */
static bool ends_by_itself(const struct ask *q, size_t i)
{
	const struct dray_pair *p = &q->job->s->pairs[i];
	return !q->named && q->verb == DRAY_VERB_CANCEL && p->state == DRAY_PAIR_SWITCHING && pair_offline(p);
}

/* Gives the pairs for which the verb is legal a goal. `tolerant`: others in final or failed states are passed over. */
static void ask_goal(struct ask *q, enum pair_goal goal, bool (*blocks)(enum dray_pair_state state))
{
	struct job *job = q->job;
	const struct dray_pair *illegal = NULL;
	bool any = false, fulfilled = false;
	for (size_t i = 0; i < job->s->n_pairs; i++) {
		enum dray_legal l = verb_legal(q, i);
		any |= l == DRAY_LEGAL;
		fulfilled |= l == DRAY_FULFILLED;
		if (q->pairs[i] && l == DRAY_ILLEGAL && (q->named || blocks(job->s->pairs[i].state)) && !ends_by_itself(q, i))
			illegal = &job->s->pairs[i];
	}
	if (illegal || (!any && !fulfilled)) {
		verb_refuse(q, illegal);
		return;
	}
	struct change c;
	change_begin(&c, q->a, job, q->call->actor);
	for (size_t i = 0; i < job->s->n_pairs; i++) {
		enum dray_legal l = verb_legal(q, i);
		if (l == DRAY_LEGAL) {
			change_goal(&c, &job->runs[i], goal);
			job->runs[i].op_error[0] = 0;
			job->runs[i].retry_at = 0;
		} else if (goal == GOAL_CANCEL && ends_by_itself(q, i) && job->runs[i].goal == GOAL_NONE) {
			change_goal(&c, &job->runs[i], goal); /* in case it is not split: its outcome first. It may be split already: then it ends */
		}
		q->pairs[i] = l != DRAY_ILLEGAL;
	}
	if (change_end(&c))
		verb_not_recorded(q, &c);
	else
		verb_answer_later(q, NULL);
}

static bool blocks_cancel(enum dray_pair_state s)
{
	return s == DRAY_PAIR_SWITCHED || s == DRAY_PAIR_SWITCHING;
}

static bool blocks_commit(enum dray_pair_state s)
{
	return s != DRAY_PAIR_FAILED && !dray_state_final(s);
}

void verb_cancel(struct ask *q)
{
	ask_goal(q, GOAL_CANCEL, blocks_cancel);
}

void verb_commit(struct ask *q)
{
	ask_goal(q, GOAL_COMMIT, blocks_commit);
}
