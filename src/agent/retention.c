/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How long past sessions are kept: the settings keep_sessions (so many of the newest) and keep_for (so long after their end).
 *
 * What is removed is the record of a session that is over, with its pairs, its intents and its events; never of one with which there
 * is something to do still, or that holds locks. Its id stays used for ever. Each removal is an event of its own (`session-removed`,
 * of no session, since that is gone) and a line in the log.
 *
 * It is looked for at the start, whenever a session ends, when a setting changes and once an hour, a handful in each turn of the
 * loop, so that nobody waits for the cleaning up of years.
 */
#include "agent/agent.h"

#include "base/log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define AT_ONCE 20
#define EVERY   (3600 * SECOND)

struct victim {
	char *id, *name;
	int64_t finished;
};

struct victims {
	struct victim list[AT_ONCE];
	size_t n;
};

static int keep(void *arg, const struct dray_repo_session *row)
{
	struct victims *v = arg;
	struct victim *one = &v->list[v->n];
	one->id = strdup(row->id);
	one->name = strdup(row->name);
	one->finished = row->finished;
	if (!one->id || !one->name)
		abort();
	return ++v->n == AT_ONCE;
}

static int remove_one(struct agent *a, const struct victim *v, struct dray_error *err)
{
	char detail[500];
	snprintf(detail, sizeof detail, "session %s (%s)", v->name, v->id);
	int rc = dray_repo_session_remove(a->repo, v->id, err);
	struct dray_repo_event event = { .time_ms = wall_ms(), .event = "session-removed", .actor = ACTOR_SELF, .detail = detail };
	return rc ? rc : dray_repo_event_add(a->repo, &event, err);
}

static int remove_all(struct agent *a, const struct victims *v, struct dray_error *err)
{
	int rc = dray_repo_begin(a->repo, err);
	if (rc)
		return rc;
	for (size_t i = 0; !rc && i < v->n; i++)
		rc = remove_one(a, &v->list[i], err);
	if (!rc)
		return dray_repo_commit(a->repo, err);
	dray_repo_rollback(a->repo);
	return rc;
}

void retention_step(struct agent *a)
{
	const struct agent_config *c = a->config;
	struct victims v = { 0 };
	struct dray_error err = DRAY_ERROR_INIT;
	if (a->now < a->retention_at)
		return;
	a->retention_at = a->now + EVERY;
	if (c->keep_sessions == UINT64_MAX && c->keep_for_ns == UINT64_MAX)
		return;
	int64_t before = c->keep_for_ns == UINT64_MAX ? 0 : wall_now() - (int64_t)(c->keep_for_ns / SECOND);
	int rc = dray_repo_sessions_to_remove(a->repo, c->keep_sessions, before, AT_ONCE, keep, &v, &err);
	if (rc == 1) /* as many as are taken at once: there may be more */
		rc = 0;
	for (size_t i = 0; i < v.n; i++) {
		if (!job_in_memory(a, v.list[i].id))
			continue;
		/* Somebody looks at it: a little later. */
		a->retention_at = a->now + 10 * SECOND;
		agent_turn_by(a, a->retention_at);
		free(v.list[i].id);
		free(v.list[i].name);
		v.list[i--] = v.list[--v.n];
	}
	if (!rc && v.n)
		rc = remove_all(a, &v, &err);
	if (rc)
		dray_log(DRAY_LOG_ERROR, "record-failed", "past sessions could not be removed: %s", err.text);
	for (size_t i = 0; i < v.n; i++) {
		const char *keys[] = { "session", v.list[i].id, "name", v.list[i].name, NULL };
		if (!rc)
			dray_log_fields(DRAY_LOG_INFO, "session-removed", keys, "it was kept for as long as the settings say");
		free(v.list[i].id);
		free(v.list[i].name);
	}
	if (!rc && v.n) {
		agent_events_changed(a);
		a->past_stale = true;
		a->retention_at = a->now; /* the next handful */
		agent_turn(a);
	}
}

void retention_wake(struct agent *a)
{
	a->retention_at = 0;
	agent_turn(a);
}
