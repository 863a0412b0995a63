/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The checked setter: every change of a session's state goes through here.
 *
 * A change is one transaction: the head of the session where it is another one now, the pairs that were touched, one event for each
 * thing that changed, locks freed and intents noted. Nothing is acted on before change_end has returned 0. When the record
 * fails (a full disk, an I/O error), what was touched goes back to what it was, and the head to what was last committed, so
 * that memory is never ahead of the database; the wake-up will come to the same point again.
 *
 * A session may have ten thousand pairs. So a pair is written only if it was touched: by change_pair, change_goal, change_unlock or
 * change_event, which do it by themselves, or by change_touch, which whoever sets something of a pair (or of its run) that must
 * not be forgotten calls first. What is set on a pair that is not touched would be lost with the process. DRAY_CHECK_RECORD
 * in the environment (the tests have it) looks after each record whether that happened, and ends the process where it did.
 */
#include "agent/agent.h"

#include "agent/api.h"
#include "agent/hooks.h"
#include "base/crash.h"
#include "base/log.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct change_event {
	unsigned pair;
	int64_t time_ms;
	char event[24], before[16], after[16];
	char *detail;
};

/* A pair as it was before it was touched. */
struct change_pair {
	unsigned index;
	json_t *document, *work;
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
	*e = (struct change_event){ .pair = pair, .time_ms = wall_ms(), .detail = detail };
	snprintf(e->event, sizeof e->event, "%s", event);
	snprintf(e->before, sizeof e->before, "%s", before ? before : "");
	snprintf(e->after, sizeof e->after, "%s", after ? after : "");
}

void change_touch(struct change *c, struct pair_run *run)
{
	if (run->touched)
		return;
	/* Also where the change has failed already: what is set all the same has to go back. */
	struct change_pair *more = realloc(c->pairs, (c->n_pairs + 1) * sizeof *more);
	if (!more)
		abort();
	c->pairs = more;
	more[c->n_pairs++] = (struct change_pair){ run->index, dray_pair_save(run->job->s, run->index), run_work(run) };
	run->touched = true;
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
	if (pair)
		change_touch(c, &c->job->runs[pair - 1]); /* ids are places: 1 is the first */
	if (c->err.code)
		free(detail);
	else
		note(c, pair, event, before, after, detail);
}

void change_pair(struct change *c, struct pair_run *run, enum dray_pair_state to, const char *fmt, ...)
{
	change_touch(c, run);
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
	change_touch(c, run);
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

/* The session as it was: the head as it was last committed, the pairs that were touched as they were before. */
static void go_back(struct change *c)
{
	struct job *job = c->job;
	struct dray_session *old = NULL;
	json_t *head = json_loads(job->saved_document, 0, NULL), *pairs = json_array();
	for (size_t i = 0; i < job->s->n_pairs; i++)
		json_array_append_new(pairs, dray_pair_save(job->s, i));
	for (size_t i = 0; i < c->n_pairs; i++)
		json_array_set(pairs, c->pairs[i].index, c->pairs[i].document);
	/* What was written by dray_session_save_head a moment ago is read by its twin. */
	int rc = head ? dray_session_load_parts(head, pairs, &old) : -ENOMEM;
	json_decref(head);
	json_decref(pairs);
	if (rc) {
		dray_log(DRAY_LOG_ERROR, "memory", "session %s can't be taken back to its record", job->s->id);
		abort(); /* the record is right, memory is not: start again from the record */
	}
	dray_session_free(job->s);
	job->s = old;
	for (size_t i = 0; i < c->n_pairs; i++)
		run_work_load(&job->runs[c->pairs[i].index], c->pairs[i].work);
}

#define LEFT_OUT "left out, "

/* "failed: pairs 1, 3", behind what is in buf. Returns how many there are. */
static size_t name_pairs(const struct dray_session *s, enum dray_pair_state state, char *buf, size_t size)
{
	size_t found = 0, named = 0, n = strlen(buf);
	for (size_t i = 0; i < s->n_pairs; i++)
		found += s->pairs[i].state == state;
	if (found)
		n += (size_t)snprintf(buf + n, size - n, "%s%s: pair%s", n ? "; " : "", dray_state_word(state), found == 1 ? "" : "s");
	for (size_t i = 0; i < s->n_pairs && named < found; i++) {
		if (s->pairs[i].state != state)
			continue;
		if (n > size - 40) {
			snprintf(buf + n, size - n, " and %zu more", found - named);
			break;
		}
		n += (size_t)snprintf(buf + n, size - n, "%s %u", named++ ? "," : "", s->pairs[i].id);
	}
	return found;
}

/* Pairs that are left out of the session's state are named in its reason, as long as another is in. */
static void name_left_out(struct dray_session *s)
{
	char names[300] = "";
	size_t failed = name_pairs(s, DRAY_PAIR_FAILED, names, sizeof names / 2);
	size_t n = failed + name_pairs(s, DRAY_PAIR_CANCELED, names, sizeof names);
	if (s->reason && strncmp(s->reason, LEFT_OUT, strlen(LEFT_OUT)))
		return; /* a better one */
	if (n && n < s->n_pairs)
		set_text(&s->reason, LEFT_OUT "%s", names);
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
	name_left_out(s);
	s->finished = job_live(c->job) ? 0 : s->finished ? s->finished : wall_ms() / 1000;
	if (s->state != was)
		note(c, 0, "session", dray_state_word((enum dray_pair_state)was),
			dray_state_word((enum dray_pair_state)s->state), s->reason ? strdup(s->reason) : NULL);
}

int job_record_head(struct job *job, char **saved, struct dray_error *err)
{
	bool live = job_live(job);
	json_t *head = dray_session_save_head(job->s);
	char *document = head ? json_dumps(head, JSON_COMPACT) : NULL;
	json_decref(head);
	if (!document)
		return dray_error_errno(err, -ENOMEM, "session %s", job->s->id);
	bool same = job->saved_document && !strcmp(document, job->saved_document);
	*saved = document; /* may be saved_document itself */
	if (same)
		return 0;
	json_t *shown = live ? NULL : job_document(job, false);
	char *summary = shown ? json_dumps(shown, JSON_COMPACT) : NULL;
	json_decref(shown);
	struct dray_repo_session row = { .id = job->s->id, .name = job->s->name,
		.state = dray_state_word((enum dray_pair_state)job->s->state), .live = live, .open = job_open(job),
		.finished = (int64_t)job->s->finished, .document = document, .work = "{}", .summary = summary };
	int rc = dray_repo_session_save(job->agent->repo, &row, err);
	free(summary);
	return rc;
}

int run_record(struct pair_run *run, struct dray_error *err)
{
	const struct job *job = run->job;
	json_t *pair = dray_pair_save(job->s, run->index), *own = run_work(run);
	char *document = json_dumps(pair, JSON_COMPACT), *work = json_dumps(own, JSON_COMPACT);
	json_decref(pair);
	json_decref(own);
	const struct dray_pair *p = run_pair(run);
	struct dray_repo_pair row = { .pair = p->id, .state = dray_state_word(p->state), .document = document, .work = work };
	int rc = document && work ? dray_repo_pair_save(job->agent->repo, job->s->seq, &row, err)
				  : dray_error_errno(err, -ENOMEM, "session %s", job->s->id);
	free(document);
	free(work);
	return rc;
}

/* What must not differ from the record, as far as this file knows it. */
static uint64_t fingerprint(struct pair_run *run)
{
	const struct dray_pair *p = run_pair(run);
	char text[1000];
	int n = snprintf(text, sizeof text, "%d %d %u %d %s|%s|%s|%s|%s|%d|%llu|%u|%lld", (int)p->state, (int)run->goal, p->pause_reasons,
		run->pause_detach, run->actor, p->iod_volume ? p->iod_volume : "", p->switch_token ? p->switch_token : "",
		p->verified ? p->verified : "", p->vehicle_chosen ? p->vehicle_chosen : "", p->reverse_leg,
		(unsigned long long)p->blackout_us, p->switch_attempts, (long long)p->switched_at);
	for (size_t t = 0; t < p->n_targets && n > 0 && (size_t)n < sizeof text - 200; t++)
		n += snprintf(text + n, sizeof text - (size_t)n, "|%.150s", p->targets[t].error ? p->targets[t].error : "");
	uint64_t hash = 0xcbf29ce484222325; /* FNV-1a */
	for (const char *c = text; *c; c++)
		hash = (hash ^ (unsigned char)*c) * 0x100000001b3;
	return hash;
}

void job_check_record(struct job *job)
{
	static int wanted = -1;
	if (wanted < 0)
		wanted = getenv("DRAY_CHECK_RECORD") != NULL;
	for (size_t i = 0; wanted && i < job->s->n_pairs; i++) {
		struct pair_run *run = &job->runs[i];
		uint64_t now = fingerprint(run);
		if (run->recorded && !run->touched && run->recorded != now) {
			dray_log(DRAY_LOG_ERROR, "not-recorded", "session %s pair %u: it was changed, and was not touched", job->s->id,
				job->s->pairs[i].id);
			abort();
		}
		run->recorded = now;
	}
}

static int record(struct change *c, char **document)
{
	struct job *job = c->job;
	struct agent *a = c->a;
	int rc = job_record_head(job, document, &c->err);
	for (size_t i = 0; !rc && i < c->n_pairs; i++)
		rc = run_record(&job->runs[c->pairs[i].index], &c->err);
	for (size_t i = 0; !rc && i < c->n_events; i++) {
		struct change_event *e = &c->events[i];
		struct dray_repo_event event = { .time_ms = e->time_ms, .session = job->s->id, .pair = e->pair, .event = e->event,
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
		agent_events_changed(c->a);
}

int change_end(struct change *c)
{
	char *document = NULL;
	if (!c->err.code)
		aggregate(c);
	int rc = c->err.code;
	if (!rc) {
		dray_crash_point("record-before");
		rc = record(c, &document);
		dray_crash_point("record-after");
	}
	if (rc) {
		dray_repo_rollback(c->a->repo);
		dray_log(DRAY_LOG_ERROR, "record-failed", "session %s: %s", c->job->s->id, c->err.text);
		go_back(c);
		agent_wake_by(c->a, c->a->now + SECOND);
		free(document);
	} else {
		free(c->job->saved_document);
		c->job->saved_document = document;
		job_check_record(c->job);
		tell(c);
		agent_wake(c->a);
	}
	for (size_t i = 0; i < c->n_events; i++)
		free(c->events[i].detail);
	for (size_t i = 0; i < c->n_pairs; i++) {
		json_decref(c->pairs[i].document);
		json_decref(c->pairs[i].work);
		c->job->runs[c->pairs[i].index].touched = false;
	}
	free(c->events);
	free(c->pairs);
	c->events = NULL;
	c->pairs = NULL;
	c->n_events = c->n_pairs = 0;
	return rc;
}

void agent_events_changed(struct agent *a)
{
	api_events_changed(a->api);
	hooks_news(a);
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
	agent_events_changed(a);
}
