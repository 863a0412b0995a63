/* SPDX-License-Identifier: BSD-3-Clause */
/* The document of a periodic session: its targets become templates and working images, what it can't honour is refused, its generations are shown,
 * and all of it comes back from the record. */
#include "session/periodic.h"
#include "session/session.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static int parse(const char *text, struct dray_session **s, struct dray_problems *p)
{
	*p = (struct dray_problems)DRAY_PROBLEMS_INIT;
	return dray_session_parse(text, strlen(text), true, s, p);
}

static struct dray_session *with(const char *start, const char *target)
{
	char text[1000];
	struct dray_session *s;
	struct dray_problems p;
	snprintf(text, sizeof text, "name: a\nmode: copy\nstart: %s\npairs:\n  - {source: 'volume:orders', target: %s}\n", start, target);
	if (parse(text, &s, &p))
		fail_msg("%s: %s: %s", text, p.items[0].pointer, p.items[0].detail);
	dray_problems_free(&p);
	return s;
}

static void names(const char *target, const char *base, const char *path)
{
	struct dray_session *s = with("{every: 24h, at: '02:00', keep: 7}", target);
	char *at = dray_periodic_path(&s->pairs[0].targets[0], 1795399200);
	assert_string_equal(s->pairs[0].targets[0].at.resource, base);
	assert_string_equal(at, path);
	free(at);
	dray_session_free(s);
}

static void templates(void **state)
{
	names("'/backup/db-{time}.img'", "/backup/.db-base.img", "/backup/db-20261123T020000Z.img");
	names("'/backup/{time}'", "/backup/.base", "/backup/20261123T020000Z");
	names("/backup", "/backup/.orders-base.img", "/backup/orders-20261123T020000Z.img");
	names("/backup/", "/backup/.orders-base.img", "/backup/orders-20261123T020000Z.img");
	names("/", "/.orders-base.img", "/orders-20261123T020000Z.img");
	names("[/backup]", "/backup/.orders-base.img", "/backup/orders-20261123T020000Z.img");
}

static void fields(void **state)
{
	struct dray_session *s = with("{every: 6h, at: '02:30', keep: 3, hook_timeout: 10s, on_hook_failure: skip}", "/backup");
	assert_int_equal(s->start, DRAY_START_EVERY);
	assert_int_equal(s->every_ns, UINT64_C(21600000000000));
	assert_int_equal(s->at, 150);
	assert_int_equal(s->keep, 3);
	assert_int_equal(s->hook_timeout_ns, UINT64_C(10000000000));
	assert_int_equal(s->hook_failure, 1);
	assert_int_equal(s->pairs[0].create, DRAY_CREATE_THIN);
	assert_true(s->pairs[0].needs_room);
	dray_session_free(s);
	s = with("{every: 90s}", "/backup");
	assert_int_equal(s->at, -1);
	assert_int_equal(s->keep, 7);
	assert_int_equal(s->hook_failure, 0);
	dray_session_free(s);
}

static void changes(void **state)
{
	static const char *const bad[] = { "now", "{event: every}", "{every: 5h, at: '02:00'}", "{every: 1h, keep: 0}" };
	struct dray_session *s = with("{every: 6h, at: '02:30', keep: 3}", "/backup");
	struct dray_problems p = DRAY_PROBLEMS_INIT;
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		assert_true(dray_session_set(s, "start", bad[i], &p));
		assert_true(s->start == DRAY_START_EVERY && s->every_ns == UINT64_C(21600000000000) && s->at == 150 && s->keep == 3);
	}
	assert_int_equal(p.n, 4);
	dray_problems_free(&p);
	p = (struct dray_problems)DRAY_PROBLEMS_INIT;
	assert_int_equal(dray_session_set(s, "start", "{every: 2h}", &p), 0);
	assert_true(s->every_ns == UINT64_C(7200000000000) && s->at == -1 && s->keep == 7);
	dray_session_free(s);
}

static void refusals(void **state)
{
	static const struct {
		const char *rest, *code, *pointer;
	} bad[] = {
		{ "pairs: [{source: 'volume:v', target: /b}]", "bad_value", "/mode" },
		{ "mode: move\npairs: [{source: 'volume:v', target: /b}]", "bad_value", "/mode" },
		{ "mode: copy\ncheckpoint: false\npairs: [{source: 'volume:v', target: /b}]", "bad_value", "/checkpoint" },
		{ "mode: copy\nswitch: {when: synced}\npairs: [{source: 'volume:v', target: /b}]", "bad_value", "/switch/when" },
		{ "mode: copy\nswitch: {retire: zero}\npairs: [{source: 'volume:v', target: /b}]", "bad_value", "/switch/retire" },
		{ "mode: copy\npairs: [{source: /dev/sda, target: /b}]", "bad_value", "/pairs/0/source" },
		{ "mode: copy\npairs: [{source: 'volume:v', target: /b, overwrite: true}]", "bad_value", "/pairs/0/overwrite" },
		{ "mode: copy\npairs: [{source: 'volume:v', target: [/b, /c]}]", "out_of_range", "/pairs/0/target" },
		{ "mode: copy\npairs: [{source: 'volume:v', target: {resource: /b, offset: 1M}}]", "bad_value", "/pairs/0/target" },
		{ "mode: copy\npairs: [{source: 'volume:v', target: 'nbd://h/x'}]", "bad_value", "/pairs/0/target" },
		{ "mode: copy\npairs: [{source: 'volume:v', target: '/b/{time}/x'}]", "bad_value", "/pairs/0/target" },
		{ "mode: copy\npairs: [{source: 'volume:v', target: '/b/{name}-{time}'}]", "bad_value", "/pairs/0/target" },
		{ "mode: copy\npairs: [{source: 'volume:v', target: '/b/{time}-{time}'}]", "bad_value", "/pairs/0/target" },
		{ "mode: copy\npairs: [{source: 'volume:v', target: '/b/x}'}]", "bad_value", "/pairs/0/target" },
		{ "mode: copy\npairs: [{source: 'volume:v', target: ['/b/{name}']}]", "bad_value", "/pairs/0/target/0" },
	};
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		char text[400];
		struct dray_session *s;
		struct dray_problems p;
		snprintf(text, sizeof text, "name: a\nstart: {every: 1h}\n%s\n", bad[i].rest);
		assert_true(parse(text, &s, &p));
		if (p.n != 1 || strcmp(p.items[0].code, bad[i].code) || strcmp(p.items[0].pointer, bad[i].pointer))
			fail_msg("%s: %zu problems, %s at %s", text, p.n, p.n ? p.items[0].code : "", p.n ? p.items[0].pointer : "");
		assert_true(p.items[0].line);
		assert_non_null(p.items[0].legal);
		dray_problems_free(&p);
		dray_session_free(s);
	}
}

static void record(void **state)
{
	struct dray_session *s = with("{every: 1h}", "/backup"), *back;
	struct dray_generation g = { .time = 1795399200, .complete = true, .quiesced = -1, .shared = 1 };
	json_t *doc, *list;
	doc = dray_session_to_json(s, false);
	assert_int_equal(json_array_size(json_object_get(doc, "generations")), 0);
	json_decref(doc);
	s->generations.anchor = s->generations.last = 1795399200;
	dray_generation_add(&g, 1, strdup("/backup/orders-20261123T020000Z.img"), NULL);
	g.files[0].identity = strdup("file:x");
	dray_generations_add(&s->generations, &g);
	struct dray_making *m = &s->generations.making;
	m->step = DRAY_MAKING_CLONE;
	m->thaw = true;
	m->due = 1795402800;
	m->boot = strdup("boot");
	m->g.time = 1795402801;
	m->g.quiesced = 1;
	m->g.shared = -1;
	dray_generation_add(&m->g, 1, strdup("/backup/orders-20261123T030001Z.img"), strdup("/backup/.part"));
	s->pairs[0].targets[0].made = strdup("file:base");
	for (int i = 0; i < 2; i++) { /* and once more from what came back */
		json_t *saved = dray_session_save(s);
		assert_int_equal(dray_session_load(saved, &back), 0);
		json_decref(saved);
		dray_session_free(s);
		s = back;
	}
	m = &s->generations.making;
	assert_int_equal(m->step, DRAY_MAKING_CLONE);
	assert_true(m->thaw);
	assert_string_equal(m->boot, "boot");
	assert_string_equal(m->g.files[0].part, "/backup/.part");
	assert_null(m->g.files[0].identity);
	assert_string_equal(s->generations.list[0].files[0].identity, "file:x");
	assert_string_equal(s->pairs[0].targets[0].made, "file:base");
	assert_string_equal(s->pairs[0].targets[0].at.resource, "/backup/.orders-base.img");
	doc = dray_session_to_json(s, false);
	list = json_object_get(doc, "generations");
	char *text = json_dumps(list, JSON_COMPACT);
	assert_string_equal(text, "[{\"time\":\"2026-11-23T02:00:00Z\",\"complete\":true,\"paths\":[\"/backup/orders-20261123T020000Z.img\"],\"quiesced\":null,\"shared\":true},"
				  "{\"time\":\"2026-11-23T03:00:01Z\",\"complete\":false,\"paths\":[\"/backup/orders-20261123T030001Z.img\"],\"quiesced\":true,\"shared\":null}]");
	free(text);
	json_decref(doc);
	dray_session_free(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(templates), cmocka_unit_test(fields), cmocka_unit_test(changes), cmocka_unit_test(refusals), cmocka_unit_test(record) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
