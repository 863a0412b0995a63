/* SPDX-License-Identifier: BSD-3-Clause */
/* A repository of the first schema is brought up to the present one where it lies, with everything that was in it. */
#include "repo/repo.h"
#include "session/session.h"

#include <errno.h>
#include <setjmp.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

/* As the first version made it. */
static const char schema_1[] =
	"CREATE TABLE meta(key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;"
	"CREATE TABLE ids(id TEXT PRIMARY KEY) WITHOUT ROWID;"
	"CREATE TABLE sessions(seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE REFERENCES ids(id),"
	" name TEXT NOT NULL, state TEXT NOT NULL, live INTEGER NOT NULL, document TEXT NOT NULL, work TEXT NOT NULL);"
	"CREATE UNIQUE INDEX sessions_live_name ON sessions(name) WHERE live;"
	"CREATE TABLE locks(id INTEGER PRIMARY KEY AUTOINCREMENT, identity TEXT NOT NULL, resource TEXT NOT NULL,"
	" start INTEGER NOT NULL, end INTEGER NOT NULL CHECK(end > start), session TEXT NOT NULL REFERENCES sessions(id),"
	" pair INTEGER NOT NULL, role TEXT NOT NULL, since INTEGER NOT NULL, UNIQUE(identity, start));"
	"CREATE INDEX locks_session ON locks(session);"
	"CREATE TABLE events(seq INTEGER PRIMARY KEY AUTOINCREMENT, time_ms INTEGER NOT NULL, session TEXT,"
	" pair INTEGER NOT NULL, event TEXT NOT NULL, actor TEXT NOT NULL, before TEXT, after TEXT, detail TEXT);"
	"CREATE INDEX events_session ON events(session, seq);"
	"CREATE TABLE intents(token TEXT PRIMARY KEY, session TEXT NOT NULL REFERENCES sessions(id), kind TEXT NOT NULL,"
	" members TEXT NOT NULL, outcome TEXT, since INTEGER NOT NULL) WITHOUT ROWID;"
	"CREATE INDEX intents_open ON intents(since) WHERE outcome IS NULL;"
	"CREATE TABLE volumes(name TEXT PRIMARY KEY, uuid TEXT NOT NULL, epoch INTEGER NOT NULL) WITHOUT ROWID;"
	"INSERT INTO meta VALUES('schema', '1');"
	"INSERT INTO ids VALUES('s-live'), ('s-past'), ('s-torn');"
	"INSERT INTO locks(identity, resource, start, end, session, pair, role, since)"
	" VALUES('file:1', '/a', 0, 10, 's-live', 1, 'source', 5), ('file:2', '/b', 0, 10, 's-live', 2, 'target', 5);"
	"INSERT INTO events(time_ms, session, pair, event, actor) VALUES(1, 's-live', 0, 'submitted', 'uid:0');";

/* As the first version saved them. */
static const char live[] =
	"{\"version\":1,\"doc\":{\"name\":\"one\",\"pairs\":[{\"source\":\"/a\",\"target\":\"/x\"},{\"source\":\"/c\","
	"\"target\":{\"resource\":\"/b\",\"offset\":0,\"length\":4096}}],\"priority\":\"high\"},\"id\":\"s-live\",\"state\":"
	"\"copying\",\"held_by_undo\":false,\"switch_attempts\":1,\"created\":1700000000,\"started\":1700000001,\"finished\":0,"
	"\"switched_at\":0,\"pause_reasons\":0,\"seq\":1,\"pairs\":[{\"state\":\"copying\",\"pause_reasons\":0,\"vehicle_chosen\":"
	"\"host\",\"bytes_total\":4096,\"bytes_done\":1024,\"iod_volume\":\"s-live.1\",\"epoch_before\":0,\"reverse_leg\":-1,"
	"\"targets\":[{\"leg\":2,\"identity\":\"file:x\",\"state\":\"copying\",\"dirty_bytes\":3072,\"copy_role\":false}]},"
	"{\"state\":\"queued\",\"pause_reasons\":1,\"reverse_leg\":-1,\"targets\":[{\"leg\":-1,\"state\":\"\",\"copy_role\":false}]}]}";
static const char live_work[] = "{\"pairs\":[{\"goal\":\"cancel\",\"actor\":\"uid:7\"},{\"goal\":\"none\"}]}";
static const char past[] =
	"{\"version\":1,\"doc\":{\"name\":\"old\",\"pairs\":[{\"source\":\"/a\",\"target\":\"/x\"}]},\"id\":\"s-past\",\"state\":"
	"\"completed\",\"held_by_undo\":false,\"switch_attempts\":0,\"created\":1600000000,\"started\":1600000001,\"finished\":"
	"1600000002,\"switched_at\":0,\"pause_reasons\":0,\"seq\":2,\"pairs\":[{\"state\":\"completed\",\"pause_reasons\":0,"
	"\"bytes_total\":4096,\"bytes_done\":4096,\"reverse_leg\":-1,\"targets\":[{\"leg\":2,\"state\":\"detached\",\"copy_role\":false}]}]}";

static char dir[64], path[96];
static sqlite3 *db;

static int setup(void **state)
{
	snprintf(dir, sizeof dir, "/tmp/dray-upgrade-XXXXXX");
	if (!mkdtemp(dir))
		return -1;
	snprintf(path, sizeof path, "%s/repo.db", dir);
	return sqlite3_open(path, &db) || sqlite3_exec(db, schema_1, NULL, NULL, NULL);
}

static int teardown(void **state)
{
	char cmd[128];
	sqlite3_close(db);
	snprintf(cmd, sizeof cmd, "rm -r %s", dir);
	return system(cmd);
}

static void insert(const char *id, const char *name, bool is_live, const char *document, const char *work)
{
	sqlite3_stmt *st;
	assert_int_equal(sqlite3_prepare_v2(db,
				 "INSERT INTO sessions(id, name, state, live, document, work) VALUES(?1, ?2, 'copying', ?3, ?4, ?5)", -1,
				 &st, NULL), SQLITE_OK);
	sqlite3_bind_text(st, 1, id, -1, SQLITE_STATIC);
	sqlite3_bind_text(st, 2, name, -1, SQLITE_STATIC);
	sqlite3_bind_int(st, 3, is_live);
	sqlite3_bind_text(st, 4, document, -1, SQLITE_STATIC);
	sqlite3_bind_text(st, 5, work, -1, SQLITE_STATIC);
	assert_int_equal(sqlite3_step(st), SQLITE_DONE);
	sqlite3_finalize(st);
}

static struct dray_repo *upgraded(void)
{
	struct dray_repo *repo;
	struct dray_error err;
	sqlite3_close(db);
	db = NULL;
	int rc = dray_repo_open(&repo, path, &err);
	if (rc)
		fail_msg("%s", err.text);
	return repo;
}

struct found {
	uint64_t seq;
	json_t *head, *pairs, *works;
	char *summary;
	bool live, open;
	int64_t finished;
};

static int see(void *arg, const struct dray_repo_session *row)
{
	struct found *f = arg;
	f->seq = row->seq;
	f->head = json_loads(row->document, 0, NULL);
	f->summary = row->summary ? strdup(row->summary) : NULL;
	f->live = row->live;
	f->open = row->open;
	f->finished = row->finished;
	return 0;
}

static int see_pair(void *arg, const struct dray_repo_pair *row)
{
	struct found *f = arg;
	assert_int_equal(row->pair, json_array_size(f->pairs) + 1);
	json_array_append_new(f->pairs, json_loads(row->document, 0, NULL));
	json_array_append_new(f->works, json_loads(row->work, 0, NULL));
	return 0;
}

static struct found found(struct dray_repo *repo, const char *id)
{
	struct found f = { .pairs = json_array(), .works = json_array() };
	assert_int_equal(dray_repo_session_get(repo, id, see, &f, NULL), 0);
	assert_int_equal(dray_repo_pairs(repo, f.seq, see_pair, &f, NULL), 0);
	return f;
}

static void found_free(struct found *f)
{
	json_decref(f->head);
	json_decref(f->pairs);
	json_decref(f->works);
	free(f->summary);
}

static void everything_is_there(void **state)
{
	insert("s-live", "one", true, live, live_work);
	struct dray_repo *repo = upgraded();
	struct found f = found(repo, "s-live");
	assert_true(f.live && f.open && !f.summary && !f.finished);
	assert_int_equal(json_array_size(f.pairs), 2);
	assert_int_equal(json_array_size(json_object_get(json_object_get(f.head, "doc"), "pairs")), 0);
	assert_null(json_object_get(f.head, "pairs"));
	assert_string_equal(json_string_value(json_object_get(json_array_get(f.works, 0), "goal")), "cancel");

	/* Together again it is the session that was saved, its document's keys in their order. */
	struct dray_session *s;
	assert_int_equal(dray_session_load_parts(f.head, f.pairs, &s), 0);
	json_t *whole = dray_session_save(s), *old = json_loads(live, 0, NULL);
	char *now = json_dumps(json_object_get(whole, "doc"), JSON_COMPACT);
	char *then = json_dumps(json_object_get(old, "doc"), JSON_COMPACT);
	assert_string_equal(now, then);
	static const char *const kept[] = { "id", "state", "held_by_undo", "created", "started", "finished", "pause_reasons", "seq" };
	for (size_t i = 0; i < sizeof kept / sizeof *kept; i++)
		assert_true(json_equal(json_object_get(old, kept[i]), json_object_get(whole, kept[i])));
	assert_int_equal(s->pairs[0].state, DRAY_PAIR_COPYING);
	assert_int_equal(s->pairs[0].progress.bytes_done, 1024);
	assert_string_equal(s->pairs[0].iod_volume, "s-live.1");
	assert_int_equal(s->pairs[0].targets[0].iod_leg, 2);
	assert_int_equal(s->pairs[1].state, DRAY_PAIR_QUEUED);
	assert_int_equal(s->pairs[1].pause_reasons, 1);
	assert_int_equal(s->pairs[1].targets[0].at.length, 4096);
	free(now);
	free(then);
	json_decref(whole);
	json_decref(old);
	dray_session_free(s);
	found_free(&f);

	/* The pair's lock alone is freed. */
	assert_int_equal(dray_repo_begin(repo, NULL), 0);
	assert_int_equal(dray_repo_locks_free(repo, "s-live", 2, NULL), 0);
	assert_int_equal(dray_repo_commit(repo, NULL), 0);
	struct dray_repo_lock a = { .identity = "file:1", .resource = "", .end = 1, .session = "", .role = "" }, b = a;
	b.identity = "file:2";
	assert_int_equal(dray_repo_locks_check(repo, &a, 1, NULL, NULL, NULL), -EBUSY);
	assert_int_equal(dray_repo_locks_check(repo, &b, 1, NULL, NULL, NULL), 0);
	dray_repo_close(repo);
}

static void past_ones_have_a_summary(void **state)
{
	insert("s-past", "old", false, past, "{\"pairs\":[{\"goal\":\"none\"}]}");
	struct dray_repo *repo = upgraded();
	struct found f = found(repo, "s-past");
	assert_true(!f.live && !f.open);
	assert_int_equal(f.finished, 1600000002);
	json_t *summary = json_loads(f.summary, 0, NULL);
	assert_string_equal(json_string_value(json_object_get(summary, "state")), "completed");
	assert_string_equal(json_string_value(json_object_get(summary, "name")), "old");
	assert_int_equal(json_integer_value(json_object_get(json_object_get(summary, "progress"), "bytes_done")), 4096);
	assert_null(json_object_get(summary, "pairs"));
	json_decref(summary);
	found_free(&f);
	dray_repo_close(repo);
	/* Once: opened again, all is as it was. */
	assert_int_equal(dray_repo_open(&repo, path, NULL), 0);
	char version[8];
	assert_int_equal(dray_repo_meta_get(repo, "schema", version, sizeof version, NULL), 0);
	assert_string_equal(version, "3");
	dray_repo_close(repo);
}

static void torn_past_one_is_left_and_a_live_one_refused(void **state)
{
	insert("s-torn", "torn", false, "{\"version\":1,", "{}");
	struct dray_repo *repo = upgraded();
	struct found f = found(repo, "s-torn");
	assert_true(!f.live && !f.open && !f.summary);
	assert_int_equal(json_array_size(f.pairs), 0);
	found_free(&f);
	dray_repo_close(repo);

	struct dray_error err;
	unlink(path);
	assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, schema_1, NULL, NULL, NULL), SQLITE_OK);
	insert("s-live", "one", true, live, live_work);
	insert("s-torn", "torn", true, "{\"version\":1,", "{}");
	sqlite3_close(db);
	db = NULL;
	assert_int_equal(dray_repo_open(&repo, path, &err), -EUCLEAN);
	assert_non_null(strstr(err.text, "torn"));
	/* Nothing was done by halves. */
	sqlite3_stmt *st;
	assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
	assert_int_equal(sqlite3_prepare_v2(db, "SELECT value FROM meta WHERE key = 'schema'", -1, &st, NULL), SQLITE_OK);
	assert_int_equal(sqlite3_step(st), SQLITE_ROW);
	assert_string_equal((const char *)sqlite3_column_text(st, 0), "1");
	sqlite3_finalize(st);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = { T(everything_is_there), T(past_ones_have_a_summary),
		T(torn_past_one_is_left_and_a_live_one_refused) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
