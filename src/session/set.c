/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One key of a session that is there already gets another value: in the document as in the fields.
 *
 * A key is named by its way through the document, "limits.vehicle.host.in_flight". A pair is named by its id in it, as `show` prints it:
 * "pairs.2.limits.rate".
 */
#include "session/check.h"
#include "session/reader.h"
#include "session/schema.h"
#include "session/session.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEEPEST 8

/* The parts of a dotted key. */
struct way {
	char *text, *part[DEEPEST];
	unsigned n;
};

static struct way way_of(const char *key)
{
	struct way w = { .text = strdup(key) };
	if (!w.text)
		abort();
	for (char *part = w.text, *next; part && w.n < DEEPEST; part = next) {
		next = strchr(part, '.');
		if (next)
			*next++ = 0;
		w.part[w.n++] = part;
	}
	return w;
}

unsigned dray_session_key_pair(const char *key)
{
	char *end;
	if (strncmp(key, "pairs.", 6) || key[6] < '1' || key[6] > '9')
		return 0;
	unsigned long id = strtoul(key + 6, &end, 10);
	return *end == '.' && id < UINT32_MAX ? (unsigned)id : 0;
}

/* A number stands in the place of a pair's id, and no pair can have it: 0, 01. */
static bool no_id(const char *key)
{
	return !strncmp(key, "pairs.", 6) && key[6] >= '0' && key[6] <= '9' && !dray_session_key_pair(key);
}

/* What is to be changed. */
struct target {
	const struct dray_key *row; /* NULL: there is none */
	struct dray_pair *pair;     /* or NULL: of the session */
	json_t *map;                /* of the document, on which the way begins */
	const char *key;            /* ... the way */
	bool settable;
};

static struct target find(struct dray_session *s, const char *key)
{
	struct target t = { .map = s->doc, .key = key };
	unsigned id = dray_session_key_pair(key);
	char name[80];
	if (id && id <= s->n_pairs) {
		t.pair = &s->pairs[id - 1];
		t.map = json_array_get(json_object_get(s->doc, "pairs"), id - 1);
		t.key = strchr(key + 6, '.') + 1;
		snprintf(name, sizeof name, "pairs.%s", t.key);
		key = name;
	} else if (id) {
		return t;
	}
	for (size_t i = 0; i < dray_keys_n; i++)
		if (!strcmp(dray_keys[i].name, key) && strncmp(key, "resource.", 9) && (t.pair || strncmp(key, "pairs.", 6)))
			t.row = &dray_keys[i];
	t.settable = t.row && (t.pair ? !strncmp(key, "pairs.limits.", 13) : t.row->flags & DRAY_K_SET);
	return t;
}

/* Writes the value at the end of the way, or takes it out, with maps that are empty then. */
static void write_value(json_t *map, const struct way *w, unsigned from, json_t *v)
{
	json_t *next = json_object_get(map, w->part[from]);
	if (from + 1 == w->n) {
		if (v)
			json_object_set(map, w->part[from], v);
		else
			json_object_del(map, w->part[from]);
		return;
	}
	if (!next && !v)
		return;
	if (!next) {
		next = json_object();
		json_object_set_new(map, w->part[from], next);
	}
	write_value(next, w, from + 1, v);
	if (!json_object_size(next))
		json_object_del(map, w->part[from]);
}

/* A map of which parts can be set. */
static bool in_parts(const struct target *t)
{
	size_t n = strlen(t->row->name);
	for (size_t i = 0; i < dray_keys_n; i++)
		if (!strncmp(dray_keys[i].name, t->row->name, n) && dray_keys[i].name[n] == '.' && (t->pair || dray_keys[i].flags & DRAY_K_SET))
			return !t->pair || !strcmp(t->row->name, "pairs.limits");
	return false;
}

static void say_no(struct dray_check *c, const struct dray_session *s, const struct target *t, const char *key, const json_t *given)
{
	char pairs[60];
	if (!t->row && (no_id(key) || dray_session_key_pair(key) > s->n_pairs)) {
		snprintf(pairs, sizeof pairs, s->n_pairs > 1 ? "pairs 1 to %zu" : "pair %zu", s->n_pairs);
		dray_check_fail(c, 0, "unknown_key", given, pairs, "session %s has no pair %.*s", s->name, (int)strcspn(key + 6, "."), key + 6);
	} else if (!t->row)
		dray_check_fail(c, 0, "unknown_key", given, dray_settable_words(), "there is no key \"%s\"", key);
	else if (t->row->type == DRAY_T_LATER)
		dray_check_fail(c, 0, "unsupported", given, dray_settable_words(), "\"%s\" is not supported yet", key);
	else if (in_parts(t))
		dray_check_fail(c, 0, "not_settable", given, dray_settable_words(), "\"%s\" is changed by its parts, each for itself", key);
	else
		dray_check_fail(c, 0, "not_settable", given, dray_settable_words(), "\"%s\" can't be changed once the session is submitted", key);
}

/* The pointer names the key as the document has it. */
static void point(struct dray_check *c, const char *key)
{
	struct way w = way_of(key);
	unsigned id = dray_session_key_pair(key);
	for (unsigned i = 0; i < (no_id(key) ? 1 : w.n); i++) { /* 0 would be the first of the list */
		if (id && i == 1)
			dray_pointer_index(&c->at, id - 1);
		else
			dray_pointer_key(&c->at, w.part[i]);
	}
	free(w.text);
}

/* The document says so now. */
static void keep(struct dray_session *s, const struct target *t, json_t *v)
{
	bool lift = (t->row->flags & DRAY_K_NONE) && json_is_string(v) && !strcmp(json_string_value(v), "none");
	struct way w = way_of(t->key);
	write_value(t->map, &w, 0, lift ? NULL : v);
	free(w.text);
	dray_lines_free(s->lines); /* the text it was parsed from is another one now */
	s->lines = NULL;
	if (t->pair) {
		s->pair_tables = false;
		for (size_t i = 0; i < s->n_pairs; i++)
			s->pair_tables |= s->pairs[i].limits.rate_table != NULL;
		return;
	}
	if (!strcmp(t->key, "switch.when"))
		s->held_by_undo = s->event_seen = false; /* the operator has decided anew (H19) */
	if (!strcmp(t->key, "start"))
		s->start_event_seen = false;
}

int dray_session_set(struct dray_session *session, const char *key, const char *value, struct dray_problems *problems)
{
	struct dray_check c = { .problems = problems, .strict = true };
	size_t before = problems->n;
	json_t *v = NULL, *given = json_string(value);
	struct dray_lines *lines = NULL;
	struct target t = find(session, key);
	point(&c, key);
	if (!t.row || t.row->type == DRAY_T_LATER || !t.settable) {
		say_no(&c, session, &t, key, given);
	} else if (!value[strspn(value, " \t\n")]) {
		dray_check_fail(&c, 0, "bad_value", NULL, t.row->legal, "\"%s\" is given no value", key);
	} else if (!dray_read(value, strlen(value), &v, &lines, problems) && problems->n == before) {
		void *base = t.pair ? (void *)&t.pair->limits : strncmp(key, "limits.", 7) ? (void *)session : &session->limits;
		lines->line = 0;
		if (!strcmp(key, "start") && (json_object_get(v, "every") != NULL) != (session->start == DRAY_START_EVERY))
			dray_check_fail(&c, 0, "not_settable", v, session->start == DRAY_START_EVERY ? "{every: ...}" : "now, a time, {after: 2h}, or {event: NAME}",
				"whether a session makes copies at intervals can't be changed once it is submitted");
		else
			dray_check_value(&c, t.row, v, NULL, base);
	}
	if (problems->n == before)
		keep(session, &t, v);
	json_decref(v);
	json_decref(given);
	dray_lines_free(lines);
	dray_pointer_free(&c.at);
	return problems->n == before ? 0 : -EINVAL;
}
