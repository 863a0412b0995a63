/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The verbs: what is asked, whether it is legal, and who carries it out. Verify is here; retire is in a file of its own, and so are the others.
 *
 * A verb is checked against the table for every pair it concerns, recorded as what is wanted, and answered when the pairs are
 * there (waiting.c). Where anything of it is not legal or not possible, nothing of it is done.
 */
#include "agent/verbs.h"

#include "agent/reconcile.h"
#include "agent/retire.h"
#include "agent/verify.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

void verb_refuse(struct ask *q, const struct dray_pair *p)
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
	free(q->pairs);
}

enum dray_legal verb_legal(const struct ask *q, size_t i)
{
	/* The split of a generation is a moment, and nobody's decision: what is asked then holds after it. */
	enum dray_pair_state state = q->job->s->pairs[i].state;
	if (q->pairs[i] && (q->verb == DRAY_VERB_PAUSE || q->verb == DRAY_VERB_CANCEL) && state == DRAY_PAIR_SWITCHING && job_periodic(q->job))
		return DRAY_LEGAL;
	return q->pairs[i] ? dray_verb_legal(q->verb, state) : DRAY_ILLEGAL;
}

void verb_answer_now(struct ask *q)
{
	api_document(q->call, 200, q->job, NULL);
	free(q->pairs);
}

void verb_answer_later(struct ask *q, json_t *not_done)
{
	waiter_add(q->job, q->verb, q->call, q->pairs, not_done);
}

void verb_not_recorded(struct ask *q, const struct change *c)
{
	api_problem(q->call, 500, 1, "repository", "%s of session %s: %s", dray_verb_word(q->verb), q->job->s->name, c->err.text);
	free(q->pairs);
}

static void ask_verify(struct ask *q)
{
	struct job *job = q->job;
	bool any = false;
	for (size_t i = 0; i < job->s->n_pairs; i++) {
		bool yes = verb_legal(q, i) == DRAY_LEGAL && job->runs[i].goal == GOAL_NONE;
		if (q->pairs[i] && !yes && q->named) {
			verb_refuse(q, &job->s->pairs[i]);
			return;
		}
		q->pairs[i] = yes;
		any |= yes;
	}
	if (!any) {
		verb_refuse(q, NULL);
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
		verb_not_recorded(q, &c);
	else
		verb_answer_later(q, NULL);
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
		char pointer[40], *text = dray_value_text(value);
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
	case DRAY_VERB_PAUSE: verb_pause(&q); return;
	case DRAY_VERB_RESUME: verb_resume(&q); return;
	case DRAY_VERB_CANCEL: verb_cancel(&q); return;
	case DRAY_VERB_COMMIT: verb_commit(&q); return;
	case DRAY_VERB_SWITCH:
	case DRAY_VERB_UNDO: verb_switch(&q); return;
	case DRAY_VERB_RETRY: verb_retry(&q); return;
	case DRAY_VERB_VERIFY: ask_verify(&q); return;
	case DRAY_VERB_RETIRE: retire_ask(a, job, call, q.pairs, q.named); return;
	default: break;
	}
	free(q.pairs);
	api_problem(call, 422, 3, "unsupported", "%s is not supported by this version", dray_verb_word(verb));
}
