/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The schema, and the way to it from older ones.
 *
 * It has a version in `meta`. A new file is made with the first schema and brought up step by step like an old one, so each step is
 * walked by every test there is; all of it is one transaction. A newer schema is refused.
 *
 *   1  sessions with all their pairs in one text
 *   2  a row per pair: a change writes the pairs that it touched and the head of their session (session.h says how they are
 *      taken apart). `open` marks the sessions that the agent has to have in memory, `summary` is what a list shows of the others,
 *      `finished` (seconds since 1970; 0: not yet) is their age
 *   3  `lies_on`: what the storages of the locks lay on when they were taken
 *
 * `ids` is apart from `sessions` because an id stays used even if its session's record is removed.
 */
#include "repo/internal.h"

#include "session/session.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define SCHEMA_VERSION 3
#define TEXT_OF(n)      #n
#define WORD_OF(n)      TEXT_OF(n)

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
	"INSERT INTO meta VALUES('schema', '1');";

static const char schema_2[] =
	"ALTER TABLE sessions ADD COLUMN open INTEGER NOT NULL DEFAULT 0;"
	"ALTER TABLE sessions ADD COLUMN finished INTEGER NOT NULL DEFAULT 0;"
	"ALTER TABLE sessions ADD COLUMN summary TEXT;"
	"CREATE INDEX sessions_name ON sessions(name, seq);"
	"CREATE INDEX sessions_open ON sessions(seq) WHERE open;"
	"CREATE INDEX sessions_over ON sessions(finished, seq) WHERE NOT open;"
	"CREATE INDEX sessions_past ON sessions(seq) WHERE NOT open;"
	"CREATE INDEX sessions_state ON sessions(state) WHERE NOT open;"
	"CREATE TABLE pairs(session INTEGER NOT NULL REFERENCES sessions(seq), pair INTEGER NOT NULL, state TEXT NOT NULL,"
	" document TEXT NOT NULL, work TEXT NOT NULL, PRIMARY KEY(session, pair)) WITHOUT ROWID;"
	"CREATE INDEX pairs_state ON pairs(state);"
	"DROP INDEX locks_session;"
	"CREATE INDEX locks_session ON locks(session, pair);"
	"CREATE INDEX intents_session ON intents(session);";

static const char schema_3[] =
	"CREATE TABLE lies_on(identity TEXT NOT NULL, resource TEXT NOT NULL, start INTEGER NOT NULL,"
	" end INTEGER NOT NULL CHECK(end > start), session TEXT NOT NULL REFERENCES sessions(id), pair INTEGER NOT NULL,"
	" role TEXT NOT NULL, since INTEGER NOT NULL);"
	"CREATE INDEX lies_on_identity ON lies_on(identity);"
	"CREATE INDEX lies_on_session ON lies_on(session, pair);";

/* ---- from 1 to 2 ---- */

static int save_text(struct dray_repo *repo, uint64_t seq, unsigned pair, const char *state, json_t *document, json_t *work,
	struct dray_error *err)
{
	char *d = json_dumps(document, JSON_COMPACT), *w = work ? json_dumps(work, JSON_COMPACT) : strdup("{}");
	json_decref(document);
	struct dray_repo_pair row = { .pair = pair, .state = state, .document = d, .work = w };
	int rc = d && w ? dray_repo_pair_save(repo, seq, &row, err) : dray_error_errno(err, -ENOMEM, "repository");
	free(d);
	free(w);
	return rc;
}

static int take_apart(struct dray_repo *repo, uint64_t seq, const struct dray_session *s, const char *name, bool live,
	const json_t *work, struct dray_error *err)
{
	const json_t *works = json_object_get(work, "pairs");
	int rc = 0;
	for (size_t i = 0; !rc && i < s->n_pairs; i++)
		rc = save_text(repo, seq, s->pairs[i].id, dray_state_word(s->pairs[i].state), dray_pair_save(s, i),
			json_array_get(works, i), err);
	if (rc)
		return rc;
	json_t *head = dray_session_save_head(s), *shown = live ? NULL : dray_session_to_json(s, false);
	char *document = json_dumps(head, JSON_COMPACT), *summary = shown ? json_dumps(shown, JSON_COMPACT) : NULL;
	json_decref(head);
	json_decref(shown);
	struct dray_repo_session row = { .id = s->id, .name = name, .state = dray_state_word((enum dray_pair_state)s->state),
		.live = live, .open = live, .finished = (int64_t)s->finished, .document = document, .work = "{}",
		.summary = summary };
	rc = document ? dray_repo_session_save(repo, &row, err) : dray_error_errno(err, -ENOMEM, "repository");
	free(document);
	free(summary);
	return rc;
}

/* One row, as it was found. */
static int session_to_2(struct dray_repo *repo, sqlite3_stmt *st, struct dray_error *err)
{
	uint64_t seq = (uint64_t)sqlite3_column_int64(st, 0);
	bool live = sqlite3_column_int(st, 2) != 0;
	json_t *saved = json_loads(repo_text(st, 3), 0, NULL), *work = json_loads(repo_text(st, 4), 0, NULL);
	struct dray_session *s = NULL;
	int rc = saved ? dray_session_load(saved, &s) : -EUCLEAN;
	if (!rc)
		rc = take_apart(repo, seq, s, repo_text(st, 1), live, work, err);
	else if (live)
		rc = dray_error_kind(err, -EUCLEAN, "repository", "repository: session %s can't be read", repo_text(st, 1));
	else
		rc = 0; /* it is over, and no reason not to start: it stays as it is, and is told when it is asked for */
	dray_session_free(s);
	json_decref(saved);
	json_decref(work);
	return rc;
}

static int sessions_to_2(struct dray_repo *repo, struct dray_error *err)
{
	sqlite3_stmt *st;
	uint64_t after = 0;
	int rc = 0, step = SQLITE_ROW;
	/* One after the other, since each is changed where it stands. */
	while (!rc && step == SQLITE_ROW) {
		if (sqlite3_prepare_v2(repo->db,
			    "SELECT seq, name, live, document, work FROM sessions WHERE seq > ?1 ORDER BY seq LIMIT 1", -1, &st,
			    NULL) != SQLITE_OK)
			return repo_fail(repo, SQLITE_ERROR, err, "read sessions");
		repo_bind_u64(st, 1, after);
		step = sqlite3_step(st);
		if (step == SQLITE_ROW) {
			after = (uint64_t)sqlite3_column_int64(st, 0);
			rc = session_to_2(repo, st, err);
		} else if (step != SQLITE_DONE) {
			rc = repo_fail(repo, step, err, "read sessions");
		}
		sqlite3_finalize(st);
	}
	return rc;
}

static int to_2(struct dray_repo *repo, struct dray_error *err)
{
	int rc = repo_exec(repo, schema_2, err, "upgrade the tables");
	return rc ? rc : sessions_to_2(repo, err);
}

/* ---- all steps ---- */

static int has_meta(struct dray_repo *repo, bool *yes, struct dray_error *err)
{
	sqlite3_stmt *st;
	int rc = sqlite3_prepare_v2(repo->db, "SELECT count(*) FROM sqlite_master WHERE name = 'meta'", -1, &st, NULL);
	if (rc == SQLITE_OK)
		rc = sqlite3_step(st);
	int result = 0;
	if (rc == SQLITE_ROW)
		*yes = sqlite3_column_int(st, 0) > 0;
	else
		result = repo_fail(repo, rc, err, "read the schema");
	sqlite3_finalize(st);
	return result;
}

int repo_upgrade(struct dray_repo *repo, struct dray_error *err)
{
	bool made = false;
	char version[16];
	int rc = has_meta(repo, &made, err);
	if (!rc && !made)
		rc = repo_exec(repo, schema_1, err, "make the tables");
	if (!rc)
		rc = dray_repo_meta_get(repo, "schema", version, sizeof version, err);
	if (rc)
		return rc;
	int found = atoi(version);
	if (found < 1 || found > SCHEMA_VERSION)
		return dray_error_kind(err, -EPROTO, "repository",
			"repository: its schema has version %s, this program knows %d", version, SCHEMA_VERSION);
	if (found < 2)
		rc = to_2(repo, err);
	if (!rc && found < 3)
		rc = repo_exec(repo, schema_3, err, "upgrade the tables");
	if (!rc && found < SCHEMA_VERSION)
		rc = dray_repo_meta_set(repo, "schema", WORD_OF(SCHEMA_VERSION), err);
	return rc;
}
