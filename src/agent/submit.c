/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Starting a session (the first half: what happens while the submitter waits).
 *
 *   read, look at the resources     on the request's thread (api_http.c, probe.c)
 *   validate everything at once     any problem: all are told, nothing was touched
 *   id, locks, session, events      one transaction; all or nothing. Of two that want the same device the second one's
 *                                   locks fail here
 *   queued                          the wake-up starts what may run; each start is recorded before the vehicle is called
 *
 * A document with an id that exists is the repeat of a submit whose answer was lost, if it is the same document.
 */
#include "agent/agent.h"

#include "agent/api.h"
#include "agent/estimate.h"
#include "agent/plan.h"
#include "agent/retire.h"
#include "agent/speeds.h"
#include "agent/validate.h"
#include "agent/metrics.h"
#include "base/crash.h"
#include "base/instant.h"
#include "base/log.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

static bool new_id(struct agent *a, char id[16])
{
	static const char digits[] = "0123456789abcdefghijklmnopqrstuvwxyz";
	for (int tries = 0; tries < 16; tries++) {
		unsigned char random[8];
		if (getrandom(random, sizeof random, 0) != sizeof random)
			return false;
		strcpy(id, "s-");
		for (size_t i = 0; i < sizeof random; i++)
			id[2 + i] = digits[random[i] % 36];
		id[2 + sizeof random] = 0;
		if (dray_repo_id_used(a->repo, id, NULL) == 0)
			return true;
	}
	return false;
}

/* One transaction: the session, its locks, its first events. */
static int record(struct agent *a, struct job *job, const struct lock_list *locks, const char *actor, struct dray_error *err)
{
	struct dray_session *s = job->s;
	int rc = dray_repo_begin(a->repo, err);
	if (rc)
		return rc;
	struct dray_repo_session row = { .id = s->id, .name = s->name, .state = dray_state_word((enum dray_pair_state)s->state),
		.live = true, .open = true, .document = "{}", .work = "{}" };
	rc = dray_repo_session_add(a->repo, &row, err);
	if (!rc) {
		s->seq = row.seq;
		rc = job_record_head(job, &job->saved_document, err);
	}
	for (size_t i = 0; !rc && i < s->n_pairs; i++)
		rc = run_record(&job->runs[i], err);
	if (!rc)
		rc = dray_repo_locks_take(a->repo, locks->locks, locks->n, NULL, NULL, err);
	struct dray_repo_event event = { .time_ms = wall_ms(), .session = s->id, .event = "submitted", .actor = actor,
		.after = dray_state_word((enum dray_pair_state)s->state), .detail = s->name };
	if (!rc)
		rc = dray_repo_event_add(a->repo, &event, err);
	size_t i;
	json_t *warning;
	json_array_foreach (s->warnings, i, warning) {
		struct dray_repo_event told = { .time_ms = event.time_ms, .session = s->id, .event = "warning", .actor = ACTOR_SELF,
			.after = json_string_value(json_object_get(warning, "code")),
			.detail = json_string_value(json_object_get(warning, "detail")) };
		if (!rc)
			rc = dray_repo_event_add(a->repo, &told, err);
	}
	if (rc) {
		dray_repo_rollback(a->repo);
		return rc;
	}
	dray_crash_point("submit-before");
	rc = dray_repo_commit(a->repo, err);
	dray_crash_point("submit-after");
	return rc;
}

static void log_refused(const struct api_call *call, const struct dray_session *s)
{
	for (size_t i = 0; i < call->problems.n; i++) {
		const struct dray_problem *p = &call->problems.items[i];
		const char *keys[] = { "name", s ? s->name : NULL, "actor", call->actor, "pointer", p->pointer, "code", p->code,
			NULL };
		dray_log_fields(DRAY_LOG_WARN, "submit-refused", keys, "%s", p->detail);
	}
}

/* The same document again, with the id of one that exists. */
static bool answered_as_repeat(struct agent *a, struct api_call *call)
{
	struct dray_session *s = call->submitted;
	if (!s->id[0])
		return false;
	struct job *job = job_find(a, s->id);
	if (!job || !json_equal(job->s->doc, s->doc))
		return false;
	api_document(call, 200, job, NULL);
	return true;
}

static void submit_listed(struct agent *a, struct api_call *call);

void submit_call(struct agent *a, struct api_call *call)
{
	if (!call->submitted) {
		log_refused(call, NULL);
		api_problems(call, &call->problems);
		return;
	}
	if (call->problems.n || call->dry_run || !answered_as_repeat(a, call))
		api_when_listed(a, call, submit_listed);
}

static void submit_listed(struct agent *a, struct api_call *call)
{
	struct dray_session *s = call->submitted;
	struct lock_list locks = { 0 };
	struct dray_error err;
	char id[16];
	bool given = s->id[0];
	/* One like it may have come first, and been recorded only since this one was looked at. */
	if (given && !call->problems.n && !call->dry_run && answered_as_repeat(a, call))
		return;
	if (!given) {
		if (!new_id(a, id)) {
			api_problem(call, 500, 1, "failed", "no session id could be made");
			return;
		}
		set_text(&s->id, "%s", id);
	}
	validate(a, s, call->probes, &locks, &call->problems);
	if (call->problems.n) {
		log_refused(call, s);
		api_problems(call, &call->problems);
		lock_list_free(&locks);
		return;
	}
	schedule_start_anew(s);
	speeds_places(s, call->probes);
	if (call->estimate) {
		lock_list_free(&locks);
		call->facts = malloc(sizeof *call->facts);
		if (!call->facts)
			abort();
		estimate_take(a, s, call->facts);
		api_reply(call, 200, NULL); /* the rest is for the request's thread */
		return;
	}
	enum dray_pair_state first = schedule_may_begin(s) ? DRAY_PAIR_QUEUED : DRAY_PAIR_SCHEDULED; /* of all: they go by one clock */
	for (size_t i = 0; i < s->n_pairs; i++)
		s->pairs[i].state = first;
	s->created = wall_now();
	s->state = dray_session_aggregate(s);
	struct job *job = job_new(a, s);
	if (!job)
		abort();
	call->submitted = NULL;
	if (call->dry_run) {
		retire_plans(s, call->probes, given ? s->id : NULL);
		if (!given)
			set_text(&s->id, "%s", "");
		api_document(call, 200, job, json_pack("{s:o}", "plan", plan_make(a, job, call->probes, &locks)));
		job_free(job);
		lock_list_free(&locks);
		return;
	}
	int rc = record(a, job, &locks, call->actor, &err);
	lock_list_free(&locks);
	if (rc) {
		/* Checked a moment ago: only the repository itself can have failed. Nothing was kept. */
		dray_log(DRAY_LOG_ERROR, "record-failed", "session %s: %s", s->name, err.text);
		api_problem(call, 500, 1, err.kind[0] ? err.kind : "repository", "session %s: %s", s->name, err.text);
		job_free(job);
		return;
	}
	job_enter(job);
	job_wake_pairs(job);
	const char *keys[] = { "session", s->id, "name", s->name, "actor", call->actor, NULL };
	dray_log_fields(DRAY_LOG_INFO, "submitted", keys, "%zu pairs", s->n_pairs);
	metrics_event(a, "submitted");
	for (size_t i = 0; i < json_array_size(s->warnings); i++)
		metrics_event(a, "warning");
	agent_events_changed(a);
	/* One wake-up first, so that the answer says what runs and what waits for what. */
	call->core_note = strdup(s->id);
	dray_list_add_tail(&a->parked, &call->node);
}
