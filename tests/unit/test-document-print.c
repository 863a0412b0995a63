/* SPDX-License-Identifier: BSD-3-Clause */
/* What is shown can be submitted again: with the output keys taken out, or as it is where they are ignored. */
#include "session/reader.h"
#include "session/session.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static const char document[] = "priority: high\n"
			       "name: 'yes: #1 \"quoted\"'\n"
			       "limits: {rate: 200MiB, active_pairs: 1}\n"
			       "switch: {when: synced, deadline: 2}\n"
			       "pairs:\n"
			       "- {source: 'volume:a', target: [/dev/b, /dev/c]}\n"
			       "- {target: {resource: 'nbd://h:10809/e x', offset: 0, length: 1M}, source: '/srv/ü, -x'}\n";

static struct dray_session *parse(const char *text, bool strict)
{
	struct dray_problems problems = DRAY_PROBLEMS_INIT;
	struct dray_session *s = NULL;
	if (dray_session_parse(text, strlen(text), strict, &s, &problems))
		fail_msg("refused: %s: %s\n%s", problems.items[0].pointer, problems.items[0].detail, text);
	return s;
}

static struct dray_session *running(void)
{
	struct dray_session *s = parse(document, true);
	free(s->id);
	s->id = strdup("s-77");
	s->state = DRAY_SESSION_COPYING;
	s->created = 1795478400;
	s->pairs[0].state = DRAY_PAIR_COPYING;
	s->pairs[0].vehicle_chosen = strdup("host");
	s->pairs[0].progress = (struct dray_progress){ 100, 50, 40, 10, 0, 7, 9 };
	s->pairs[1].state = DRAY_PAIR_QUEUED;
	s->pairs[1].reason = strdup("limits.active_pairs: 1, nobody: before it");
	return s;
}

static void output_keys(void **state)
{
	struct dray_session *s = running();
	json_t *j = dray_session_to_json(s, true);
	const char *want[] = { "priority", "name", "limits", "switch", "pairs", "id", "state", "created", "started", "finished",
		"reason", "progress" };
	size_t i = 0;
	const char *key;
	json_t *v;
	json_object_foreach(j, key, v) {
		assert_true(i < sizeof want / sizeof want[0]);
		assert_string_equal(key, want[i++]);
	}
	assert_string_equal(json_string_value(json_object_get(j, "created")), "2026-11-24T00:00:00Z");
	assert_true(json_is_null(json_object_get(j, "started")));
	assert_string_equal(json_string_value(json_object_get(json_object_get(j, "limits"), "rate")), "200MiB");
	json_t *sum = json_object_get(j, "progress");
	assert_true(json_is_null(json_object_get(sum, "bytes_total")));
	assert_int_equal(json_integer_value(json_object_get(sum, "rate")), 7);
	assert_true(json_is_null(json_object_get(sum, "eta_seconds")));
	json_t *pair = json_array_get(json_object_get(j, "pairs"), 0);
	assert_string_equal(json_string_value(json_object_get(pair, "id")), "1");
	assert_string_equal(json_string_value(json_object_get(pair, "state")), "copying");
	assert_string_equal(json_string_value(json_object_get(pair, "vehicle")), "host");
	assert_true(json_is_null(json_object_get(pair, "blackout_us")));
	json_t *targets = json_object_get(pair, "targets");
	assert_int_equal(json_array_size(targets), 2);
	assert_string_equal(json_string_value(json_object_get(json_array_get(targets, 1), "role")), "copy");
	json_decref(j);
	j = dray_session_to_json(s, false);
	assert_null(json_object_get(j, "pairs"));
	json_decref(j);
	dray_session_free(s);
}

static void yaml_reads_back(void **state)
{
	struct dray_session *s = running();
	char *yaml = dray_session_to_yaml(s);
	struct dray_session *again = parse(yaml, false);
	assert_true(json_equal(s->doc, again->doc) == 0); /* the vehicle has been chosen */
	json_object_set_new(json_array_get(json_object_get(s->doc, "pairs"), 0), "vehicle", json_string("host"));
	json_object_set_new(json_array_get(json_object_get(s->doc, "pairs"), 1), "vehicle", json_string("auto"));
	json_object_set_new(s->doc, "id", json_string("s-77"));
	assert_true(json_equal(s->doc, again->doc));
	dray_session_free(again);
	free(yaml);
	dray_session_free(s);
}

/* As a person or a script would strip it. */
static void stripped_is_accepted(void **state)
{
	static const char *const keys[] = { "id", "state", "created", "started", "finished", "reason", "progress",
		"blackout_us", "predicted_blackout_us", "verified", "dirty_bytes", "targets" };
	struct dray_session *s = running();
	json_t *j = dray_session_to_json(s, true), *pair;
	size_t n;
	for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
		json_object_del(j, keys[i]);
		json_array_foreach(json_object_get(j, "pairs"), n, pair)
			json_object_del(pair, keys[i]);
	}
	struct dray_problems problems = DRAY_PROBLEMS_INIT;
	struct dray_session *again;
	assert_int_equal(dray_session_from_json(j, true, &again, &problems), 0);
	dray_session_free(again);
	json_decref(j);
	dray_session_free(s);
}

/* Any JSON, printed as YAML and read again, is the same. */
static void any_text(void **state)
{
	static const char *const texts[] = { "", " ", "a ", " a", "a: b", "a #b", "#", "-", "- a", "?", "yes", "No", "NULL", "~",
		"true", "1", "-1", "0x10", "1e3", "1.5", "1_000", "10:20", "2026-11-23T00:00:00Z", "64MiB", "10m", "a:", ":a",
		"[a]", "{a}", "a]", "a,b", "*a", "&a", "!a", "|", ">", "%a", "@a", "`a`", "'a'", "\"a\"", "a\\b", "a\nb", "a\n",
		"\t", "\x01", "\x7f", "\xc2\x85", "\xe2\x80\xa8", "\xef\xbb\xbf", "\xc3\xbc", "\xf0\x9f\x98\x80", "---", "...",
		"volume:orders", "/dev/mapper/a b", "nbd+unix:///x?socket=/run/s", "<<", "=", ".5", ".inf", "+1", "007", "0",
		"99999999999999999999999", "a  b", "a'b", "=a", "y", "off" };
	json_t *j = json_array(), *map = json_object();
	for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
		json_array_append_new(j, json_string(texts[i]));
		json_object_set_new(map, texts[i], json_string(texts[i]));
	}
	json_array_append(j, map);
	json_array_append_new(j, json_pack("[[], {}, [[i, [b]], {s: [], s: {}}], n, f]", -5, 1, "a", "b", 1.25));
	json_t *doc = json_pack("{s:s, s:[{s:s, s:s}], s:o}", "name", "a", "pairs", "source", "/a", "target", "/b", "state", j);
	char *yaml = dray_yaml_from_json(doc);
	/* "state" is an output key and so ignored: reading it back takes the reader under the document. */
	struct dray_problems problems = DRAY_PROBLEMS_INIT;
	json_t *again;
	struct dray_lines *lines;
	if (dray_read(yaml, strlen(yaml), &again, &lines, &problems))
		fail_msg("%s line %u\n%s", problems.items[0].detail, problems.items[0].line, yaml);
	for (size_t i = 0; i < json_array_size(j); i++) {
		json_t *got = json_array_get(json_object_get(again, "state"), i);
		if (!json_equal(got, json_array_get(j, i)))
			fail_msg("%s", json_dumps(got, JSON_ENCODE_ANY));
	}
	assert_true(json_equal(doc, again));
	dray_lines_free(lines);
	json_decref(again);
	json_decref(map);
	free(yaml);
	json_decref(doc);
}

static void saved_and_loaded(void **state)
{
	struct dray_session *s = running(), *again;
	s->held_by_undo = true;
	s->event_seen = true;
	s->pairs[0].switch_attempts = 2;
	s->pairs[0].switched_at = 1700000000;
	s->seq = 9;
	s->pairs[0].iod_volume = strdup("a");
	s->pairs[0].switch_token = strdup("t-1");
	s->pairs[0].epoch_before = 4;
	s->pairs[0].targets[1].iod_leg = 3;
	strcpy(s->pairs[0].targets[1].state, "mirror");
	json_t *saved = dray_session_save(s);
	assert_int_equal(dray_session_load(saved, &again), 0);
	json_t *resaved = dray_session_save(again);
	assert_true(json_equal(saved, resaved));
	json_t *shown = dray_session_to_json(s, true), *reshown = dray_session_to_json(again, true);
	assert_true(json_equal(shown, reshown));
	assert_int_equal(again->pairs[0].targets[1].iod_leg, 3);
	assert_int_equal(again->pairs[0].epoch_before, 4);
	assert_true(again->held_by_undo && again->event_seen);
	assert_true(again->pairs[0].switch_attempts == 2 && again->pairs[0].switched_at == 1700000000);
	json_decref(shown);
	json_decref(reshown);
	json_object_set_new(saved, "version", json_integer(2));
	struct dray_session *none;
	assert_int_equal(dray_session_load(saved, &none), -22);
	json_decref(saved);
	json_decref(resaved);
	dray_session_free(s);
	dray_session_free(again);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(output_keys),
		cmocka_unit_test(yaml_reads_back),
		cmocka_unit_test(stripped_is_accepted),
		cmocka_unit_test(any_text),
		cmocka_unit_test(saved_and_loaded),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
