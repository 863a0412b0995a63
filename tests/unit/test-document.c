/* SPDX-License-Identifier: BSD-3-Clause */
/* A session document is read as documented, and everything wrong with one is told at once, with its place. */
#include "session/session.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

static struct dray_session *good(const char *text)
{
	struct dray_problems problems = DRAY_PROBLEMS_INIT;
	struct dray_session *s = NULL;
	if (dray_session_parse(text, strlen(text), true, &s, &problems))
		fail_msg("refused: %s: %s", problems.items[0].pointer, problems.items[0].detail);
	assert_int_equal(problems.n, 0);
	return s;
}

static struct dray_problems bad(const char *text)
{
	struct dray_problems problems = DRAY_PROBLEMS_INIT;
	struct dray_session *s = NULL;
	assert_int_equal(dray_session_parse(text, strlen(text), true, &s, &problems), -22);
	assert_true(problems.n > 0);
	assert_true(!s == !strcmp(problems.items[0].code, "syntax"));
	dray_session_free(s);
	return problems;
}

/* One problem with this code and place must be among them. */
static const struct dray_problem *has(const struct dray_problems *problems, const char *code, const char *pointer,
	unsigned line)
{
	for (size_t i = 0; i < problems->n; i++) {
		const struct dray_problem *p = &problems->items[i];
		if (!strcmp(p->code, code) && !strcmp(p->pointer, pointer) && p->line == line)
			return p;
	}
	for (size_t i = 0; i < problems->n; i++)
		print_message("%s %s line %u: %s\n", problems->items[i].code, problems->items[i].pointer,
			problems->items[i].line, problems->items[i].detail);
	fail_msg("no problem %s at %s line %u", code, pointer, line);
	return NULL;
}

static void defaults(void **state)
{
	struct dray_session *s = good("name: a\npairs:\n- {source: /dev/a, target: /dev/b}\n");
	assert_string_equal(s->name, "a");
	assert_string_equal(s->id, "");
	assert_int_equal(s->priority, 5);
	assert_true(s->checkpoint);
	assert_int_equal(s->verify, DRAY_VERIFY_NONE);
	assert_int_equal(s->on_error, DRAY_ON_ERROR_PAIR);
	assert_int_equal(s->mode, DRAY_MODE_MOVE);
	assert_int_equal(s->when, DRAY_WHEN_MANUAL);
	assert_true(s->deadline_ns == UINT64_C(2000000000));
	assert_int_equal(s->attempts, 3);
	assert_int_equal(s->on_failure, DRAY_ON_FAILURE_WAIT);
	assert_int_equal(s->commit, DRAY_COMMIT_MANUAL);
	assert_true(s->leg_timeout_ns == UINT64_C(1000000000));
	assert_true(s->limits.rate == DRAY_UNKNOWN && s->limits.active_pairs == DRAY_UNKNOWN);
	assert_int_equal(s->n_pairs, 1);
	assert_string_equal(s->pairs[0].vehicle, "auto");
	assert_int_equal(s->pairs[0].create, DRAY_CREATE_NONE);
	assert_false(s->pairs[0].overwrite);
	dray_session_free(s);
	s = good("{name: a, mode: copy, pairs: [{source: 'volume:v', target: /dev/b}]}");
	assert_int_equal(s->when, DRAY_WHEN_SYNCED);
	dray_session_free(s);
}

static void starts(void **state)
{
	struct dray_session *s = good("{name: a, start: 2027-01-01T01:00:00+01:00, pairs: [{source: /dev/a, target: /dev/b}]}");
	assert_true(s->start == DRAY_START_TIME && s->start_time == 1798761600);
	dray_session_free(s);
	s = good("{name: a, start: {after: 2h}, pairs: [{source: /dev/a, target: /dev/b}]}");
	assert_true(s->start == DRAY_START_AFTER && s->start_after_ns == UINT64_C(7200000000000));
	dray_session_free(s);
	s = good("{name: a, start: {event: go}, pairs: [{source: /dev/a, target: /dev/b}]}");
	assert_int_equal(s->start, DRAY_START_EVENT);
	assert_string_equal(s->start_event, "go");
	dray_session_free(s);
}

static void everything(void **state)
{
	struct dray_session *s = good("name: orders-db\n"
				      "id: s-4k2\n"
				      "priority: high\n"
				      "start: now\n"
				      "limits: {active_pairs: 2, rate: 200MiB, in_flight: 64M, step: 262144, steps: 4}\n"
				      "mode: move\n"
				      "checkpoint: false\n"
				      "leg_timeout: 500ms\n"
				      "verify: {mode: full, repair: true}\n"
				      "switch: {when: synced, deadline: 1, attempts: 5, on_failure: fail, commit: switched,\n"
				      "  retire: none, partial: true}\n"
				      "on_error: session\n"
				      "pairs:\n"
				      "- source: volume:orders\n"
				      "  target: [/dev/b, {resource: /dev/c, offset: 1M, length: 10G}]\n"
				      "  vehicle: host\n"
				      "  limits: {rate: 1M, steps: 2}\n"
				      "  overwrite: true\n"
				      "  create: thin\n");
	assert_string_equal(s->id, "s-4k2");
	assert_int_equal(s->priority, 8);
	assert_true(s->limits.rate == 200 << 20 && s->limits.step == 262144 && s->limits.in_flight == 64 << 20);
	assert_false(s->checkpoint);
	assert_true(s->leg_timeout_ns == 500000000 && s->deadline_ns == 1000000000);
	assert_true(s->verify == DRAY_VERIFY_FULL && s->verify_repair && s->partial);
	assert_true(s->when == DRAY_WHEN_SYNCED && s->on_failure == DRAY_ON_FAILURE_FAIL);
	assert_true(s->commit == DRAY_COMMIT_SWITCHED && s->on_error == DRAY_ON_ERROR_SESSION && s->attempts == 5);
	const struct dray_pair *p = &s->pairs[0];
	assert_string_equal(p->source.resource, "volume:orders");
	assert_int_equal(p->n_targets, 2);
	assert_true(p->targets_as_list && !p->targets[0].copy_role && p->targets[1].copy_role);
	assert_true(p->targets[1].at.slice && p->targets[1].at.offset == 1 << 20 &&
		p->targets[1].at.length == UINT64_C(10) << 30);
	assert_true(p->limits.rate == 1 << 20 && p->limits.steps == 2 && p->limits.step == DRAY_UNKNOWN);
	assert_true(p->overwrite && p->create == DRAY_CREATE_THIN);
	dray_session_free(s);
}

static void all_at_once(void **state)
{
	struct dray_problems p = bad("nmae: a\n"                                    /* 1 */
				     "priority: 12\n"                               /* 2 */
				     "start: {every: 10ms}\n"                       /* 3 */
				     "limits:\n"                                    /* 4 */
				     "  rate: 10MB\n"                               /* 5 */
				     "  active_pairs: 0\n"                          /* 6 */
				     "  rtae: 1\n"                                  /* 7 */
				     "switch:\n"                                    /* 8 */
				     "  when: 2027-01-01T25:00:00Z\n"               /* 9 */
				     "  retire: shred\n"                            /* 10 */
				     "  deadline: 2w\n"                             /* 11 */
				     "  on_failure: panic\n"                        /* 12 */
				     "state: copying\n"                             /* 13 */
				     "checkpoint: 'true'\n"                         /* 14 */
				     "pairs:\n"                                     /* 15 */
				     "  - target: disk.img\n"                       /* 16 */
				     "    vehicle: teleport\n"                      /* 17 */
				     "  - source:\n"                                /* 18 */
				     "    target: {resource: /dev/b, offset: 1}\n"  /* 19 */
				     "  - 7\n"                                      /* 20 */
				     "  - {source: /dev/a, target: []}\n"           /* 21 */
				     "  - {source: /dev/a, target: volume:x}\n");   /* 22 */
	const struct dray_problem *q = has(&p, "unknown_key", "/nmae", 1);
	assert_non_null(strstr(q->detail, "did you mean \"name\""));
	assert_non_null(strstr(q->legal, "priority"));
	has(&p, "missing", "/name", 1);
	q = has(&p, "out_of_range", "/priority", 2);
	assert_string_equal(q->value, "12");
	has(&p, "out_of_range", "/start/every", 3);
	q = has(&p, "bad_unit", "/limits/rate", 5);
	assert_string_equal(q->value, "10MB");
	has(&p, "out_of_range", "/limits/active_pairs", 6);
	has(&p, "unknown_key", "/limits/rtae", 7);
	q = has(&p, "bad_value", "/switch/when", 9);
	assert_non_null(strstr(q->legal, "manual, synced, pair, a time"));
	q = has(&p, "bad_value", "/switch/retire", 10);
	assert_string_equal(q->legal, "none, read-only, offline, discard, zero, delete or rename");
	has(&p, "bad_unit", "/switch/deadline", 11);
	q = has(&p, "bad_value", "/switch/on_failure", 12);
	assert_string_equal(q->legal, "wait or fail");
	q = has(&p, "unknown_key", "/state", 13);
	assert_non_null(strstr(q->detail, "written by the agent"));
	has(&p, "wrong_type", "/checkpoint", 14);
	has(&p, "missing", "/pairs/0/source", 16);
	has(&p, "bad_value", "/pairs/0/target", 16);
	q = has(&p, "vehicle", "/pairs/0/vehicle", 17);
	assert_string_equal(q->value, "teleport");
	has(&p, "wrong_type", "/pairs/1/source", 18);
	has(&p, "bad_value", "/pairs/1/target/offset", 19);
	has(&p, "wrong_type", "/pairs/2", 20);
	has(&p, "out_of_range", "/pairs/3/target", 21);
	has(&p, "bad_value", "/pairs/4/target", 22);
	assert_int_equal(p.n, 21);
	dray_problems_free(&p);
}

static void when_to_switch(void **state)
{
	static const char *const form = "name: a\nswitch: {%s}\npairs: [{source: /dev/a, target: /dev/b}]\n";
	static const struct {
		const char *text;
		enum dray_when when;
		enum dray_commit commit;
	} cases[] = {
		{ "when: pair", DRAY_WHEN_PAIR, DRAY_COMMIT_MANUAL },
		{ "when: 2027-01-01T02:00:00+02:00, commit: 24h", DRAY_WHEN_TIME, DRAY_COMMIT_AFTER },
		{ "when: {event: night.1}, commit: 86400", DRAY_WHEN_EVENT, DRAY_COMMIT_AFTER },
	};
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		char text[256];
		snprintf(text, sizeof text, form, cases[i].text);
		struct dray_session *s = good(text);
		assert_true(s->when == cases[i].when && s->commit == cases[i].commit);
		assert_true(s->when != DRAY_WHEN_TIME || s->when_time == 1798761600);
		assert_true(s->commit != DRAY_COMMIT_AFTER || s->commit_after_ns == UINT64_C(86400000000000));
		if (s->when == DRAY_WHEN_EVENT)
			assert_string_equal(s->when_event, "night.1");
		dray_session_free(s);
	}
}

/* Values, each alone, with the code that refuses it. */
static void one_value(void **state)
{
	static const struct {
		const char *line, *code, *pointer;
	} cases[] = {
		{ "name: s-123", "bad_value", "/name" },
		{ "name: a/b", "bad_value", "/name" },
		{ "name: ''", "bad_value", "/name" },
		{ "name: 42", "wrong_type", "/name" },
		{ "name: [a]", "wrong_type", "/name" },
		{ "id: orders", "bad_value", "/id" },
		{ "id: s-ABC", "bad_value", "/id" },
		{ "start: '2027-01-01T00:00:00'", "bad_value", "/start" },
		{ "start: {after: 0}", "out_of_range", "/start/after" },
		{ "start: {after: 2h, event: x}", "bad_value", "/start" },
		{ "start: {}", "bad_value", "/start" },
		{ "start: {event: 'a b'}", "bad_value", "/start/event" },
		{ "start: {every: 500ms}", "out_of_range", "/start/every" },
		{ "start: {every: 1500ms}", "bad_value", "/start/every" },
		{ "start: {every: 5h, at: '02:00'}", "bad_value", "/start/every" },
		{ "start: {every: 30s, at: '02:00'}", "bad_value", "/start/every" },
		{ "start: {every: 24h, at: '24:00'}", "bad_value", "/start/at" },
		{ "start: {every: 24h, at: 2am}", "bad_value", "/start/at" },
		{ "start: {every: 24h, keep: 0}", "out_of_range", "/start/keep" },
		{ "start: {every: 24h, keep: all}", "bad_value", "/start/keep" },
		{ "start: {every: 24h, hook_timeout: 10ms}", "out_of_range", "/start/hook_timeout" },
		{ "start: {every: 24h, on_hook_failure: wait}", "bad_value", "/start/on_hook_failure" },
		{ "start: {every: 24h, event: night}", "bad_value", "/start" },
		{ "start: {after: 2h, keep: 3}", "bad_value", "/start" },
		{ "start: {keep: 3}", "bad_value", "/start" },
		{ "start: later", "bad_value", "/start" },
		{ "start: 5", "wrong_type", "/start" },
		{ "max_duration: 0", "out_of_range", "/max_duration" },
		{ "max_duration: long", "bad_value", "/max_duration" },
		{ "limits: {rate: '08:00,20M 08:00,off'}", "bad_value", "/limits/rate" },
		{ "limits: {rate: '08:00'}", "bad_value", "/limits/rate" },
		{ "limits: {rate: '08:00,20MB'}", "bad_value", "/limits/rate" },
		{ "limits: {rate: '08:00,99999999P'}", "out_of_range", "/limits/rate" },
		{ "limits: {rate: off}", "bad_value", "/limits/rate" },
		{ "limits: {rate: -1}", "out_of_range", "/limits/rate" },
		{ "limits: {rate: 0}", "out_of_range", "/limits/rate" },
		{ "limits: {rate: 1.5}", "bad_value", "/limits/rate" },
		{ "limits: {rate: 1.5M}", "bad_unit", "/limits/rate" },
		{ "limits: {rate: 99999999999999999999999}", "out_of_range", "/limits/rate" },
		{ "limits: {rate: fast}", "bad_value", "/limits/rate" },
		{ "limits: {step: 100000}", "bad_value", "/limits/step" },
		{ "limits: {app_latency: 0ms}", "out_of_range", "/limits/app_latency" },
		{ "limits: {app_latency: fast}", "bad_value", "/limits/app_latency" },
		{ "limits: {vehicle: {lvm: {active_pairs: 2}}}", "unknown_key", "/limits/vehicle/lvm" },
		{ "limits: {vehicle: {host: {active_pairs: 0}}}", "out_of_range", "/limits/vehicle/host/active_pairs" },
		{ "limits: {vehicle: 2}", "wrong_type", "/limits/vehicle" },
		{ "bound_by: {limit: rate}", "unknown_key", "/bound_by" },
		{ "limits: []", "wrong_type", "/limits" },
		{ "mode: steal", "bad_value", "/mode" },
		{ "leg_timeout: 0", "out_of_range", "/leg_timeout" },
		{ "leg_timeout: 1 s", "bad_unit", "/leg_timeout" },
		{ "verify: twice", "bad_value", "/verify" },
		{ "verify: {repair: true}", "missing", "/verify/mode" },
		{ "verify: {mode: full, repair: 1}", "wrong_type", "/verify/repair" },
		{ "switch: {when: late}", "bad_value", "/switch/when" },
		{ "switch: {when: 5}", "wrong_type", "/switch/when" },
		{ "switch: {when: '2027-01-01'}", "bad_value", "/switch/when" },
		{ "switch: {when: {}}", "missing", "/switch/when/event" },
		{ "switch: {when: {event: ''}}", "bad_value", "/switch/when/event" },
		{ "switch: {when: {event: x, at: y}}", "unknown_key", "/switch/when/at" },
		{ "switch: {window: []}", "out_of_range", "/switch/window" },
		{ "switch: {window: 5}", "wrong_type", "/switch/window" },
		{ "switch: {window: ['02:00-02:00']}", "bad_value", "/switch/window/0" },
		{ "switch: {window: ['Sat-Sun']}", "bad_value", "/switch/window/0" },
		{ "switch: {window: ['Someday 02:00-04:00']}", "bad_value", "/switch/window/0" },
		{ "switch: {commit: 0}", "out_of_range", "/switch/commit" },
		{ "switch: {commit: 24w}", "bad_unit", "/switch/commit" },
		{ "switch: {commit: [24h]}", "wrong_type", "/switch/commit" },
		{ "switch: {commit: soon}", "bad_value", "/switch/commit" },
		{ "switch: {attempts: 1.5}", "bad_value", "/switch/attempts" },
		{ "on_error: ignore", "bad_value", "/on_error" },
		{ "targets: []", "unknown_key", "/targets" },
		{ "pause_reasons: []", "unknown_key", "/pause_reasons" },
	};
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		char text[256];
		snprintf(text, sizeof text, "%s\n%s\npairs: [{source: /dev/a, target: /dev/b}]\n", cases[i].line,
			strncmp(cases[i].line, "name:", 5) ? "name: a" : "# no name");
		struct dray_problems p = bad(text);
		has(&p, cases[i].code, cases[i].pointer, 1);
		if (p.n != 1)
			fail_msg("%s: %zu problems", cases[i].line, p.n);
		dray_problems_free(&p);
	}
}

static void syntax(void **state)
{
	static const struct {
		const char *text, *code;
		unsigned line;
	} cases[] = {
		{ "name: a\npairs: [a\n", "syntax", 3 },
		{ "name: a\nb: 'c\n", "syntax", 2 },
		{ "", "syntax", 1 },
		{ "# nothing\n", "syntax", 1 },
		{ "name: a\n---\nname: b\n", "syntax", 2 },
		{ "name: !!str a\n", "syntax", 1 },
		{ "name: *a\n", "syntax", 1 },
		{ "name: &a [*a]\n", "syntax", 1 },
		{ "{a: b}: c\n", "syntax", 1 },
		{ "name: \"a\\0b\"\n", "syntax", 1 },
		{ "{\"name\": \"a\",\n \"pairs\": [}\n", "syntax", 2 },
	};
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct dray_problems p = bad(cases[i].text);
		if (strcmp(p.items[0].code, cases[i].code) || p.items[0].line != cases[i].line)
			fail_msg("%s: %s line %u: %s", cases[i].text, p.items[0].code, p.items[0].line, p.items[0].detail);
		dray_problems_free(&p);
	}
}

static void duplicates(void **state)
{
	struct dray_problems p = bad("name: a\nname: b\npairs:\n- source: /dev/a\n  target: /dev/b\n  target: /dev/c\n"
				     "whatever: 1\n");
	has(&p, "duplicate", "/name", 2);
	has(&p, "duplicate", "/pairs/0/target", 6);
	has(&p, "unknown_key", "/whatever", 7);
	assert_int_equal(p.n, 3);
	dray_problems_free(&p);
}

static void json_has_lines(void **state)
{
	struct dray_problems p = bad("{\n  \"name\": \"a\",\n  \"pairs\": [\n    {\"source\": \"/dev/a\",\n\t\"target\": 5}\n  ]\n}\n");
	has(&p, "wrong_type", "/pairs/0/target", 5);
	dray_problems_free(&p);
	struct dray_session *s = good("{\"name\":\"\\u00e9\\ud83d\\ude00\",\"pairs\":[{\"source\":\"\\/dev\\/a\",\"target\":\"/dev/b\"}]}");
	assert_string_equal(s->name, "\xc3\xa9\xf0\x9f\x98\x80");
	assert_string_equal(s->pairs[0].source.resource, "/dev/a");
	dray_session_free(s);
}

static void from_json_has_no_lines(void **state)
{
	struct dray_problems p = DRAY_PROBLEMS_INIT;
	struct dray_session *s;
	json_t *doc = json_pack("{s:s, s:[{s:s}]}", "name", "a", "pairs", "source", "/dev/a");
	assert_int_equal(dray_session_from_json(doc, true, &s, &p), -22);
	has(&p, "missing", "/pairs/0/target", 0);
	json_t *j = dray_problems_to_json(&p);
	assert_true(json_is_null(json_object_get(json_array_get(j, 0), "line")));
	assert_string_equal(json_string_value(json_object_get(json_array_get(j, 0), "code")), "missing");
	json_decref(j);
	dray_session_free(s);
	dray_problems_free(&p);
	json_decref(doc);
}

/* What is right of a wrong document can still be looked at, and what is found then has lines too. */
static void the_rest(void **state)
{
	static const char text[] = "name: a\nrate: 1\npairs:\n- source: /dev/a\n  target:\n  - /dev/b\n  - /dev/c\n"
				   "- target: 5\n- source: rel\n";
	struct dray_problems p = DRAY_PROBLEMS_INIT, later = DRAY_PROBLEMS_INIT;
	struct dray_session *s;
	assert_int_equal(dray_session_parse(text, strlen(text), true, &s, &p), -22);
	assert_int_equal(s->n_pairs, 3);
	assert_string_equal(s->pairs[0].targets[1].at.resource, "/dev/c");
	assert_string_equal(s->pairs[1].source.resource, "");
	assert_string_equal(s->pairs[1].targets[0].at.resource, "");
	assert_string_equal(s->pairs[2].source.resource, "");
	assert_int_equal(s->pairs[2].n_targets, 0);
	dray_problems_add(&later, "/pairs/0/target/1", 0, "too_small", NULL, NULL, "x");
	dray_problems_add(&later, "/pairs/1/source", 0, "locked", NULL, NULL, "x");
	dray_problems_add(&later, "/name", 0, "exists", NULL, NULL, "x");
	dray_problems_add(&later, "/pairs/99", 0, "exists", NULL, NULL, "x");
	dray_session_add_lines(s, &later);
	assert_int_equal(later.items[0].line, 7);
	assert_int_equal(later.items[1].line, 8);
	assert_int_equal(later.items[2].line, 1);
	assert_int_equal(later.items[3].line, 3);
	dray_problems_free(&p);
	dray_problems_free(&later);
	dray_session_free(s);
}

static void anchors(void **state)
{
	struct dray_session *s = good("name: a\npairs:\n- {source: /dev/a, target: /dev/b, limits: &l {rate: 1M}}\n"
				      "- {source: /dev/c, target: /dev/d, limits: *l}\n");
	assert_true(s->pairs[1].limits.rate == 1 << 20);
	dray_session_free(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(defaults),
		cmocka_unit_test(everything),
		cmocka_unit_test(starts),
		cmocka_unit_test(all_at_once),
		cmocka_unit_test(when_to_switch),
		cmocka_unit_test(one_value),
		cmocka_unit_test(syntax),
		cmocka_unit_test(duplicates),
		cmocka_unit_test(json_has_lines),
		cmocka_unit_test(from_json_has_no_lines),
		cmocka_unit_test(the_rest),
		cmocka_unit_test(anchors),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
