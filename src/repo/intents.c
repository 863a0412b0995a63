/* SPDX-License-Identifier: BSD-3-Clause */
/* Intents, the volumes' epochs, and single values. */
#include "repo/internal.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

int dray_repo_intent_add(struct dray_repo *repo, const struct dray_repo_intent *intent, struct dray_error *err)
{
	assert(repo->in_transaction);
	sqlite3_stmt *st = repo_stmt(repo, REPO_INTENT_ADD, err);
	if (!st)
		return -EIO;
	repo_bind_text(st, 1, intent->token);
	repo_bind_text(st, 2, intent->session);
	repo_bind_text(st, 3, intent->kind);
	repo_bind_text(st, 4, intent->members);
	sqlite3_bind_int64(st, 5, intent->since);
	return repo_run(repo, st, err, "record an intent");
}

int dray_repo_intent_end(struct dray_repo *repo, const char *token, const char *outcome, struct dray_error *err)
{
	assert(repo->in_transaction);
	sqlite3_stmt *st = repo_stmt(repo, REPO_INTENT_END, err);
	if (!st)
		return -EIO;
	repo_bind_text(st, 1, token);
	repo_bind_text(st, 2, outcome);
	int rc = repo_run(repo, st, err, "record an outcome");
	if (!rc && !sqlite3_changes(repo->db))
		rc = dray_error_set(err, -ENOENT, "repository: no open intent %s", token);
	return rc;
}

int dray_repo_intents(struct dray_repo *repo, dray_repo_intent_each *each, void *arg, struct dray_error *err)
{
	sqlite3_stmt *st = repo_stmt(repo, REPO_INTENTS, err);
	if (!st)
		return -EIO;
	int rc, result = 0;
	while ((rc = sqlite3_step(st)) == SQLITE_ROW && !result) {
		struct dray_repo_intent intent = {
			.token = repo_text(st, 0),
			.session = repo_text(st, 1),
			.kind = repo_text(st, 2),
			.members = repo_text(st, 3),
			.outcome = repo_text(st, 4),
			.since = sqlite3_column_int64(st, 5),
		};
		result = each(arg, &intent);
	}
	if (!result && rc != SQLITE_DONE)
		result = repo_fail(repo, rc, err, "read intents");
	sqlite3_reset(st);
	return result;
}

int dray_repo_volume_seen(struct dray_repo *repo, const struct dray_repo_volume *volume, struct dray_error *err)
{
	assert(repo->in_transaction);
	sqlite3_stmt *st = repo_stmt(repo, REPO_VOLUME_SEEN, err);
	if (!st)
		return -EIO;
	repo_bind_text(st, 1, volume->name);
	repo_bind_text(st, 2, volume->uuid);
	repo_bind_u64(st, 3, volume->epoch);
	return repo_run(repo, st, err, "record an epoch");
}

int dray_repo_volume_forget(struct dray_repo *repo, const char *name, struct dray_error *err)
{
	assert(repo->in_transaction);
	sqlite3_stmt *st = repo_stmt(repo, REPO_VOLUME_FORGET, err);
	if (!st)
		return -EIO;
	repo_bind_text(st, 1, name);
	return repo_run(repo, st, err, "forget a volume");
}

int dray_repo_volumes(struct dray_repo *repo, dray_repo_volume_each *each, void *arg, struct dray_error *err)
{
	sqlite3_stmt *st = repo_stmt(repo, REPO_VOLUMES, err);
	if (!st)
		return -EIO;
	int rc, result = 0;
	while ((rc = sqlite3_step(st)) == SQLITE_ROW && !result) {
		struct dray_repo_volume volume = {
			.name = repo_text(st, 0),
			.uuid = repo_text(st, 1),
			.epoch = (uint64_t)sqlite3_column_int64(st, 2),
		};
		result = each(arg, &volume);
	}
	if (!result && rc != SQLITE_DONE)
		result = repo_fail(repo, rc, err, "read volumes");
	sqlite3_reset(st);
	return result;
}

int dray_repo_meta_get(struct dray_repo *repo, const char *key, char *buf, size_t size, struct dray_error *err)
{
	sqlite3_stmt *st = repo_stmt(repo, REPO_META_GET, err);
	if (!st)
		return -EIO;
	repo_bind_text(st, 1, key);
	int rc = sqlite3_step(st), result = 0;
	if (rc == SQLITE_ROW) {
		const char *value = repo_text(st, 0);
		if (strlen(value) < size)
			strcpy(buf, value);
		else
			result = dray_error_set(err, -ENOSPC, "repository: the value of %s is too long", key);
	} else if (rc == SQLITE_DONE) {
		result = dray_error_set(err, -ENOENT, "repository: %s is not set", key);
	} else {
		result = repo_fail(repo, rc, err, "read a value");
	}
	sqlite3_reset(st);
	return result;
}

int dray_repo_meta_set(struct dray_repo *repo, const char *key, const char *value, struct dray_error *err)
{
	assert(repo->in_transaction);
	sqlite3_stmt *st = repo_stmt(repo, REPO_META_SET, err);
	if (!st)
		return -EIO;
	repo_bind_text(st, 1, key);
	repo_bind_text(st, 2, value);
	return repo_run(repo, st, err, "record a value");
}
