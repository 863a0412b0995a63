/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * From a JSON value to a session: walks the document along the table of keys (schema.c) and collects every problem.
 *
 * A value is written to its field only when it is right, so a session whose document has problems has defaults in their
 * place, and its resources can still be looked at. The walk carries the pointer of where it is and the lines that belong
 * to it; documents that were not text have no lines (NULL), their problems have line 0.
 */
#include "base/instant.h"
#include "session/check.h"
#include "session/periodic.h"
#include "session/reader.h"
#include "session/schema.h"
#include "session/session.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define MAX_TARGETS 7

static const struct dray_limits no_limits = { DRAY_UNKNOWN, DRAY_UNKNOWN, DRAY_UNKNOWN, DRAY_UNKNOWN, DRAY_UNKNOWN,
	DRAY_UNKNOWN, DRAY_UNKNOWN, DRAY_UNKNOWN, NULL };

static char *copy(const char *s)
{
	char *c = strdup(s);
	if (!c)
		abort(); /* as in problem.c */
	return c;
}

static void check_map(struct dray_check *c, const char *map, const json_t *v, const struct dray_lines *lines, void *base);

/* Writes to its field what a key is that is left out. */
static void leave_out(struct dray_check *c, const struct dray_key *key, bool copy, void *base)
{
	size_t before = c->problems->n;
	char *text = dray_key_left_out(key, copy);
	json_t *v = key->type == DRAY_T_BOOL ? json_boolean(!strcmp(text, "true")) : json_string(text);
	dray_check_value(c, key, v, NULL, base);
	assert(c->problems->n == before);
	json_decref(v);
	free(text);
}

/* All of the map's, but those whose field is that when it is zero or not given: none, the first word, false. */
static void leave_out_all(struct dray_check *c, const char *map, void *base)
{
	for (size_t i = 0; i < dray_keys_n; i++)
		if (dray_keys[i].left_out && dray_key_in_map(&dray_keys[i], map))
			leave_out(c, &dray_keys[i], false, base);
}

/* A resource by its name alone, or a slice of one. */
static void check_resource(struct dray_check *c, const struct dray_key *key, const json_t *v,
	const struct dray_lines *lines, struct dray_resource *r)
{
	unsigned line = lines ? lines->line : 0;
	if (json_is_object(v)) {
		size_t problems = c->problems->n;
		struct dray_resource slice = { 0 };
		check_map(c, "resource", v, lines, &slice);
		if (c->problems->n > problems)
			return;
		slice.slice = slice.offset || slice.length;
		slice.resource = copy(json_string_value(json_object_get(v, "resource")));
		if (!strncmp(slice.resource, "volume:", 7))
			dray_check_fail(c, line, "bad_value", v, key->legal, "a volume can't be sliced");
		free(r->resource);
		*r = slice;
		return;
	}
	if (!json_is_string(v)) {
		dray_check_wrong_type(c, key, line, v);
		return;
	}
	if (!dray_check_resource_name(c, key, line, v, key->type == DRAY_T_SOURCE))
		return;
	free(r->resource);
	r->resource = copy(json_string_value(v));
}

static void check_targets(struct dray_check *c, const struct dray_key *key, const json_t *v,
	const struct dray_lines *lines, struct dray_pair *pair)
{
	size_t n = json_is_array(v) ? json_array_size(v) : 1;
	pair->targets_as_list = json_is_array(v);
	if (n == 0 || n > MAX_TARGETS) {
		dray_check_fail(c, lines ? lines->line : 0, "out_of_range", v, "1 to 7 targets",
			n ? "too many targets" : "no target is given");
		return;
	}
	pair->targets = calloc(n, sizeof *pair->targets);
	if (!pair->targets)
		abort();
	pair->n_targets = n;
	for (size_t i = 0; i < n; i++) {
		struct dray_target *t = &pair->targets[i];
		t->at.resource = copy("");
		t->copy_role = i > 0;
		t->iod_leg = -1;
		t->dirty_bytes = DRAY_UNKNOWN;
		if (!pair->targets_as_list) {
			check_resource(c, key, v, lines, &t->at);
			continue;
		}
		size_t before = dray_pointer_index(&c->at, i);
		check_resource(c, key, json_array_get(v, i), lines ? &lines->child[i] : NULL, &t->at);
		dray_pointer_cut(&c->at, before);
	}
}

static void check_verify(struct dray_check *c, const struct dray_key *key, const json_t *v, const struct dray_lines *lines,
	struct dray_session *s)
{
	if (!json_is_object(v)) {
		int word = dray_check_word(c, key, lines ? lines->line : 0, v);
		if (word >= 0) {
			s->verify = (enum dray_verify)word;
			s->verify_repair = false;
		}
		return;
	}
	size_t problems = c->problems->n;
	struct dray_session found = { 0 };
	check_map(c, "verify", v, lines, &found);
	if (c->problems->n > problems)
		return;
	s->verify = found.verify;
	s->verify_repair = found.verify_repair;
}

static void check_when(struct dray_check *c, const struct dray_key *key, const json_t *v, const struct dray_lines *lines,
	struct dray_session *s)
{
	const char *text = json_string_value(v);
	if (json_is_object(v)) {
		size_t problems = c->problems->n;
		struct dray_session found = { 0 };
		check_map(c, "switch.when", v, lines, &found);
		if (c->problems->n == problems) {
			free(s->when_event);
			s->when_event = found.when_event;
			s->when = DRAY_WHEN_EVENT;
		} else {
			free(found.when_event);
		}
	} else if (text && isdigit((unsigned char)*text)) {
		if (dray_instant_parse(text, &s->when_time))
			dray_check_fail(c, lines ? lines->line : 0, "bad_value", v, key->legal, "this is no time as RFC 3339 has it");
		else
			s->when = DRAY_WHEN_TIME;
	} else {
		int word = dray_check_word(c, key, lines ? lines->line : 0, v);
		if (word >= 0)
			s->when = (enum dray_when)word;
	}
}

/* Exactly one of after, event and every; the others go with every. What is refused of it already is not refused again. */
static void check_start_map(struct dray_check *c, const struct dray_key *key, const json_t *v, const struct dray_lines *lines,
	struct dray_session *s)
{
	size_t problems = c->problems->n;
	unsigned line = lines ? lines->line : 0;
	struct dray_session found = { .at = -1 };
	leave_out_all(c, "start", &found);
	check_map(c, "start", v, lines, &found);
	bool after = json_object_get(v, "after"), event = json_object_get(v, "event"), every = json_object_get(v, "every");
	if (c->problems->n == problems && after + event + every != 1)
		dray_check_fail(c, line, "bad_value", v, key->legal, "\"start\" needs one of after, event and every, and one alone");
	else if (c->problems->n == problems && !every && json_object_size(v) != 1)
		dray_check_fail(c, line, "bad_value", v, key->legal, "the other keys of \"start\" go with every");
	if (c->problems->n > problems || (every && !dray_periodic_start(c, key, v, line, &found))) {
		free(found.start_event);
		if (s->doc)
			return; /* it is set, or not */
		/* The rest of the document is judged by what was meant. */
		s->start = every ? DRAY_START_EVERY : DRAY_START_NOW;
		s->every_ns = 0;
		return;
	}
	s->start = event ? DRAY_START_EVENT : every ? DRAY_START_EVERY : DRAY_START_AFTER;
	s->start_after_ns = found.start_after_ns;
	s->every_ns = found.every_ns;
	s->at = found.at;
	s->keep = found.keep;
	s->hook_timeout_ns = found.hook_timeout_ns;
	s->hook_failure = found.hook_failure;
	free(s->start_event);
	s->start_event = found.start_event;
}

struct dray_moments dray_session_moments(const struct dray_session *s)
{
	return (struct dray_moments){ s->every_ns / UINT64_C(1000000000), s->at };
}

static void check_start(struct dray_check *c, const struct dray_key *key, const json_t *v, const struct dray_lines *lines,
	struct dray_session *s)
{
	const char *text = json_string_value(v);
	unsigned line = lines ? lines->line : 0;
	if (json_is_object(v)) {
		check_start_map(c, key, v, lines, s);
	} else if (text && isdigit((unsigned char)*text)) {
		if (dray_instant_parse(text, &s->start_time))
			dray_check_fail(c, line, "bad_value", v, key->legal, "this is no time as RFC 3339 has it");
		else
			s->start = DRAY_START_TIME;
	} else if (dray_check_word(c, key, line, v) >= 0) {
		s->start = DRAY_START_NOW;
	}
}

static void pair_init(struct dray_pair *pair, size_t index)
{
	*pair = (struct dray_pair){
		.id = (unsigned)index + 1,
		.source.resource = copy(""),
		.vehicle = copy(""),
		.limits = no_limits,
		.progress = { DRAY_UNKNOWN, DRAY_UNKNOWN, DRAY_UNKNOWN, DRAY_UNKNOWN, DRAY_UNKNOWN, DRAY_UNKNOWN,
			DRAY_UNKNOWN, DRAY_UNKNOWN },
		.dirty_bytes = DRAY_UNKNOWN,
		.bad_bytes = DRAY_UNKNOWN,
		.blackout_us = DRAY_UNKNOWN,
		.predicted_blackout_us = DRAY_UNKNOWN,
		.retired = { .bytes_done = DRAY_UNKNOWN, .bytes_total = DRAY_UNKNOWN },
		.reverse_leg = -1,
	};
}

static void check_pairs(struct dray_check *c, const json_t *v, const struct dray_lines *lines, struct dray_session *s)
{
	unsigned line = lines ? lines->line : 0;
	if (!json_is_array(v)) {
		dray_check_fail(c, line, "wrong_type", v, "a list of pairs", "pairs must be a list");
		return;
	}
	size_t n = json_array_size(v);
	if (n == 0) {
		dray_check_fail(c, line, "out_of_range", v, "at least one pair", "the list of pairs is empty");
		return;
	}
	s->pairs = calloc(n, sizeof *s->pairs);
	if (!s->pairs)
		abort();
	s->n_pairs = n;
	for (size_t i = 0; i < n; i++) {
		pair_init(&s->pairs[i], i);
		leave_out_all(c, "pairs", &s->pairs[i]);
		c->pair = s->pairs[i].id;
		size_t before = dray_pointer_index(&c->at, i);
		check_map(c, "pairs", json_array_get(v, i), lines ? &lines->child[i] : NULL, &s->pairs[i]);
		dray_pointer_cut(&c->at, before);
	}
}

/* What is left out of the map is not given, whatever it was before. */
static void check_vehicles(struct dray_check *c, const struct dray_key *key, const json_t *v, const struct dray_lines *lines,
	struct dray_limits *into)
{
	size_t before = c->problems->n;
	struct dray_limits found = *into;
	found.host_active_pairs = found.host_in_flight = DRAY_UNKNOWN;
	if (!json_is_string(v) || strcmp(json_string_value(v), "none"))
		check_map(c, key->name, v, lines, &found);
	if (c->problems->n == before)
		*into = found;
}

void dray_check_value(struct dray_check *c, const struct dray_key *key, const json_t *v, const struct dray_lines *lines,
	void *base)
{
	unsigned line = lines ? lines->line : 0;
	void *field = key->field == DRAY_NO_FIELD ? NULL : (char *)base + key->field;
	uint64_t n;
	int word;
	switch (key->type) {
	case DRAY_T_MAP: check_map(c, key->name, v, lines, field); break;
	case DRAY_T_VEHICLES: check_vehicles(c, key, v, lines, base); break;
	case DRAY_T_PAIRS: check_pairs(c, v, lines, base); break;
	case DRAY_T_VERIFY: check_verify(c, key, v, lines, base); break;
	case DRAY_T_WHEN: check_when(c, key, v, lines, base); break;
	case DRAY_T_START: check_start(c, key, v, lines, base); break;
	case DRAY_T_COMMIT: dray_check_commit(c, key, v, lines, base); break;
	case DRAY_T_CLOCK: dray_check_clock(c, key, line, v, field); break;
	case DRAY_T_WINDOWS: dray_check_windows(c, key, v, lines, field); break;
	case DRAY_T_SOURCE: check_resource(c, key, v, lines, field); break;
	case DRAY_T_TARGET: check_targets(c, key, v, lines, base); break;
	case DRAY_T_LATER:
		dray_check_fail(c, line, "unsupported", v, key->legal, "\"%s\" is not supported yet", key->name);
		break;
	case DRAY_T_TEXT:
		if (!json_is_string(v))
			dray_check_wrong_type(c, key, line, v);
		else
			dray_check_resource_name(c, key, line, v, false);
		break;
	case DRAY_T_NAME:
	case DRAY_T_ID:
	case DRAY_T_EVENT:
	case DRAY_T_VEHICLE:
		if (dray_check_text(c, key, line, v)) {
			free(*(char **)field);
			*(char **)field = copy(json_string_value(v));
		}
		break;
	case DRAY_T_PAIR_ID: dray_check_pair_id(c, line, v); break;
	case DRAY_T_BOOL:
		if (json_is_boolean(v))
			*(bool *)field = json_is_true(v);
		else
			dray_check_fail(c, line, "wrong_type", v, "true or false", "\"%s\" must be true or false", key->name);
		break;
	case DRAY_T_PRIORITY:
		if (dray_check_priority(c, key, line, v, &n))
			*(unsigned *)field = (unsigned)n;
		break;
	case DRAY_T_WORD:
		word = dray_check_word(c, key, line, v);
		if (word >= 0 && field)
			*(int *)field = word;
		break;
	case DRAY_T_COUNT32:
		if (dray_check_number(c, key, line, v, &n))
			*(unsigned *)field = (unsigned)n;
		break;
	case DRAY_T_RATE: dray_check_rate(c, key, line, v, base); break;
	case DRAY_T_SIZE:
	case DRAY_T_COUNT:
	case DRAY_T_DURATION:
		if (dray_check_number(c, key, line, v, &n))
			*(uint64_t *)field = n;
		break;
	}
}

static void unknown_key(struct dray_check *c, const char *map, const char *name, unsigned line, const json_t *v)
{
	char *legal = dray_keys_legal(map);
	const char *near = dray_key_near(map, name);
	bool in_document = !*map || !strcmp(map, "pairs");
	if (in_document && dray_key_is_output(name))
		dray_check_fail(c, line, "unknown_key", v, legal,
			"\"%s\" is written by the agent and can't be submitted: leave it out", name);
	else if (near)
		dray_check_fail(c, line, "unknown_key", v, legal, "there is no key \"%s\" here: did you mean \"%s\"?", name,
			near);
	else
		dray_check_fail(c, line, "unknown_key", v, legal, "there is no key \"%s\" here", name);
	free(legal);
}

static void check_map(struct dray_check *c, const char *map, const json_t *v, const struct dray_lines *lines, void *base)
{
	unsigned line = lines ? lines->line : 0;
	if (!json_is_object(v)) {
		char *legal = dray_keys_legal(map);
		dray_check_fail(c, line, "wrong_type", v, legal, "here must be a map of keys");
		free(legal);
		return;
	}
	const char *name;
	json_t *member;
	unsigned i = 0;
	bool document = !*map || !strcmp(map, "pairs");
	json_object_foreach((json_t *)v, name, member) {
		const struct dray_lines *at = lines ? &lines->child[i] : NULL;
		i++;
		const struct dray_key *key = dray_key_find(map, name);
		if (!c->strict && document && dray_key_is_output(name) && (!key || key->type == DRAY_T_PAIR_ID))
			continue;
		size_t before = dray_pointer_key(&c->at, name);
		if (key)
			dray_check_value(c, key, member, at, base);
		else
			unknown_key(c, map, name, at ? at->line : 0, member);
		dray_pointer_cut(&c->at, before);
	}
	for (size_t k = 0; k < dray_keys_n; k++) {
		const struct dray_key *key = &dray_keys[k];
		if (!(key->flags & DRAY_K_REQUIRED) || !dray_key_in_map(key, map))
			continue;
		const char *own = strrchr(key->name, '.') ? strrchr(key->name, '.') + 1 : key->name;
		if (json_object_get(v, own))
			continue;
		size_t before = dray_pointer_key(&c->at, own);
		dray_check_fail(c, line, "missing", NULL, key->legal, "\"%s\" is missing", own);
		dray_pointer_cut(&c->at, before);
	}
}

/* What the agent writes is no part of the document as submitted. */
static void drop_output_keys(json_t *map, bool pair)
{
	const char *name;
	json_t *member;
	void *next;
	json_object_foreach_safe(map, next, name, member) {
		if (dray_key_is_output(name) && (pair || strcmp(name, "id")))
			json_object_del(map, name);
	}
}

static int from_json(const json_t *doc, const struct dray_lines *lines, bool strict, struct dray_session **session,
	struct dray_problems *problems)
{
	struct dray_check c = { .problems = problems, .strict = strict };
	struct dray_session *s = calloc(1, sizeof *s);
	if (!s)
		abort();
	*s = (struct dray_session){
		.name = copy(""),
		.id = copy(""),
		.limits = no_limits,
		.max_duration_ns = DRAY_UNKNOWN,
	};
	leave_out_all(&c, "", s);
	leave_out_all(&c, "switch", s);
	check_map(&c, "", doc, lines, s);
	for (size_t i = 0; i < s->n_pairs; i++)
		s->pair_tables |= s->pairs[i].limits.rate_table != NULL;
	if (s->mode == DRAY_MODE_COPY && !json_object_get(json_object_get(doc, "switch"), "when"))
		leave_out(&c, dray_key_find("switch", "when"), true, s);
	s->doc = json_deep_copy(doc);
	if (!s->doc)
		abort();
	dray_periodic_check(&c, s);
	dray_pointer_free(&c.at);
	if (!strict) {
		drop_output_keys(s->doc, false);
		json_t *pairs = json_object_get(s->doc, "pairs");
		for (size_t i = 0; i < s->n_pairs; i++)
			drop_output_keys(json_array_get(pairs, i), true);
	}
	*session = s;
	return problems->n ? -EINVAL : 0;
}

int dray_session_parse(const char *text, size_t len, bool strict_output, struct dray_session **session,
	struct dray_problems *problems)
{
	json_t *doc;
	struct dray_lines *lines;
	*session = NULL;
	if (dray_read(text, len, &doc, &lines, problems))
		return -EINVAL;
	int rc = from_json(doc, lines, strict_output, session, problems);
	if (json_equal(doc, (*session)->doc))
		(*session)->lines = lines;
	else /* output keys were dropped: the lines have another shape */
		dray_lines_free(lines);
	json_decref(doc);
	dray_session_add_lines(*session, problems);
	return rc;
}

int dray_session_from_json(const json_t *doc, bool strict_output, struct dray_session **session,
	struct dray_problems *problems)
{
	return from_json(doc, NULL, strict_output, session, problems);
}

static void resource_clear(struct dray_resource *r)
{
	free(r->resource);
}

void dray_session_free(struct dray_session *session)
{
	if (!session)
		return;
	for (size_t i = 0; i < session->n_pairs; i++) {
		struct dray_pair *p = &session->pairs[i];
		resource_clear(&p->source);
		for (size_t t = 0; t < p->n_targets; t++) {
			resource_clear(&p->targets[t].at);
			free(p->targets[t].template);
			free(p->targets[t].made);
			free(p->targets[t].identity);
			free(p->targets[t].error);
		}
		free(p->targets);
		free(p->limits.rate_table);
		free(p->vehicle);
		free(p->vehicle_chosen);
		free(p->reason);
		free(p->phase);
		free(p->verified);
		json_decref(p->verification);
		json_decref(p->undo_lost);
		free(p->iod_volume);
		free(p->switch_token);
		json_decref(p->holds);
		free(p->source_identity);
		free(p->source_place);
		free(p->target_place);
		json_decref(p->bad_ranges);
		dray_retired_clear(&p->retired);
		dray_origin_clear(&p->origin);
	}
	free(session->pairs);
	free(session->limits.rate_table);
	free(session->name);
	free(session->id);
	free(session->reason);
	free(session->when_event);
	free(session->start_event);
	free(session->switch_window.list);
	free(session->window.list);
	dray_generations_clear(&session->generations);
	json_decref(session->doc);
	json_decref(session->warnings);
	free(session->boot_id);
	dray_lines_free(session->lines);
	free(session);
}
