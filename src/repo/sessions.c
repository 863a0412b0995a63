/* SPDX-License-Identifier: BSD-3-Clause */
#include "repo/internal.h"

#include <assert.h>
#include <errno.h>

int dray_repo_id_used(struct dray_repo *repo, const char *id, struct dray_error *err)
{
	sqlite3_stmt *st = repo_stmt(repo, REPO_ID_USED, err);
	if (!st)
		return -EIO;
	repo_bind_text(st, 1, id);
	int rc = sqlite3_step(st);
	int result = rc == SQLITE_ROW ? 1 : rc == SQLITE_DONE ? 0 : repo_fail(repo, rc, err, "look for an id");
	sqlite3_reset(st);
	return result;
}

static int name_free(struct dray_repo *repo, const char *name, struct dray_error *err)
{
	sqlite3_stmt *st = repo_stmt(repo, REPO_NAME_LIVE, err);
	if (!st)
		return -EIO;
	repo_bind_text(st, 1, name);
	int rc = sqlite3_step(st);
	int result = 0;
	if (rc == SQLITE_ROW)
		result = dray_error_kind(err, -EEXIST, "name_used", "the live session %s has the name %s", repo_text(st, 0),
			name);
	else if (rc != SQLITE_DONE)
		result = repo_fail(repo, rc, err, "look for a name");
	sqlite3_reset(st);
	return result;
}

static void bind_session(sqlite3_stmt *st, const struct dray_repo_session *row)
{
	repo_bind_text(st, 1, row->id);
	repo_bind_text(st, 2, row->name);
	repo_bind_text(st, 3, row->state);
	sqlite3_bind_int(st, 4, row->live);
	sqlite3_bind_int(st, 5, row->live || row->open);
	sqlite3_bind_int64(st, 6, row->finished);
	repo_bind_text(st, 7, row->document);
	repo_bind_text(st, 8, row->work);
	repo_bind_text(st, 9, row->summary);
}

int dray_repo_session_add(struct dray_repo *repo, struct dray_repo_session *row, struct dray_error *err)
{
	assert(repo->in_transaction);
	int rc = dray_repo_id_used(repo, row->id, err);
	if (rc > 0)
		return dray_error_kind(err, -EEXIST, "id_used", "the id %s was used before", row->id);
	if (!rc)
		rc = name_free(repo, row->name, err);
	if (rc)
		return rc;
	sqlite3_stmt *st = repo_stmt(repo, REPO_ID_ADD, err);
	if (!st)
		return -EIO;
	repo_bind_text(st, 1, row->id);
	rc = repo_run(repo, st, err, "record an id");
	if (rc)
		return rc;
	st = repo_stmt(repo, REPO_SESSION_ADD, err);
	if (!st)
		return -EIO;
	bind_session(st, row);
	rc = repo_run(repo, st, err, "record a session");
	if (!rc)
		row->seq = (uint64_t)sqlite3_last_insert_rowid(repo->db);
	return rc;
}

int dray_repo_session_save(struct dray_repo *repo, const struct dray_repo_session *row, struct dray_error *err)
{
	assert(repo->in_transaction);
	sqlite3_stmt *st = repo_stmt(repo, REPO_SESSION_SAVE, err);
	if (!st)
		return -EIO;
	bind_session(st, row);
	int rc = repo_run(repo, st, err, "record a session");
	if (!rc && !sqlite3_changes(repo->db))
		rc = dray_error_set(err, -ENOENT, "repository: no session %s", row->id);
	return rc;
}

static int walk(struct dray_repo *repo, sqlite3_stmt *st, dray_repo_session_each *each, void *arg, unsigned *found,
	struct dray_error *err)
{
	int rc, result = 0;
	while ((rc = sqlite3_step(st)) == SQLITE_ROW && !result) {
		struct dray_repo_session row = {
			.seq = (uint64_t)sqlite3_column_int64(st, 0),
			.id = repo_text(st, 1),
			.name = repo_text(st, 2),
			.state = repo_text(st, 3),
			.live = sqlite3_column_int(st, 4) != 0,
			.open = sqlite3_column_int(st, 5) != 0,
			.finished = sqlite3_column_int64(st, 6),
			.document = repo_text(st, 7),
			.work = repo_text(st, 8),
			.summary = repo_text(st, 9),
		};
		++*found;
		result = each(arg, &row);
	}
	if (!result && rc != SQLITE_DONE)
		result = repo_fail(repo, rc, err, "read sessions");
	sqlite3_reset(st);
	return result;
}

int dray_repo_sessions(struct dray_repo *repo, dray_repo_session_each *each, void *arg, struct dray_error *err)
{
	unsigned found = 0;
	sqlite3_stmt *st = repo_stmt(repo, REPO_SESSIONS, err);
	return st ? walk(repo, st, each, arg, &found, err) : -EIO;
}

int dray_repo_sessions_open(struct dray_repo *repo, dray_repo_session_each *each, void *arg, struct dray_error *err)
{
	unsigned found = 0;
	sqlite3_stmt *st = repo_stmt(repo, REPO_SESSIONS_OPEN, err);
	return st ? walk(repo, st, each, arg, &found, err) : -EIO;
}

static int get_one(struct dray_repo *repo, enum repo_statement which, const char *key, dray_repo_session_each *each, void *arg,
	struct dray_error *err)
{
	unsigned found = 0;
	sqlite3_stmt *st = repo_stmt(repo, which, err);
	if (!st)
		return -EIO;
	repo_bind_text(st, 1, key);
	int rc = walk(repo, st, each, arg, &found, err);
	return rc || found ? rc : dray_error_set(err, -ENOENT, "repository: no session %s", key);
}

int dray_repo_session_get(struct dray_repo *repo, const char *id, dray_repo_session_each *each, void *arg,
	struct dray_error *err)
{
	return get_one(repo, REPO_SESSION_GET, id, each, arg, err);
}

int dray_repo_session_named(struct dray_repo *repo, const char *name, dray_repo_session_each *each, void *arg,
	struct dray_error *err)
{
	return get_one(repo, REPO_SESSION_NAMED, name, each, arg, err);
}

int dray_repo_summaries(struct dray_repo *repo, const char *state, uint64_t after, uint64_t most, bool newest,
	dray_repo_session_each *each, void *arg, struct dray_error *err)
{
	unsigned found = 0;
	sqlite3_stmt *st = repo_stmt(repo, newest ? REPO_SUMMARIES_NEWEST : REPO_SUMMARIES_OLDEST, err);
	if (!st)
		return -EIO;
	repo_bind_u64(st, 1, after);
	repo_bind_text(st, 2, state);
	repo_bind_u64(st, 3, most < INT64_MAX ? most : INT64_MAX);
	return walk(repo, st, each, arg, &found, err);
}

/* ---- counts ---- */

static int counts(struct dray_repo *repo, enum repo_statement which, dray_repo_count_each *each, void *arg, struct dray_error *err)
{
	int rc, result = 0;
	sqlite3_stmt *st = repo_stmt(repo, which, err);
	if (!st)
		return -EIO;
	while ((rc = sqlite3_step(st)) == SQLITE_ROW)
		each(arg, repo_text(st, 0), (uint64_t)sqlite3_column_int64(st, 1));
	if (rc != SQLITE_DONE)
		result = repo_fail(repo, rc, err, "count");
	sqlite3_reset(st);
	return result;
}

int dray_repo_past_by_state(struct dray_repo *repo, dray_repo_count_each *each, void *arg, struct dray_error *err)
{
	return counts(repo, REPO_SESSIONS_BY_STATE, each, arg, err);
}

int dray_repo_pairs_by_state(struct dray_repo *repo, dray_repo_count_each *each, void *arg, struct dray_error *err)
{
	return counts(repo, REPO_PAIRS_BY_STATE, each, arg, err);
}

/* ---- removing ---- */

int dray_repo_sessions_to_remove(struct dray_repo *repo, uint64_t keep, int64_t before, unsigned most,
	dray_repo_session_each *each, void *arg, struct dray_error *err)
{
	unsigned found = 0;
	sqlite3_stmt *st = repo_stmt(repo, REPO_OVER_COUNT, err);
	if (!st)
		return -EIO;
	int rc = sqlite3_step(st);
	uint64_t over = rc == SQLITE_ROW ? (uint64_t)sqlite3_column_int64(st, 0) : 0;
	sqlite3_reset(st);
	if (rc != SQLITE_ROW)
		return repo_fail(repo, rc, err, "count sessions");
	/* Too many: the oldest of them, however young. Else those that are too old. */
	uint64_t surplus = over > keep ? over - keep : 0;
	st = repo_stmt(repo, REPO_TO_REMOVE, err);
	if (!st)
		return -EIO;
	repo_bind_u64(st, 1, surplus);
	sqlite3_bind_int64(st, 2, before);
	repo_bind_u64(st, 3, surplus && surplus < most ? surplus : most);
	return walk(repo, st, each, arg, &found, err);
}

int dray_repo_session_remove(struct dray_repo *repo, const char *id, struct dray_error *err)
{
	static const enum repo_statement steps[] = { REPO_REMOVE_PAIRS, REPO_REMOVE_EVENTS, REPO_REMOVE_INTENTS, REPO_REMOVE_SESSION };
	assert(repo->in_transaction);
	for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
		sqlite3_stmt *st = repo_stmt(repo, steps[i], err);
		if (!st)
			return -EIO;
		repo_bind_text(st, 1, id);
		int rc = repo_run(repo, st, err, "remove a session");
		if (rc)
			return rc;
	}
	return sqlite3_changes(repo->db) ? 0 : dray_error_set(err, -ENOENT, "repository: no session %s that is over", id);
}

/* ---- pairs ---- */

int dray_repo_pair_save(struct dray_repo *repo, uint64_t session, const struct dray_repo_pair *row, struct dray_error *err)
{
	assert(repo->in_transaction);
	sqlite3_stmt *st = repo_stmt(repo, REPO_PAIR_SAVE, err);
	if (!st)
		return -EIO;
	repo_bind_u64(st, 1, session);
	repo_bind_u64(st, 2, row->pair);
	repo_bind_text(st, 3, row->state);
	repo_bind_text(st, 4, row->document);
	repo_bind_text(st, 5, row->work);
	return repo_run(repo, st, err, "record a pair");
}

int dray_repo_pairs(struct dray_repo *repo, uint64_t session, dray_repo_pair_each *each, void *arg, struct dray_error *err)
{
	sqlite3_stmt *st = repo_stmt(repo, REPO_PAIRS, err);
	if (!st)
		return -EIO;
	repo_bind_u64(st, 1, session);
	int rc, result = 0;
	while ((rc = sqlite3_step(st)) == SQLITE_ROW && !result) {
		struct dray_repo_pair row = {
			.pair = (unsigned)sqlite3_column_int(st, 0),
			.state = repo_text(st, 1),
			.document = repo_text(st, 2),
			.work = repo_text(st, 3),
		};
		result = each(arg, &row);
	}
	if (!result && rc != SQLITE_DONE)
		result = repo_fail(repo, rc, err, "read pairs");
	sqlite3_reset(st);
	return result;
}
