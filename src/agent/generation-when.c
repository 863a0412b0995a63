/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * When a generation is due, and what becomes of moments that went by.
 */
#include "agent/generation-parts.h"

#include "base/instant.h"
#include "session/periodic.h"

#include <stdio.h>

#define PUT_BACK (3 * 3600) /* s */

void generation_begin(struct dray_session *s)
{
	if (s->start != DRAY_START_EVERY)
		return;
	s->generations.anchor = wall_now();
	s->generations.last = s->generations.anchor - 1;
}

time_t generation_moment_after(const struct job *job, time_t t)
{
	const struct dray_moments m = dray_session_moments(job->s);
	return dray_moment_after(&m, generations_of(job)->anchor, t);
}

time_t generation_due(const struct job *job)
{
	return job_periodic(job) && job_live(job) ? generation_moment_after(job, generations_of(job)->last) : 0;
}

/* A generation moves data: its clones where blocks are not shared, and in any case what its working images have to catch up with. */
bool generation_may_transfer(const struct job *job, time_t at, time_t *opens)
{
	*opens = dray_windows_opening(&job->s->window, at);
	return *opens <= at;
}

bool generation_waits(const struct job *job, char *why, size_t size)
{
	const struct dray_generations *g = generations_of(job);
	time_t due = generation_due(job), opens;
	char at[40], then[40];
	size_t n = 0;
	if (!due || job_count(job, DRAY_PAIR_SCHEDULED))
		return false;
	dray_instant_format(due, at, sizeof at);
	*why = 0;
	if (g->making.step != DRAY_MAKING_NOTHING)
		n = (size_t)snprintf(why, size, "a generation is being made");
	else if (due > wall_now() && !generation_may_transfer(job, due, &opens))
		n = (size_t)snprintf(why, size, "the next generation is due at %s, and made when the window opens, at %s", at, dray_instant_format(opens, then, sizeof then));
	else if (due > wall_now())
		n = (size_t)snprintf(why, size, "the next generation is due at %s", at);
	else if (job->s->state == DRAY_SESSION_SYNCED && !generation_may_transfer(job, wall_now(), &opens))
		n = (size_t)snprintf(why, size, "the generation that was due at %s waits for the window, which opens at %s", at, dray_instant_format(opens, then, sizeof then));
	else if (job->s->state == DRAY_SESSION_SYNCED && !switch_in_window(job, &opens))
		n = (size_t)snprintf(why, size, "the generation that was due at %s waits for switch.window, which opens at %s", at,
			dray_instant_format(opens, then, sizeof then));
	else if (job->s->state != DRAY_SESSION_SYNCED)
		n = (size_t)snprintf(why, size, "the generation that was due at %s is made when all is in sync", at);
	else if (due <= wall_now() && (job_count(job, DRAY_PAIR_FAILED) || job_count(job, DRAY_PAIR_CANCELED)) && !job->s->partial)
		n = (size_t)snprintf(why, size, "the generation that was due at %s is not made: some pairs are failed or canceled; switch.partial=true makes those of the others", at);
	if (g->why && n < size)
		snprintf(why + n, size - n, "%sthe last one: %s", n ? "; " : "", g->why);
	return *why;
}

void generation_pass(struct change *c, time_t due, time_t upto, const char *why)
{
	struct job *job = c->job;
	char first[40], last[40];
	if (!due)
		return; /* by hand */
	time_t next = generation_moment_after(job, due);
	if (next <= upto)
		change_event(c, 0, "generation-missed", NULL, NULL, "what was due from %s up to %s is not made up for: %s", dray_instant_format(next, first, sizeof first),
			dray_instant_format(upto, last, sizeof last), why);
	if (upto > generations_of(job)->last)
		generations_of(job)->last = upto;
}

void generation_missed(struct change *c, time_t due, const char *why)
{
	char at[40];
	dray_instant_format(due ? due : wall_now(), at, sizeof at);
	change_event(c, 0, "generation-missed", NULL, NULL, "%s: %s", at, why);
	set_text(&generations_of(c->job)->why, "%s: %s", at, why);
	generation_pass(c, due, wall_now(), why);
}

/* The clock was put back so far that the next moment is out of reach: the row goes on from what it shows. A little makes no second generation of one moment. */
bool generation_put_back(struct job *job)
{
	struct dray_generations *g = generations_of(job);
	time_t now = wall_now(), every = (time_t)(job->s->every_ns / SECOND), reach = every + (every < PUT_BACK ? every : PUT_BACK);
	struct change c;
	if (g->last <= now || generation_due(job) <= now + reach)
		return false;
	change_begin(&c, job->agent, job, ACTOR_SELF);
	g->last = now;
	if (g->anchor > now)
		g->anchor = now;
	generation_recorded(job, &c);
	return true;
}

static bool may_go_on(const struct job *job, size_t i)
{
	enum pair_goal goal = job->runs[i].goal;
	return (goal == GOAL_NONE || goal == GOAL_HALT) && !pair_pause_wanted(job, &job->s->pairs[i]);
}

/* What it failed of may be over by then: no room, a directory that was away. Nobody is there at night to say `retry`. */
void generation_retry_failed(struct job *job)
{
	time_t now = wall_now(), then;
	struct change c;
	bool any = false;
	if (!job_count(job, DRAY_PAIR_FAILED) || job->s->on_error == DRAY_ON_ERROR_SESSION) {
		job->failed_since = 0;
		return;
	}
	if (!job->failed_since || job->failed_since > now)
		job->failed_since = now;
	then = generation_moment_after(job, job->failed_since);
	if (then > now) {
		job_wake_at_wall(job, then);
		return;
	}
	job->failed_since = now;
	job_each (job, FAILED, i)
		any |= may_go_on(job, i);
	if (!any)
		return;
	change_begin(&c, job->agent, job, ACTOR_SELF);
	job_each (job, FAILED, i) {
		if (!may_go_on(job, i))
			continue;
		change_event(&c, job->s->pairs[i].id, "retry", NULL, NULL, "it failed before, and a generation is due");
		pair_again(&c, &job->runs[i]);
	}
	change_session_reason(&c, NULL);
	generation_recorded(job, &c);
}

void generation_missed_while_away(struct agent *a)
{
	dray_list_for_each (n, &a->jobs) {
		struct job *job = dray_container(n, struct job, node);
		time_t due = generation_due(job);
		char at[40], why[120];
		if (!due || due >= (time_t)a->started)
			continue;
		struct change c;
		change_begin(&c, a, job, ACTOR_SELF);
		snprintf(why, sizeof why, "a generation was due at %s, when the agent was not running or it could not be made", dray_instant_format(due, at, sizeof at));
		if (dray_session_warn(job->s, "/start", "late", "%s", why))
			change_event(&c, 0, "warning", NULL, "late", "%s", why);
		change_end(&c);
	}
}
