/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Can the sources be retired as the document, or the verb, says? Looking may block, so requests do it on their own threads;
 * what the looks found is judged by the core, against what is on record. It is a promise of now: everything is looked at again
 * at the moment of acting.
 */
#include "agent/retire.h"

#include "agent/api.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *text(const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));
	return s ? s : "";
}

static uint64_t number(const json_t *o, const char *key)
{
	json_int_t n = json_integer_value(json_object_get(o, key));
	return n > 0 ? (uint64_t)n : 0;
}

/* A leg's resource: a name, or {resource, offset, length}. */
static const char *resource_of(const json_t *leg, uint64_t *offset, uint64_t *length)
{
	const json_t *r = json_object_get(leg, "resource");
	*offset = number(r, "offset");
	*length = number(r, "length");
	return json_is_object(r) ? text(r, "resource") : text(leg, "resource");
}

/* The leg that serves the volume; `n` >= 0: the leg of that id. NULL: none. */
static const json_t *leg_in(const json_t *volume, int n)
{
	size_t k;
	json_t *leg;
	json_array_foreach (json_object_get(volume, "legs"), k, leg)
		if (n < 0 ? !strcmp(text(leg, "state"), "primary") : json_integer_value(json_object_get(leg, "id")) == n)
			return leg;
	return NULL;
}

/* Of a volume in a list as GET /volumes has it. */
static const json_t *leg_of(const json_t *volumes, const char *volume, int n)
{
	size_t i;
	json_t *v;
	json_array_foreach ((json_t *)volumes, i, v)
		if (!strcmp(text(v, "name"), volume) && !json_is_true(json_object_get(v, "hidden")))
			return leg_in(v, n);
	return NULL;
}

/* ---- on the request's thread ---- */

void retire_look_submitted(struct probe_set *probes, const struct dray_session *s, const json_t *volumes, bool allow_faults)
{
	for (size_t i = 0; s->retire && s->mode == DRAY_MODE_MOVE && i < s->n_pairs; i++) {
		const struct dray_pair *p = &s->pairs[i];
		const char *volume = dray_source_volume(&p->source);
		struct dray_retire_look look = { .resource = p->source.resource, .offset = p->source.offset,
			.length = p->source.length, .allow_faults = allow_faults, .session = s->id[0] ? s->id : NULL };
		if (!p->source.resource[0])
			continue;
		if (volume) {
			const json_t *leg = leg_of(volumes, volume, -1);
			if (!leg)
				continue; /* told by others: no such volume, or dray-iod does not answer */
			look.resource = resource_of(leg, &look.offset, &look.length);
			look.identity = text(leg, "identity");
			look.no_connect = true;
			look.can_discard = json_is_true(json_object_get(leg, "can_discard"));
		} else if (probes->pairs[i].source.rc) {
			continue; /* told already */
		}
		struct retire_look *l = calloc(1, sizeof *l);
		if (!l)
			abort();
		l->pair = p->id;
		l->rc = dray_retire_look(&look, &l->facts, &l->err);
		probes->pairs[i].retire = l;
	}
}

void retire_look_asked(struct api_call *call, const json_t *sources, bool allow_faults)
{
	size_t i, n = json_array_size(sources);
	json_t *source;
	if (!n || !(call->looks = calloc(n, sizeof *call->looks)))
		return;
	json_array_foreach ((json_t *)sources, i, source) {
		struct retire_look *l = &call->looks[call->n_looks++];
		struct dray_retire_look look = { .resource = text(source, "resource"), .offset = number(source, "offset"),
			.length = number(source, "length"), .allow_faults = allow_faults, .session = text(source, "session"),
			.identity = text(source, "identity"), .no_connect = json_object_get(source, "can_discard") != NULL,
			.can_discard = json_is_true(json_object_get(source, "can_discard")) };
		l->pair = (unsigned)number(source, "pair");
		l->rc = dray_retire_look(&look, &l->facts, &l->err);
	}
}

/* ---- the core ---- */

static json_t *source_json(const struct job *job, const struct dray_pair *p)
{
	return json_pack("{s:i, s:s, s:s, s:s, s:I, s:I}", "pair", (int)p->id, "session", job->s->id, "resource", p->origin.resource,
		"identity", p->origin.identity ? p->origin.identity : "", "offset", (json_int_t)p->origin.offset, "length",
		(json_int_t)p->origin.length);
}

json_t *retire_sources(const struct job *job)
{
	json_t *list = json_array();
	for (size_t i = 0; job->s->mode == DRAY_MODE_MOVE && i < job->s->n_pairs; i++) {
		const struct dray_pair *p = &job->s->pairs[i];
		if (dray_verb_legal(DRAY_VERB_RETIRE, p->state) != DRAY_LEGAL || !p->origin.resource ||
			p->retired.state == DRAY_RETIRED_PENDING)
			continue;
		json_array_append_new(list, source_json(job, p));
	}
	return list;
}

/* switch.retire would be for its source. */
static bool may_still_commit(const struct dray_pair *p)
{
	return p->state != DRAY_PAIR_COMMITTED && p->state != DRAY_PAIR_COMPLETED && p->state != DRAY_PAIR_CANCELED;
}

/* A leg, of a hidden volume too, that is the storage. */
static const json_t *leg_by_identity(const struct agent *a, const char *identity)
{
	const char *name;
	size_t k;
	json_t *v, *leg;
	json_object_foreach (a->volumes, name, v)
		json_array_foreach (json_object_get(v, "legs"), k, leg)
			if (!strcmp(text(leg, "identity"), identity))
				return leg;
	return NULL;
}

json_t *retire_all_sources(const struct agent *a, const struct job *job)
{
	json_t *list = json_array();
	for (size_t i = 0; job->s->mode == DRAY_MODE_MOVE && i < job->s->n_pairs; i++) {
		const struct dray_pair *p = &job->s->pairs[i];
		if (!may_still_commit(p) || !p->origin.resource)
			continue;
		json_t *source = source_json(job, p);
		const json_t *leg = p->origin.identity ? leg_by_identity(a, p->origin.identity) : NULL;
		if (leg) /* dray-iod has it, and says what it can */
			json_object_set_new(source, "can_discard", json_boolean(json_is_true(json_object_get(leg, "can_discard"))));
		json_array_append_new(list, source);
	}
	return list;
}

static void set_origin(struct dray_origin *o, const char *resource, uint64_t offset, uint64_t length, const char *identity,
	const char *boot)
{
	dray_origin_clear(o);
	set_text(&o->resource, "%s", resource);
	set_text(&o->identity, "%s", identity);
	set_text(&o->boot, "%s", boot);
	o->offset = offset;
	o->length = length;
}

void retire_note_origin(const struct agent *a, struct dray_pair *p, int leg_id)
{
	const char *volume = dray_source_volume(&p->source);
	const json_t *leg = volume ? leg_in(volume_find(a, volume), leg_id) : NULL;
	uint64_t offset, length;
	if (!leg || !text(leg, "identity")[0])
		return;
	const char *resource = resource_of(leg, &offset, &length);
	set_origin(&p->origin, resource, offset, length, text(leg, "identity"), a->boot_id);
}

static void check_how(const struct dray_session *s, size_t i, const char *how, const struct retire_look *l, struct dray_problems *problems)
{
	const struct dray_pair *p = &s->pairs[i];
	char pointer[48], legal[200];
	struct dray_error err;
	snprintf(pointer, sizeof pointer, "/pairs/%zu/source", i);
	if (l->rc) {
		dray_problems_add(problems, pointer, 0, l->err.kind[0] ? l->err.kind : "not_accessible", p->source.resource, NULL,
			"its source, to be retired: %s", l->err.text);
		return;
	}
	if (l->facts.identity[0] && p->origin.identity && strcmp(l->facts.identity, p->origin.identity)) {
		dray_problems_add(problems, pointer, 0, "replaced", p->source.resource, NULL,
			"%s is another storage than the one the volume has (it is %s, that is %s)", l->facts.path, l->facts.identity,
			p->origin.identity);
		return;
	}
	if (dray_retire_possible(&l->facts, (enum dray_retire_way)dray_retire_from_word(how), &err))
		dray_problems_add(problems, "/switch/retire", 0, "retire", how,
			dray_retire_legal(&l->facts, legal, sizeof legal), "pair %u: %s", p->id, err.text);
}

static void refuse_copy(const char *how, struct dray_problems *problems)
{
	dray_problems_add(problems, "/switch/retire", 0, "retire", how, "none", "the source of a copy stays in use: it can't be retired");
}

void retire_validate(struct agent *a, struct dray_session *s, size_t i, const struct probe_set *probes,
	struct dray_problems *problems)
{
	struct dray_pair *p = &s->pairs[i];
	const struct probe *probe = &probes->pairs[i].source;
	if (dray_source_volume(&p->source))
		retire_note_origin(a, p, -1);
	else if (probe->looked && probe->info.identity[0])
		set_origin(&p->origin, p->source.resource, p->source.offset, p->source.length, probe->info.identity, a->boot_id);
	if (!s->retire)
		return;
	if (s->mode == DRAY_MODE_COPY) {
		if (i == 0)
			refuse_copy(dray_retire_how(s), problems);
		return;
	}
	if (probes->pairs[i].retire)
		check_how(s, i, dray_retire_how(s), probes->pairs[i].retire, problems);
}

static const struct retire_look *look_of(const struct api_call *call, unsigned pair)
{
	for (size_t i = 0; i < call->n_looks; i++)
		if (call->looks[i].pair == pair)
			return &call->looks[i];
	return NULL;
}

bool retire_may_change(struct job *job, struct api_call *call, enum dray_retire_way way)
{
	const struct dray_session *s = job->s;
	const char *how = dray_retire_word(way);
	for (size_t i = 0; i < s->n_pairs; i++)
		if (s->pairs[i].retired.state != DRAY_RETIRED_NO) {
			api_problem(call, 409, 5, "not_legal", "set of switch.retire is not legal: session %s (%s): the retire of pair %u (%s) has begun",
				s->name, s->id, s->pairs[i].id, s->pairs[i].retired.how ? s->pairs[i].retired.how : "?");
			return false;
		}
	if (way == DRAY_RETIRE_NONE)
		return true;
	if (s->mode == DRAY_MODE_COPY) {
		refuse_copy(how, &call->problems);
		return true;
	}
	for (size_t i = 0; i < s->n_pairs; i++) {
		const struct dray_pair *p = &s->pairs[i];
		const struct retire_look *l = look_of(call, p->id);
		if (!may_still_commit(p))
			continue;
		if (l)
			check_how(s, i, how, l, &call->problems);
		else
			dray_problems_add(&call->problems, "/switch/retire", 0, "retire", how, "none",
				"pair %u: what its source is is not on record, so it can't be told from another storage", p->id);
	}
	return true;
}

void retire_plans(struct dray_session *s, const struct probe_set *probes, const char *session)
{
	char plan[PATH_MAX + 200];
	for (size_t i = 0; s->retire && i < s->n_pairs; i++) {
		const struct retire_look *l = probes->pairs[i].retire;
		if (l && !l->rc)
			set_text(&s->pairs[i].retired.plan, "%s",
				dray_retire_plan(&l->facts, (enum dray_retire_way)s->retire,
					s->pairs[i].origin.resource ? s->pairs[i].origin.resource : s->pairs[i].source.resource,
					session, plan, sizeof plan));
	}
}
