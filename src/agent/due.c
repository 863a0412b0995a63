/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What is due by itself: switches as switch.when says, and commits as switch.commit says.
 *
 *   manual   a person says so
 *   synced   all pairs together, when each is synchronized; those that come late are waited for
 *   a time   as synced, but not before it
 *   event    as synced, but not before the event was told (raise.c)
 *   pair     each pair for itself, as it is ready
 *
 * A window holds all of them, and the command, too; outside of it nothing is switched. An undo is no switch in this sense: the way
 * back is open at any hour. What only waits for its hour says so in the document (switch_waits); nothing of it is kept.
 */
#include "agent/agent.h"

#include "agent/generation.h"
#include "agent/trouble.h"
#include "agent/verify.h"
#include "base/instant.h"
#include "base/log.h"

#include <stdio.h>
#include <string.h>

#define TOGETHER 64 /* offline pairs in one call */

/* switch.when, now: what has not come yet counts as manual. */
static enum dray_when when_now(const struct job *job, time_t now)
{
	const struct dray_session *s = job->s;
	enum dray_when when = job_when(job);
	if (when == DRAY_WHEN_TIME)
		return now >= s->when_time ? DRAY_WHEN_SYNCED : DRAY_WHEN_MANUAL;
	if (when == DRAY_WHEN_EVENT)
		return s->event_seen ? DRAY_WHEN_SYNCED : DRAY_WHEN_MANUAL;
	return when;
}

bool switch_in_window(const struct job *job, time_t *opens)
{
	time_t now = wall_now();
	*opens = dray_windows_opening(&job->s->switch_window, now);
	return *opens <= now;
}

static void automatic(struct job *job, const char *kind, const bool *pairs)
{
	struct dray_error err;
	/* Not yet is no failure: the next wake-up looks again. */
	if (switch_begin(job, kind, pairs, 0, ACTOR_SELF, &err) && strcmp(err.kind, "not_synced") && strcmp(err.kind, "busy") &&
		strcmp(err.kind, "unsettled") && strcmp(err.kind, "not_verified"))
		dray_log(DRAY_LOG_WARN, "switch-not-begun", "session %s: %s", job->s->id, err.text);
}

/* Its end is a split. */
static bool is_copy(const struct job *job, size_t i)
{
	return pair_offline(&job->s->pairs[i]) || job->s->mode == DRAY_MODE_COPY;
}

static bool ready(const struct job *job, size_t i)
{
	const struct dray_pair *p = &job->s->pairs[i];
	const struct pair_run *run = &job->runs[i];
	if (verify_differs(p))
		return false;
	if (trouble_bad_bytes(job, i, is_copy(job, i)))
		return false;
	return p->state == DRAY_PAIR_SYNCED && run->goal == GOAL_NONE && run_settled(run) && !run->verifying &&
	       !run->verify_asked && !verify_missing(run) && run->view.targets[0].synced && !pair_pause_wanted(job, p) &&
	       p->switch_attempts < job->s->attempts;
}

/* Offline pairs, a handful at a time: nobody writes to their sources, so there is no instant to choose, and none has to wait for
 * another. After a failure each is tried alone, so that one that can't holds up no other. */
static bool offline_due(struct job *job)
{
	const struct dray_session *s = job->s;
	bool *pairs = job->pick, any = false;
	unsigned n = 0;
	memset(pairs, 0, s->n_pairs * sizeof *pairs);
	for (int alone = 0; alone <= 1 && !any; alone++)
		job_each (job, SYNCED, i) {
			if (n == TOGETHER || (alone && any))
				break;
			if (!pair_offline(&s->pairs[i]) || !ready(job, i) || (s->pairs[i].switch_attempts > 0) != alone)
				continue;
			pairs[i] = any = true;
			n++;
		}
	if (any)
		automatic(job, "split", pairs);
	return any;
}

/* Pairs that are switched one at a time: the others follow at the next wake-ups. */
static bool single_due(struct job *job, enum dray_when when, bool open)
{
	const struct dray_session *s = job->s;
	bool *pairs = job->pick;
	if (when != DRAY_WHEN_PAIR || !open)
		return false;
	job_each (job, SYNCED, i) {
		if (pair_offline(&s->pairs[i]) || !ready(job, i))
			continue;
		memset(pairs, 0, s->n_pairs * sizeof *pairs);
		pairs[i] = true;
		automatic(job, s->mode == DRAY_MODE_COPY ? "split" : "switch", pairs);
		return true;
	}
	return false;
}

/* A pair that has yet to become ready. */
static bool late_online(const struct job *job)
{
	if (!job->n_online)
		return false;
	for (int state = 0; state < DRAY_PAIR_STATE_COUNT; state++) {
		if (state == DRAY_PAIR_SYNCED || state == DRAY_PAIR_SWITCHED || state == DRAY_PAIR_FAILED ||
			dray_state_final((enum dray_pair_state)state))
			continue;
		job_each_of (&job->in[state], i)
			if (!pair_offline(&job->s->pairs[i]))
				return true;
	}
	return false;
}

/* All that are to be switched together. `late`: some are not ready yet; `left_out`: some are failed or canceled. */
static bool pick_group(const struct job *job, bool *pairs, bool *late, bool *left_out)
{
	const struct dray_session *s = job->s;
	bool any = false;
	*left_out = job_count(job, DRAY_PAIR_FAILED) || job_count(job, DRAY_PAIR_CANCELED);
	*late = late_online(job);
	if (*late)
		return false;
	if (pairs)
		memset(pairs, 0, s->n_pairs * sizeof *pairs);
	job_each (job, SYNCED, i) {
		bool is_ready = ready(job, i);
		if (pairs)
			pairs[i] = is_ready;
		any |= is_ready;
		*late |= !is_ready && !pair_offline(&s->pairs[i]);
	}
	return any;
}

bool switch_group_ready(const struct job *job, bool *pairs)
{
	bool late, left_out;
	return pick_group(job, pairs, &late, &left_out) && !late && (!left_out || job->s->partial);
}

void switch_due(struct job *job)
{
	const struct dray_session *s = job->s;
	if (s->start == DRAY_START_EVERY)
		return; /* by its moments (generation.c) */
	time_t now = wall_now(), opens;
	enum dray_when when = when_now(job, now);
	bool open = switch_in_window(job, &opens);
	if (job_when(job) == DRAY_WHEN_TIME && when == DRAY_WHEN_MANUAL)
		job_wake_at_wall(job, s->when_time);
	if (!open)
		job_wake_at_wall(job, opens);
	if (!job_count(job, DRAY_PAIR_SYNCED) || offline_due(job) || single_due(job, when, open) || when != DRAY_WHEN_SYNCED || !open)
		return;
	if (switch_group_ready(job, job->pick))
		automatic(job, s->mode == DRAY_MODE_COPY ? "split" : "switch", job->pick);
}

bool switch_waits(const struct job *job, char *why, size_t size)
{
	const struct dray_session *s = job->s;
	time_t now = wall_now(), opens;
	char at[40];
	bool late, left_out;
	enum dray_when when = job_when(job);
	if (s->start != DRAY_START_EVERY && s->state != DRAY_SESSION_SYNCED)
		return false;
	for (size_t i = 0; i < s->n_pairs; i++) {
		if (s->pairs[i].state != DRAY_PAIR_SYNCED || !trouble_bad_bytes(job, i, is_copy(job, i)))
			continue;
		trouble_bad_text(job, i, is_copy(job, i), why, size);
		return true;
	}
	if (s->start == DRAY_START_EVERY)
		return generation_waits(job, why, size);
	if (when == DRAY_WHEN_MANUAL)
		return false;
	if (when == DRAY_WHEN_TIME && now < s->when_time) {
		opens = dray_windows_opening(&s->switch_window, s->when_time);
		snprintf(why, size, "to be switched at %s%s", dray_instant_format(opens, at, sizeof at),
			opens > s->when_time ? ", when its window (switch.window) opens" : "");
	} else if (when == DRAY_WHEN_EVENT && !s->event_seen)
		snprintf(why, size, "waits for the event %s to be switched", s->when_event);
	else if (!switch_in_window(job, &opens))
		snprintf(why, size, "waits for its window (switch.window) to be switched: it opens at %s",
			dray_instant_format(opens, at, sizeof at));
	else if (when != DRAY_WHEN_PAIR && pick_group(job, NULL, &late, &left_out) && !late && left_out && !s->partial)
		snprintf(why, size, "some pairs are failed or canceled: switch.partial=true lets the others be switched");
	else
		return false;
	return true;
}

void commit_due(struct job *job)
{
	const struct dray_session *s = job->s;
	time_t now = wall_now();
	bool any = false, *pairs = job->pick;
	if (s->commit == DRAY_COMMIT_MANUAL || !job_count(job, DRAY_PAIR_SWITCHED))
		return;
	memset(pairs, 0, s->n_pairs * sizeof *pairs);
	job_each (job, SWITCHED, i) {
		time_t when = dray_pair_commit_due(s, &s->pairs[i]);
		pairs[i] = job->runs[i].goal == GOAL_NONE;
		if (pairs[i] && when > now) {
			job_wake_at_wall(job, when);
			pairs[i] = false;
		}
		any |= pairs[i];
	}
	if (!any)
		return;
	struct change c;
	change_begin(&c, job->agent, job, ACTOR_SELF);
	for (size_t i = 0; i < s->n_pairs; i++)
		if (pairs[i])
			change_goal(&c, &job->runs[i], GOAL_COMMIT);
	change_end(&c);
}
