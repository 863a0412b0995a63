/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The checked setter: every change of a session's state goes through here.
 *
 * A change is the head of the session where it is another one now, the pairs that were touched, one event for each thing that
 * changed, locks freed and intents noted; record.c makes it durable. Nothing is acted on before change_end has returned 0.
 *
 * A session may have ten thousand pairs. So a pair is written only if it was touched: by change_pair, change_goal, change_unlock or
 * change_event, which do it by themselves, or by change_touch, which whoever sets something of a pair (or of its run) that must
 * not be forgotten calls first. What is set on a pair that is not touched would be lost with the process. DRAY_CHECK_RECORD
 * in the environment (the tests have it) looks after each record whether that happened, and ends the process where it did.
 *
 * A change for which nobody waits (a copy that turned out to be synchronized, a pair that is over) may be recorded with the others of
 * its wake-up: change_begin_soon. Thirty-two pairs that are copied at once then cost one flush, not thirty-two.
 */
#include "agent/record.h"

#include "agent/api.h"
#include "agent/audit.h"
#include "agent/hooks.h"
#include "agent/metrics.h"
#include "agent/speeds.h"
#include "agent/verify.h"
#include "base/log.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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
	dray_list_init(&c->node);
	dray_repo_begin(a->repo, &c->err);
	audit_change(c);
}

void change_begin_soon(struct change *c, struct job *job, const char *actor, void (*undone)(struct pair_run *run))
{
	*c = (struct change){ .a = job->agent, .job = job, .actor = actor, .soon = true, .undone = undone };
	dray_list_init(&c->node);
}

/* Room for one more of n, in steps of two. */
static void *more(void *list, size_t n, size_t size)
{
	if (n & (n - 1))
		return list;
	list = realloc(list, (n ? 2 * n : 1) * size);
	if (!list)
		abort();
	return list;
}

static void note(struct change *c, unsigned pair, const char *event, const char *before, const char *after, char *detail)
{
	c->events = more(c->events, c->n_events, sizeof *c->events);
	struct change_event *e = &c->events[c->n_events++];
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
	c->pairs = more(c->pairs, c->n_pairs, sizeof *c->pairs);
	c->pairs[c->n_pairs++] = (struct change_pair){ run->index, dray_pair_save(run->job->s, run->index), run_work(run) };
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
	dray_bitmap_clear(&run->job->in[p->state], run->index);
	dray_bitmap_set(&run->job->in[to], run->index);
	p->state = to;
	/* What was measured before was of another state. */
	bool whole = to == DRAY_PAIR_SYNCED || to == DRAY_PAIR_SWITCHING || to == DRAY_PAIR_SWITCHED || to == DRAY_PAIR_COMPLETED ||
		     to == DRAY_PAIR_COMMITTED;
	if (to != DRAY_PAIR_COPYING) {
		speeds_leave(run);
		p->progress.rate = whole || to == DRAY_PAIR_PAUSED ? 0 : DRAY_UNKNOWN;
		p->progress.eta_seconds = whole ? 0 : DRAY_UNKNOWN;
		p->progress.dirty_rate = whole ? 0 : DRAY_UNKNOWN;
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
	/* Whoever waits for a verification is told that it won't end. */
	static const char *const by[GOAL_COUNT] = { NULL, "a cancel", "a commit", "a split", "a failure" };
	if (by[goal])
		verify_stop(c, run, by[goal]);
	run->goal = goal;
	snprintf(run->actor, sizeof run->actor, "%s", goal == GOAL_NONE ? "" : c->actor);
}

void change_unlock(struct change *c, struct pair_run *run)
{
	change_touch(c, run);
	if (c->err.code)
		return;
	if (!c->soon) {
		dray_repo_locks_free(c->a->repo, run->job->s->id, run_pair(run)->id, &c->err);
		return;
	}
	c->unlocks = more(c->unlocks, c->n_unlocks, sizeof *c->unlocks);
	c->unlocks[c->n_unlocks++] = run_pair(run)->id;
}

void change_lock(struct change *c, struct pair_run *run, size_t target, const char *identity)
{
	change_touch(c, run);
	char *copy = strdup(identity);
	if (!copy)
		abort();
	c->locks = more(c->locks, c->n_locks, sizeof *c->locks);
	c->locks[c->n_locks++] = (struct change_lock){ run->index, target, copy };
}

void change_intent(struct change *c, const char *kind, const char *members)
{
	struct job *job = c->job;
	assert(!c->soon); /* it is there to be acted on */
	if (c->err.code)
		return;
	struct dray_repo_intent intent = { .token = job->token, .session = job->s->id, .kind = kind, .members = members,
		.since = wall_now() };
	dray_repo_intent_add(c->a->repo, &intent, &c->err);
}

void change_intent_end(struct change *c, const char *outcome)
{
	if (!c->err.code)
		dray_repo_intent_end(c->a->repo, c->job->token, outcome, &c->err);
}

#define LEFT_OUT "left out, "

/* "failed: pairs 1, 3", behind what is in buf. Returns how many there are. */
static size_t name_pairs(const struct job *job, enum dray_pair_state state, char *buf, size_t size)
{
	size_t found = job_count(job, state), named = 0, n = strlen(buf);
	if (found)
		n += (size_t)snprintf(buf + n, size - n, "%s%s: pair%s", n ? "; " : "", dray_state_word(state), found == 1 ? "" : "s");
	job_each_of (&job->in[state], i) {
		if (n > size - 40) {
			snprintf(buf + n, size - n, " and %zu more", found - named);
			break;
		}
		n += (size_t)snprintf(buf + n, size - n, "%s %u", named++ ? "," : "", job->s->pairs[i].id);
	}
	return found;
}

/* Pairs that are left out of the session's state are named in its reason, as long as another is in. */
static void name_left_out(const struct job *job)
{
	struct dray_session *s = job->s;
	char names[300] = "";
	size_t failed = name_pairs(job, DRAY_PAIR_FAILED, names, sizeof names / 2);
	size_t n = failed + name_pairs(job, DRAY_PAIR_CANCELED, names, sizeof names);
	if (s->reason && strncmp(s->reason, LEFT_OUT, strlen(LEFT_OUT)))
		return; /* a better one */
	if (n && n < s->n_pairs)
		set_text(&s->reason, LEFT_OUT "%s", names);
	else
		set_text(&s->reason, NULL);
}

static void aggregate(struct change *c)
{
	struct job *job = c->job;
	struct dray_session *s = job->s;
	enum dray_session_state was = s->state;
	unsigned counts[DRAY_PAIR_STATE_COUNT];
	for (int i = 0; i < DRAY_PAIR_STATE_COUNT; i++)
		counts[i] = (unsigned)job->in[i].nset;
	s->state = dray_session_aggregate_counts(s, counts);
	if (!s->started && (counts[DRAY_PAIR_STARTING] || counts[DRAY_PAIR_COPYING]))
		s->started = wall_now();
	schedule_count(job);
	name_left_out(job);
	s->finished = job_live(job) ? 0 : s->finished ? s->finished : wall_now();
	if (s->state != was)
		note(c, 0, "session", dray_state_word((enum dray_pair_state)was),
			dray_state_word((enum dray_pair_state)s->state), s->reason ? strdup(s->reason) : NULL);
}

int change_end(struct change *c)
{
	if (!c->err.code)
		aggregate(c);
	return record_change(c);
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
	if (!rc)
		metrics_event(a, event);
	agent_events_changed(a);
}
