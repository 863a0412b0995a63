/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A changed document, beside the one that runs.
 *
 * What differs in a key that `dray set` could change is what is asked for; a key that is left out asks for its default. The limits of single
 * pairs can be changed in this way only. Everything else has to be as it is: a session does not become another one.
 */
#include "session/check.h"
#include "session/problem.h"
#include "session/schema.h"
#include "session/session.h"

#include <stdlib.h>
#include <string.h>

/* Whether a value of that key, NULL where there is none, is what it would be if it were left out. */
static bool as_left_out(const struct dray_session *s, const struct dray_key *key, const json_t *v)
{
	char *none = v && key ? dray_key_left_out(key, s->mode == DRAY_MODE_COPY) : NULL, *text = v ? dray_value_text(v) : NULL;
	bool same = !v || (text && none && !strcmp(text, none));
	free(text);
	free(none);
	return same;
}

/* Of what has begun, by whatever start, nobody asks for another one by `now` or by leaving it out. */
static bool begun(const struct dray_session *s, const struct dray_key *key, const json_t *v)
{
	return !strcmp(key->name, "start") && s->started && !s->every_ns && as_left_out(s, key, v);
}

/* Takes the value of a dotted key out of the document, with a map that is empty then. NULL: it is not there. New reference. */
static json_t *take(json_t *doc, const char *dotted)
{
	const char *dot = strchr(dotted, '.');
	char *map = dot ? strndup(dotted, (size_t)(dot - dotted)) : NULL;
	json_t *in = map ? json_object_get(doc, map) : doc, *v = json_incref(json_object_get(in, dot ? dot + 1 : dotted));
	if (v)
		json_object_del(in, dot ? dot + 1 : dotted);
	if (map && json_is_object(in) && !json_object_size(in))
		json_object_del(doc, map);
	free(map);
	return v;
}

/* `given`: instead of what is so; NULL: nothing. */
static void refuse(struct dray_problems *problems, const char *pointer, const char *what, const json_t *given)
{
	char *value = dray_value_text(given);
	dray_problems_add(problems, pointer, 0, "not_settable", value, dray_settable_words(), "%s can't be changed once the session is submitted", what);
	free(value);
}

/* What is left differs in nothing. `pointer`, `of` and `map` say what the maps are. */
static void compare_rest(const struct dray_session *s, json_t *now, json_t *wanted, const char *pointer, const char *of, const char *map,
	struct dray_problems *problems)
{
	json_t *sides[] = { now, wanted };
	for (unsigned side = 0; side < 2; side++) {
		const char *key;
		json_t *v;
		json_object_foreach (sides[side], key, v) {
			const json_t *other = json_object_get(sides[!side], key);
			if (other && (side || json_equal(v, other)))
				continue;
			char at[120], what[120];
			if (!other && as_left_out(s, dray_key_find(map, key), v))
				continue;
			snprintf(at, sizeof at, "%s/%.60s", pointer, key);
			snprintf(what, sizeof what, "%.60s%s", key, of);
			refuse(problems, at, what, json_object_get(wanted, key));
		}
	}
}

/* What is shown of a pair is the vehicle that was chosen for it. */
static bool vehicle_as_shown(const struct dray_pair *p, const json_t *v)
{
	return json_is_string(v) && ((p->vehicle_chosen && !strcmp(json_string_value(v), p->vehicle_chosen)) || !strcmp(json_string_value(v), p->vehicle));
}

static void compare_pairs(const struct dray_session *now, const json_t *a, const json_t *b, bool *limits, struct dray_problems *problems)
{
	size_t n = json_array_size(a);
	if (n != json_array_size(b)) {
		refuse(problems, "/pairs", "how many pairs there are", NULL);
		return;
	}
	for (size_t i = 0; i < n; i++) {
		json_t *x = json_array_get(a, i), *y = json_array_get(b, i), *lx = take(x, "limits"), *ly = take(y, "limits");
		*limits |= lx || ly ? !json_equal(lx, ly) : false;
		json_decref(lx);
		json_decref(ly);
		json_object_del(x, "id");
		json_object_del(y, "id");
		if (!json_object_get(y, "vehicle") || vehicle_as_shown(&now->pairs[i], json_object_get(y, "vehicle"))) {
			json_object_del(x, "vehicle");
			json_object_del(y, "vehicle");
		}
		char pointer[40], of[40];
		snprintf(pointer, sizeof pointer, "/pairs/%zu", i);
		snprintf(of, sizeof of, " of pair %zu", i + 1);
		compare_rest(now, x, y, pointer, of, "pairs", problems);
	}
}

int dray_session_compare(const struct dray_session *now, const struct dray_session *wanted, json_t **keys, bool *pair_limits,
	struct dray_problems *problems)
{
	size_t before = problems->n;
	json_t *a = json_deep_copy(now->doc), *b = json_deep_copy(wanted->doc);
	*keys = json_object();
	*pair_limits = false;
	if (!a || !b || !*keys)
		abort();
	for (size_t i = 0; i < dray_keys_n; i++) {
		const struct dray_key *key = &dray_keys[i];
		if (!(key->flags & DRAY_K_SET))
			continue;
		json_t *x = take(a, key->name), *y = take(b, key->name);
		if (now->held_by_undo && !strcmp(key->name, "switch.when")) { /* H19: what an undo made of it, and what is shown */
			json_decref(x);
			x = json_string("manual");
		}
		bool same = x && y ? json_equal(x, y) : as_left_out(now, key, x ? x : y);
		char *none = dray_key_left_out(key, now->mode == DRAY_MODE_COPY);
		if (!same && !begun(now, key, y))
			json_object_set_new(*keys, key->name, y ? json_incref(y) : json_string(none));
		free(none);
		json_decref(x);
		json_decref(y);
	}
	json_object_del(a, "id");
	json_object_del(b, "id");
	json_t *pa = json_incref(json_object_get(a, "pairs")), *pb = json_incref(json_object_get(b, "pairs"));
	json_object_del(a, "pairs");
	json_object_del(b, "pairs");
	compare_pairs(now, pa, pb, pair_limits, problems);
	json_decref(pa);
	json_decref(pb);
	compare_rest(now, a, b, "", "", "", problems);
	json_decref(a);
	json_decref(b);
	return problems->n == before ? 0 : -1;
}

bool dray_session_take_pair_limits(struct dray_session *s, struct dray_session *from, size_t i)
{
	struct dray_pair *p = &s->pairs[i], *q = &from->pairs[i];
	json_t *mine = json_array_get(json_object_get(s->doc, "pairs"), i), *other = json_array_get(json_object_get(from->doc, "pairs"), i);
	json_t *new = json_object_get(other, "limits"), *old = json_object_get(mine, "limits");
	if (new ? json_equal(new, old) : !old)
		return false;
	struct dray_limits l = p->limits;
	p->limits = q->limits;
	q->limits = l;
	if (new)
		json_object_set(mine, "limits", new);
	else
		json_object_del(mine, "limits");
	s->pair_tables = false;
	for (size_t k = 0; k < s->n_pairs; k++)
		s->pair_tables |= s->pairs[k].limits.rate_table != NULL;
	dray_lines_free(s->lines); /* the text it was parsed from is another one now */
	s->lines = NULL;
	return true;
}
