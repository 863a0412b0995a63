/* SPDX-License-Identifier: BSD-3-Clause */
/* Pause and resume. */
#include "agent/verbs.h"

#include "agent/verify.h"

#include <stdio.h>

void verb_pause(struct ask *q)
{
	struct job *job = q->job;
	bool any = false, fulfilled = false;
	json_t *not_paused = NULL;
	for (size_t i = 0; i < job->s->n_pairs; i++) {
		const struct dray_pair *p = &job->s->pairs[i];
		enum dray_legal l = verb_legal(q, i);
		any |= l == DRAY_LEGAL;
		fulfilled |= l == DRAY_FULFILLED;
		if (q->pairs[i] && l == DRAY_ILLEGAL && p->state != DRAY_PAIR_QUEUED && !dray_state_final(p->state)) {
			char id[16];
			snprintf(id, sizeof id, "%u", p->id);
			if (!not_paused)
				not_paused = json_array();
			json_array_append_new(not_paused, json_string(id));
		}
	}
	if (!any && !fulfilled) {
		json_decref(not_paused);
		verb_refuse(q, NULL);
		return;
	}
	struct change c;
	change_begin(&c, q->a, job, q->call->actor);
	if (!q->named)
		job->s->pause_reasons |= DRAY_PAUSE_USER;
	for (size_t i = 0; i < job->s->n_pairs; i++) {
		if (verb_legal(q, i) == DRAY_ILLEGAL) {
			q->pairs[i] = false;
			continue;
		}
		change_touch(&c, &job->runs[i]);
		if (q->named)
			job->s->pairs[i].pause_reasons |= DRAY_PAUSE_USER;
		job->runs[i].pause_detach = q->detach;
		job->runs[i].op_error[0] = 0;
		verify_stop(&c, &job->runs[i], "a pause");
		snprintf(job->runs[i].actor, sizeof job->runs[i].actor, "%s", q->call->actor);
	}
	if (change_end(&c)) {
		json_decref(not_paused);
		verb_not_recorded(q, &c);
		return;
	}
	verb_answer_later(q, not_paused);
}

/* What a pause of the session concerns. One that failed goes on when it is retried: nobody paused that. */
static bool held_by_session(enum dray_pair_state s)
{
	return !dray_state_final(s) && s != DRAY_PAIR_SWITCHED && s != DRAY_PAIR_FAILED;
}

/* Paused, or on its way there. What is switched or failed is not held by a pause of the session. */
static bool may_resume(const struct job *job, const struct dray_pair *p)
{
	if (dray_verb_legal(DRAY_VERB_RESUME, p->state) == DRAY_LEGAL)
		return true;
	return pair_pause_wanted(job, p) && (p->state == DRAY_PAIR_QUEUED || dray_verb_legal(DRAY_VERB_PAUSE, p->state) == DRAY_LEGAL);
}

void verb_resume(struct ask *q)
{
	struct job *job = q->job;
	struct dray_session *s = job->s;
	bool any = false;
	for (size_t i = 0; i < s->n_pairs; i++)
		any |= q->pairs[i] && may_resume(job, &s->pairs[i]);
	if (!any) {
		verb_refuse(q, NULL);
		return;
	}
	struct change c;
	change_begin(&c, q->a, job, q->call->actor);
	bool whole = s->pause_reasons & DRAY_PAUSE_USER;
	s->pause_reasons &= ~(unsigned)DRAY_PAUSE_USER;
	if (!q->named)
		schedule_resumed(s);
	for (size_t i = 0; i < s->n_pairs; i++) {
		struct dray_pair *p = &s->pairs[i];
		if (q->pairs[i]) {
			change_touch(&c, &job->runs[i]);
			p->pause_reasons &= ~(unsigned)DRAY_PAUSE_USER;
			snprintf(job->runs[i].actor, sizeof job->runs[i].actor, "%s", q->call->actor);
			job->runs[i].op_error[0] = 0;
		} else if (whole && held_by_session(p->state)) {
			change_touch(&c, &job->runs[i]);
			p->pause_reasons |= DRAY_PAUSE_USER; /* the others stay as they are */
		}
		if (p->state != DRAY_PAIR_PAUSED || pair_pause_wanted(job, p))
			q->pairs[i] = false; /* nothing to wait for: another reason holds it */
	}
	if (change_end(&c))
		verb_not_recorded(q, &c);
	else
		verb_answer_later(q, NULL);
}
