/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The next call of one pair: what is wanted (state, pause reasons, goal) against what is there (the view).
 *
 * Each step makes at most one call and returns; its answer, and the list asked for after it, bring the next step. So it does not
 * matter in which step a program was killed: the comparison finds the legs by their tags and goes on.
 */
#include "agent/agent.h"

#include "agent/advise.h"
#include "agent/call.h"
#include "agent/generation.h"
#include "agent/places.h"
#include "agent/retire.h"
#include "agent/speeds.h"
#include "agent/verify.h"
#include "base/log.h"
#include "base/min.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A volume that is not served: a pair that is to start waits so long before it fails. */
#define SERVED_WAIT (60 * SECOND)

void pair_fail(struct pair_run *run, bool halt, const char *fmt, ...)
{
	struct job *job = run->job;
	char why[400];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(why, sizeof why, fmt, ap);
	va_end(ap);
	struct change c;
	change_begin(&c, job->agent, job, ACTOR_SELF);
	change_pair(&c, run, DRAY_PAIR_FAILED, "%s", why);
	change_goal(&c, run, halt ? GOAL_HALT : GOAL_NONE);
	verify_forget(run);
	change_session_reason(&c, "pair %u: %s", run_pair(run)->id, why);
	if (job->s->on_error == DRAY_ON_ERROR_SESSION)
		for (size_t i = 0; i < job->s->n_pairs; i++)
			if (dray_verb_legal(DRAY_VERB_CANCEL, job->s->pairs[i].state) == DRAY_LEGAL &&
				job->s->pairs[i].state != DRAY_PAIR_FAILED)
				change_goal(&c, &job->runs[i], GOAL_CANCEL);
	change_end(&c);
}

void pair_again(struct change *c, struct pair_run *run)
{
	change_touch(c, run);
	struct dray_pair *p = run_pair(run);
	for (size_t t = 0; t < p->n_targets; t++)
		set_text(&p->targets[t].error, NULL);
	verify_void(p);
	p->switch_attempts = 0;
	run->retry_at = run->backoff = 0;
	change_goal(c, run, GOAL_NONE);
	change_pair(c, run, DRAY_PAIR_QUEUED, NULL);
}

/* A target that takes no part any more. */
static bool target_over(const struct dray_pair *p, size_t t)
{
	return t > 0 && (p->targets[t].error || !strcmp(p->targets[t].state, "detached"));
}

static bool cleanup_call(struct pair_run *run)
{
	if (!pair_offline(run_pair(run)) || !run->view.found)
		return false;
	run->vehicle->cleanup(&run->job->agent->rpc, run->job->s, run_pair(run), call_done, call_new(run, NULL));
	return true;
}

/* Lets the legs go one after the other, then what `prepare` made. false: nothing is left. */
static bool let_go(struct pair_run *run)
{
	for (size_t t = 0; t < run->view.n_targets; t++) {
		const struct dray_leg_view *leg = &run->view.targets[t];
		if (!leg->found || leg->primary || !strcmp(leg->state, "detached"))
			continue;
		run->vehicle->cancel(&run->job->agent->rpc, run_pair(run), leg->leg, call_done, call_new(run, NULL));
		return true;
	}
	return cleanup_call(run);
}

/* What a pair that is canceled leaves behind, of each target: never destroyed, and told. NULL: nothing was attached, or no memory. To be
 * freed. The pair's progress
 * is that of its slowest target; where there are several each has what its own map says. */
static char *what_stays(const struct dray_pair *p)
{
	const struct dray_progress *g = &p->progress;
	char *text = NULL;
	if (p->n_targets == 0 || !p->targets[0].state[0] || g->bytes_total == DRAY_UNKNOWN || g->bytes_done == DRAY_UNKNOWN)
		return NULL;
	for (size_t t = 0; t < p->n_targets; t++) {
		const struct dray_target *at = &p->targets[t];
		bool one = p->n_targets == 1, idle = p->state == DRAY_PAIR_SYNCED || p->state == DRAY_PAIR_PAUSED;
		uint64_t dirty = min_u64(at->dirty_bytes, g->bytes_total);
		uint64_t done = one ? g->bytes_done : g->bytes_total - dirty;
		bool all = done == g->bytes_total && !at->dirty_bytes && (!one || (idle && !p->dirty_bytes));
		char *longer = NULL;
		int n = !at->state[0]
				? asprintf(&longer, "%s; nothing was copied to %s", text ? text : "canceled", at->at.resource)
			: all ? asprintf(&longer, "%s; %s keeps a complete copy, as of then", text ? text : "canceled", at->at.resource)
			      : asprintf(&longer, "%s; %s keeps what was copied, %llu of %llu bytes", text ? text : "canceled", at->at.resource,
					(unsigned long long)done, (unsigned long long)g->bytes_total);
		free(text);
		if (n < 0)
			return NULL;
		text = longer;
	}
	return text;
}

static void finish(struct pair_run *run, enum dray_pair_state state, bool unlock, const char *reason)
{
	struct change c;
	char actor[32];
	snprintf(actor, sizeof actor, "%s", run->actor[0] ? run->actor : ACTOR_SELF);
	bool moved = state == DRAY_PAIR_COMMITTED || state == DRAY_PAIR_COMPLETED;
	moved &= state != DRAY_PAIR_COMMITTED || run->view.found; /* a source is not retired on the word of a lost record */
	bool retires = moved && run->job->s->retire && run->job->s->mode == DRAY_MODE_MOVE;
	if (retires)
		change_begin(&c, run->job->agent, run->job, actor); /* locks are taken in it */
	else
		change_begin_soon(&c, run->job, actor, NULL);
	change_touch(&c, run);
	struct dray_pair *p = run_pair(run);
	bool periodic = job_periodic(run->job);
	char *stays = state == DRAY_PAIR_CANCELED && !reason && !periodic ? what_stays(p) : NULL, stay[120];
	if (state == DRAY_PAIR_CANCELED && !reason && periodic) {
		generation_stay(run->job, stay, sizeof stay);
		reason = stay;
	}
	if (stays)
		reason = stays;
	if (p->state != state)
		change_pair(&c, run, state, reason ? "%s" : NULL, reason);
	free(stays);
	if (state == DRAY_PAIR_CANCELED) {
		for (size_t t = 0; t < p->n_targets; t++)
			if (p->targets[t].state[0])
				snprintf(p->targets[t].state, sizeof p->targets[t].state, "detached");
	}
	if (state == DRAY_PAIR_COMMITTED)
		change_event(&c, p->id, "committed", NULL, NULL, NULL);
	change_goal(&c, run, GOAL_NONE);
	if (state == DRAY_PAIR_COMPLETED || state == DRAY_PAIR_COMMITTED)
		advise_done(&c, run);
	if (unlock)
		change_unlock(&c, run);
	if (retires)
		retire_begin(&c, run, dray_retire_how(run->job->s), true); /* which keeps the source locked */
	change_end(&c);
}

static void goal_step(struct pair_run *run)
{
	struct dray_pair *p = run_pair(run);
	switch (run->goal) {
	case GOAL_CANCEL:
		if (p->state == DRAY_PAIR_SWITCHING)
			return; /* its outcome first */
		if (!let_go(run) && generation_over(run))
			finish(run, DRAY_PAIR_CANCELED, true, p->state == DRAY_PAIR_FAILED ? p->reason : NULL);
		return;
	case GOAL_HALT:
		if (!let_go(run))
			finish(run, DRAY_PAIR_FAILED, false, NULL);
		return;
	case GOAL_FINISH:
		if (!let_go(run))
			finish(run, DRAY_PAIR_COMPLETED, true, NULL);
		return;
	case GOAL_COMMIT:
		/* The target serves; the old source is the leg to give up. Locks last until it is closed (H11). */
		if (run->view.source.found && !run->view.source.primary)
			run->vehicle->commit(&run->job->agent->rpc, p, run->view.source.leg, call_done, call_new(run, NULL));
		else if (run->view.primary_target >= 0)
			finish(run, DRAY_PAIR_COMMITTED, true, NULL);
		else if (!run->view.found) /* nothing is left to let go */
			finish(run, DRAY_PAIR_COMMITTED, true, "its volume was gone from dray-iod: nothing was touched");
		return;
	case GOAL_NONE:
	case GOAL_COUNT: return;
	}
}

/*
 * A start that was refused. An agent that was killed leaves calls behind, and dray-iod may get to them after this one's first list: what it
 * had asked for is there by the time this one asks, and is the reason that it is refused. So a refusal counts only where the list that
 * follows it does not show what was asked for.
 *
 * "busy" means that another call of that volume takes long: tried again after the back-off. Where the pair is canceled meanwhile, none of it
 * matters any more.
 */
static bool start_was_refused(struct pair_run *run, const struct dray_error *err)
{
	return err && run_pair(run)->state == DRAY_PAIR_STARTING && run->goal == GOAL_NONE && strcmp(err->kind, "busy");
}

static void note_refusal(struct pair_run *run, size_t target, const struct dray_error *err)
{
	if (!start_was_refused(run, err))
		return;
	run->retry_at = run->backoff = 0;
	run->refusal_target = target;
	set_text(&run->refusal, "%s", err->text);
}

static void attached(struct pair_run *run, const struct dray_error *err)
{
	const struct dray_pair *p = run_pair(run);
	/* The calls go out in order: the first that is missing is the one that failed. */
	for (size_t t = 0; t < p->n_targets; t++)
		if (!run->view.targets[t].found && !target_over(p, t)) {
			note_refusal(run, t, err);
			return;
		}
}

static void prepared(struct pair_run *run, const struct dray_error *err)
{
	note_refusal(run, run_pair(run)->n_targets, err);
}

static void fail_start(struct pair_run *run, size_t t, const char *why)
{
	struct dray_pair *p = run_pair(run);
	if (t >= p->n_targets) {
		pair_fail(run, true, "source %s: %s", p->source.resource, why);
		return;
	}
	if (t == 0) {
		pair_fail(run, true, "target %s: %s", p->targets[0].at.resource, why);
		return;
	}
	struct change c;
	change_begin(&c, run->job->agent, run->job, ACTOR_SELF);
	change_touch(&c, run);
	set_text(&p->targets[t].error, "%s", why);
	change_event(&c, p->id, "target-failed", NULL, NULL, "target %s: %s", p->targets[t].at.resource, why);
	change_end(&c);
}

/* true: the pair, or one of its targets, has failed. */
static bool refused(struct pair_run *run)
{
	size_t t = run->refusal_target;
	char *why = run->refusal;
	if (!why)
		return false;
	run->refusal = NULL;
	bool there = t < run_pair(run)->n_targets ? run->view.targets[t].found : run->view.found;
	if (!there)
		fail_start(run, t, why);
	free(why);
	return !there;
}

/* dray-iod tried before it gave the leg up; and whether a name that may mean another disk now is the one that was recorded
 * is a person's to say (H2). So this is not tried for ever. */
static void retried(struct pair_run *run, const struct dray_error *err)
{
	struct dray_pair *p = run_pair(run);
	if (!start_was_refused(run, err) || !strcmp(err->kind, "not_served") || err->code == -ENOTCONN || err->code == -ECANCELED)
		return;
	run->retry_at = run->backoff = 0;
	pair_fail(run, false, "target %s: %s", p->targets[0].at.resource, err->text);
}

/* Puts all legs into the copy, or out of it. false: all are so. */
static bool pause_legs(struct pair_run *run, bool paused)
{
	struct dray_pair *p = run_pair(run);
	bool periodic = job_periodic(run->job);
	if (!paused && generation_holds(run->job))
		return true; /* its end wakes us */
	for (size_t t = 0; t < run->view.n_targets; t++) {
		const struct dray_leg_view *leg = &run->view.targets[t];
		bool detach = paused && run->pause_detach;
		if (!leg->found || leg->primary || (leg->held && !(periodic && leg->set_aside && !paused)) || (leg->paused == paused && !detach))
			continue;
		run->vehicle->pause(&run->job->agent->rpc, p, leg->leg, paused, detach, call_done, call_new(run, NULL));
		return true;
	}
	return false;
}

static void start_unrecorded(struct pair_run *run)
{
	run->record_failed = true;
}

static void start_step(struct pair_run *run)
{
	struct agent *a = run->job->agent;
	struct dray_pair *p = run_pair(run);
	struct change c;
	if (refused(run))
		return;
	if (!run->view.found) {
		if (pair_offline(p))
			run->vehicle->prepare(&a->rpc, run->job->s, p, call_done, call_new(run, prepared));
		else
			pair_fail(run, false, "volume %s is gone from dray-iod", p->iod_volume);
		return;
	}
	if (!run->view.served && !pair_offline(p)) {
		/* dray-iod goes on trying; after its restart this is how every volume begins. */
		if (!run->unserved_since)
			run->unserved_since = a->now;
		if (a->now - run->unserved_since < SERVED_WAIT) {
			set_text(&p->reason, "waits until volume %s is served: %s", p->iod_volume, run->view.why_not_served);
			run_wake_by(run, run->unserved_since + SERVED_WAIT);
		} else
			pair_fail(run, false, "volume %s is not served: %s", p->iod_volume, run->view.why_not_served);
		return;
	}
	run->unserved_since = 0;
	if (!limits_in_force(run)) {
		if (run->push.again_at)
			set_text(&p->reason, "waits until dray-iod takes its limits, which it refused: the log has why, and it is asked again");
		return;
	}
	for (size_t t = 0; t < p->n_targets; t++) {
		const struct dray_leg_view *leg = &run->view.targets[t];
		if (target_over(p, t))
			continue;
		if (!leg->found) {
			run->vehicle->start(&a->rpc, run->job->s, p, t, call_done, call_new(run, attached));
			return;
		}
		if (leg->held && !(job_periodic(run->job) && leg->set_aside)) {
			run->vehicle->retry(&a->rpc, p, leg->leg, call_done, call_new(run, retried));
			return;
		}
	}
	if (pause_legs(run, false))
		return;
	change_begin_soon(&c, run->job, ACTOR_SELF, start_unrecorded);
	change_touch(&c, run);
	p->vouched = false;
	/* A file that was made was locked by its name; a hard link to it has another. */
	for (size_t t = 0; t < p->n_targets; t++)
		if (run->view.targets[t].found && *run->view.targets[t].identity && p->targets[t].identity && !strncmp(p->targets[t].identity, "name:", 5))
			change_lock(&c, run, t, run->view.targets[t].identity);
	change_pair(&c, run, DRAY_PAIR_COPYING, NULL);
	change_end(&c);
}

/* The start could not be recorded: what was started is halted, and the pair fails as soon as that can be recorded. */
static void halt_unrecorded(struct pair_run *run)
{
	if (let_go(run))
		return;
	run->record_failed = false;
	pair_fail(run, false, "its start could not be recorded");
	if (run_pair(run)->state != DRAY_PAIR_FAILED)
		run->record_failed = true;
}

static void pause_step(struct pair_run *run)
{
	if (pause_legs(run, true))
		return;
	struct change c;
	change_begin(&c, run->job->agent, run->job, run->actor[0] ? run->actor : ACTOR_SELF);
	change_pair(&c, run, DRAY_PAIR_PAUSED, NULL);
	change_end(&c);
}

bool run_resumes_synced(const struct pair_run *run)
{
	return run->view_valid && run->view.n_targets && run->view.targets[0].found && run->view.targets[0].synced;
}

static void resume_step(struct pair_run *run)
{
	struct change c;
	bool synced = run_resumes_synced(run);
	if (synced && pause_legs(run, false))
		return;
	change_begin(&c, run->job->agent, run->job, run->actor[0] ? run->actor : ACTOR_SELF);
	change_touch(&c, run);
	run->pause_detach = false;
	change_pair(&c, run, synced ? DRAY_PAIR_SYNCED : DRAY_PAIR_QUEUED, NULL);
	change_end(&c);
}

void pair_step(struct pair_run *run)
{
	struct agent *a = run->job->agent;
	struct dray_pair *p = run_pair(run);
	char why[300];
	if (dray_state_final(p->state) || run->touched)
		return; /* it is over, or what it is now is not recorded yet: the next wake-up */
	if (run->goal == GOAL_CANCEL && !p->iod_volume && !run->busy) {
		finish(run, DRAY_PAIR_CANCELED, true, NULL); /* it was never started: nothing to ask of anybody */
		return;
	}
	if (!run->vehicle || !p->iod_volume || !run_settled(run))
		return;
	if (a->now < run->retry_at) {
		run_wake_by(run, run->retry_at);
		return;
	}
	if (!volume_trusted(a, &run->view, p->iod_volume, why, sizeof why)) {
		if (run->goal == GOAL_CANCEL && p->state != DRAY_PAIR_SWITCHING) /* given up, and nothing of it touched */
			finish(run, DRAY_PAIR_CANCELED, true, why);
		return;
	}
	if (run->goal != GOAL_NONE) {
		goal_step(run);
		return;
	}
	bool pause = pair_pause_wanted(run->job, p);
	switch (p->state) {
	case DRAY_PAIR_STARTING:
		if (run->record_failed)
			halt_unrecorded(run);
		else if (pause)
			pause_step(run);
		else
			start_step(run);
		break;
	case DRAY_PAIR_COPYING:
	case DRAY_PAIR_SYNCED:
		if (!pause && !pause_legs(run, false))
			verify_step(run);
		else if (pause && !verify_step(run)) /* one that runs is ended first */
			pause_step(run);
		break;
	case DRAY_PAIR_SWITCHED: verify_step(run); break;
	case DRAY_PAIR_QUEUED:
		if (!verify_step(run))
			pause_legs(run, true);
		break;
	case DRAY_PAIR_PAUSED:
		if (!pause)
			resume_step(run);
		else if (!verify_step(run))
			pause_legs(run, true);
		break;
	default: break;
	}
}

/* ---- the queue ---- */

static bool transfers(const struct pair_run *run, const struct dray_pair *p)
{
	return (p->state == DRAY_PAIR_STARTING || p->state == DRAY_PAIR_COPYING) && run->goal == GOAL_NONE;
}

static void admit(struct pair_run *run)
{
	struct agent *a = run->job->agent;
	struct dray_pair *p = run_pair(run);
	struct change c;
	change_begin_soon(&c, run->job, ACTOR_SELF, NULL);
	change_touch(&c, run);
	set_text(&run->refusal, NULL);
	if (!p->iod_volume)
		p->iod_volume = run->vehicle->volume_name(run->job->s, p);
	change_pair(&c, run, DRAY_PAIR_STARTING, NULL);
	change_end(&c);
	/* Nothing was asked of dray-iod yet: judged by a list from now on. */
	run_needs_list(run);
	agent_refresh(a);
	run_place(run);
	speeds_begin(run);
}

static void displace(struct pair_run *run)
{
	struct places *q = &run->job->agent->places;
	struct change c;
	char why[200];
	places_pair_set(q, &run->job->places, run->index, PLACES_WAITING);
	bool told = places_reason(q, &run->job->places, run->index, why, sizeof why);
	change_begin_soon(&c, run->job, ACTOR_SELF, NULL);
	change_pair(&c, run, DRAY_PAIR_QUEUED, told ? "%s" : NULL, why);
	change_end(&c);
	run_place(run);
}

uint64_t session_places(const struct agent *a, const struct dray_session *s)
{
	return min_u64(min_u64(s->limits.active_pairs, s->limits.host_active_pairs), a->places.limit);
}

/* Every pair's vehicle is host: its limit is one of the whole session. */
void job_place(struct job *job, uint64_t seq)
{
	const struct dray_limits *l = &job->s->limits;
	bool of_host = l->host_active_pairs < l->active_pairs;
	job->places.limit_key = of_host ? "limits.vehicle.host.active_pairs" : "limits.active_pairs";
	places_session_set(&job->agent->places, &job->places, seq, job->s->priority, of_host ? l->host_active_pairs : l->active_pairs);
}

void run_place(struct pair_run *run)
{
	struct job *job = run->job;
	const struct dray_pair *p = run_pair(run);
	enum places_kind kind = PLACES_OUT;
	bool wanted = run->goal == GOAL_NONE && run->vehicle && !pair_pause_wanted(job, p);
	if (transfers(run, p))
		kind = PLACES_ACTIVE;
	else if (p->state == DRAY_PAIR_QUEUED && wanted)
		kind = PLACES_WAITING;
	else if (p->state == DRAY_PAIR_PAUSED && wanted && !run_resumes_synced(run))
		kind = PLACES_RESUMING; /* it has its place in the order already, before it is queued */
	places_pair_set(&job->agent->places, &job->places, run->index, kind);
	if (run->goal != GOAL_NONE || run->verifying)
		dray_bitmap_set(&job->with_goal, run->index);
	else
		dray_bitmap_clear(&job->with_goal, run->index);
}

void agent_schedule(struct agent *a)
{
	struct places_session *s;
	size_t i;
	bool of_host = a->config->host_active_pairs < a->config->active_pairs;
	a->places.limit = of_host ? a->config->host_active_pairs : a->config->active_pairs;
	a->places.limit_key = of_host ? "vehicle.host.active_pairs" : "active_pairs";
	while (places_surplus(&a->places, &s, &i))
		displace(&dray_container(s, struct job, places)->runs[i]);
	while (iod_ready(a->iod) && places_next(&a->places, &s, &i))
		admit(&dray_container(s, struct job, places)->runs[i]);
}

bool run_waits(const struct pair_run *run, char *why, size_t size)
{
	const struct job *job = run->job;
	const struct dray_pair *p = &job->s->pairs[run->index];
	if (p->state != DRAY_PAIR_QUEUED || run->goal != GOAL_NONE)
		return false;
	if (pair_pause_wanted(job, p) && !schedule_paused(job, why, size))
		snprintf(why, size, "the session is paused");
	else if (pair_pause_wanted(job, p))
		return true; /* which is told */
	else if (!dray_bitmap_test(&job->places.waiting, run->index) ||
		 !places_reason(&job->agent->places, &job->places, run->index, why, size))
		snprintf(why, size, iod_ready(job->agent->iod) ? "is about to start" : "waits for dray-iod");
	return true;
}
