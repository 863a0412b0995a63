/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Answers are given in the middle of other changes, where no event can be recorded; so what is told here is kept until the end of
 * the turn and recorded in one transaction. A caller that asks the same wrong thing again and again is told of in the repository once in a while,
 * each time in the log.
 */
#include "agent/audit.h"

#include "agent/api.h"
#include "agent/metrics.h"
#include "base/crash.h"
#include "base/log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SAME_AGAIN (10 * SECOND)

struct entry {
	struct dray_list node;
	int64_t time_ms;
	char *session, *before, *detail;
	char event[16], actor[32];
};

struct audit {
	struct dray_list entries;
	struct dray_list answers; /* calls that wait for their entries */
	/* the verb that is being carried out */
	struct api_call *call;
	struct job *job;
	char before[16], detail[300];
	/* the last refusal */
	char *refused;
	uint64_t refused_at;
};

struct audit *audit_new(void)
{
	struct audit *u = calloc(1, sizeof *u);
	if (u) {
		dray_list_init(&u->entries);
		dray_list_init(&u->answers);
	}
	return u;
}

static void free_entry(struct entry *e)
{
	dray_list_del(&e->node);
	free(e->session);
	free(e->before);
	free(e->detail);
	free(e);
}

void audit_free(struct audit *u)
{
	if (!u)
		return;
	while (!dray_list_empty(&u->entries))
		free_entry(dray_container(u->entries.next, struct entry, node));
	free(u->refused);
	free(u);
}

static char *copy(const char *text)
{
	char *c = text ? strdup(text) : NULL;
	if (text && !c)
		abort();
	return c;
}

static void keep(struct agent *a, const struct api_call *call, const char *event, const char *before, const char *detail)
{
	struct entry *e = calloc(1, sizeof *e);
	if (!e)
		abort();
	*e = (struct entry){ .time_ms = wall_ms(), .session = copy(call->audit_session), .before = copy(before), .detail = copy(detail) };
	snprintf(e->event, sizeof e->event, "%s", event);
	snprintf(e->actor, sizeof e->actor, "%s", call->actor);
	dray_list_add_tail(&a->audit->entries, &e->node);
}

bool audit_waits(const struct agent *a)
{
	return !dray_list_empty(&a->audit->entries);
}

void audit_flush(struct agent *a)
{
	struct audit *u = a->audit;
	struct dray_error err;
	if (dray_list_empty(&u->entries))
		return;
	dray_crash_point("answers-before");
	int rc = dray_repo_begin(a->repo, &err);
	dray_list_for_each (n, &u->entries) {
		const struct entry *e = dray_container(n, struct entry, node);
		struct dray_repo_event event = { .time_ms = e->time_ms, .session = e->session, .event = e->event, .actor = e->actor,
			.before = e->before, .detail = e->detail };
		if (!rc)
			rc = dray_repo_event_add(a->repo, &event, &err);
	}
	if (!rc)
		rc = dray_repo_commit(a->repo, &err);
	else
		dray_repo_rollback(a->repo);
	dray_list_for_each (n, &u->entries)
		if (!rc)
			metrics_event(a, dray_container(n, struct entry, node)->event);
	dray_crash_point("answers-after");
	while (!dray_list_empty(&u->answers)) {
		struct api_call *call = dray_container(u->answers.next, struct api_call, audit_node);
		dray_list_del(&call->audit_node);
		api_answer_now(call); /* and it is not ours any more */
	}
	if (rc) /* what was asked and refused is in the log all the same */
		dray_log(DRAY_LOG_ERROR, "record-failed", "requests: %s", err.text);
	while (!dray_list_empty(&u->entries))
		free_entry(dray_container(u->entries.next, struct entry, node));
	if (!rc)
		agent_events_changed(a);
}

/* ---- verbs ---- */

/* Is there a pair, of those named, to which it would do something? */
static bool does_something(const struct job *job, const struct api_call *call, enum dray_verb verb)
{
	const json_t *pairs = json_object_get(call->body, "pairs");
	for (size_t i = 0; i < job->s->n_pairs; i++) {
		char own[16];
		bool named = !json_array_size(pairs);
		size_t k;
		json_t *id;
		snprintf(own, sizeof own, "%u", job->s->pairs[i].id);
		json_array_foreach ((json_t *)pairs, k, id)
			named |= (json_is_string(id) && !strcmp(json_string_value(id), own)) ||
				 (json_is_integer(id) && json_integer_value(id) == job->s->pairs[i].id);
		if (named && dray_verb_legal(verb, job->s->pairs[i].state) == DRAY_LEGAL)
			return true;
	}
	return false;
}

void audit_verb(struct agent *a, struct job *job, struct api_call *call, enum dray_verb verb)
{
	struct audit *u = a->audit;
	char *body = json_object_size(call->body) ? json_dumps(call->body, JSON_COMPACT) : NULL;
	set_text(&call->audit_session, "%s", job->s->id);
	call->audit_verb = dray_verb_word(verb);
	snprintf(u->before, sizeof u->before, "%s", dray_state_word((enum dray_pair_state)job->s->state));
	snprintf(u->detail, sizeof u->detail, "%s%s%.200s", dray_verb_word(verb), body ? " " : "", body ? body : "");
	free(body);
	bool does = does_something(job, call, verb);
	u->call = does ? call : NULL;
	u->job = does ? job : NULL;
}

void audit_change(struct change *c)
{
	struct audit *u = c->a->audit;
	if (!u || !u->call || u->job != c->job)
		return;
	u->call->audit_asked = true;
	u->call = NULL;
	change_event(c, 0, "asked", u->before, NULL, "%s", u->detail);
}

void audit_verb_done(struct agent *a)
{
	struct audit *u = a->audit;
	/* It waits, and needed no change so far. */
	if (u->call) {
		u->call->audit_asked = true;
		keep(a, u->call, "asked", u->before, u->detail);
	}
	u->call = NULL;
	u->job = NULL;
}

/* ---- answers ---- */

static bool told_lately(struct agent *a, const char *text)
{
	struct audit *u = a->audit;
	bool same = u->refused && !strcmp(u->refused, text) && a->now < u->refused_at + SAME_AGAIN;
	if (!same) {
		set_text(&u->refused, "%s", text);
		u->refused_at = a->now;
	}
	return same;
}

static void log_request(const struct api_call *call, int status, const char *code)
{
	char words[16], pid[16], gid[16];
	snprintf(words, sizeof words, "%d", status);
	snprintf(pid, sizeof pid, "%ld", (long)call->peer_pid);
	snprintf(gid, sizeof gid, "%ld", (long)call->peer_gid);
	const char *keys[] = { "actor", call->actor, "pid", pid, "gid", gid, "method", call->method, "path", call->path, "status", words,
		"code", code, "session", call->audit_session, NULL };
	dray_log_fields(status < 400 ? DRAY_LOG_INFO : DRAY_LOG_WARN, "request", keys, "%s", call->audit_verb ? call->audit_verb : "");
}

bool audit_answer(struct api_call *call, int status, const json_t *answer)
{
	struct agent *a = call->agent;
	if (!a || !a->audit || call->dry_run || (strcmp(call->method, "POST") && strcmp(call->method, "PATCH") && strcmp(call->method, "DELETE")))
		return false;
	const char *code = json_string_value(json_object_get(answer, "code")), *why = json_string_value(json_object_get(answer, "detail"));
	const char *what = call->audit_verb ? call->audit_verb : "";
	char text[800];
	if (a->audit->call == call)
		a->audit->call = NULL;
	log_request(call, status, status >= 400 ? code : NULL);
	if (status < 400 && !call->audit_asked)
		return false; /* fulfilled already, or an event of its own */
	if (!call->audit_verb)
		snprintf(text, sizeof text, "%s %.200s: %s: %.400s", call->method, call->path, code ? code : "", why ? why : "");
	else if (status < 400)
		snprintf(text, sizeof text, "%s: done", what);
	else
		snprintf(text, sizeof text, "%s: %s: %.500s", what, code ? code : "", why ? why : "");
	if (!call->audit_asked && told_lately(a, text))
		return false;
	keep(a, call, call->audit_asked ? "answered" : "refused", NULL, text);
	dray_list_add_tail(&a->audit->answers, &call->audit_node);
	return true;
}
