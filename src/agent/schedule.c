/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * When a session may begin, when it may transfer, and for how long: the document's `start`, `window` and `max_duration`.
 *
 *   now        at once                    a time    not before it, by the clock on the wall
 *   event      once that was told         after     a time, worked out when the session was submitted (or its start set), and kept
 *
 * And not outside its window. Until then its pairs are `scheduled`: checked and locked, and nothing of them is in the queue. With their time they are all queued, in
 * one change; from there on the queue decides. A session has begun when a pair of it was started (`started`); before that its start can be
 * set anew, and one that only stands in the queue goes back.
 *
 * A session that has begun and still has something to transfer is paused outside its window, for the reason `window`, which is one of a
 * set: it is lifted when the window opens, and no other reason is. What is in sync, the whole session or a pair of it, is left as it is, mirrored, and
 * may be verified and switched: nothing is transferred, and when it may be switched is what switch.window says. Should a target have to
 * catch up, that waits for the window. dray-iod knows nothing of windows: one that closes while the agent is not running pauses nothing until it is
 * there again, which is told.
 *
 * max_duration counts the time in which it transfers, or waits in the queue for that; not pauses, whatever they are for, and not what is in sync.
 * When it is used up the session is paused for the reason `max_duration`. A resume by a person begins the count anew; a larger one, or
 * none, lifts it. It is counted by the clock that only runs forward, so that one that is set is no matter; only for the time that the agent was
 * away, in which dray-iod went on, that on the wall has to do. So what is on record begins anew with each start, when the clock was set, and when
 * the host slept, in which time nothing was transferred.
 *
 * Clocks. What is kept of a start is a moment, so a restart, a change of the zone or of daylight saving does not move it. A clock that is put forward
 * over it begins the session as soon as that is noticed, at once as a rule (clock.h); one that is put back makes it wait again, unless it has
 * begun. A moment at which the agent was not running, or the host asleep, is not lost: the session begins with it, and says that it is late.
 *
 * A test period (switch.commit) is another matter: its end can't be undone, and a clock that is wrong for a minute must not bring it. It goes by the
 * time that passes: with a clock that is set its end is moved by as much. Where that would make it longer than it is as a whole (a host that
 * came up in the year 2000), it begins anew.
 */
#include "agent/agent.h"

#include "agent/generation.h"
#include "base/instant.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

/* The zone may be changed, of which nobody tells: what waits for a far hour is looked at again after this. */
#define LOOK_AGAIN (10 * SECOND)

void job_wake_at_wall(struct job *job, time_t when)
{
	int64_t left_ms = (int64_t)when * 1000 - wall_ms();
	uint64_t left = left_ms > 0 ? (uint64_t)left_ms * MS : 0;
	job_wake_by(job, job->agent->now + (left < LOOK_AGAIN ? left : LOOK_AGAIN));
}

static bool start_came(const struct dray_session *s, time_t now)
{
	return s->start == DRAY_START_EVENT ? s->start_event_seen : now >= s->start_at;
}

bool schedule_may_begin(const struct dray_session *s)
{
	time_t now = wall_now();
	return start_came(s, now) && dray_windows_open(&s->window, now);
}

void schedule_window_anew(struct dray_session *s)
{
	s->scheduled_at = wall_now();
}

void schedule_start_anew(struct dray_session *s)
{
	s->scheduled_at = wall_now();
	s->start_at = s->start == DRAY_START_TIME ? s->start_time :
		s->start == DRAY_START_AFTER      ? s->scheduled_at + (time_t)((s->start_after_ns + SECOND - 1) / SECOND) :
						    0;
	generation_begin(s);
}

time_t schedule_begins(const struct dray_session *s)
{
	time_t now = wall_now();
	return s->start == DRAY_START_EVENT && !s->start_event_seen ? 0 : dray_windows_opening(&s->window, s->start_at > now ? s->start_at : now);
}

time_t schedule_due(const struct job *job)
{
	return job_count(job, DRAY_PAIR_SCHEDULED) ? schedule_begins(job->s) : 0;
}

static const char *opening(const struct dray_session *s, char *at, size_t size)
{
	return dray_instant_format(dray_windows_opening(&s->window, wall_now()), at, size);
}

bool schedule_paused(const struct job *job, char *why, size_t size)
{
	const struct dray_session *s = job->s;
	char at[40];
	bool window = s->pause_reasons & DRAY_PAUSE_WINDOW, duration = s->pause_reasons & DRAY_PAUSE_MAX_DURATION;
	size_t n = 0;
	if (window)
		n = (size_t)snprintf(why, size, "outside its window: it opens at %s", opening(s, at, sizeof at));
	if (duration)
		snprintf(why + n, size - n, "%sits max_duration is used up: resume it, or set a longer one", window ? "; " : "");
	return window || duration;
}

bool schedule_waits(const struct job *job, char *why, size_t size)
{
	const struct dray_session *s = job->s;
	time_t now = wall_now();
	char at[40];
	if (!job_count(job, DRAY_PAIR_SCHEDULED))
		return false;
	if (start_came(s, now) && !dray_windows_open(&s->window, now))
		snprintf(why, size, "waits for its window to start: it opens at %s", opening(s, at, sizeof at));
	else if (s->start == DRAY_START_EVENT && !s->start_event_seen)
		snprintf(why, size, "waits for the event %s to start", s->start_event);
	else
		snprintf(why, size, "starts at %s", dray_instant_format(schedule_due(job), at, sizeof at));
	return true;
}

/* All pairs that are in the one state into the other. */
static void move_all(struct job *job, enum dray_pair_state from, enum dray_pair_state to)
{
	struct change c;
	change_begin(&c, job->agent, job, ACTOR_SELF);
	if (from == DRAY_PAIR_SCHEDULED)
		change_event(&c, 0, "due", NULL, NULL, NULL);
	for (size_t i = 0; i < job->s->n_pairs; i++)
		if (job->s->pairs[i].state == from)
			change_pair(&c, &job->runs[i], to, NULL);
	if (to == DRAY_PAIR_SCHEDULED)
		job->s->scheduled_at = wall_now();
	if (change_end(&c))
		job_wake_by(job, job->agent->now + SECOND);
}

static void look_waiting(struct job *job)
{
	bool scheduled = job_count(job, DRAY_PAIR_SCHEDULED), queued = job_count(job, DRAY_PAIR_QUEUED);
	if (!scheduled && !queued)
		return;
	bool may = schedule_may_begin(job->s);
	if (may && scheduled)
		move_all(job, DRAY_PAIR_SCHEDULED, DRAY_PAIR_QUEUED);
	else if (!may && queued)
		move_all(job, DRAY_PAIR_QUEUED, DRAY_PAIR_SCHEDULED);
	if (!may && job->s->start_at)
		job_wake_at_wall(job, job->s->start_at);
}

/* ---- what has begun ---- */

/* Whether something is left to transfer: 1, 0, or -1: not known yet. */
static int left(const struct job *job)
{
	int known = 0;
	if (job_count(job, DRAY_PAIR_STARTING) || job_count(job, DRAY_PAIR_COPYING) || job_count(job, DRAY_PAIR_QUEUED))
		return 1;
	job_each (job, PAUSED, i) {
		if (job->s->pairs[i].pause_reasons)
			continue; /* it would wait in any case */
		if (!job->runs[i].view_valid)
			known = -1;
		else if (!run_resumes_synced(&job->runs[i]))
			return 1;
	}
	return known;
}

/* Its pairs are paused, or resumed, by nobody. */
static void by_itself(struct change *c)
{
	for (size_t i = 0; i < c->job->s->n_pairs; i++) {
		struct pair_run *run = &c->job->runs[i];
		if (!run->actor[0] || run->goal != GOAL_NONE)
			continue;
		change_touch(c, run);
		run->actor[0] = 0;
	}
}

/* By the clock that only runs forward, from here on; what was before its begin here, by the other one. */
static uint64_t ran_ms(struct job *job)
{
	const struct dray_session *s = job->s;
	struct run_count *c = &job->run_count;
	if (!s->run_since_ms)
		return s->ran_ms;
	if (c->since_ms != s->run_since_ms) {
		int64_t before = wall_ms() - s->run_since_ms;
		*c = (struct run_count){ s->run_since_ms, before > 0 ? before : 0, job->agent->now };
	}
	return s->ran_ms + (uint64_t)c->before_ms + (job->agent->now - c->from) / MS;
}

void schedule_count(struct job *job)
{
	struct dray_session *s = job->s;
	bool runs = s->started && s->state == DRAY_SESSION_COPYING;
	if (runs == (s->run_since_ms != 0))
		return;
	s->ran_ms = ran_ms(job);
	s->run_since_ms = runs ? wall_ms() : 0;
	job->run_count = (struct run_count){ s->run_since_ms, 0, job->agent->now };
}

void schedule_count_anew(struct job *job)
{
	struct dray_session *s = job->s;
	s->ran_ms = 0;
	s->run_since_ms = s->run_since_ms ? wall_ms() : 0;
	job->run_count = (struct run_count){ s->run_since_ms, 0, job->agent->now };
}

void schedule_clock_set(struct agent *a, int64_t by_ms)
{
	time_t now = wall_now(), by = (time_t)(by_ms / 1000);
	dray_list_for_each (n, &a->jobs) {
		struct job *job = dray_container(n, struct job, node);
		struct dray_session *s = job->s;
		struct change c;
		if (!s->run_since_ms && (!by || !job_count(job, DRAY_PAIR_SWITCHED)))
			continue;
		change_begin_soon(&c, job, ACTOR_SELF, NULL);
		if (s->run_since_ms) {
			s->ran_ms = ran_ms(job);
			s->run_since_ms = wall_ms();
			job->run_count = (struct run_count){ s->run_since_ms, 0, a->now };
		}
		job_each (job, SWITCHED, i) {
			time_t *at = &s->pairs[i].switched_at;
			change_touch(&c, &job->runs[i]);
			*at = *at + by < now ? *at + by : now;
		}
		change_end(&c);
	}
}

void schedule_resumed(struct dray_session *s)
{
	if (!(s->pause_reasons & DRAY_PAUSE_MAX_DURATION))
		return;
	s->pause_reasons &= ~(unsigned)DRAY_PAUSE_MAX_DURATION;
	s->ran_ms = 0; /* paused as it is, it does not count just now */
}

double schedule_left(const struct job *job)
{
	const struct dray_session *s = job->s;
	const struct run_count *c = &job->run_count;
	double ran_ms = (double)s->ran_ms;
	if (s->max_duration_ns == DRAY_UNKNOWN)
		return 0;
	if (s->run_since_ms && c->since_ms == s->run_since_ms)
		ran_ms += (double)c->before_ms + (double)(job->agent->now - c->from) / (double)MS;
	else if (s->run_since_ms)
		ran_ms += (double)(wall_ms() - s->run_since_ms);
	double left = (double)s->max_duration_ns / 1e9 - ran_ms / 1e3;
	return left > 0 ? left : -1;
}

/* max_duration is used up; if not, it is looked at again when it will be. */
static bool used_up(struct job *job)
{
	uint64_t most = job->s->max_duration_ns, ran = ran_ms(job) * MS;
	if (most == DRAY_UNKNOWN)
		return false;
	if (ran < most && job->s->run_since_ms)
		job_wake_by(job, job->agent->now + most - ran);
	return ran >= most;
}

static void hold(struct job *job, unsigned reasons)
{
	unsigned come = reasons & ~job->s->pause_reasons, go = job->s->pause_reasons & ~reasons;
	char at[40];
	struct change c;
	change_begin(&c, job->agent, job, ACTOR_SELF);
	by_itself(&c);
	job->s->pause_reasons = reasons;
	if (come & DRAY_PAUSE_WINDOW)
		change_event(&c, 0, "window-closed", NULL, NULL, "it opens at %s", opening(job->s, at, sizeof at));
	if (go & DRAY_PAUSE_WINDOW)
		change_event(&c, 0, "window-opened", NULL, NULL,
			dray_windows_open(&job->s->window, wall_now()) ? NULL : "there is nothing left to transfer");
	if (come & DRAY_PAUSE_MAX_DURATION)
		change_event(&c, 0, "max-duration", NULL, NULL, "it ran for %llu s", (unsigned long long)ran_ms(job) / 1000);
	if (change_end(&c))
		job_wake_by(job, job->agent->now + SECOND);
}

static void look_begun(struct job *job)
{
	unsigned own = DRAY_PAUSE_WINDOW | DRAY_PAUSE_MAX_DURATION, is = job->s->pause_reasons, held = 0;
	if (!dray_windows_open(&job->s->window, wall_now()))
		held |= DRAY_PAUSE_WINDOW;
	if (used_up(job))
		held |= DRAY_PAUSE_MAX_DURATION;
	if (held == (is & own) && !held)
		return;
	int any = left(job);
	/* While it is not known, nothing new holds it: a list of volumes will tell, and have it looked at. */
	held = !any ? 0 : any < 0 ? held & is : held;
	if (held != (is & own))
		hold(job, (is & ~own) | held);
}

void schedule_look(struct job *job)
{
	if (!job_live(job))
		return;
	if (job->s->started)
		look_begun(job);
	else
		look_waiting(job);
	time_t changes = job->s->window.n ? dray_windows_change(&job->s->window, wall_now()) : 0;
	if (changes)
		job_wake_at_wall(job, changes);
}

/* The moment at which it would have begun, had the agent been there; 0: none that is known. */
static time_t was_due(const struct dray_session *s)
{
	if (s->start == DRAY_START_EVENT && !s->start_event_seen)
		return 0;
	return dray_windows_opening(&s->window, s->start_at > s->scheduled_at ? s->start_at : s->scheduled_at);
}

static void warn_late(struct job *job, const char *pointer, const char *what, time_t when, const char *then)
{
	char at[40], why[160];
	struct change c;
	change_begin(&c, job->agent, job, ACTOR_SELF);
	snprintf(why, sizeof why, "%s %s, when the agent was not running%s", what, dray_instant_format(when, at, sizeof at), then);
	if (dray_session_warn(job->s, pointer, "late", "%s", why))
		change_event(&c, 0, "warning", NULL, "late", "%s", why);
	change_end(&c);
}

void schedule_missed(struct agent *a)
{
	time_t now = wall_now();
	dray_list_for_each (n, &a->jobs) {
		struct job *job = dray_container(n, struct job, node);
		const struct dray_session *s = job->s;
		time_t due = job_count(job, DRAY_PAIR_SCHEDULED) ? was_due(s) : 0;
		if (due && due < (time_t)a->started)
			warn_late(job, s->start == DRAY_START_NOW ? "/window" : "/start", "it was to start at", due, "");
		time_t closed = s->run_since_ms && !dray_windows_open(&s->window, now) ? dray_windows_closed(&s->window, now) : 0;
		if (closed)
			warn_late(job, "/window", "its window closed at", closed, ": it was copied on until it was there again");
	}
}
