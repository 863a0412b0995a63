/* SPDX-License-Identifier: BSD-3-Clause */
/* A session in memory: its document and what the agent keeps beside it. */
#include "agent/agent.h"
#include "agent/generation.h"
#include "agent/speeds.h"
#include "agent/split_hooks.h"

#include "agent/eta.h"
#include "base/instant.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const goal_words[GOAL_COUNT] = { "none", "cancel", "commit", "finish", "halt" };

static int make_sets(struct job *job)
{
	size_t n = job->s->n_pairs;
	int rc = places_session_init(&job->places, n);
	for (int i = 0; i < DRAY_PAIR_STATE_COUNT; i++)
		rc = rc ? rc : dray_bitmap_new(&job->in[i], n);
	rc = rc ? rc : dray_bitmap_new(&job->with_goal, n);
	rc = rc ? rc : dray_bitmap_new(&job->retiring, n);
	rc = rc ? rc : dray_bitmap_new(&job->retiring_itself, n);
	rc = rc ? rc : dray_bitmap_new(&job->look, n);
	return rc ? rc : dray_bitmap_new(&job->looking, n);
}

struct job *job_new(struct agent *a, struct dray_session *s)
{
	struct job *job = calloc(1, sizeof *job);
	if (!job)
		abort();
	job->agent = a;
	job->s = s;
	dray_list_init(&job->node);
	dray_list_init(&job->look_node);
	dray_list_init(&job->over_node);
	dray_list_init(&job->compare_node);
	job->runs = calloc(s->n_pairs ? s->n_pairs : 1, sizeof *job->runs);
	job->pick = calloc(s->n_pairs ? s->n_pairs : 1, sizeof *job->pick);
	if (!job->runs || !job->pick || make_sets(job))
		abort(); /* a few bytes for each pair of a document that is in memory already */
	for (size_t i = 0; i < s->n_pairs; i++) {
		struct pair_run *run = &job->runs[i];
		run->job = job;
		run->index = (unsigned)i;
		dray_list_init(&run->unlisted_node);
		if (s->pairs[i].vehicle_chosen)
			run->vehicle = dray_vehicle_find(s->pairs[i].vehicle_chosen);
		job->n_online += !pair_offline(&s->pairs[i]);
	}
	job_recount(job);
	return job;
}

void job_recount(struct job *job)
{
	for (int state = 0; state < DRAY_PAIR_STATE_COUNT; state++)
		dray_bitmap_clear_all(&job->in[state]);
	for (size_t i = 0; i < job->s->n_pairs; i++) {
		dray_bitmap_set(&job->in[job->s->pairs[i].state], i);
		run_note_retire(&job->runs[i]);
	}
}

void job_enter(struct job *job)
{
	struct agent *a = job->agent;
	/* In order of submission; mostly it is the newest. */
	struct dray_list *at = a->jobs.prev;
	while (at != &a->jobs && dray_container(at, struct job, node)->s->seq > job->s->seq)
		at = at->prev;
	dray_list_add_tail(at->next, &job->node);
	dray_table_put(&a->jobs_by_id, job->s->id, job);
	/* A past one that is looked at does not take the place of a live one. */
	const struct job *other = dray_table_get(&a->jobs_by_name, job->s->name);
	if (!other || !job_live(other))
		dray_table_put(&a->jobs_by_name, job->s->name, job);
}

/* Another of the same name, the newest of those that are left, takes the place of one that goes. */
static void leave(struct job *job)
{
	struct agent *a = job->agent;
	if (dray_list_empty(&job->node))
		return; /* it was never among them */
	dray_list_del(&job->node);
	dray_table_put(&a->jobs_by_id, job->s->id, NULL);
	if (dray_table_get(&a->jobs_by_name, job->s->name) != job)
		return;
	dray_table_put(&a->jobs_by_name, job->s->name, NULL);
	dray_list_for_each (n, &a->jobs) {
		struct job *other = dray_container(n, struct job, node);
		if (!strcmp(other->s->name, job->s->name) && (job_live(other) || !dray_table_get(&a->jobs_by_name, other->s->name)))
			dray_table_put(&a->jobs_by_name, other->s->name, other);
	}
}

void job_free(struct job *job)
{
	if (!job)
		return;
	struct agent *a = job->agent;
	leave(job);
	dray_list_del(&job->over_node);
	dray_list_del(&job->compare_node);
	a->n_comparing -= job->n_comparing;
	wake_forget(job);
	a->moving -= job->moves;
	places_session_free(&a->places, &job->places);
	for (size_t i = 0; i < job->s->n_pairs; i++) {
		run_unwatch(&job->runs[i]);
		free(job->runs[i].refusal);
		speeds_leave(&job->runs[i]);
		dray_pair_view_free(&job->runs[i].view);
	}
	for (int i = 0; i < DRAY_PAIR_STATE_COUNT; i++)
		dray_bitmap_free(&job->in[i]);
	dray_bitmap_free(&job->with_goal);
	dray_bitmap_free(&job->retiring);
	dray_bitmap_free(&job->retiring_itself);
	dray_bitmap_free(&job->look);
	dray_bitmap_free(&job->looking);
	free(job->runs);
	free(job->pick);
	free(job->saved_document);
	free(job->token);
	split_hooks_end(job);
	dray_session_free(job->s);
	free(job);
}

struct dray_pair *run_pair(struct pair_run *run)
{
	return &run->job->s->pairs[run->index];
}

bool job_live(const struct job *job)
{
	for (int state = 0; state < DRAY_PAIR_STATE_COUNT; state++)
		if (job->in[state].nset && !dray_state_final((enum dray_pair_state)state))
			return true;
	return job->retiring_itself.nset > 0;
}

bool job_open(const struct job *job)
{
	return job->retiring.nset || job_live(job);
}

void run_note_retire(struct pair_run *run)
{
	struct job *job = run->job;
	const struct dray_retired *r = &job->s->pairs[run->index].retired;
	dray_bitmap_clear(&job->retiring, run->index);
	dray_bitmap_clear(&job->retiring_itself, run->index);
	if (r->state != DRAY_RETIRED_PENDING)
		return;
	dray_bitmap_set(&job->retiring, run->index);
	if (r->automatic)
		dray_bitmap_set(&job->retiring_itself, run->index);
}

bool pair_offline(const struct dray_pair *p)
{
	return !dray_source_volume(&p->source);
}

bool pair_pause_wanted(const struct job *job, const struct dray_pair *p)
{
	unsigned session = job->s->pause_reasons;
	/* Its window and its max_duration hold what it transfers: what is in sync has nothing to. */
	if (p->state == DRAY_PAIR_SYNCED || (p->state == DRAY_PAIR_PAUSED && run_resumes_synced(&job->runs[p - job->s->pairs])))
		session &= ~(unsigned)(DRAY_PAUSE_WINDOW | DRAY_PAUSE_MAX_DURATION);
	return session || p->pause_reasons;
}

enum dray_when job_when(const struct job *job)
{
	const struct dray_session *s = job->s;
	if (s->held_by_undo)
		return DRAY_WHEN_MANUAL;
	/* A copy is split as soon as it can be, unless the document says when. */
	if (s->mode == DRAY_MODE_COPY && !json_object_get(json_object_get(s->doc, "switch"), "when"))
		return DRAY_WHEN_SYNCED;
	return s->when;
}

/* ---- the agent's own notes, saved beside the document ---- */

json_t *run_work(const struct pair_run *run)
{
	json_t *work = json_pack("{s:s, s:b, s:s, s:s, s:[I,I,I,I,I,I]}", "goal", goal_words[run->goal], "pause_detach", run->pause_detach,
		"actor", run->actor, "incarnation", run->incarnation, "counters", (json_int_t)run->base_copied,
		(json_int_t)run->base_skipped, (json_int_t)run->base_recopied, (json_int_t)run->last_copied,
		(json_int_t)run->last_skipped, (json_int_t)run->last_recopied);
	if (run->verify_asked)
		json_object_set_new(work, "verify",
			json_pack("{s:i, s:b}", "sample", (int)run->verify_sample, "repair", run->verify_repair));
	return work;
}

static uint64_t counter(const json_t *list, size_t at)
{
	json_int_t v = json_integer_value(json_array_get(list, at));
	return v > 0 ? (uint64_t)v : 0;
}

void run_work_load(struct pair_run *run, const json_t *work)
{
	const char *goal = json_string_value(json_object_get(work, "goal"));
	const char *actor = json_string_value(json_object_get(work, "actor"));
	const char *incarnation = json_string_value(json_object_get(work, "incarnation"));
	const json_t *counters = json_object_get(work, "counters");
	run->goal = GOAL_NONE;
	for (int g = 0; goal && g < GOAL_COUNT; g++)
		if (!strcmp(goal, goal_words[g]))
			run->goal = (enum pair_goal)g;
	run->pause_detach = json_is_true(json_object_get(work, "pause_detach"));
	snprintf(run->actor, sizeof run->actor, "%s", actor ? actor : "");
	snprintf(run->incarnation, sizeof run->incarnation, "%s", incarnation ? incarnation : "");
	run->base_copied = counter(counters, 0);
	run->base_skipped = counter(counters, 1);
	run->base_recopied = counter(counters, 2);
	run->last_copied = counter(counters, 3);
	run->last_skipped = counter(counters, 4);
	run->last_recopied = counter(counters, 5);
	const json_t *verify = json_object_get(work, "verify");
	run->verify_asked = json_is_object(verify);
	run->verify_sample = (unsigned)json_integer_value(json_object_get(verify, "sample"));
	run->verify_repair = json_is_true(json_object_get(verify, "repair"));
}

/* ---- the answer ---- */

static void put_phase(json_t *doc, const char *phase)
{
	json_object_set_new(doc, "phase", phase ? json_string(phase) : json_null());
}

/* Steals it. */
static void put_bound(json_t *doc, json_t *bound)
{
	if (bound)
		json_object_set_new(doc, "bound_by", bound);
}

/* What applications feel of it: dray-iod's words, of the volume that they use. */
static void put_latency(json_t *doc, const struct pair_run *run)
{
	static const char *const keys[] = { "latency_us", "copy_window" };
	const struct dray_pair *p = &run->job->s->pairs[run->index];
	if (pair_offline(p) || dray_state_final(p->state) || !run->view_valid || !run->view.served)
		return;
	for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
		json_t *value = json_object_get(run->view.volume, keys[i]);
		if (value)
			json_object_set_new(doc, keys[i], json_deep_copy(value));
	}
}

static void add_reason(json_t *doc, const char *why)
{
	const char *reason = json_string_value(json_object_get(doc, "reason"));
	json_object_set_new(doc, "reason", reason ? json_sprintf("%s; %s", reason, why) : json_string(why));
}

static void put_due(json_t *doc, time_t due)
{
	char at[40];
	if (due)
		json_object_set_new(doc, "start_due", json_string(dray_instant_format(due, at, sizeof at)));
}

static uint64_t verified_bytes(const struct pair_run *run)
{
	if (!run->view_valid || !run->view.n_targets)
		return 0;
	return run->view.primary_target >= 0 ? run->view.source.verify_compared_bytes : run->view.targets[0].verify_compared_bytes;
}

/* What its pairs have is told where they have any: of those that are soon over none is known. */
static void put_rate(json_t *doc, uint64_t rate)
{
	json_t *progress = json_object_get(doc, "progress");
	if (rate != DRAY_UNKNOWN && !json_integer_value(json_object_get(progress, "rate")))
		json_object_set_new(progress, "rate", json_integer((json_int_t)rate));
}

json_t *job_document(const struct job *job, bool details)
{
	json_t *doc = dray_session_to_json(job->s, details);
	if (job->s->held_by_undo) { /* H19: an undo sets it */
		json_t *sw = json_object_get(doc, "switch");
		if (!sw)
			json_object_set_new(doc, "switch", sw = json_object());
		json_object_set_new(sw, "when", json_string("manual"));
	}
	char waits[300];
	if (switch_waits(job, waits, sizeof waits))
		add_reason(doc, waits);
	if (limits_stop(job, NULL, waits, sizeof waits) || schedule_paused(job, waits, sizeof waits))
		add_reason(doc, waits);
	if (schedule_waits(job, waits, sizeof waits))
		json_object_set_new(doc, "reason", json_string(waits));
	else
		waits[0] = 0;
	put_due(doc, job_periodic(job) && !job_count(job, DRAY_PAIR_SCHEDULED) ? generation_due(job) : schedule_due(job));
	put_rate(doc, job_rate(job));
	eta_put(job, doc, details);
	put_phase(doc, job_phase(job));
	put_bound(doc, job_bound(job));
	json_t *pairs = json_object_get(doc, "pairs");
	for (size_t i = 0; details && i < job->s->n_pairs; i++) {
		const struct pair_run *run = &job->runs[i];
		json_t *p = json_array_get(pairs, i);
		if (!json_is_object(p))
			continue;
		char why[300];
		if (run_waits(run, why, sizeof why) || limits_stop(job, &job->s->pairs[i], why, sizeof why))
			json_object_set_new(p, "reason", json_string(why));
		if (waits[0] && job->s->pairs[i].state == DRAY_PAIR_SCHEDULED)
			json_object_set_new(p, "reason", json_string(waits));
		put_phase(p, pair_phase(run));
		put_bound(p, pair_bound(run));
		put_latency(p, run);
		if (run->verifying)
			json_object_set_new(json_object_get(p, "progress"), "bytes_verified",
				json_integer((json_int_t)verified_bytes(run)));
		if (job->s->pairs[i].state == DRAY_PAIR_SWITCHED && run->view_valid && run->view.source.found &&
			run->view.source.dirty_bytes)
			json_object_set_new(p, "undo_dirty_bytes", json_integer((json_int_t)run->view.source.dirty_bytes));
	}
	return doc;
}
