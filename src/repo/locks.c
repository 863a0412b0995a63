/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Locks on ranges of storage resources.
 *
 * The write lock of the transaction makes "look, then insert" one step. Collisions are overlaps of ranges of one identity;
 * a UNIQUE constraint on (identity, start) backs it in the table itself. A new request is held against its own other locks, too: the
 * first is already in the table when the second is looked at.
 */
#include "repo/internal.h"

#include <assert.h>
#include <errno.h>

static void read_lock(sqlite3_stmt *st, struct dray_repo_lock *lock)
{
	*lock = (struct dray_repo_lock){
		.identity = repo_text(st, 0),
		.resource = repo_text(st, 1),
		.start = (uint64_t)sqlite3_column_int64(st, 2),
		.end = (uint64_t)sqlite3_column_int64(st, 3),
		.session = repo_text(st, 4),
		.pair = (unsigned)sqlite3_column_int(st, 5),
		.role = repo_text(st, 6),
		.since = sqlite3_column_int64(st, 7),
	};
}

/* Calls `each` for the collisions of one wanted lock. 0: none; 1: some; negative: failed. */
static int collisions(struct dray_repo *repo, const struct dray_repo_lock *lock, size_t index, dray_repo_lock_each *each,
	void *arg, struct dray_error *err)
{
	sqlite3_stmt *st = repo_stmt(repo, REPO_LOCK_COLLISIONS, err);
	if (!st)
		return -EIO;
	repo_bind_text(st, 1, lock->identity);
	repo_bind_u64(st, 2, lock->start);
	repo_bind_u64(st, 3, lock->end);
	int rc, found = 0;
	while ((rc = sqlite3_step(st)) == SQLITE_ROW) {
		struct dray_repo_lock holder;
		read_lock(st, &holder);
		if (!found)
			dray_error_kind(err, -EBUSY, "locked", "%s is locked by session %s", lock->resource, holder.session);
		found = 1;
		if (each && each(arg, index, &holder))
			break;
	}
	if (rc != SQLITE_DONE && rc != SQLITE_ROW)
		found = repo_fail(repo, rc, err, "read locks");
	sqlite3_reset(st);
	return found;
}

int dray_repo_locks_check(struct dray_repo *repo, const struct dray_repo_lock *locks, size_t n, dray_repo_lock_each *each,
	void *arg, struct dray_error *err)
{
	bool busy = false;
	for (size_t i = 0; i < n; i++) {
		int rc = collisions(repo, &locks[i], i, each, arg, err);
		if (rc < 0)
			return rc;
		busy |= rc > 0;
	}
	return busy ? -EBUSY : 0;
}

int dray_repo_locks_take(struct dray_repo *repo, const struct dray_repo_lock *locks, size_t n, dray_repo_lock_each *each,
	void *arg, struct dray_error *err)
{
	assert(repo->in_transaction);
	bool busy = false;
	for (size_t i = 0; i < n; i++) {
		int rc = collisions(repo, &locks[i], i, each, arg, err);
		if (rc < 0)
			return rc;
		if (rc > 0) {
			busy = true; /* look at the others too: all collisions are told at once */
			continue;
		}
		sqlite3_stmt *st = repo_stmt(repo, REPO_LOCK_ADD, err);
		if (!st)
			return -EIO;
		repo_bind_text(st, 1, locks[i].identity);
		repo_bind_text(st, 2, locks[i].resource);
		repo_bind_u64(st, 3, locks[i].start);
		repo_bind_u64(st, 4, locks[i].end);
		repo_bind_text(st, 5, locks[i].session);
		repo_bind_u64(st, 6, locks[i].pair);
		repo_bind_text(st, 7, locks[i].role);
		sqlite3_bind_int64(st, 8, locks[i].since);
		rc = repo_run(repo, st, err, "take a lock");
		if (rc)
			return rc;
	}
	return busy ? -EBUSY : 0;
}

int dray_repo_locks_free(struct dray_repo *repo, const char *session, unsigned pair, struct dray_error *err)
{
	assert(repo->in_transaction);
	sqlite3_stmt *st = repo_stmt(repo, pair ? REPO_LOCKS_FREE_PAIR : REPO_LOCKS_FREE, err);
	if (!st)
		return -EIO;
	repo_bind_text(st, 1, session);
	if (pair)
		repo_bind_u64(st, 2, pair);
	return repo_run(repo, st, err, "free locks");
}

int dray_repo_locks(struct dray_repo *repo, dray_repo_lock_each *each, void *arg, struct dray_error *err)
{
	sqlite3_stmt *st = repo_stmt(repo, REPO_LOCKS, err);
	if (!st)
		return -EIO;
	int rc, result = 0;
	for (size_t i = 0; (rc = sqlite3_step(st)) == SQLITE_ROW && !result; i++) {
		struct dray_repo_lock lock;
		read_lock(st, &lock);
		result = each(arg, i, &lock);
	}
	if (!result && rc != SQLITE_DONE)
		result = repo_fail(repo, rc, err, "read locks");
	sqlite3_reset(st);
	return result;
}
