/* SPDX-License-Identifier: BSD-3-Clause */
/* Switch and undo; and a generation that is asked for by hand. */
#include "agent/verbs.h"

#include "agent/generation.h"
#include "agent/trouble.h"
#include "base/instant.h"

#include <stdlib.h>
#include <string.h>

#define LOOK_AGAIN (SECOND / 4)
#define PATIENCE   (10 * SECOND)

static void switch_refused(struct ask *q, const struct dray_error *err)
{
	const struct job *job = q->job;
	const char *verb = dray_verb_word(q->verb);
	if (!strcmp(err->kind, "unreachable") || !strcmp(err->kind, "repository")) {
		api_problem(q->call, 502, 1, err->kind, "%s of session %s: %s", verb, job->s->name, err->text);
		return;
	}
	uint64_t dirty = 0;
	for (size_t i = 0; i < job->s->n_pairs; i++)
		if (q->pairs[i] && job->runs[i].view_valid)
			dirty += job->runs[i].view.source.dirty_bytes;
	uint64_t bad = 0;
	for (size_t i = 0; i < job->s->n_pairs; i++)
		bad += q->pairs[i] ? trouble_bad_bytes(job, i, job->s->mode == DRAY_MODE_COPY) : 0;
	json_t *more = !strcmp(err->kind, "bad_ranges") ? json_pack("{s:I}", "bad_bytes", (json_int_t)bad) :
		q->verb == DRAY_VERB_UNDO ? json_pack("{s:I}", "undo_dirty_bytes", (json_int_t)dirty) : NULL;
	api_problem_with(q->call, 409, 5, err->kind, more, "%s of session %s (%s) is not due: %s", verb, job->s->name,
		dray_state_word((enum dray_pair_state)job->s->state), err->text);
}

static void switch_again(struct agent *a, struct api_call *call)
{
	struct job *job = job_find(a, call->core_note);
	verb_call(a, job, call->core_verb, call);
}

/* One was made just now, and it takes a moment until there can be another: scripts ask for one after the other. */
static bool can_soon(const struct ask *q, const struct dray_error *err)
{
	if (!q->call->core_patience)
		q->call->core_patience = q->a->now + PATIENCE;
	return q->a->now < q->call->core_patience &&
	       (!strcmp(err->kind, "this_second") || (!strcmp(err->kind, "not_synced") && generation_catches_up(q->job)));
}

/* By hand: a generation of now. */
static void ask_generation(struct ask *q)
{
	struct job *job = q->job;
	struct dray_error err;
	time_t opens;
	char at[40];
	if (q->named) {
		api_problem(q->call, 409, 5, "mixed", "switch is not legal: a generation of session %s is one of all its volumes: name no pairs", job->s->name);
	} else if (!job_live(job)) {
		verb_refuse(q, NULL);
		return;
	} else if (!switch_in_window(job, &opens)) {
		api_problem(q->call, 409, 5, "window",
			"a generation of session %s (%s) is not due: its window (switch.window) opens at %s; set switch.window=none to make it now",
			job->s->name, job->s->id, dray_instant_format(opens, at, sizeof at));
	} else if (!generation_ask(job, q->accept_bad ? SWITCH_ACCEPT_BAD : 0, q->call->actor, &err)) {
		verb_answer_later(q, NULL);
		return;
	} else if (can_soon(q, &err)) {
		set_text(&q->call->core_note, "%s", job->s->id);
		api_later(q->a, q->call, LOOK_AGAIN, switch_again);
	} else if (!q->call->core_note && (!strcmp(err.kind, "unsettled") || !strcmp(err.kind, "unreachable"))) {
		set_text(&q->call->core_note, "%s", job->s->id);
		api_when_listed(q->a, q->call, switch_again);
	} else {
		switch_refused(q, &err);
	}
	free(q->pairs);
}

void verb_switch(struct ask *q)
{
	struct job *job = q->job;
	const struct dray_session *s = job->s;
	const struct dray_pair *offline = NULL;
	bool any = false, fulfilled = false, online = false;
	struct dray_error err;
	if (job_periodic(job) && q->verb == DRAY_VERB_SWITCH) {
		ask_generation(q);
		return;
	}
	for (size_t i = 0; i < s->n_pairs; i++) {
		const struct dray_pair *p = &s->pairs[i];
		if (!q->pairs[i])
			continue;
		enum dray_legal l = dray_verb_legal(q->verb, p->state);
		/* Failed and canceled pairs, offline ones (which end by themselves) and what is over: only where they are named. */
		bool over = p->state == DRAY_PAIR_FAILED || dray_state_final(p->state) || pair_offline(p);
		if (l == DRAY_FULFILLED || (over && !q->named)) {
			fulfilled |= l == DRAY_FULFILLED;
			bool left_out = p->state == DRAY_PAIR_FAILED || p->state == DRAY_PAIR_CANCELED;
			q->pairs[i] = false;
			if (left_out && q->verb == DRAY_VERB_SWITCH && !s->partial && job_live(job) && s->n_pairs > 1) {
				api_problem(q->call, 409, 5, "partial",
					"switch is not legal: pair %u is %s; set switch.partial=true to switch the others, or name them",
					p->id, dray_state_word(p->state));
				free(q->pairs);
				return;
			}
			continue;
		}
		if (l == DRAY_ILLEGAL || job->runs[i].goal != GOAL_NONE) {
			verb_refuse(q, p);
			return;
		}
		any = true;
		if (pair_offline(p))
			offline = p;
		else
			online = true;
	}
	if (!any && fulfilled) {
		verb_answer_now(q);
		return;
	}
	if (offline && online && s->mode == DRAY_MODE_MOVE) {
		api_problem(q->call, 409, 5, "mixed",
			"%s is not legal: pair %u has no application to be switched and is split off by itself; name the others without it",
			dray_verb_word(q->verb), offline->id);
		free(q->pairs);
		return;
	}
	if (!any) {
		verb_refuse(q, NULL);
		return;
	}
	time_t opens;
	char at[40];
	if (q->verb == DRAY_VERB_SWITCH && !switch_in_window(job, &opens)) {
		api_problem(q->call, 409, 5, "window",
			"switch of session %s (%s) is not due: its window (switch.window) opens at %s; set switch.window=none to switch now",
			s->name, s->id, dray_instant_format(opens, at, sizeof at));
		free(q->pairs);
		return;
	}
	unsigned consent = (q->accept_bad ? SWITCH_ACCEPT_BAD : 0) | (q->force ? SWITCH_FORCE : 0);
	const char *kind = q->verb == DRAY_VERB_UNDO ? "undo" : s->mode == DRAY_MODE_COPY || offline ? "split" : "switch";
	if (switch_begin(job, kind, q->pairs, consent, q->call->actor, &err)) {
		bool soon = !strcmp(err.kind, "unsettled") || !strcmp(err.kind, "unreachable");
		if (soon && !q->call->core_note) {
			/* Something of it was answered a moment ago, and what dray-iod has now is not known yet; or dray-iod is
			 * just being started again. */
			set_text(&q->call->core_note, "%s", job->s->id);
			api_when_listed(q->a, q->call, switch_again);
		} else {
			switch_refused(q, &err);
		}
		free(q->pairs);
		return;
	}
	verb_answer_later(q, NULL);
}
