/* SPDX-License-Identifier: BSD-3-Clause */
/* Single keys of a running session are changed in the document and in the fields, or not at all. */
#include "session/session.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static struct dray_session *session(void)
{
	static const char text[] = "name: a\nlimits: {rate: 1M}\npairs: [{source: /dev/a, target: /dev/b}]\n";
	struct dray_problems problems = DRAY_PROBLEMS_INIT;
	struct dray_session *s;
	assert_int_equal(dray_session_parse(text, strlen(text), true, &s, &problems), 0);
	return s;
}

static void set(struct dray_session *s, const char *key, const char *value)
{
	struct dray_problems problems = DRAY_PROBLEMS_INIT;
	if (dray_session_set(s, key, value, &problems))
		fail_msg("%s=%s: %s", key, value, problems.items[0].detail);
}

static void refused(struct dray_session *s, const char *key, const char *value, const char *code, const char *pointer)
{
	struct dray_problems problems = DRAY_PROBLEMS_INIT;
	json_t *before = json_deep_copy(s->doc);
	assert_int_equal(dray_session_set(s, key, value, &problems), -22);
	assert_int_equal(problems.n, 1);
	assert_string_equal(problems.items[0].code, code);
	assert_string_equal(problems.items[0].pointer, pointer);
	assert_true(json_equal(before, s->doc));
	json_decref(before);
	dray_problems_free(&problems);
}

static void changes(void **state)
{
	struct dray_session *s = session();
	set(s, "limits.rate", "50MiB");
	assert_true(s->limits.rate == 50 << 20);
	set(s, "limits.active_pairs", "4");
	assert_true(s->limits.active_pairs == 4);
	set(s, "limits.in_flight", "\"1M\"");
	assert_true(s->limits.in_flight == 1 << 20);
	set(s, "limits.step", "65536");
	set(s, "limits.steps", "8");
	assert_true(s->limits.step == 65536 && s->limits.steps == 8);
	set(s, "priority", "high");
	assert_int_equal(s->priority, 8);
	set(s, "priority", "1");
	assert_int_equal(s->priority, 1);
	s->held_by_undo = true;
	set(s, "switch.when", "synced");
	assert_int_equal(s->when, DRAY_WHEN_SYNCED);
	assert_false(s->held_by_undo);
	set(s, "switch.retire", "rename");
	assert_string_equal(dray_retire_how(s), "rename");
	set(s, "on_error", "session");
	assert_int_equal(s->on_error, DRAY_ON_ERROR_SESSION);
	set(s, "verify", "{mode: full, repair: true}");
	assert_true(s->verify == DRAY_VERIFY_FULL && s->verify_repair);
	char *json = json_dumps(s->doc, JSON_COMPACT);
	assert_string_equal(json,
		"{\"name\":\"a\",\"limits\":{\"rate\":\"50MiB\",\"active_pairs\":4,\"in_flight\":\"1M\",\"step\":65536,\"steps\":8},"
		"\"pairs\":[{\"source\":\"/dev/a\",\"target\":\"/dev/b\"}],\"priority\":1,\"switch\":{\"when\":\"synced\",\"retire\":\"rename\"},"
		"\"on_error\":\"session\",\"verify\":{\"mode\":\"full\",\"repair\":true}}");
	free(json);
	dray_session_free(s);
}

/* By its way through the document: limits of a vehicle, and of a pair by its id. */
static void deep_keys(void **state)
{
	struct dray_session *s = session();
	set(s, "limits.vehicle.host.in_flight", "1MiB");
	set(s, "limits.vehicle.host.active_pairs", "3");
	assert_true(s->limits.host_in_flight == 1 << 20 && s->limits.host_active_pairs == 3);
	/* The map as a whole: what it leaves out is not given any more. */
	set(s, "limits.vehicle", "{host: {active_pairs: 2}}");
	assert_true(s->limits.host_in_flight == DRAY_UNKNOWN && s->limits.host_active_pairs == 2);
	set(s, "pairs.1.limits.rate", "5M");
	assert_true(s->pairs[0].limits.rate == 5 << 20 && s->limits.rate == 1 << 20);
	assert_false(s->pair_tables);
	set(s, "pairs.1.limits.rate", "08:00,5M 09:00,off");
	assert_true(s->pair_tables);
	char *json = json_dumps(s->doc, JSON_COMPACT);
	assert_string_equal(json, "{\"name\":\"a\",\"limits\":{\"rate\":\"1M\",\"vehicle\":{\"host\":{\"active_pairs\":2}}},"
				  "\"pairs\":[{\"source\":\"/dev/a\",\"target\":\"/dev/b\",\"limits\":{\"rate\":\"08:00,5M 09:00,off\"}}]}");
	free(json);
	refused(s, "limits.vehicle", "{host: {active_pairs: 0}}", "out_of_range", "/limits/vehicle/host/active_pairs");
	refused(s, "limits.vehicle", "{lvm: {}}", "unknown_key", "/limits/vehicle/lvm");
	assert_true(s->limits.host_active_pairs == 2);
	refused(s, "limits.vehicle.lvm.in_flight", "1M", "unknown_key", "/limits/vehicle/lvm/in_flight");
	refused(s, "pairs.2.limits.rate", "1M", "unknown_key", "/pairs/1/limits/rate");
	refused(s, "pairs.0.limits.rate", "1M", "unknown_key", "/pairs");
	refused(s, "pairs.1.limits.vehicle", "{}", "unknown_key", "/pairs/0/limits/vehicle");
	refused(s, "pairs.1.source", "/dev/c", "not_settable", "/pairs/0/source");
	refused(s, "pairs.limits.rate", "1M", "unknown_key", "/pairs/limits/rate");
	set(s, "pairs.1.limits.rate", "none");
	set(s, "limits.vehicle.host.active_pairs", "none");
	assert_false(s->pair_tables);
	assert_true(s->pairs[0].limits.rate == DRAY_UNKNOWN && s->limits.host_active_pairs == DRAY_UNKNOWN);
	json = json_dumps(s->doc, JSON_COMPACT);
	assert_string_equal(json, "{\"name\":\"a\",\"limits\":{\"rate\":\"1M\"},\"pairs\":[{\"source\":\"/dev/a\",\"target\":\"/dev/b\"}]}");
	free(json);
	dray_session_free(s);
}

static void none_lifts(void **state)
{
	struct dray_session *s = session();
	set(s, "limits.rate", "08:00,20M 19:00,off");
	assert_true(s->limits.rate_table && s->limits.rate_table->n == 2);
	set(s, "limits.rate", "none");
	assert_null(s->limits.rate_table);
	assert_true(s->limits.rate == DRAY_UNKNOWN);
	assert_null(json_object_get(s->doc, "limits"));
	set(s, "limits.steps", "none");
	assert_null(json_object_get(s->doc, "limits"));
	set(s, "switch.window", "['02:00-04:00', 'Sat,Sun 00:00-24:00']");
	assert_int_equal(s->switch_window.n, 2);
	set(s, "window", "Sat,Sun 00:00-24:00");
	assert_true(s->window.n == 1 && s->window.list[0].days == 0x41);
	set(s, "window", "none");
	assert_int_equal(s->window.n, 0);
	set(s, "max_duration", "8h");
	assert_true(s->max_duration_ns == UINT64_C(28800000000000));
	set(s, "max_duration", "none");
	assert_true(s->max_duration_ns == DRAY_UNKNOWN);
	set(s, "start", "2027-01-01T00:00:00Z");
	assert_true(s->start == DRAY_START_TIME && s->start_time == 1798761600);
	set(s, "start", "{event: every-night}");
	set(s, "start", "{event: go}");
	assert_int_equal(s->start, DRAY_START_EVENT);
	set(s, "start", "now");
	assert_int_equal(s->start, DRAY_START_NOW);
	set(s, "switch.window", "22:00-06:00");
	assert_true(s->switch_window.n == 1 && s->switch_window.list[0].from == 22 * 60);
	set(s, "switch.window", "none");
	assert_int_equal(s->switch_window.n, 0);
	assert_null(json_object_get(s->doc, "switch"));
	dray_session_free(s);
}

static void refusals(void **state)
{
	struct dray_session *s = session();
	refused(s, "limits.rate", "10MB", "bad_unit", "/limits/rate");
	refused(s, "limits.rate", "0", "out_of_range", "/limits/rate");
	refused(s, "limits.rate", "08:00,20M 25:00,off", "bad_value", "/limits/rate");
	refused(s, "limits.rate", "", "bad_value", "/limits/rate");
	refused(s, "limits.active_pairs", "[1]", "wrong_type", "/limits/active_pairs");
	refused(s, "limits.active_pairs", "[1", "syntax", "");
	refused(s, "limits.speed", "1", "unknown_key", "/limits/speed");
	refused(s, "window", "['19:00-07:00', 'Sat']", "bad_value", "/window/1");
	refused(s, "start", "{every: 24h}", "not_settable", "/start");
	refused(s, "name", "b", "not_settable", "/name");
	refused(s, "pairs", "[]", "not_settable", "/pairs");
	refused(s, "resource.offset", "1", "unknown_key", "/resource/offset");
	refused(s, "priority", "10", "out_of_range", "/priority");
	refused(s, "switch.when", "2027-02-29T00:00:00Z", "bad_value", "/switch/when");
	refused(s, "switch.when", "{event: a b}", "bad_value", "/switch/when/event");
	refused(s, "switch.when.event", "x", "not_settable", "/switch/when/event");
	refused(s, "switch.window", "['02:00-04:00', '04:00']", "bad_value", "/switch/window/1");
	refused(s, "switch.commit", "1ms", "out_of_range", "/switch/commit");
	refused(s, "priority", "none", "bad_value", "/priority");
	assert_true(s->limits.rate == 1 << 20 && s->limits.active_pairs == DRAY_UNKNOWN && s->priority == 5);
	dray_session_free(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(changes),
		cmocka_unit_test(deep_keys),
		cmocka_unit_test(none_lifts),
		cmocka_unit_test(refusals),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
