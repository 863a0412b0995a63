/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The checked setter: every change of a session's state goes through here.
 *
 * A change is one transaction: the session with all its pairs, one event for each thing that changed, locks freed and
 * intents noted. Nothing is acted on before change_end has returned 0. When the record fails (a full disk, an I/O error), the session in
 * memory goes back to what was last committed, so that memory is never ahead of the database; the wake-up will come to the
 * same point again.
 */
#include "agent/agent.h"

#include "agent/api.h"
#include "base/log.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct change_event {
	unsigned pair;
	char event[24], before[16], after[16];
	char *detail;
};

void set_text(char **into, const char *fmt, ...)
{
	char *text = NULL;
	if (fmt) {
		va_list ap;
		va_start(ap, fmt);
		if (vasprintf(&text, fmt, ap) < 0)
			text = NULL;
		va_end(ap);
	}
	free(*into);
	*into = text;
}

void change_begin(struct change *c, struct agent *a, struct job *job, const char *actor)
{
	*c = (struct change){ .a = a, .job = job, .actor = actor };
	dray_repo_begin(a->repo, &c->err);
}

static void note(struct change *c, unsigned pair, const char *event, const char *before, const char *after, char *detail)
{
	struct change_event *more = realloc(c->events, (c->n_events + 1) * sizeof *more);
	if (!more) {
		free(detail);
		dray_error_errno(&c->err, -ENOMEM, "an event");
		return;
	}
	c->events = more;
	struct change_event *e = &more[c->n_events++];
	*e = (struct change_event){ .pair = pair, .detail = detail };
	snprintf(e->event, sizeof e->event, "%s", event);
	snprintf(e->before, sizeof e->before, "%s", before ? before : "");
	snprintf(e->after, sizeof e->after, "%s", after ? after : "");
}

static char *text_v(const char *fmt, va_list ap)
{
	char *text;
	return fmt && vasprintf(&text, fmt, ap) >= 0 ? text : NULL;
}

void change_event(struct change *c, unsigned pair, const char *event, const char *before, const char *after,
	const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	char *detail = text_v(fmt, ap);
	va_end(ap);
	if (c->err.code)
		free(detail);
	else
		note(c, pair, event, before, after, detail);
}

void change_pair(struct change *c, struct pair_run *run, enum dray_pair_state to, const char *fmt, ...)
{
	if (c->err.code)
		return;
	struct dray_pair *p = run_pair(run);
	assert(dray_pair_may_become(p->state, to));
	va_list ap;
	va_start(ap, fmt);
	char *reason = text_v(fmt, ap);
	va_end(ap);
	note(c, p->id, "state", dray_state_word(p->state), dray_state_word(to), reason ? strdup(reason) : NULL);
	p->state = to;
	/* What was measured before was of another state. */
	bool whole = to == DRAY_PAIR_SYNCED || to == DRAY_PAIR_SWITCHING || to == DRAY_PAIR_SWITCHED || to == DRAY_PAIR_COMPLETED ||
		     to == DRAY_PAIR_COMMITTED;
	if (to != DRAY_PAIR_COPYING) {
		p->progress.rate = whole || to == DRAY_PAIR_PAUSED ? 0 : DRAY_UNKNOWN;
		p->progress.eta_seconds = whole ? 0 : DRAY_UNKNOWN;
	}
	free(p->reason);
	p->reason = reason;
}

void change_session_reason(struct change *c, const char *fmt, ...)
{
	if (c->err.code)
		return;
	va_list ap;
	va_start(ap, fmt);
	char *reason = text_v(fmt, ap);
	va_end(ap);
	free(c->job->s->reason);
	c->job->s->reason = reason;
}

void change_goal(struct change *c, struct pair_run *run, enum pair_goal goal)
{
	if (c->err.code)
		return;
	run->goal = goal;
	snprintf(run->actor, sizeof run->actor, "%s", goal == GOAL_NONE ? "" : c->actor);
}

void change_unlock(struct change *c, struct pair_run *run)
{
	if (!c->err.code)
		dray_repo_locks_free(c->a->repo, run->job->s->id, run_pair(run)->id, &c->err);
}

void change_intent(struct change *c, const char *kind, const char *members)
{
	struct job *job = c->job;
	if (c->err.code)
		return;
	struct dray_repo_intent intent = { .token = job->token, .session = job->s->id, .kind = kind, .members = members,
		.since = wall_ms() / 1000 };
	dray_repo_intent_add(c->a->repo, &intent, &c->err);
}

void change_intent_end(struct change *c, const char *outcome)
{
	if (!c->err.code)
		dray_repo_intent_end(c->a->repo, c->job->token, outcome, &c->err);
}

static void go_back(struct job *job)
{
	struct dray_session *old = NULL;
	json_t *saved = json_loads(job->saved_document, 0, NULL);
	/* What was written by dray_session_save a moment ago is read by its twin. */
	int rc = saved ? dray_session_load(saved, &old) : -ENOMEM;
	json_decref(saved);
	if (rc || job_work_load(job, job->saved_work)) {
		dray_log(DRAY_LOG_ERROR, "memory", "session %s can't be taken back to its record", job->s->id);
		abort(); /* the record is right, memory is not: start again from the record */
	}
	dray_session_free(job->s);
	job->s = old;
}

#define LEFT_OUT "left out, canceled: "

/* Pairs that are left out of the session's state are named in its reason, as long as another is in. */
static void name_canceled(struct dray_session *s)
{
	char names[200] = "";
	size_t n = 0, canceled = 0;
	for (size_t i = 0; i < s->n_pairs; i++)
		if (s->pairs[i].state == DRAY_PAIR_CANCELED) {
			canceled++;
			if (n < sizeof names - 16)
				n += (size_t)snprintf(names + n, sizeof names - n, "%s%u", n ? ", " : "", s->pairs[i].id);
		}
	if (s->reason && strncmp(s->reason, LEFT_OUT, strlen(LEFT_OUT)))
		return; /* a better one */
	if (canceled && canceled < s->n_pairs)
		set_text(&s->reason, LEFT_OUT "%s %s", canceled == 1 ? "pair" : "pairs", names);
	else
		set_text(&s->reason, NULL);
}

static void aggregate(struct change *c)
{
	struct dray_session *s = c->job->s;
	enum dray_session_state was = s->state;
	s->state = dray_session_aggregate(s);
	if (!s->started)
		for (size_t i = 0; i < s->n_pairs; i++)
			if (s->pairs[i].state == DRAY_PAIR_STARTING || s->pairs[i].state == DRAY_PAIR_COPYING)
				s->started = wall_ms() / 1000;
	name_canceled(s);
	s->finished = job_live(c->job) ? 0 : s->finished ? s->finished : wall_ms() / 1000;
	if (s->state != was)
		note(c, 0, "session", dray_state_word((enum dray_pair_state)was),
			dray_state_word((enum dray_pair_state)s->state), s->reason ? strdup(s->reason) : NULL);
}

static int record(struct change *c, char **document, char **work)
{
	struct job *job = c->job;
	struct agent *a = c->a;
	json_t *saved = dray_session_save(job->s);
	*document = saved ? json_dumps(saved, JSON_COMPACT) : NULL;
	json_decref(saved);
	*work = job_work_text(job);
	if (!*document || !*work)
		return dray_error_errno(&c->err, -ENOMEM, "session %s", job->s->id);
	struct dray_repo_session row = { .id = job->s->id, .name = job->s->name,
		.state = dray_state_word((enum dray_pair_state)job->s->state), .live = job_live(job), .document = *document,
		.work = *work };
	int rc = dray_repo_session_save(a->repo, &row, &c->err);
	for (size_t i = 0; !rc && i < c->n_events; i++) {
		struct change_event *e = &c->events[i];
		struct dray_repo_event event = { .time_ms = wall_ms(), .session = job->s->id, .pair = e->pair, .event = e->event,
			.actor = c->actor, .before = e->before[0] ? e->before : NULL, .after = e->after[0] ? e->after : NULL,
			.detail = e->detail };
		rc = dray_repo_event_add(a->repo, &event, &c->err);
	}
	return rc ? rc : dray_repo_commit(a->repo, &c->err);
}

static void tell(struct change *c)
{
	for (size_t i = 0; i < c->n_events; i++) {
		struct change_event *e = &c->events[i];
		char pair[12] = "";
		if (e->pair)
			snprintf(pair, sizeof pair, "%u", e->pair);
		const char *keys[] = { "session", c->job->s->id, "name", c->job->s->name, "pair", e->pair ? pair : NULL, "actor",
			c->actor, "before", e->before[0] ? e->before : NULL, "after", e->after[0] ? e->after : NULL, NULL };
		bool bad = !strcmp(e->after, "failed") || strstr(e->event, "failed");
		dray_log_fields(bad ? DRAY_LOG_WARN : DRAY_LOG_INFO, e->event, keys, "%s", e->detail ? e->detail : "");
	}
	if (c->n_events)
		api_events_changed(c->a->api);
}

int change_end(struct change *c)
{
	char *document = NULL, *work = NULL;
	if (!c->err.code)
		aggregate(c);
	int rc = c->err.code;
	if (!rc)
		rc = record(c, &document, &work);
	if (rc) {
		dray_repo_rollback(c->a->repo);
		dray_log(DRAY_LOG_ERROR, "record-failed", "session %s: %s", c->job->s->id, c->err.text);
		go_back(c->job);
		agent_wake_by(c->a, c->a->now + SECOND);
		free(document);
		free(work);
	} else {
		free(c->job->saved_document);
		free(c->job->saved_work);
		c->job->saved_document = document;
		c->job->saved_work = work;
		tell(c);
		agent_wake(c->a);
	}
	for (size_t i = 0; i < c->n_events; i++)
		free(c->events[i].detail);
	free(c->events);
	c->events = NULL;
	c->n_events = 0;
	return rc;
}

void agent_event(struct agent *a, const char *actor, const char *event, const char *fmt, ...)
{
	struct dray_error err;
	va_list ap;
	va_start(ap, fmt);
	char *detail = text_v(fmt, ap);
	va_end(ap);
	struct dray_repo_event e = { .time_ms = wall_ms(), .event = event, .actor = actor, .detail = detail };
	int rc = dray_repo_begin(a->repo, &err);
	if (!rc && !(rc = dray_repo_event_add(a->repo, &e, &err)))
		rc = dray_repo_commit(a->repo, &err);
	if (rc) {
		dray_repo_rollback(a->repo);
		dray_log(DRAY_LOG_ERROR, "record-failed", "event %s: %s", event, err.text);
	}
	const char *keys[] = { "actor", actor, NULL };
	dray_log_fields(DRAY_LOG_INFO, event, keys, "%s", detail ? detail : "");
	free(detail);
	api_events_changed(a->api);
}
