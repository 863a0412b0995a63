/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Locks on ranges of storage resources.
 *
 * The write lock of the transaction makes "look, then insert" one step. Collisions are overlaps of ranges of one identity;
 * a UNIQUE constraint on (identity, start) backs it in the table itself. A new request is held against its own other locks, too: the
 * first is already in the table when the second is looked at.
 *
 * What the locked storages lie on is in a table of its own, shared there by all that lie on the same thing. A lock on a thing looks in
 * both tables, one on what is below only in that of the locks: so a logical volume and its disk exclude each other in whichever order they come,
 * also when the volume is not active and nothing in the kernel tells of it, while two volumes of one disk do not.
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

static void bind_lock(sqlite3_stmt *st, const struct dray_repo_lock *lock)
{
	repo_bind_text(st, 1, lock->identity);
	repo_bind_text(st, 2, lock->resource);
	repo_bind_u64(st, 3, lock->start);
	repo_bind_u64(st, 4, lock->end);
	repo_bind_text(st, 5, lock->session);
	repo_bind_u64(st, 6, lock->pair);
	repo_bind_text(st, 7, lock->role);
	sqlite3_bind_int64(st, 8, lock->since);
}

/* Calls `each` for the collisions of one wanted lock in one table. 0: none; 1: some; negative: failed. */
static int collisions_in(struct dray_repo *repo, bool lies_on, const struct dray_repo_lock *lock, size_t index, dray_repo_lock_each *each,
	void *arg, struct dray_error *err)
{
	sqlite3_stmt *st = repo_stmt(repo, lies_on ? REPO_LIES_ON_COLLISIONS : REPO_LOCK_COLLISIONS, err);
	if (!st)
		return -EIO;
	repo_bind_text(st, 1, lock->identity);
	repo_bind_u64(st, 2, lock->start);
	repo_bind_u64(st, 3, lock->end);
	int rc, found = 0;
	while ((rc = sqlite3_step(st)) == SQLITE_ROW) {
		struct dray_repo_lock holder;
		read_lock(st, &holder);
		holder.lies_on = lies_on;
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

static int collisions(struct dray_repo *repo, const struct dray_repo_lock *lock, size_t index, dray_repo_lock_each *each, void *arg,
	struct dray_error *err)
{
	int found = collisions_in(repo, false, lock, index, each, arg, err);
	return found || lock->lies_on ? found : collisions_in(repo, true, lock, index, each, arg, err);
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
		sqlite3_stmt *st = repo_stmt(repo, locks[i].lies_on ? REPO_LIES_ON_ADD : REPO_LOCK_ADD, err);
		if (!st)
			return -EIO;
		bind_lock(st, &locks[i]);
		rc = repo_run(repo, st, err, "take a lock");
		if (rc)
			return rc;
	}
	return busy ? -EBUSY : 0;
}

static int free_in(struct dray_repo *repo, enum repo_statement which, const char *session, unsigned pair, struct dray_error *err)
{
	sqlite3_stmt *st = repo_stmt(repo, which, err);
	if (!st)
		return -EIO;
	repo_bind_text(st, 1, session);
	if (pair)
		repo_bind_u64(st, 2, pair);
	return repo_run(repo, st, err, "free locks");
}

int dray_repo_locks_free(struct dray_repo *repo, const char *session, unsigned pair, struct dray_error *err)
{
	assert(repo->in_transaction);
	int rc = free_in(repo, pair ? REPO_LOCKS_FREE_PAIR : REPO_LOCKS_FREE, session, pair, err);
	return rc ? rc : free_in(repo, pair ? REPO_LIES_ON_FREE_PAIR : REPO_LIES_ON_FREE, session, pair, err);
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
