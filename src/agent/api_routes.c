/* SPDX-License-Identifier: BSD-3-Clause */
/* From a path to what answers it; sessions, events, locks, vehicles. */
#include "agent/agent.h"

#include "agent/api.h"
#include "agent/api_table.h"
#include "agent/audit.h"
#include "agent/lock_list.h"
#include "agent/retire.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static bool is(const struct api_call *call, const char *method)
{
	return !strcmp(call->method, method);
}

static void time_text(int64_t ms, bool fine, char *buf, size_t size)
{
	time_t t = (time_t)(ms / 1000);
	struct tm tm;
	gmtime_r(&t, &tm);
	size_t n = strftime(buf, size, "%Y-%m-%dT%H:%M:%S", &tm);
	if (fine)
		snprintf(buf + n, size - n, ".%03dZ", (int)(ms % 1000));
	else
		snprintf(buf + n, size - n, "Z");
}

/* ---- sessions ---- */

static void list_sessions(struct agent *a, struct api_call *call)
{
	struct past_query q = { .state = call->q_state, .limit = call->q_limit, .past = call->q_past ? call->q_past - 1 : SIZE_MAX };
	struct dray_error err;
	size_t left_out;
	char *text;
	if (call->q_after_session) {
		struct job *job = job_find(a, call->q_after_session);
		if (!job) {
			api_problem(call, 404, 4, "not_found", "there is no session %s", call->q_after_session);
			return;
		}
		q.after = job->s->seq;
		q.oldest_first = true;
	}
	if (past_list(a, &q, &text, &left_out, &err)) {
		api_problem(call, 500, 1, "repository", "%s", err.text);
		return;
	}
	call->left_out = left_out > 0;
	api_reply_text(call, 200, "application/json", text);
}

/* "/sessions", "/sessions/ID", "/sessions/ID/VERB" */
void api_sessions(struct agent *a, struct api_call *call)
{
	char *id = call->path + strlen("/sessions"), *verb = NULL;
	if (*id)
		id++;
	if (!*id) {
		if (is(call, "GET"))
			list_sessions(a, call);
		else
			submit_call(a, call);
		return;
	}
	if ((verb = strchr(id, '/')))
		*verb++ = 0;
	struct job *job = job_find(a, id);
	if (!job) {
		api_problem(call, 404, 4, "not_found", "there is no session %s", id);
		return;
	}
	if (!verb) {
		if (is(call, "GET"))
			api_document(call, 200, job, NULL);
		else
			set_call(a, job, call);
		return;
	}
	int v = dray_verb_from_word(verb);
	if (v == DRAY_VERB_SET && is(call, "LOOK"))
		api_reply(call, 200, retire_all_sources(a, job));
	else if (v < 0 || v == DRAY_VERB_SET)
		api_problem(call, 404, 4, "not_found", "there is no verb %s", verb);
	else if (v == DRAY_VERB_RETIRE && is(call, "LOOK")) /* of our own threads: no method of HTTP */
		api_reply(call, 200, retire_sources(job));
	else {
		audit_verb(a, job, call, (enum dray_verb)v);
		verb_call(a, job, (enum dray_verb)v, call);
		audit_verb_done(a);
	}
}

/* ---- events ---- */

static json_t *text_or_null(const char *text)
{
	json_t *j = text ? json_string(text) : NULL;
	return j ? j : json_null(); /* none, or not UTF-8 */
}

static json_t *pair_or_null(unsigned pair)
{
	char id[16];
	snprintf(id, sizeof id, "%u", pair);
	return pair ? json_string(id) : json_null();
}

json_t *api_event_json(const struct dray_repo_event *e)
{
	char when[40];
	time_text(e->time_ms, true, when, sizeof when);
	return json_pack("{s:I, s:s, s:o, s:o, s:s, s:s, s:o, s:o, s:o}", "seq", (json_int_t)e->seq, "time", when, "session",
		text_or_null(e->session), "pair", pair_or_null(e->pair), "event", e->event, "actor", e->actor, "before",
		text_or_null(e->before), "after", text_or_null(e->after), "detail", text_or_null(e->detail));
}

static int add_event(void *arg, const struct dray_repo_event *e)
{
	json_array_append_new(arg, api_event_json(e));
	return 0;
}

void api_events(struct agent *a, struct api_call *call)
{
	struct dray_error err;
	char *session = NULL;
	if (call->q_session && !session_names(a, call->q_session, &session, NULL)) {
		api_problem(call, 404, 4, "not_found", "there is no session %s", call->q_session);
		return;
	}
	json_t *list = json_array();
	unsigned limit = call->q_limit && call->q_limit < 100000 ? (unsigned)call->q_limit : 100000;
	int rc = dray_repo_events(a->repo, session, call->q_after, limit, add_event, list, &err);
	free(session);
	if (rc) {
		json_decref(list);
		api_problem(call, 500, 1, "repository", "%s", err.text);
		return;
	}
	api_reply(call, 200, list);
}

/* ---- locks, vehicles ---- */

static int add_lock(void *arg, size_t i, const struct dray_repo_lock *l)
{
	char when[40], identity[700];
	if (lock_is_beside(l))
		return 0;
	time_text(l->since * 1000, false, when, sizeof when);
	if (l->end == DRAY_REPO_END)
		snprintf(identity, sizeof identity, "%s", l->identity);
	else
		snprintf(identity, sizeof identity, "%s+%llu,%llu", l->identity, (unsigned long long)l->start,
			(unsigned long long)(l->end - l->start));
	json_array_append_new(arg, json_pack("{s:s, s:s, s:s, s:o, s:s, s:s}", "resource", l->resource, "identity", identity,
					   "session", l->session, "pair", pair_or_null(l->pair), "role", l->role, "since", when));
	return 0;
}

void api_locks(struct agent *a, struct api_call *call)
{
	struct dray_error err;
	json_t *list = json_array();
	if (dray_repo_locks(a->repo, add_lock, list, &err)) {
		json_decref(list);
		api_problem(call, 500, 1, "repository", "%s", err.text);
		return;
	}
	api_reply(call, 200, list);
}

void api_vehicles(struct agent *a, struct api_call *call)
{
	json_t *list = json_array();
	struct dray_vehicle_facts facts = { .iod_ready = iod_ready(a->iod), .n_targets = 1, .online = true };
	for (const struct dray_vehicle *const *v = dray_vehicles(); *v; v++) {
		struct dray_vehicle_offer offer;
		(*v)->probe(&facts, &offer);
		json_array_append_new(list,
			json_pack("{s:s, s:s, s:b, s:b, s:b, s:b, s:b, s:b, s:b, s:b, s:b, s:b, s:b, s:o}", "name", (*v)->name,
				"what", (*v)->what, "online", (*v)->online, "offline", (*v)->offline, "pause", (*v)->can_pause,
				"checkpoint", (*v)->checkpoint, "limits", (*v)->limits, "verify", (*v)->verify, "remote",
				(*v)->remote, "own_switch", (*v)->own_switch, "group", (*v)->group, "undo", (*v)->undo, "available",
				offer.possible, "reason", offer.possible ? json_null() : json_string(offer.why)));
	}
	api_reply(call, 200, list);
}

/* ---- paths ---- */

void api_dispatch(struct agent *a, struct api_call *call)
{
	call->agent = a;
	if (call->route)
		call->route->run(a, call);
	/* What the HTTP side's threads ask for themselves. */
	else if (!strcmp(call->path, "/events"))
		api_events(a, call);
	else if (!strcmp(call->path, "/volumes"))
		api_volumes(a, call, "");
	else
		api_sessions(a, call);
}
