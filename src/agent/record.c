/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * From a change to the repository: one transaction for the change and all those that were kept before it.
 *
 * What is written is the present state: of each pair that was touched its row, once; of each session its head, where it is another
 * one than last time; the events in their order. When that fails (a full disk, an I/O error), each pair goes back to what it was
 * before the first of these changes touched it, and each head to what was last committed, so that memory is never ahead of the
 * database. A session of which a pair has to go back is put together anew from the parts, which takes its time, and is rare.
 */
#include "agent/record.h"

#include "base/crash.h"
#include "agent/lock_list.h"
#include "agent/metrics.h"
#include "base/log.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECKED_AT_ONCE 256 /* pairs, by DRAY_CHECK_RECORD */

/* ---- rows ---- */

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
	job->agent->work.heads++;
	json_t *shown = live ? NULL : job_document(job, false);
	char *summary = shown ? json_dumps(shown, JSON_COMPACT) : NULL;
	json_decref(shown);
	struct dray_repo_session row = { .id = job->s->id, .name = job->s->name,
		.state = dray_state_word((enum dray_pair_state)job->s->state), .live = live, .open = live,
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
	job->agent->work.rows++;
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

static bool check_wanted(void)
{
	static int wanted = -1;
	if (wanted < 0)
		wanted = getenv("DRAY_CHECK_RECORD") != NULL;
	return wanted;
}

static void check_run(struct pair_run *run)
{
	uint64_t now = fingerprint(run);
	if (run->recorded && !run->touched && run->recorded != now) {
		dray_log(DRAY_LOG_ERROR, "not-recorded", "session %s pair %u: it was changed, and was not touched", run->job->s->id,
			run_pair(run)->id);
		abort();
	}
	run->recorded = now;
}

/* All of a session of usual size; of a large one a part each time, in turn, or looking would cost more than what is looked at. */
void job_check_record(struct job *job)
{
	size_t n = job->s->n_pairs;
	for (size_t k = 0; check_wanted() && k < n && k < CHECKED_AT_ONCE; k++)
		check_run(&job->runs[job->check_next++ % n]);
}

static int write_lock(struct change *c, const struct change_lock *wanted, struct dray_error *err)
{
	struct dray_session *s = c->job->s;
	struct lock_list list = { 0 };
	struct dray_error held;
	struct dray_repo_lock *lock = lock_for(&list, wanted->identity);
	lock->resource = s->pairs[wanted->index].targets[wanted->target].at.resource;
	lock->session = s->id;
	lock->pair = wanted->index + 1;
	lock->role = LOCK_MADE;
	lock->since = wall_now();
	int rc = dray_repo_locks_check(c->a->repo, lock, 1, NULL, NULL, &held);
	if (!rc)
		rc = dray_repo_locks_take(c->a->repo, lock, 1, NULL, NULL, err);
	else if (rc == -EBUSY)
		rc = 0;
	else
		*err = held;
	lock_list_free(&list);
	return rc;
}

static int write_change(struct change *c, struct dray_error *err)
{
	struct job *job = c->job;
	struct agent *a = c->a;
	int rc = 0;
	if (!job->recording && !(rc = job_record_head(job, &job->new_document, err)))
		job->recording = true;
	for (size_t i = 0; !rc && i < c->n_pairs; i++)
		rc = run_record(&job->runs[c->pairs[i].index], err);
	for (size_t i = 0; !rc && i < c->n_locks; i++)
		rc = write_lock(c, &c->locks[i], err);
	for (size_t i = 0; !rc && i < c->n_unlocks; i++)
		rc = dray_repo_locks_free(a->repo, job->s->id, c->unlocks[i], err);
	for (size_t i = 0; !rc && i < c->n_events; i++) {
		struct change_event *e = &c->events[i];
		struct dray_repo_event event = { .time_ms = e->time_ms, .session = job->s->id, .pair = e->pair, .event = e->event,
			.actor = c->actor, .before = e->before[0] ? e->before : NULL, .after = e->after[0] ? e->after : NULL,
			.detail = e->detail };
		rc = dray_repo_event_add(a->repo, &event, err);
	}
	return rc;
}

/* ---- after it ---- */

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
		metrics_event(c->a, e->event);
	}
	if (c->n_events)
		agent_events_changed(c->a);
}

static void empty(struct change *c)
{
	for (size_t i = 0; i < c->n_events; i++)
		free(c->events[i].detail);
	for (size_t i = 0; i < c->n_pairs; i++) {
		json_decref(c->pairs[i].document);
		json_decref(c->pairs[i].work);
	}
	free(c->events);
	free(c->pairs);
	free(c->unlocks);
	for (size_t i = 0; i < c->n_locks; i++)
		free(c->locks[i].identity);
	free(c->locks);
	c->events = NULL;
	c->pairs = NULL;
	c->unlocks = NULL;
	c->locks = NULL;
	c->n_events = c->n_pairs = c->n_unlocks = c->n_locks = 0;
}

static void done(struct change *c)
{
	struct job *job = c->job;
	if (job->recording) {
		job->recording = false;
		free(job->saved_document);
		job->saved_document = job->new_document;
		job->new_document = NULL;
		job_check_record(job);
	}
	for (size_t i = 0; i < c->n_pairs; i++) {
		struct pair_run *run = &job->runs[c->pairs[i].index];
		if (check_wanted())
			run->recorded = fingerprint(run);
		run->touched = false;
		run_wake(run);
	}
	job_wake(job);
	tell(c);
	if (!job_open(job) && dray_list_empty(&job->over_node)) {
		job_lingers(job);
		job->agent->past_stale = true;
		retention_wake(job->agent);
	}
}

/* The session as it was: the head as it was last committed, the pairs that were touched as they were before. */
static void go_back(struct job *job, const struct dray_list *changes)
{
	struct dray_session *old = NULL;
	json_t *head = json_loads(job->saved_document, 0, NULL), *pairs = json_array();
	for (size_t i = 0; i < job->s->n_pairs; i++)
		json_array_append_new(pairs, dray_pair_save(job->s, i));
	dray_list_for_each (n, changes) {
		const struct change *c = dray_container(n, struct change, node);
		for (size_t i = 0; c->job == job && i < c->n_pairs; i++)
			json_array_set(pairs, c->pairs[i].index, c->pairs[i].document);
	}
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
	job_recount(job);
}

static void undo(struct agent *a, struct dray_list *changes)
{
	dray_list_for_each (n, changes) {
		struct job *job = dray_container(n, struct change, node)->job;
		bool first = true;
		for (struct dray_list *o = changes->next; o != n; o = o->next)
			first &= dray_container(o, struct change, node)->job != job;
		if (first)
			go_back(job, changes);
		job->recording = false;
		free(job->new_document);
		job->new_document = NULL;
	}
	dray_list_for_each (n, changes) {
		struct change *c = dray_container(n, struct change, node);
		for (size_t i = 0; i < c->n_pairs; i++) {
			struct pair_run *run = &c->job->runs[c->pairs[i].index];
			run_work_load(run, c->pairs[i].work);
			run->touched = false;
			if (c->undone)
				c->undone(run);
			run_wake_by(run, a->now + SECOND);
		}
		job_wake_by(c->job, a->now + SECOND);
	}
}

/* All of the list, which is begun already where `begun`. 0 or negative; the list is as it was. */
static int record(struct agent *a, struct dray_list *changes, bool begun, struct dray_error *err)
{
	int rc = begun ? 0 : dray_repo_begin(a->repo, err);
	dray_list_for_each (n, changes)
		if (!rc)
			rc = write_change(dray_container(n, struct change, node), err);
	dray_crash_point("record-before");
	if (!rc)
		rc = dray_repo_commit(a->repo, err);
	dray_crash_point("record-after");
	if (!rc) {
		a->work.commits++;
		dray_list_for_each (n, changes)
			done(dray_container(n, struct change, node));
		return 0;
	}
	dray_repo_rollback(a->repo);
	dray_log(DRAY_LOG_ERROR, "record-failed", "session %s: %s", dray_container(changes->prev, struct change, node)->job->s->id,
		err->text);
	undo(a, changes);
	return rc;
}

/* ---- for later ---- */

static void keep(struct change *c)
{
	struct change *kept = malloc(sizeof *kept);
	char *actor = strdup(c->actor);
	if (!kept || !actor)
		abort();
	*kept = *c;
	kept->actor = actor;
	dray_list_init(&kept->node);
	dray_list_add_tail(&c->a->soon, &kept->node);
}

static void free_kept(struct agent *a)
{
	struct dray_list *n;
	while ((n = dray_list_pop(&a->soon))) {
		struct change *c = dray_container(n, struct change, node);
		empty(c);
		free((char *)c->actor);
		free(c);
	}
}

void change_flush(struct agent *a)
{
	struct dray_error err = DRAY_ERROR_INIT;
	if (dray_list_empty(&a->soon))
		return;
	record(a, &a->soon, false, &err);
	free_kept(a);
}

int record_change(struct change *c)
{
	struct agent *a = c->a;
	if (c->soon && !c->err.code) {
		keep(c);
		return 0;
	}
	dray_list_add_tail(&a->soon, &c->node);
	int rc = c->err.code;
	if (rc) {
		dray_repo_rollback(a->repo);
		dray_log(DRAY_LOG_ERROR, "record-failed", "session %s: %s", c->job->s->id, c->err.text);
		undo(a, &a->soon);
	} else {
		rc = record(a, &a->soon, true, &c->err);
	}
	dray_list_del(&c->node);
	empty(c);
	free_kept(a);
	return rc;
}
