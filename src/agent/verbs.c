/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The verbs: pause, resume, cancel, switch, undo, commit, retry, verify; retire is in a file of its own.
 *
 * A verb is checked against the table for every pair it concerns, recorded as what is wanted, and answered when the pairs are
 * there (waiting.c). Where anything of it is not legal or not possible, nothing of it is done.
 */
#include "agent/agent.h"

#include "agent/api.h"
#include "agent/generation.h"
#include "agent/reconcile.h"
#include "agent/retire.h"
#include "agent/trouble.h"
#include "agent/verify.h"
#include "base/instant.h"
#include "base/log.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- what is asked ---- */

struct ask {
	struct agent *a;
	struct job *job;
	struct api_call *call;
	enum dray_verb verb;
	bool *pairs;   /* asked for */
	bool named;    /* by --pair */
	bool detach, repair, accept_bad, force;
	unsigned sample;
	const char *vehicle; /* or NULL */
};

/* "2 completed, 1 queued": where none of the pairs is in a state for it, though the session's is a word for which it is. */
static void states_text(const struct ask *q, char *text, size_t size)
{
	unsigned n[DRAY_PAIR_STATE_COUNT] = { 0 };
	size_t at = 0;
	for (size_t i = 0; i < q->job->s->n_pairs; i++)
		n[q->job->s->pairs[i].state] += q->pairs[i];
	text[0] = 0;
	for (int s = 0; s < DRAY_PAIR_STATE_COUNT; s++)
		if (n[s] && at < size)
			at += (size_t)snprintf(text + at, size - at, "%s%u %s", at ? ", " : "", n[s], dray_state_word((enum dray_pair_state)s));
}

static void refuse(struct ask *q, const struct dray_pair *p)
{
	const struct dray_session *s = q->job->s;
	enum dray_pair_state state = (enum dray_pair_state)s->state;
	char what[300] = "", states[240];
	/* Where pairs were named, the first of them for which it is not legal. */
	for (size_t i = 0; !p && q->named && i < s->n_pairs; i++)
		if (q->pairs[i] && dray_verb_legal(q->verb, s->pairs[i].state) == DRAY_ILLEGAL)
			p = &s->pairs[i];
	if (p) {
		snprintf(what, sizeof what, ": pair %u is %s; legal for it: %s", p->id, dray_state_word(p->state), dray_verbs_legal_words(p->state));
	} else if (dray_verb_legal(q->verb, state) == DRAY_LEGAL) {
		states_text(q, states, sizeof states);
		snprintf(what, sizeof what, ", but of its pairs %s", states);
	} else {
		snprintf(what, sizeof what, "; legal now: %s", dray_verbs_legal_words(state));
	}
	api_problem(q->call, 409, 5, "not_legal", "%s is not legal: session %s (%s) is %s%s", dray_verb_word(q->verb), s->name, s->id,
		dray_state_word(state), what);
}

static enum dray_legal legal(const struct ask *q, size_t i)
{
	/* The split of a generation is a moment, and nobody's decision: what is asked then holds after it. */
	enum dray_pair_state state = q->job->s->pairs[i].state;
	if (q->pairs[i] && (q->verb == DRAY_VERB_PAUSE || q->verb == DRAY_VERB_CANCEL) && state == DRAY_PAIR_SWITCHING && job_periodic(q->job))
		return DRAY_LEGAL;
	return q->pairs[i] ? dray_verb_legal(q->verb, state) : DRAY_ILLEGAL;
}

static void answer_now(struct ask *q)
{
	api_document(q->call, 200, q->job, NULL);
	free(q->pairs);
}

static void answer_later(struct ask *q, json_t *not_done)
{
	waiter_add(q->job, q->verb, q->call, q->pairs, not_done);
}

/* The record failed: nothing was done. */
static void not_recorded(struct ask *q, const struct change *c)
{
	api_problem(q->call, 500, 1, "repository", "%s of session %s: %s", dray_verb_word(q->verb), q->job->s->name, c->err.text);
	free(q->pairs);
}

static void ask_pause(struct ask *q)
{
	struct job *job = q->job;
	bool any = false, fulfilled = false;
	json_t *not_paused = NULL;
	for (size_t i = 0; i < job->s->n_pairs; i++) {
		const struct dray_pair *p = &job->s->pairs[i];
		enum dray_legal l = legal(q, i);
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
		refuse(q, NULL);
		json_decref(not_paused);
		free(q->pairs);
		return;
	}
	struct change c;
	change_begin(&c, q->a, job, q->call->actor);
	if (!q->named)
		job->s->pause_reasons |= DRAY_PAUSE_USER;
	for (size_t i = 0; i < job->s->n_pairs; i++) {
		if (legal(q, i) == DRAY_ILLEGAL) {
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
		not_recorded(q, &c);
		return;
	}
	answer_later(q, not_paused);
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

static void ask_resume(struct ask *q)
{
	struct job *job = q->job;
	struct dray_session *s = job->s;
	bool any = false;
	for (size_t i = 0; i < s->n_pairs; i++)
		any |= q->pairs[i] && may_resume(job, &s->pairs[i]);
	if (!any) {
		refuse(q, NULL);
		free(q->pairs);
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
		not_recorded(q, &c);
	else
		answer_later(q, NULL);
}

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
		enum dray_legal l = legal(q, i);
		any |= l == DRAY_LEGAL;
		fulfilled |= l == DRAY_FULFILLED;
		if (q->pairs[i] && l == DRAY_ILLEGAL && (q->named || blocks(job->s->pairs[i].state)) && !ends_by_itself(q, i))
			illegal = &job->s->pairs[i];
	}
	if (illegal || (!any && !fulfilled)) {
		refuse(q, illegal);
		free(q->pairs);
		return;
	}
	struct change c;
	change_begin(&c, q->a, job, q->call->actor);
	for (size_t i = 0; i < job->s->n_pairs; i++) {
		enum dray_legal l = legal(q, i);
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
		not_recorded(q, &c);
	else
		answer_later(q, NULL);
}

static bool blocks_cancel(enum dray_pair_state s)
{
	return s == DRAY_PAIR_SWITCHED || s == DRAY_PAIR_SWITCHING;
}

static bool blocks_commit(enum dray_pair_state s)
{
	return s != DRAY_PAIR_FAILED && !dray_state_final(s);
}

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
		refuse(q, NULL);
	} else if (!switch_in_window(job, &opens)) {
		api_problem(q->call, 409, 5, "window",
			"a generation of session %s (%s) is not due: its window (switch.window) opens at %s; set switch.window=none to make it now",
			job->s->name, job->s->id, dray_instant_format(opens, at, sizeof at));
	} else if (!generation_ask(job, q->accept_bad ? SWITCH_ACCEPT_BAD : 0, q->call->actor, &err)) {
		answer_later(q, NULL);
		return;
	} else if (!q->call->core_note && (!strcmp(err.kind, "unsettled") || !strcmp(err.kind, "unreachable"))) {
		set_text(&q->call->core_note, "%s", job->s->id);
		api_when_listed(q->a, q->call, switch_again);
	} else {
		switch_refused(q, &err);
	}
	free(q->pairs);
}

static void ask_switch(struct ask *q)
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
			refuse(q, p);
			free(q->pairs);
			return;
		}
		any = true;
		if (pair_offline(p))
			offline = p;
		else
			online = true;
	}
	if (!any && fulfilled) {
		answer_now(q);
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
		refuse(q, NULL);
		free(q->pairs);
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
	answer_later(q, NULL);
}

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
	return legal(q, i) == DRAY_LEGAL && (goal == GOAL_NONE || goal == GOAL_HALT);
}

/* With another vehicle (S13): what the last one attached is gone, for a pair that fails at its start lets its legs go (GOAL_HALT); a pair
 * that failed later keeps them, and they are its own vehicle's. */
static void ask_retry(struct ask *q)
{
	struct job *job = q->job;
	const struct dray_vehicle *vehicle = NULL;
	bool any = false;
	for (size_t i = 0; i < job->s->n_pairs; i++) {
		bool look = q->pairs[i] && trouble_may_look_again(job, i);
		if (q->pairs[i] && q->named && legal(q, i) != DRAY_LEGAL && !look) {
			refuse(q, &job->s->pairs[i]);
			free(q->pairs);
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
		refuse(q, NULL);
		free(q->pairs);
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
		change_touch(&c, &job->runs[i]);
		for (size_t t = 0; t < p->n_targets; t++)
			set_text(&p->targets[t].error, NULL);
		verify_void(p);
		p->switch_attempts = 0;
		p->vouched = true;
		job->runs[i].retry_at = job->runs[i].backoff = 0;
		change_goal(&c, &job->runs[i], GOAL_NONE);
		change_pair(&c, &job->runs[i], DRAY_PAIR_QUEUED, NULL);
	}
	change_session_reason(&c, NULL);
	if (change_end(&c)) {
		not_recorded(q, &c);
		return;
	}
	for (size_t i = 0; i < job->s->n_pairs; i++)
		if (q->pairs[i] && trouble_may_look_again(job, i))
			trouble_look_again(job, i);
	answer_now(q);
}

static void ask_verify(struct ask *q)
{
	struct job *job = q->job;
	bool any = false;
	for (size_t i = 0; i < job->s->n_pairs; i++) {
		bool yes = legal(q, i) == DRAY_LEGAL && job->runs[i].goal == GOAL_NONE;
		if (q->pairs[i] && !yes && q->named) {
			refuse(q, &job->s->pairs[i]);
			free(q->pairs);
			return;
		}
		q->pairs[i] = yes;
		any |= yes;
	}
	if (!any) {
		refuse(q, NULL);
		free(q->pairs);
		return;
	}
	struct change c;
	change_begin(&c, q->a, job, q->call->actor);
	for (size_t i = 0; i < job->s->n_pairs; i++) {
		if (!q->pairs[i])
			continue;
		verify_ask(&c, &job->runs[i], q->sample, q->repair);
		job->runs[i].op_error[0] = 0;
	}
	if (change_end(&c))
		not_recorded(q, &c);
	else
		answer_later(q, NULL);
}

/* ---- the body: {pairs: [..], detach, repair, sample, vehicle, accept_bad, force, how} ---- */

struct member {
	const char *key;
	enum dray_verb verb; /* DRAY_VERB_COUNT: of every verb */
	bool (*good)(const json_t *value);
	const char *legal;
};

static bool is_pairs(const json_t *v)
{
	return json_is_array(v) && json_array_size(v);
}

static bool is_bool(const json_t *v)
{
	return json_is_boolean(v);
}

static bool is_sample(const json_t *v)
{
	return json_is_integer(v) && json_integer_value(v) >= 1 && json_integer_value(v) <= 1000000;
}

static bool is_text(const json_t *v)
{
	return json_is_string(v);
}

static bool is_any(const json_t *v)
{
	return true;
}

static const struct member members[] = {
	{ "pairs", DRAY_VERB_COUNT, is_pairs, "a list of at least one pair's id; leave it out for all" },
	{ "detach", DRAY_VERB_PAUSE, is_bool, "true or false" },
	{ "sample", DRAY_VERB_VERIFY, is_sample, "1 (all of it) to 1000000 (every Nth step)" },
	{ "accept_bad", DRAY_VERB_SWITCH, is_bool, "true or false" },
	{ "accept_bad", DRAY_VERB_UNDO, is_bool, "true or false" },
	{ "force", DRAY_VERB_UNDO, is_bool, "true or false" },
	{ "how", DRAY_VERB_RETIRE, is_any, NULL }, /* retire-ask.c looks at it */
	{ "repair", DRAY_VERB_VERIFY, is_bool, "true or false" },
	{ "vehicle", DRAY_VERB_RETRY, is_text, NULL },
};

/* Each member is one that the verb has, and of its form: else all of it is refused. */
static bool check_members(struct ask *q)
{
	const char *key;
	json_t *value;
	json_object_foreach (q->call->body, key, value) {
		const struct member *m = NULL;
		for (size_t i = 0; i < sizeof members / sizeof members[0]; i++)
			if (!strcmp(members[i].key, key) && (members[i].verb == q->verb || members[i].verb == DRAY_VERB_COUNT))
				m = &members[i];
		if (!m) {
			api_problem(q->call, 400, 2, "unknown_key", "%s does not take %s", dray_verb_word(q->verb), key);
			return false;
		}
		if (m->good(value))
			continue;
		char pointer[40], *text = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);
		snprintf(pointer, sizeof pointer, "/%s", key);
		dray_problems_add(&q->call->problems, pointer, 0, "bad_value", text, m->legal ? m->legal : dray_vehicle_words(),
			"\"%s\" can't be that", key);
		free(text);
	}
	if (!q->call->problems.n)
		return true;
	api_problems(q->call, &q->call->problems); /* and it is not ours any more */
	return false;
}

static bool read_body(struct ask *q)
{
	json_t *value;
	size_t i;
	if (!check_members(q))
		return false;
	q->detach = json_is_true(json_object_get(q->call->body, "detach"));
	q->force = json_is_true(json_object_get(q->call->body, "force"));
	q->accept_bad = json_is_true(json_object_get(q->call->body, "accept_bad"));
	q->repair = json_is_true(json_object_get(q->call->body, "repair"));
	q->vehicle = json_string_value(json_object_get(q->call->body, "vehicle"));
	value = json_object_get(q->call->body, "sample");
	q->sample = value ? (unsigned)json_integer_value(value) : 1;
	json_t *pairs = json_object_get(q->call->body, "pairs");
	q->named = json_array_size(pairs) > 0;
	for (size_t k = 0; k < q->job->s->n_pairs; k++)
		q->pairs[k] = !q->named;
	json_array_foreach (pairs, i, value) {
		char id[24] = "";
		if (json_is_integer(value))
			snprintf(id, sizeof id, "%lld", (long long)json_integer_value(value));
		else if (json_is_string(value))
			snprintf(id, sizeof id, "%s", json_string_value(value));
		bool found = false;
		for (size_t k = 0; k < q->job->s->n_pairs; k++) {
			char own[24];
			snprintf(own, sizeof own, "%u", q->job->s->pairs[k].id);
			if (!strcmp(own, id))
				q->pairs[k] = found = true;
		}
		if (!found) {
			api_problem(q->call, 404, 4, "not_found", "session %s has no pair %s", q->job->s->name, id);
			return false;
		}
	}
	return true;
}

void verb_call(struct agent *a, struct job *job, enum dray_verb verb, struct api_call *call)
{
	struct ask q = { .a = a, .job = job, .call = call, .verb = verb };
	call->core_verb = verb;
	q.pairs = calloc(job->s->n_pairs, sizeof *q.pairs);
	if (!q.pairs)
		abort();
	if (!read_body(&q)) {
		free(q.pairs);
		return;
	}
	if (reconcile_refuses(a, job, verb, q.pairs, call)) {
		free(q.pairs);
		return;
	}
	switch (verb) {
	case DRAY_VERB_PAUSE: ask_pause(&q); return;
	case DRAY_VERB_RESUME: ask_resume(&q); return;
	case DRAY_VERB_CANCEL: ask_goal(&q, GOAL_CANCEL, blocks_cancel); return;
	case DRAY_VERB_COMMIT: ask_goal(&q, GOAL_COMMIT, blocks_commit); return;
	case DRAY_VERB_SWITCH:
	case DRAY_VERB_UNDO: ask_switch(&q); return;
	case DRAY_VERB_RETRY: ask_retry(&q); return;
	case DRAY_VERB_VERIFY: ask_verify(&q); return;
	case DRAY_VERB_RETIRE: retire_ask(a, job, call, q.pairs, q.named); return;
	default: break;
	}
	free(q.pairs);
	api_problem(call, 422, 3, "unsupported", "%s is not supported by this version", dray_verb_word(verb));
}
