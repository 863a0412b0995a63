/* SPDX-License-Identifier: BSD-3-Clause */
/* What a key is that is left out: each of the schema that may be has such a value, it is what the reader has where there is none, and to write it
 * out, or to leave it out again, changes nothing of a session. */
#include "session/schema.h"
#include "session/session.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static struct dray_session *parsed(const json_t *doc)
{
	struct dray_problems problems = DRAY_PROBLEMS_INIT;
	struct dray_session *s;
	if (dray_session_from_json(doc, true, &s, &problems))
		fail_msg("%s: %s", problems.items[0].pointer, problems.items[0].detail);
	return s;
}

static json_t *least(bool copy)
{
	json_t *doc = json_pack("{s:s, s:[{s:s, s:s}]}", "name", "a", "pairs", "source", "/dev/a", "target", "/dev/b");
	if (copy)
		json_object_set_new(doc, "mode", json_string("copy"));
	return doc;
}

/* Where the reader has what the key says, and how much of it there is to compare. */
static const void *field_of(const struct dray_session *s, const char *map, const struct dray_key *key, size_t *size)
{
	const void *base = !strncmp(map, "limits", 6) ? (const void *)&s->limits : !strcmp(map, "pairs") ? (const void *)&s->pairs[0] :
		!strcmp(map, "pairs.limits") ? (const void *)&s->pairs[0].limits : (const void *)s;
	const char *field = (const char *)base + key->field;
	switch (key->type) {
	case DRAY_T_BOOL: *size = sizeof(bool); return field;
	case DRAY_T_PRIORITY:
	case DRAY_T_COUNT32:
	case DRAY_T_WORD:
	case DRAY_T_VERIFY:
	case DRAY_T_WHEN:
	case DRAY_T_START:
	case DRAY_T_COMMIT: *size = sizeof(unsigned); return field;
	case DRAY_T_SIZE:
	case DRAY_T_COUNT:
	case DRAY_T_DURATION:
	case DRAY_T_RATE: *size = sizeof(uint64_t); return field;
	case DRAY_T_VEHICLES: *size = 2 * sizeof(uint64_t); return &s->limits.host_active_pairs;
	case DRAY_T_WINDOWS: *size = sizeof(struct dray_windows); return field;
	case DRAY_T_VEHICLE: *size = strlen(*(char *const *)field) + 1; return *(char *const *)field;
	default: fail_msg("%s: how is this compared?", key->name); return NULL;
	}
}

/* The maps that may be left out, and whose keys are for themselves then. */
static const char *const maps[] = { "", "limits", "limits.vehicle.host", "switch", "pairs", "pairs.limits" };

static bool may_be_left_out(const struct dray_key *key, const char *map)
{
	return dray_key_in_map(key, map) && !(key->flags & DRAY_K_REQUIRED) && key->type != DRAY_T_MAP && key->type != DRAY_T_ID &&
		key->type != DRAY_T_PAIR_ID;
}

/* The map of the document, which is made where it is not there. Borrowed. */
static json_t *member(json_t *in, const char *map)
{
	if (!strncmp(map, "pairs", 5))
		in = json_array_get(json_object_get(in, "pairs"), 0);
	if (!*map || !strcmp(map, "pairs"))
		return in;
	for (const char *part = !strncmp(map, "pairs.", 6) ? map + 6 : map; part; part = strchr(part, '.') ? strchr(part, '.') + 1 : NULL) {
		char *own = strndup(part, strcspn(part, "."));
		if (!json_object_get(in, own))
			json_object_set_new(in, own, json_object());
		in = json_object_get(in, own);
		free(own);
	}
	return in;
}

static void unchanged(const struct dray_session *now, const struct dray_session *wanted, const char *name)
{
	struct dray_problems problems = DRAY_PROBLEMS_INIT;
	json_t *keys;
	bool pair_limits;
	if (dray_session_compare(now, wanted, &keys, &pair_limits, &problems))
		fail_msg("%s: %s", name, problems.items[0].detail);
	if (json_object_size(keys))
		fail_msg("%s changes %s", name, json_object_iter_key(json_object_iter(keys)));
	json_decref(keys);
}

static void written_out(bool copy)
{
	json_t *without = least(copy);
	struct dray_session *s = parsed(without);
	unsigned n = 0;
	for (size_t m = 0; m < sizeof maps / sizeof *maps; m++)
		for (size_t i = 0; i < dray_keys_n; i++) {
			const struct dray_key *key = &dray_keys[i];
			if (!may_be_left_out(key, maps[m]) || (copy && !strcmp(key->name, "mode")))
				continue;
			char *text = dray_key_left_out(key, copy);
			if (!text)
				fail_msg("%s may be left out: what is it then?", key->name);
			json_t *with = json_deep_copy(without);
			json_object_set_new(member(with, maps[m]), strrchr(key->name, '.') ? strrchr(key->name, '.') + 1 : key->name,
				key->type == DRAY_T_BOOL ? json_boolean(!strcmp(text, "true")) : json_string(text));
			struct dray_session *t = parsed(with);
			size_t size;
			const void *a = field_of(s, maps[m], key, &size), *b = field_of(t, maps[m], key, &size);
			if (memcmp(a, b, size))
				fail_msg("%s: left out it is something else than %s", key->name, text);
			if (!strchr(maps[m], '.')) { /* else compared as a whole: to write one out is a change, which changes nothing */
				unchanged(s, t, key->name);
				unchanged(t, s, key->name);
			}
			dray_session_free(t);
			json_decref(with);
			free(text);
			n++;
		}
	assert_true(n > 30);
	dray_session_free(s);
	json_decref(without);
}

static void move(void **state)
{
	written_out(false);
}

static void copy(void **state)
{
	written_out(true);
}

/* In their place when they are left out again. */
static void asked_for(void **state)
{
	json_t *with = least(false), *without = least(false), *keys;
	struct dray_problems problems = DRAY_PROBLEMS_INIT;
	bool pair_limits;
	json_object_set_new(with, "priority", json_string("high"));
	json_object_set_new(with, "limits", json_pack("{s:s}", "rate", "1M"));
	json_object_set_new(with, "switch", json_pack("{s:s, s:s, s:i, s:b}", "when", "synced", "deadline", "1s", "attempts", 9, "partial", 1));
	struct dray_session *now = parsed(with), *wanted = parsed(without);
	assert_int_equal(dray_session_compare(now, wanted, &keys, &pair_limits, &problems), 0);
	json_t *all = json_pack("{s:s, s:s, s:s, s:s, s:s, s:s}", "priority", "normal", "limits.rate", "none", "switch.when", "manual",
		"switch.deadline", "2s", "switch.attempts", "3", "switch.partial", "false");
	assert_true(json_equal(keys, all));
	json_decref(all);
	json_decref(keys);
	dray_session_free(now);
	json_object_set_new(with, "mode", json_string("copy"));
	json_object_set_new(with, "checkpoint", json_false());
	now = parsed(with);
	assert_int_equal(dray_session_compare(now, wanted, &keys, &pair_limits, &problems), -1);
	assert_int_equal(problems.n, 2);
	assert_string_equal(problems.items[0].pointer, "/mode");
	assert_string_equal(problems.items[1].pointer, "/checkpoint");
	dray_problems_free(&problems);
	assert_null(json_object_get(keys, "switch.when")); /* synced is what it is of a copy */
	json_decref(keys);
	dray_session_free(now);
	dray_session_free(wanted);
	json_decref(with);
	json_decref(without);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(move),
		cmocka_unit_test(copy),
		cmocka_unit_test(asked_for),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
