/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The database file and its transactions; its schema is in upgrade.c.
 *
 * WAL with synchronous=FULL: a commit has returned only after the log was flushed, and a kill or power loss leaves
 * either the whole transaction or nothing of it. Writers take the write lock when they begin (BEGIN IMMEDIATE): what a
 * transaction reads is what it changes, so of two that want the same lock one waits, then sees the other's.
 *
 * Rows that an agent writes carry nothing that only this host could read, so that the same tables can later be shared by several
 * agents.
 */
#include "repo/internal.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const char *const sql_texts[] = {
#define X(name, sql) sql,
	REPO_STATEMENTS(X)
#undef X
};

int repo_fail(struct dray_repo *repo, int rc, struct dray_error *err, const char *what)
{
	int code = -EIO;
	switch (rc & 0xff) {
	case SQLITE_BUSY:
	case SQLITE_LOCKED: code = -EBUSY; break;
	case SQLITE_NOMEM: code = -ENOMEM; break;
	case SQLITE_FULL: code = -ENOSPC; break;
	case SQLITE_READONLY: code = -EROFS; break;
	case SQLITE_CANTOPEN:
	case SQLITE_PERM: code = -EACCES; break;
	case SQLITE_CORRUPT:
	case SQLITE_NOTADB: code = -EUCLEAN; break;
	case SQLITE_CONSTRAINT: code = -EEXIST; break;
	}
	repo->errors += code != -EEXIST;
	return dray_error_kind(err, code, "repository", "repository: %s: %s", what,
		repo->db ? sqlite3_errmsg(repo->db) : sqlite3_errstr(rc));
}

uint64_t dray_repo_errors(const struct dray_repo *repo)
{
	return repo->errors;
}

sqlite3_stmt *repo_stmt(struct dray_repo *repo, enum repo_statement which, struct dray_error *err)
{
	if (!repo->stmts[which]) {
		int rc = sqlite3_prepare_v3(repo->db, sql_texts[which], -1, SQLITE_PREPARE_PERSISTENT, &repo->stmts[which],
			NULL);
		if (rc != SQLITE_OK) {
			repo_fail(repo, rc, err, "prepare a statement");
			return NULL;
		}
	}
	sqlite3_reset(repo->stmts[which]);
	sqlite3_clear_bindings(repo->stmts[which]);
	return repo->stmts[which];
}

int repo_run(struct dray_repo *repo, sqlite3_stmt *st, struct dray_error *err, const char *what)
{
	int rc = sqlite3_step(st);
	int result = rc == SQLITE_DONE ? 0 : repo_fail(repo, rc, err, what);
	sqlite3_reset(st);
	return result;
}

/* The caller's string outlives the statement's run, so it is not copied. */
void repo_bind_text(sqlite3_stmt *st, int at, const char *text)
{
	if (text)
		sqlite3_bind_text(st, at, text, -1, SQLITE_STATIC);
	else
		sqlite3_bind_null(st, at);
}

void repo_bind_u64(sqlite3_stmt *st, int at, uint64_t value)
{
	assert(value <= INT64_MAX);
	sqlite3_bind_int64(st, at, (sqlite3_int64)value);
}

const char *repo_text(sqlite3_stmt *st, int column)
{
	return (const char *)sqlite3_column_text(st, column);
}

/* ---- transactions ---- */

int dray_repo_begin(struct dray_repo *repo, struct dray_error *err)
{
	assert(!repo->in_transaction);
	sqlite3_stmt *st = repo_stmt(repo, REPO_BEGIN, err);
	if (!st)
		return -EIO;
	int rc = repo_run(repo, st, err, "begin");
	repo->in_transaction = !rc;
	return rc;
}

int dray_repo_commit(struct dray_repo *repo, struct dray_error *err)
{
	assert(repo->in_transaction);
	sqlite3_stmt *st = repo_stmt(repo, REPO_COMMIT, err);
	int rc = st ? repo_run(repo, st, err, "commit") : -EIO;
	if (rc)
		dray_repo_rollback(repo);
	repo->in_transaction = false;
	return rc;
}

void dray_repo_rollback(struct dray_repo *repo)
{
	/* After a full disk or an I/O error SQLite may have rolled back by itself. */
	if (repo->in_transaction && !sqlite3_get_autocommit(repo->db)) {
		sqlite3_stmt *st = repo_stmt(repo, REPO_ROLLBACK, NULL);
		if (!st || repo_run(repo, st, NULL, "rollback"))
			sqlite3_exec(repo->db, "ROLLBACK", NULL, NULL, NULL);
	}
	repo->in_transaction = false;
}

/* ---- opening ---- */

int repo_exec(struct dray_repo *repo, const char *sql, struct dray_error *err, const char *what)
{
	int rc = sqlite3_exec(repo->db, sql, NULL, NULL, NULL);
	return rc == SQLITE_OK ? 0 : repo_fail(repo, rc, err, what);
}

static int upgrade(struct dray_repo *repo, struct dray_error *err)
{
	int rc = dray_repo_begin(repo, err);
	if (!rc && (rc = repo_upgrade(repo, err)))
		dray_repo_rollback(repo);
	return rc ? rc : dray_repo_commit(repo, err);
}

int dray_repo_open(struct dray_repo **out, const char *path, struct dray_error *err)
{
	struct dray_repo *repo = calloc(1, sizeof *repo);
	if (!repo)
		return dray_error_errno(err, -ENOMEM, "repository");
	int rc = sqlite3_open_v2(path, &repo->db,
		SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, NULL);
	if (rc != SQLITE_OK) {
		rc = repo_fail(repo, rc, err, path);
		dray_repo_close(repo);
		return rc;
	}
	sqlite3_busy_timeout(repo->db, 1000); /* nobody else should be in it; somebody's sqlite3 may be, for a moment */
	rc = repo_exec(repo, "PRAGMA journal_mode = WAL", err, path);
	if (!rc)
		rc = repo_exec(repo, "PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; PRAGMA trusted_schema = OFF", err, path);
	if (!rc)
		rc = upgrade(repo, err);
	if (rc) {
		dray_repo_close(repo);
		return rc;
	}
	*out = repo;
	return 0;
}

void dray_repo_close(struct dray_repo *repo)
{
	if (!repo)
		return;
	dray_repo_rollback(repo);
	for (int i = 0; i < REPO_STATEMENT_COUNT; i++)
		sqlite3_finalize(repo->stmts[i]);
	sqlite3_close(repo->db);
	free(repo);
}
