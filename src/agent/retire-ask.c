/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The verb `retire`: legal for pairs whose source is not needed any more, in a way that the source can be asked for. All or
 * none: anything that stands against one of the pairs refuses it for all, before anything is recorded.
 */
#include "agent/retire.h"

#include "agent/api.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct retire_look *look_of(const struct api_call *call, unsigned pair)
{
	for (size_t i = 0; i < call->n_looks; i++)
		if (call->looks[i].pair == pair)
			return &call->looks[i];
	return NULL;
}

/* Whether the pair waits already to be retired like this, or was. */
static bool fulfilled(const struct dray_pair *p, const char *how)
{
	const struct dray_retired *r = &p->retired;
	return r->how && !strcmp(r->how, how) && (r->state == DRAY_RETIRED_PENDING || r->state == DRAY_RETIRED_DONE);
}

static void check_pair(const struct job *job, const struct dray_pair *p, const char *how, struct api_call *call)
{
	const struct retire_look *l = look_of(call, p->id);
	char pointer[48], legal[200];
	struct dray_error err;
	snprintf(pointer, sizeof pointer, "/pairs/%u/source", p->id - 1);
	if (!p->origin.resource || !p->origin.identity || !l) {
		dray_problems_add(&call->problems, pointer, 0, "retire", how, "none",
			"pair %u: what its source was is not on record, so it can't be told from another storage", p->id);
	} else if (l->rc) {
		dray_problems_add(&call->problems, pointer, 0, l->err.kind[0] ? l->err.kind : "not_accessible", p->origin.resource, NULL,
			"pair %u: %s", p->id, l->err.text);
	} else if (strcmp(l->facts.identity, p->origin.identity)) {
		dray_problems_add(&call->problems, pointer, 0, "replaced", p->origin.resource, NULL,
			"pair %u: %s is not the storage that was migrated any more (it is %s, that was %s)", p->id, l->facts.path,
			l->facts.identity, p->origin.identity);
	} else if (!l->facts.stable_identity && strcmp(p->origin.boot ? p->origin.boot : "", job->agent->boot_id)) {
		dray_problems_add(&call->problems, pointer, 0, "replaced", p->origin.resource, NULL,
			"pair %u: the host was restarted, and %s has no identity that lasts over that: it could be another storage", p->id,
			l->facts.path);
	} else if (dray_retire_possible(&l->facts, (enum dray_retire_way)dray_retire_from_word(how), &err)) {
		dray_problems_add(&call->problems, pointer, 0, "retire", how,
			dray_retire_legal(&l->facts, legal, sizeof legal), "pair %u: %s", p->id, err.text);
	}
}

static void refuse(const struct job *job, struct api_call *call, const struct dray_pair *p, const char *why)
{
	const struct dray_session *s = job->s;
	enum dray_pair_state state = p ? p->state : (enum dray_pair_state)s->state;
	char pair[64] = "";
	if (p)
		snprintf(pair, sizeof pair, ": pair %u is %s", p->id, dray_state_word(p->state));
	api_problem(call, 409, 5, "not_legal", "retire is not legal: session %s (%s) is %s%s; %s%s%s", s->name, s->id,
		dray_state_word((enum dray_pair_state)s->state), pair, why ? why : p ? "legal for it: " : "legal now: ",
		why ? "" : dray_verbs_legal_words(state), "");
}

/* Drops from `pairs` what is passed over. false: refused. */
static bool choose(const struct job *job, struct api_call *call, bool *pairs, bool named, const char *how, bool *any)
{
	bool done = false;
	*any = false;
	for (size_t i = 0; i < job->s->n_pairs; i++) {
		const struct dray_pair *p = &job->s->pairs[i];
		if (!pairs[i])
			continue;
		bool legal = dray_verb_legal(DRAY_VERB_RETIRE, p->state) == DRAY_LEGAL;
		bool over = p->state == DRAY_PAIR_FAILED || p->state == DRAY_PAIR_CANCELED;
		if (!legal && over && !named) {
			pairs[i] = false;
			continue;
		}
		if (!legal) {
			refuse(job, call, p, NULL);
			return false;
		}
		if (p->retired.state == DRAY_RETIRED_PENDING && !fulfilled(p, how)) {
			char why[120];
			snprintf(why, sizeof why, "it is being retired by \"%s\"", p->retired.how ? p->retired.how : "?");
			refuse(job, call, p, why);
			return false;
		}
		if (p->retired.state == DRAY_RETIRED_DONE && p->retired.how && !strcmp(p->retired.how, "delete") && !fulfilled(p, how)) {
			refuse(job, call, p, "its source is deleted");
			return false;
		}
		done = true;
		*any |= !fulfilled(p, how);
	}
	if (!done)
		refuse(job, call, NULL, NULL);
	return done;
}

/* The word, or NULL with the call answered. */
static const char *read_how(const struct job *job, struct api_call *call)
{
	static const char legal[] = "read-only, offline, discard, zero, delete or rename";
	const json_t *given = json_object_get(call->body, "how");
	const char *how = given ? json_string_value(given) : dray_retire_how(job->s);
	if (given && (!how || dray_retire_from_word(how) <= DRAY_RETIRE_NONE))
		dray_problems_add(&call->problems, "/how", 0, "bad_value", how, legal, "\"how\" can't be that");
	else if (!given && !strcmp(how, "none"))
		dray_problems_add(&call->problems, "/how", 0, "missing", NULL, legal,
			"the document does not say how its sources are retired (switch.retire): say it now (--how)");
	if (!call->problems.n)
		return how;
	api_problems(call, &call->problems);
	return NULL;
}

void retire_ask(struct agent *a, struct job *job, struct api_call *call, bool *pairs, bool named)
{
	const char *how = read_how(job, call);
	bool any;
	if (!how || (job->s->mode == DRAY_MODE_COPY && (refuse(job, call, NULL, "the source of a copy stays in use"), true)) ||
		!choose(job, call, pairs, named, how, &any)) {
		free(pairs);
		return;
	}
	for (size_t i = 0; i < job->s->n_pairs; i++)
		if (pairs[i] && !fulfilled(&job->s->pairs[i], how))
			check_pair(job, &job->s->pairs[i], how, call);
	if (call->problems.n) {
		api_problems(call, &call->problems);
		free(pairs);
		return;
	}
	if (any) {
		struct change c;
		change_begin(&c, a, job, call->actor);
		for (size_t i = 0; i < job->s->n_pairs; i++)
			if (pairs[i] && !fulfilled(&job->s->pairs[i], how))
				retire_begin(&c, &job->runs[i], how, false);
		if (change_end(&c)) {
			bool locked = !strcmp(c.err.kind, "locked");
			api_problem(call, locked ? 422 : 500, locked ? 3 : 1, locked ? "locked" : "repository", "retire of session %s: %s",
				job->s->name, c.err.text);
			free(pairs);
			return;
		}
	}
	waiter_add(job, DRAY_VERB_RETIRE, call, pairs, NULL);
}
