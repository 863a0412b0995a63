/* SPDX-License-Identifier: BSD-3-Clause */
#include "repo/internal.h"

#include <assert.h>
#include <errno.h>

int dray_repo_event_add(struct dray_repo *repo, struct dray_repo_event *event, struct dray_error *err)
{
	assert(repo->in_transaction);
	sqlite3_stmt *st = repo_stmt(repo, REPO_EVENT_ADD, err);
	if (!st)
		return -EIO;
	sqlite3_bind_int64(st, 1, event->time_ms);
	repo_bind_text(st, 2, event->session);
	repo_bind_u64(st, 3, event->pair);
	repo_bind_text(st, 4, event->event);
	repo_bind_text(st, 5, event->actor);
	repo_bind_text(st, 6, event->before);
	repo_bind_text(st, 7, event->after);
	repo_bind_text(st, 8, event->detail);
	int rc = repo_run(repo, st, err, "record an event");
	if (!rc)
		event->seq = (uint64_t)sqlite3_last_insert_rowid(repo->db);
	return rc;
}

int dray_repo_events(struct dray_repo *repo, const char *session, uint64_t after, unsigned limit, dray_repo_event_each *each,
	void *arg, struct dray_error *err)
{
	sqlite3_stmt *st = repo_stmt(repo, session ? REPO_EVENTS_OF : REPO_EVENTS, err);
	if (!st)
		return -EIO;
	repo_bind_u64(st, 1, after);
	repo_bind_u64(st, 2, limit);
	if (session)
		repo_bind_text(st, 3, session);
	int rc, result = 0;
	while ((rc = sqlite3_step(st)) == SQLITE_ROW && !result) {
		struct dray_repo_event event = {
			.seq = (uint64_t)sqlite3_column_int64(st, 0),
			.time_ms = sqlite3_column_int64(st, 1),
			.session = repo_text(st, 2),
			.pair = (unsigned)sqlite3_column_int(st, 3),
			.event = repo_text(st, 4),
			.actor = repo_text(st, 5),
			.before = repo_text(st, 6),
			.after = repo_text(st, 7),
			.detail = repo_text(st, 8),
		};
		result = each(arg, &event);
	}
	if (!result && rc != SQLITE_DONE)
		result = repo_fail(repo, rc, err, "read events");
	sqlite3_reset(st);
	return result;
}

int dray_repo_events_last(struct dray_repo *repo, uint64_t *seq, struct dray_error *err)
{
	sqlite3_stmt *st = repo_stmt(repo, REPO_EVENTS_LAST, err);
	if (!st)
		return -EIO;
	int rc = sqlite3_step(st);
	*seq = rc == SQLITE_ROW ? (uint64_t)sqlite3_column_int64(st, 0) : 0;
	int result = rc == SQLITE_ROW ? 0 : repo_fail(repo, rc, err, "read events");
	sqlite3_reset(st);
	return result;
}
