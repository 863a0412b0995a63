/* SPDX-License-Identifier: BSD-3-Clause */
/* The repository keeps sessions, events, intents and epochs as they were committed, and nothing that was not. */
#include "repo/repo.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

static char dir[64], path[96];
static struct dray_repo *repo;

static int setup(void **state)
{
	snprintf(dir, sizeof dir, "/tmp/dray-repo-XXXXXX");
	if (!mkdtemp(dir))
		return -1;
	snprintf(path, sizeof path, "%s/repo.db", dir);
	return dray_repo_open(&repo, path, NULL);
}

static int teardown(void **state)
{
	char cmd[128];
	dray_repo_close(repo);
	snprintf(cmd, sizeof cmd, "rm -r %s", dir);
	return system(cmd);
}

static void reopen(void)
{
	dray_repo_close(repo);
	assert_int_equal(dray_repo_open(&repo, path, NULL), 0);
}

static struct dray_repo_session row(const char *id, const char *name)
{
	return (struct dray_repo_session){ .id = id, .name = name, .state = "queued", .live = true, .document = "{}",
		.work = "{\"a\": 1}" };
}

static int add(struct dray_repo_session r, struct dray_error *err)
{
	assert_int_equal(dray_repo_begin(repo, NULL), 0);
	int rc = dray_repo_session_add(repo, &r, err);
	if (rc)
		dray_repo_rollback(repo);
	else
		assert_int_equal(dray_repo_commit(repo, NULL), 0);
	return rc;
}

static int collect(void *arg, const struct dray_repo_session *r)
{
	char *out = arg;
	sprintf(out + strlen(out), "%llu %s %s %s %d %s %s;", (unsigned long long)r->seq, r->id, r->name, r->state, r->live,
		r->document, r->work);
	return 0;
}

static void kept_over_reopen(void **state)
{
	char out[512] = "";
	assert_int_equal(add(row("s-1", "one"), NULL), 0);
	assert_int_equal(add(row("s-2", "two"), NULL), 0);
	struct dray_repo_session r = row("s-1", "one");
	r.state = "committed";
	r.live = false;
	r.document = "{\"x\": 2}";
	assert_int_equal(dray_repo_begin(repo, NULL), 0);
	assert_int_equal(dray_repo_session_save(repo, &r, NULL), 0);
	assert_int_equal(dray_repo_commit(repo, NULL), 0);
	reopen();
	assert_int_equal(dray_repo_sessions(repo, collect, out, NULL), 0);
	assert_string_equal(out, "1 s-1 one committed 0 {\"x\": 2} {\"a\": 1};2 s-2 two queued 1 {} {\"a\": 1};");
	out[0] = 0;
	assert_int_equal(dray_repo_session_get(repo, "s-2", collect, out, NULL), 0);
	assert_string_equal(out, "2 s-2 two queued 1 {} {\"a\": 1};");
	assert_int_equal(dray_repo_session_get(repo, "s-3", collect, out, NULL), -ENOENT);
}

static void ids_once_for_ever_names_while_live(void **state)
{
	struct dray_error err;
	assert_int_equal(add(row("s-1", "one"), NULL), 0);
	assert_int_equal(add(row("s-1", "other"), &err), -EEXIST);
	assert_string_equal(err.kind, "id_used");
	assert_int_equal(add(row("s-2", "one"), &err), -EEXIST);
	assert_string_equal(err.kind, "name_used");
	assert_int_equal(dray_repo_id_used(repo, "s-2", NULL), 0); /* rolled back with the rest */

	struct dray_repo_session r = row("s-1", "one");
	r.live = false;
	dray_repo_begin(repo, NULL);
	assert_int_equal(dray_repo_session_save(repo, &r, NULL), 0);
	dray_repo_commit(repo, NULL);
	assert_int_equal(add(row("s-2", "one"), NULL), 0); /* the name is free again */
	assert_int_equal(add(row("s-1", "third"), &err), -EEXIST);
	assert_int_equal(dray_repo_id_used(repo, "s-1", NULL), 1);
}

static void rolled_back_leaves_nothing(void **state)
{
	char out[512] = "";
	struct dray_repo_session r = row("s-1", "one");
	dray_repo_begin(repo, NULL);
	assert_int_equal(dray_repo_session_add(repo, &r, NULL), 0);
	dray_repo_rollback(repo);
	assert_int_equal(dray_repo_sessions(repo, collect, out, NULL), 0);
	assert_string_equal(out, "");
	dray_repo_begin(repo, NULL);
	assert_int_equal(dray_repo_session_save(repo, &r, NULL), -ENOENT);
	dray_repo_rollback(repo);
}

static int collect_event(void *arg, const struct dray_repo_event *e)
{
	char *out = arg;
	sprintf(out + strlen(out), "%llu:%s/%u %s %s->%s;", (unsigned long long)e->seq, e->session ? e->session : "-", e->pair,
		e->event, e->before ? e->before : "-", e->after ? e->after : "-");
	return 0;
}

static void events_in_order(void **state)
{
	char out[512] = "";
	dray_repo_begin(repo, NULL);
	struct dray_repo_event e = { .session = "s-1", .pair = 2, .event = "state", .actor = "drayd", .before = "queued",
		.after = "starting" };
	assert_int_equal(dray_repo_event_add(repo, &e, NULL), 0);
	struct dray_repo_event boot = { .event = "started", .actor = "drayd" };
	assert_int_equal(dray_repo_event_add(repo, &boot, NULL), 0);
	dray_repo_commit(repo, NULL);
	assert_int_equal(dray_repo_events(repo, NULL, 0, 10, collect_event, out, NULL), 0);
	assert_string_equal(out, "1:s-1/2 state queued->starting;2:-/0 started -->-;");
	out[0] = 0;
	dray_repo_events(repo, NULL, 1, 10, collect_event, out, NULL);
	assert_string_equal(out, "2:-/0 started -->-;");
	out[0] = 0;
	dray_repo_events(repo, "s-1", 0, 10, collect_event, out, NULL);
	assert_string_equal(out, "1:s-1/2 state queued->starting;");
}

static int collect_intent(void *arg, const struct dray_repo_intent *i)
{
	char *out = arg;
	sprintf(out + strlen(out), "%s %s %s;", i->token, i->kind, i->members);
	return 0;
}

static void intents_until_their_outcome(void **state)
{
	char out[512] = "";
	add(row("s-1", "one"), NULL);
	struct dray_repo_intent i = { .token = "t1", .session = "s-1", .kind = "switch", .members = "[]" };
	dray_repo_begin(repo, NULL);
	assert_int_equal(dray_repo_intent_add(repo, &i, NULL), 0);
	dray_repo_commit(repo, NULL);
	reopen();
	dray_repo_intents(repo, collect_intent, out, NULL);
	assert_string_equal(out, "t1 switch [];");
	dray_repo_begin(repo, NULL);
	assert_int_equal(dray_repo_intent_end(repo, "t1", "switched", NULL), 0);
	assert_int_equal(dray_repo_intent_end(repo, "t1", "refused", NULL), -ENOENT);
	dray_repo_commit(repo, NULL);
	out[0] = 0;
	dray_repo_intents(repo, collect_intent, out, NULL);
	assert_string_equal(out, "");
}

static int collect_volume(void *arg, const struct dray_repo_volume *v)
{
	char *out = arg;
	sprintf(out + strlen(out), "%s %s %llu;", v->name, v->uuid, (unsigned long long)v->epoch);
	return 0;
}

static void see(const char *name, const char *uuid, uint64_t epoch)
{
	dray_repo_begin(repo, NULL);
	assert_int_equal(dray_repo_volume_seen(repo, &(struct dray_repo_volume){ name, uuid, epoch }, NULL), 0);
	dray_repo_commit(repo, NULL);
}

static void epochs_only_grow(void **state)
{
	char out[512] = "";
	see("a", "u1", 5);
	see("a", "u1", 3);
	see("b", "u2", 1);
	dray_repo_volumes(repo, collect_volume, out, NULL);
	assert_string_equal(out, "a u1 5;b u2 1;");
	see("a", "u9", 1);
	out[0] = 0;
	dray_repo_volumes(repo, collect_volume, out, NULL);
	assert_string_equal(out, "a u9 1;b u2 1;");
}

static void newer_schema_is_refused(void **state)
{
	struct dray_error err;
	dray_repo_begin(repo, NULL);
	dray_repo_meta_set(repo, "schema", "99", NULL);
	dray_repo_commit(repo, NULL);
	dray_repo_close(repo);
	assert_int_equal(dray_repo_open(&repo, path, &err), -EPROTO);
	assert_non_null(strstr(err.text, "version 99"));
	repo = NULL;
}

static void damaged_file_is_told(void **state)
{
	dray_repo_close(repo);
	repo = NULL;
	FILE *f = fopen(path, "w");
	for (int i = 0; i < 9000; i++)
		fputc('x', f);
	fclose(f);
	assert_int_equal(dray_repo_open(&repo, path, NULL), -EUCLEAN);
	repo = NULL;
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = { T(kept_over_reopen), T(ids_once_for_ever_names_while_live),
		T(rolled_back_leaves_nothing), T(events_in_order), T(intents_until_their_outcome), T(epochs_only_grow),
		T(newer_schema_is_refused), T(damaged_file_is_told) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
