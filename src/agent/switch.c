/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Switch, undo and split: several pairs, one call, one outcome.
 *
 *   1. The intent is recorded: token, incarnation of dray-iod, and for each pair its volume, leg and epoch e. The pairs are
 *      `switching`. Nothing was asked of dray-iod yet.
 *   2. The call, with the token. dray-iod makes all members or none, with one durable record that raises each epoch to e + 1.
 *   3. The outcome is recorded: `switched` (or, for an undo, `synced`; for a split, `completed`), or back.
 *
 * The answer may be lost, and either program killed between any two of these. What then decides is dray-iod: its answer
 * to the token while it is the same incarnation; the same call again if it never heard of the token (it is carried
 * out once however often it is asked); and after a restart of dray-iod, which forgets tokens, the epochs: all at e
 * means it did not happen, all at e + 1 that it did (H9, H10). A split raises no epoch: its legs are gone, or are there.
 *
 * With `commit: switched` the old sources are let go with the switch itself: they stay as one image of its instant, and the
 * commit that follows finds nothing left to give up.
 *
 * An undo holds back the automatic switch (H19). A failed automatic switch is tried again after a pause, `attempts` times;
 * after that on_failure says: stay synced and wait for a person, or fail. When a switch is due by itself: due.c.
 */
#include "agent/agent.h"

#include "agent/generation.h"
#include "agent/metrics.h"
#include "agent/retire.h"
#include "agent/trouble.h"
#include "agent/verify.h"
#include "base/log.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define ATTEMPT_PAUSE (2 * SECOND)
#define FORCED_DEADLINE (60 * SECOND)

static bool is_undo(const struct job *job)
{
	return !strcmp(job->switch_kind, "undo");
}

/* A split that keeps its legs, for a generation. */
static bool is_moment(const struct job *job)
{
	return !strcmp(job->switch_kind, "moment");
}

static bool is_split(const struct job *job)
{
	return !strcmp(job->switch_kind, "split") || is_moment(job);
}

static bool member(const struct job *job, size_t i)
{
	const struct dray_pair *p = &job->s->pairs[i];
	return p->state == DRAY_PAIR_SWITCHING && p->switch_token && job->token && !strcmp(p->switch_token, job->token);
}

/* ---- 2: the call ---- */

static void answered(void *arg, const struct dray_error *err, json_t *result);

static void call_out(struct job *job)
{
	struct agent *a = job->agent;
	bool forced = false;
	size_t n = 0, all = job_count(job, DRAY_PAIR_SWITCHING);
	const struct dray_vehicle *vehicle = NULL;
	struct dray_switch_member *members = calloc(all, sizeof *members);
	int(*legs)[9] = calloc(all, sizeof *legs);
	if (!members || !legs)
		abort();
	job_each (job, SWITCHING, i) {
		struct dray_pair *p = &job->s->pairs[i];
		const struct pair_run *run = &job->runs[i];
		if (!member(job, i))
			continue;
		vehicle = run->vehicle;
		int k = 0;
		for (size_t t = 0; is_split(job) && t < run->view.n_targets && k < 8; t++)
			if (run->view.targets[t].found && !run->view.targets[t].held)
				legs[n][k++] = run->view.targets[t].leg;
		legs[n][k] = -1;
		members[n].volume = p->iod_volume;
		members[n].leg = is_undo(job) ? p->reverse_leg : p->targets[0].iod_leg;
		members[n].epoch = p->epoch_before;
		members[n].accept_bad_bytes = p->accept_bad_bytes;
		members[n].force = p->switch_forced;
		forced |= p->switch_forced;
		n++;
	}
	if (vehicle) {
		job->switch_called = true;
		if (is_split(job))
			vehicle->split_group(&a->rpc, members, (const int(*)[9])legs, n, job->s->deadline_ns, is_moment(job),
				job->token, answered, job);
		else
			/* What a dead storage received may land for a while yet (H6), and nobody is served by it meanwhile. */
			vehicle->switch_group(&a->rpc, members, n,
				forced && job->s->deadline_ns < FORCED_DEADLINE ? FORCED_DEADLINE : job->s->deadline_ns,
				!is_undo(job) && job->s->commit == DRAY_COMMIT_SWITCHED, job->token, answered, job);
	}
	free(members);
	free(legs);
}

/* ---- 3: the outcome ---- */

/* Its members (run_needs_list) are judged by a new list only. */
static void look_again(struct job *job)
{
	agent_refresh(job->agent);
	job_wake(job);
}

static const json_t *result_of(const json_t *result, const char *volume)
{
	size_t i;
	json_t *m;
	json_array_foreach (json_object_get(result, "members"), i, m) {
		const char *name = json_string_value(json_object_get(m, "volume"));
		if (name && !strcmp(name, volume))
			return m;
	}
	return NULL;
}

/* What dray-iod says of the targets that were let go at this instant. One that was not clean then is no image (H22). */
static void note_images(struct change *c, struct dray_pair *p, const json_t *result)
{
	size_t i;
	json_t *image;
	for (size_t t = is_split(c->job) ? 0 : 1; t < p->n_targets; t++) {
		struct dray_target *target = &p->targets[t];
		const char *why = NULL;
		json_array_foreach (json_object_get(result, "images"), i, image)
			if (json_integer_value(json_object_get(image, "leg")) == target->iod_leg)
				why = json_string_value(json_object_get(image, "error"));
		snprintf(target->state, sizeof target->state, "detached");
		if (!why && !target->error)
			target->dirty_bytes = 0;
		if (!why || target->error)
			continue;
		set_text(&target->error, "no image of the switch: %s", why);
		change_event(c, p->id, "target-failed", NULL, "detached", "target %s: %s", target->at.resource, target->error);
	}
}

static void note_blackout(struct job *job, struct dray_pair *p, const json_t *result)
{
	json_int_t us = json_integer_value(json_object_get(result, "blackout_us"));
	p->blackout_us = json_is_integer(json_object_get(result, "blackout_us")) && us >= 0 ? (uint64_t)us : DRAY_UNKNOWN;
	metrics_blackout(job->agent, p->blackout_us);
}

static void done_pair(struct change *c, struct pair_run *run, const json_t *result)
{
	struct job *job = run->job;
	struct dray_pair *p = run_pair(run);
	change_touch(c, run);
	set_text(&p->switch_token, NULL); /* back again with the rest if this is not recorded */
	if (is_moment(job)) {
		note_blackout(job, p, result);
		if (job->s->verify != DRAY_VERIFY_NONE)
			verify_void(p); /* the next one is verified anew */
		change_pair(c, run, DRAY_PAIR_COPYING, NULL);
		return;
	}
	if (is_split(job)) {
		note_images(c, p, result);
		change_goal(c, run, GOAL_FINISH); /* a target that was given up is no image, and is still attached */
		return;
	}
	note_blackout(job, p, result);
	json_t *lost = json_object_get(result, "lost");
	json_int_t lost_bytes = json_integer_value(json_object_get(lost, "bytes"));
	char what[120] = "";
	if (p->switch_forced && lost)
		snprintf(what, sizeof what, "; forced: %lld bytes of the source are older than what was written last", (long long)lost_bytes);
	else if (p->switch_forced)
		snprintf(what, sizeof what, "; forced: what the source lacked is not known, dray-iod was restarted");
	if (is_undo(job)) {
		json_decref(p->undo_lost);
		p->undo_lost = p->switch_forced && lost ? json_incref(lost) : NULL;
	}
	change_event(c, p->id, is_undo(job) ? "undone" : "switched", NULL, NULL, "epoch %llu to %llu, blackout %lld us%s",
		(unsigned long long)p->epoch_before, (unsigned long long)p->epoch_before + 1,
		p->blackout_us == DRAY_UNKNOWN ? -1LL : (long long)p->blackout_us, what);
	p->switch_forced = false;
	if (is_undo(job)) {
		if (job->s->verify != DRAY_VERIFY_NONE)
			verify_void(p); /* the next switch is verified anew */
		change_pair(c, run, DRAY_PAIR_SYNCED, NULL);
		return;
	}
	note_images(c, p, result); /* the further targets stay as they were at this instant */
	p->switched_at = wall_now();
	change_pair(c, run, DRAY_PAIR_SWITCHED, NULL);
}

static void it_happened(struct job *job, const json_t *result)
{
	struct change c;
	change_begin(&c, job->agent, job, ACTOR_SELF);
	change_intent_end(&c, "switched");
	if (is_moment(job))
		generation_split(&c, result);
	job_each (job, SWITCHING, i) {
		if (!member(job, i))
			continue;
		change_touch(&c, &job->runs[i]);
		run_needs_list(&job->runs[i]);
		job->s->pairs[i].switch_attempts = 0;
		done_pair(&c, &job->runs[i], result_of(result, job->s->pairs[i].iod_volume));
	}
	if (is_undo(job))
		job->s->held_by_undo = true;
	change_session_reason(&c, NULL);
	if (change_end(&c) == 0) {
		set_text(&job->token, NULL);
		job->switch_error[0] = 0;
	} else {
		job->switch_retry_at = job->agent->now + SECOND;
	}
	look_again(job);
}

static void it_did_not(struct job *job, const char *outcome, const char *why)
{
	struct change c;
	bool undo = is_undo(job), *members = job->pick;
	unsigned failed = 0;
	change_begin(&c, job->agent, job, ACTOR_SELF);
	change_intent_end(&c, outcome);
	memset(members, 0, job->s->n_pairs * sizeof *members);
	job_each (job, SWITCHING, i) {
		members[i] = member(job, i);
		if (!members[i])
			continue;
		change_touch(&c, &job->runs[i]);
		run_needs_list(&job->runs[i]);
		bool automatic = !job->runs[i].actor[0] || !strcmp(job->runs[i].actor, ACTOR_SELF);
		if (automatic && !undo && ++job->s->pairs[i].switch_attempts > failed)
			failed = job->s->pairs[i].switch_attempts;
		change_event(&c, job->s->pairs[i].id, "switch-failed", NULL, NULL, "%s %s: %s", job->switch_kind, outcome, why);
		change_pair(&c, &job->runs[i], undo ? DRAY_PAIR_SWITCHED : DRAY_PAIR_SYNCED, "%s %s: %s", job->switch_kind, outcome,
			why);
		set_text(&job->s->pairs[i].switch_token, NULL);
		if (is_moment(job) && job->s->pairs[i].switch_attempts >= job->s->attempts)
			job->s->pairs[i].switch_attempts = 0; /* the next moment is another chance */
	}
	if (is_moment(job))
		generation_not_split(&c, failed >= job->s->attempts, why);
	else if (failed >= job->s->attempts)
		change_session_reason(&c, "the switch failed %u times, last: %s", failed, why);
	if (change_end(&c)) {
		job->switch_retry_at = job->agent->now + SECOND;
		return;
	}
	snprintf(job->switch_error, sizeof job->switch_error, "%s: %s", outcome, why);
	set_text(&job->token, NULL);
	job->switch_retry_at = job->agent->now + ATTEMPT_PAUSE;
	job_wake_by(job, job->switch_retry_at);
	look_again(job);
	if (failed >= job->s->attempts && job->s->on_failure == DRAY_ON_FAILURE_FAIL)
		for (size_t i = 0; i < job->s->n_pairs; i++)
			if (members[i] && job->s->pairs[i].state == DRAY_PAIR_SYNCED)
				pair_fail(&job->runs[i], false, "the switch failed %u times, last: %s", failed, why);
}

static void answered(void *arg, const struct dray_error *err, json_t *result)
{
	struct job *job = arg;
	job->switch_called = false;
	if (!job->token)
		return;
	if (!err) {
		it_happened(job, result);
	} else if (err->code == -ENOTCONN || err->code == -ECANCELED) {
		job->switch_retry_at = job->agent->now; /* the outcome is asked for when dray-iod is back */
	} else if (!strcmp(err->kind, "in_doubt")) {
		job->switch_retry_at = job->agent->now + SECOND / 5;
	} else {
		const json_t *data = json_object_get(result, "data");
		it_did_not(job, json_is_true(json_object_get(data, "suspended")) ? "rolled back" : "refused", err->text);
	}
	job_wake(job);
}

/* dray-iod does not know the token and is another incarnation: the volumes tell. */
static void judge_by_volumes(struct job *job)
{
	unsigned before = 0, after = 0, other = 0;
	job_each (job, SWITCHING, i) {
		const struct pair_run *run = &job->runs[i];
		const struct dray_pair *p = &job->s->pairs[i];
		if (!member(job, i))
			continue;
		if (!run_settled(run)) {
			job->switch_retry_at = job->agent->now + SECOND / 5;
			agent_refresh(job->agent);
			job_wake_by(job, job->switch_retry_at);
			return;
		}
		if (is_split(job)) {
			bool any = false;
			for (size_t t = 0; t < run->view.n_targets; t++)
				any |= run->view.targets[t].found && strcmp(run->view.targets[t].state, "detached") &&
				       !run->view.targets[t].held;
			if (any)
				before++;
			else
				after++;
		} else if (run->view.found && run->view.epoch == p->epoch_before) {
			before++;
		} else if (run->view.found && run->view.epoch == p->epoch_before + 1) {
			after++;
		} else {
			other++;
		}
	}
	if (!other && !before) {
		it_happened(job, NULL);
	} else if (!other && !after) {
		it_did_not(job, "interrupted", "dray-iod or the agent was restarted before it was done");
	} else {
		/* Cannot come from dray-iod, whose record is one for all: somebody else's hand. Nothing is touched. */
		if (job->switch_retry_at + 30 * SECOND < job->agent->now || !job->s->reason) {
			set_text(&job->s->reason, "after an interrupted %s: %u volumes before it, %u after it, %u elsewhere",
				job->switch_kind, before, after, other);
			dray_log(DRAY_LOG_ERROR, "switch-unknown", "session %s: %s", job->s->id, job->s->reason);
		}
		job->switch_retry_at = job->agent->now + 5 * SECOND;
		job_wake_by(job, job->switch_retry_at);
	}
}

static void status_answered(void *arg, const struct dray_error *err, json_t *result)
{
	struct job *job = arg;
	struct agent *a = job->agent;
	job->switch_called = false;
	job->switch_retry_at = a->now + SECOND / 5;
	job_wake_by(job, job->switch_retry_at);
	if (!job->token || err)
		return;
	const char *outcome = json_string_value(json_object_get(result, "outcome"));
	const char *why = json_string_value(json_object_get(result, "message"));
	if (!outcome || !strcmp(outcome, "running") || !strcmp(outcome, "in_doubt"))
		return;
	if (!strcmp(outcome, "switched"))
		it_happened(job, result);
	else if (!strcmp(outcome, "refused"))
		it_did_not(job, "refused", why ? why : "by dray-iod");
	else if (!strcmp(outcome, "rolled_back"))
		it_did_not(job, "rolled back", why ? why : "by dray-iod");
	else if (!strcmp(job->intent_incarnation, iod_incarnation(a->iod)))
		call_out(job); /* it never came there, or comes late: once in any case */
	else
		judge_by_volumes(job);
}

/* ---- 1: the intent ---- */

static int check_member(struct job *job, size_t i, const char *kind, unsigned consent, struct dray_error *err)
{
	bool force = consent & SWITCH_FORCE, accept_bad = force || (consent & SWITCH_ACCEPT_BAD);
	const struct pair_run *run = &job->runs[i];
	const struct dray_pair *p = &job->s->pairs[i];
	bool undo = !strcmp(kind, "undo"), split = !strcmp(kind, "split") || !strcmp(kind, "moment");
	const struct dray_leg_view *leg = undo ? &run->view.source : &run->view.targets[0];
	char why[300];
	if (p->state != (undo ? DRAY_PAIR_SWITCHED : DRAY_PAIR_SYNCED))
		return dray_error_kind(err, -EAGAIN, "not_synced", "pair %u is %s", p->id, dray_state_word(p->state));
	if (!run_settled(run))
		return dray_error_kind(err, -EAGAIN, "unsettled", "pair %u has another call under way", p->id);
	if (!volume_trusted(job->agent, &run->view, p->iod_volume, why, sizeof why))
		return dray_error_kind(err, -EAGAIN, "epoch", "pair %u: %s", p->id, why);
	if (!leg->found)
		return dray_error_kind(err, -EAGAIN, "no_way_back", "pair %u: the %s is no leg of volume %s any more", p->id,
			undo ? "old source" : "target", p->iod_volume);
	if (force && (leg->held || leg->unsettled || (strcmp(leg->state, "mirror") && strcmp(leg->state, "copying"))))
		return dray_error_kind(err, -EAGAIN, "no_way_back", "pair %u: the old source can't be used either: it is %s%s%s", p->id,
			leg->state, leg->error[0] ? ": " : "", leg->error);
	if (!leg->synced && !force)
		return dray_error_kind(err, -EAGAIN, "not_synced", "pair %u: %llu bytes of the %s are not in sync%s%s", p->id,
			(unsigned long long)leg->dirty_bytes, undo ? "old source" : "target", leg->error[0] ? ": " : "",
			leg->error);
	if (!accept_bad && trouble_bad_bytes(job, i, split)) {
		trouble_bad_text(job, i, split, why, sizeof why);
		return dray_error_kind(err, -EAGAIN, "bad_ranges", "%s", why);
	}
	/* One of the two is wrong, and nobody knows which. */
	if (verify_differs(p) && !force)
		return dray_error_kind(err, -EAGAIN, "differs",
			"pair %u: a verification found %s; verify it again, with --repair if the %s is right", p->id,
			verify_where(p, why, sizeof why), undo ? "target" : "source");
	if (!undo && verify_missing(run))
		return dray_error_kind(err, -EAGAIN, "not_verified", "pair %u is being verified: %lld of %llu bytes are compared", p->id,
			(long long)json_integer_value(json_object_get(p->verification, "bytes_compared")),
			(unsigned long long)run->view.size_bytes);
	return 0;
}

int switch_check(struct job *job, const char *kind, const bool *pairs, unsigned consent, struct dray_error *err)
{
	struct agent *a = job->agent;
	unsigned n = 0;
	if (job->token)
		return dray_error_kind(err, -EBUSY, "busy", "another %s of this session is under way", job->switch_kind);
	if (!iod_ready(a->iod))
		return dray_error_kind(err, -ENOTCONN, "unreachable", "dray-iod does not answer");
	for (size_t i = 0; i < job->s->n_pairs; i++) {
		if (!pairs[i])
			continue;
		int rc = check_member(job, i, kind, consent, err);
		if (rc)
			return rc;
		n++;
	}
	if (!n)
		return dray_error_kind(err, -EAGAIN, "not_synced", "no pair to %s", kind);
	return 0;
}

int switch_begin(struct job *job, const char *kind, const bool *pairs, unsigned consent, const char *actor, struct dray_error *err)
{
	struct agent *a = job->agent;
	bool split = !strcmp(kind, "split") || !strcmp(kind, "moment");
	int rc = switch_check(job, kind, pairs, consent, err);
	if (rc)
		return rc;
	uint32_t random = 0;
	if (getrandom(&random, sizeof random, 0) != sizeof random)
		return dray_error_errno(err, -errno, "a random number");
	set_text(&job->token, "%s/%s/%llx-%08x", job->s->id, kind, (unsigned long long)wall_ms(), random);
	snprintf(job->switch_kind, sizeof job->switch_kind, "%s", kind);
	snprintf(job->intent_incarnation, sizeof job->intent_incarnation, "%s", iod_incarnation(a->iod));
	json_t *list = json_array();
	struct change c;
	change_begin(&c, a, job, actor);
	for (size_t i = 0; i < job->s->n_pairs; i++) {
		struct pair_run *run = &job->runs[i];
		struct dray_pair *p = &job->s->pairs[i];
		if (!pairs[i])
			continue;
		change_touch(&c, run);
		verify_stop(&c, run, !strcmp(kind, "undo") ? "an undo" : "a switch");
		if (strcmp(actor, ACTOR_SELF))
			p->switch_attempts = 0; /* a person's command begins anew */
		set_text(&p->switch_token, "%s", job->token);
		p->epoch_before = run->view.epoch;
		/* What is known of now, and no more: a sector that goes bad meanwhile is refused by dray-iod. */
		p->accept_bad_bytes = 0;
		p->switch_forced = consent & SWITCH_FORCE;
		if (consent || job->s->accept_bad_ranges)
			p->accept_bad_bytes = split ? run->view.bad_bytes : run->view.bad_behind_bytes;
		if (!strcmp(kind, "switch")) {
			p->reverse_leg = run->view.source.leg;
			retire_note_origin(a, p, p->reverse_leg);
		}
		snprintf(run->actor, sizeof run->actor, "%s", actor);
		json_array_append_new(list,
			json_pack("{s:i, s:s, s:i, s:I}", "pair", (int)p->id, "volume", p->iod_volume, "leg",
				strcmp(kind, "undo") ? run->view.targets[0].leg : p->reverse_leg, "epoch",
				(json_int_t)p->epoch_before));
		change_pair(&c, run, DRAY_PAIR_SWITCHING, NULL);
	}
	json_t *members = json_pack("{s:s, s:o}", "incarnation", job->intent_incarnation, "members", list);
	char *text = json_dumps(members, JSON_COMPACT);
	json_decref(members);
	change_intent(&c, kind, text ? text : "{}");
	free(text);
	if (!strcmp(kind, "moment"))
		generation_splitting(job);
	rc = change_end(&c);
	if (rc) {
		set_text(&job->token, NULL);
		*err = c.err;
		return rc;
	}
	job->switch_error[0] = 0;
	call_out(job);
	return 0;
}

void switch_wake(struct job *job)
{
	struct agent *a = job->agent;
	if (!job_live(job) || !iod_ready(a->iod))
		return;
	if (job->token) {
		if (job->switch_called)
			return;
		if (a->now < job->switch_retry_at) {
			job_wake_by(job, job->switch_retry_at);
			return;
		}
		job_each (job, SWITCHING, i) {
			if (!member(job, i))
				continue;
			job->switch_called = true;
			job->runs[i].vehicle->switch_status(&a->rpc, job->token, status_answered, job);
			return;
		}
		return;
	}
	commit_due(job);
	if (a->now < job->switch_retry_at)
		job_wake_by(job, job->switch_retry_at);
	else
		switch_due(job);
}
