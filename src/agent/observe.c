/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * From what dray-iod says to what the session says.
 *
 * Only what dray-iod reports as done counts as done. A pair is judged when no call of it is under way and the list is newer
 * than its last call's answer (run_settled); its progress is taken from any list.
 *
 * Epochs (H9). dray-iod is the authority on which leg is primary, and each switch raises the volume's epoch. The repository keeps the
 * highest epoch seen. A volume that comes back with a lower one, or as another one of the same name, lost its
 * state directory or had an old one put back: its legs may be stale, so its pairs are not touched and the reason is told.
 */
#include "agent/agent.h"

#include "agent/reconcile.h"
#include "agent/speeds.h"
#include "agent/trouble.h"
#include "agent/verify.h"
#include "base/log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RECORD_EVERY (3 * SECOND)
#define SPEED_LEAST  (2 * SECOND)

bool run_settled(const struct pair_run *run)
{
	const struct agent *a = run->job->agent;
	return !run->busy && run->view_valid && !run->news && iod_ready(a->iod) && a->list_viewed >= run->list_needed;
}

bool volume_trusted(const struct agent *a, const struct dray_pair_view *view, const char *name, char *why, size_t size)
{
	const json_t *seen = json_object_get(a->seen, name);
	if (!view->found || !seen)
		return true;
	const char *uuid = json_string_value(json_object_get(seen, "uuid"));
	uint64_t epoch = (uint64_t)json_integer_value(json_object_get(seen, "epoch"));
	if (uuid && strcmp(uuid, view->uuid)) {
		snprintf(why, size, "volume %s is not the one known by that name: dray-iod's state directory was replaced", name);
		return false;
	}
	if (view->epoch < epoch) {
		snprintf(why, size,
			"volume %s is at epoch %llu, epoch %llu was seen: dray-iod's state directory is an older one", name,
			(unsigned long long)view->epoch, (unsigned long long)epoch);
		return false;
	}
	return true;
}

void run_needs_list(struct pair_run *run)
{
	struct agent *a = run->job->agent;
	run->list_needed = a->lists_asked + 1;
	if (dray_list_empty(&run->unlisted_node))
		dray_list_add_tail(&a->unlisted, &run->unlisted_node);
}

void run_unwatch(struct pair_run *run)
{
	struct agent *a = run->job->agent;
	if (!run->watched)
		return;
	struct pair_run *first = dray_table_get(&a->watchers, run->watched), **at = &first;
	while (*at != run)
		at = &(*at)->watch_next;
	*at = run->watch_next;
	dray_table_put(&a->watchers, run->watched, first);
	free(run->watched);
	run->watched = NULL;
	run->watch_next = NULL;
}

static void watch(struct pair_run *run, const char *volume)
{
	struct agent *a = run->job->agent;
	if (run->watched && !strcmp(run->watched, volume))
		return;
	run_unwatch(run);
	set_text(&run->watched, "%s", volume);
	run->watch_next = dray_table_get(&a->watchers, volume);
	dray_table_put(&a->watchers, volume, run);
	run->news = true;
}

/* ---- progress ---- */

/* dray-iod counts from its own start: what earlier ones had counted is added. Which of them counted is what the list says that
 * is looked at: one that just went, or came back, has not counted anything new. `done`: what is on the targets; more of it
 * than anybody was seen to copy was copied after the last look at one that was killed. */
static void count(struct pair_run *run, uint64_t done, uint64_t copied, uint64_t skipped, uint64_t recopied)
{
	const char *incarnation = run->job->agent->volumes_by;
	if (strcmp(run->incarnation, incarnation)) {
		bool first = !run->incarnation[0];
		run->base_copied += run->last_copied;
		run->base_skipped += run->last_skipped;
		run->base_recopied += run->last_recopied;
		run->last_copied = run->last_skipped = run->last_recopied = 0;
		snprintf(run->incarnation, sizeof run->incarnation, "%s", incarnation);
		uint64_t known = run->base_copied + run->base_skipped + copied + skipped;
		if (!first && done > known)
			run->base_copied += done - known;
	}
	/* A leg that is let go takes its counters along; what it had copied was copied. */
	run->base_copied += copied < run->last_copied ? run->last_copied - copied : 0;
	run->base_skipped += skipped < run->last_skipped ? run->last_skipped - skipped : 0;
	run->base_recopied += recopied < run->last_recopied ? run->last_recopied - recopied : 0;
	run->last_copied = copied;
	run->last_skipped = skipped;
	run->last_recopied = recopied;
}

/* What applications write where it is not mirrored has to be brought again. A region that gets clean was moved; what is dirty beyond
 * that was made so meanwhile. */
static void dirty_rate(struct pair_run *run, uint64_t dirty, uint64_t moved)
{
	struct dray_progress *g = &run_pair(run)->progress;
	if (run->dirtied_window.n && moved >= run->seen_moved && dirty + moved > run->seen_dirty + run->seen_moved)
		run->dirtied += dirty + moved - run->seen_dirty - run->seen_moved;
	run->seen_dirty = dirty;
	run->seen_moved = moved;
	rate_sample(&run->dirtied_window, run->job->agent->now, run->dirtied);
	g->dirty_rate = rate_get(&run->dirtied_window, run->job->agent->now);
}

/* For the ETA in other hours (eta.c). What is well below its limit is not held by it, and as fast as it is; what is held is at least as fast as it ever
 * was. A moment says little: it may be one step. */
static void note_rate(struct pair_run *run, uint64_t rate)
{
	if (rate == DRAY_UNKNOWN || !rate || (run->speed && rate_span_ns(&run->window) < SPEED_LEAST))
		return;
	uint64_t limit = run->push.valid ? run->push.last.rate : DRAY_UNKNOWN;
	run->held = limit != DRAY_UNKNOWN && rate >= limit / 2;
	if (limit && (limit == DRAY_UNKNOWN || rate < limit / 2 || rate > run->speed))
		run->speed = rate;
}

/* Of many pairs each of which is over before its own rate is known. */
static void note_brought(struct job *job, uint64_t more)
{
	job->brought += more;
	if (job->agent->now - rate_last_ns(&job->brought_window) >= SECOND / 2)
		rate_sample(&job->brought_window, job->agent->now, job->brought);
}

uint64_t job_rate(const struct job *job)
{
	bool moves = job_count(job, DRAY_PAIR_STARTING) || job_count(job, DRAY_PAIR_COPYING) || job_count(job, DRAY_PAIR_QUEUED);
	return moves && !job->s->pause_reasons ? rate_get(&job->brought_window, job->agent->now) : DRAY_UNKNOWN;
}

static void progress(struct pair_run *run)
{
	struct dray_pair *p = run_pair(run);
	const struct dray_pair_view *v = &run->view;
	uint64_t done = UINT64_MAX, all_done = 0, copied = 0, skipped = 0, recopied = 0, dirty = 0;
	bool any = false;
	for (size_t t = 0; t < v->n_targets; t++) {
		const struct dray_leg_view *leg = &v->targets[t];
		if (!leg->found)
			continue;
		any = true;
		p->targets[t].iod_leg = leg->leg;
		p->targets[t].dirty_bytes = leg->dirty_bytes;
		snprintf(p->targets[t].state, sizeof p->targets[t].state, "%s", leg->state);
		if (!leg->held && leg->done_bytes < done)
			done = leg->done_bytes;
		all_done += leg->done_bytes;
		copied += leg->copied_bytes;
		skipped += leg->skipped_bytes;
		recopied += leg->recopied_bytes;
		if (leg->dirty_bytes > dirty)
			dirty = leg->dirty_bytes;
	}
	if (!any)
		return;
	count(run, all_done, copied, skipped, recopied);
	struct dray_progress *g = &p->progress;
	run->uncounted |= g->bytes_copied != run->base_copied + run->last_copied ||
			  g->bytes_skipped != run->base_skipped + run->last_skipped || g->bytes_done != done;
	g->bytes_total = v->size_bytes;
	if (done != UINT64_MAX) {
		uint64_t before = g->bytes_done == DRAY_UNKNOWN ? 0 : g->bytes_done;
		note_brought(run->job, done > before ? done - before : 0);
		g->bytes_done = done;
	}
	g->bytes_copied = run->base_copied + run->last_copied;
	g->bytes_skipped = run->base_skipped + run->last_skipped;
	g->bytes_recopied = run->base_recopied + run->last_recopied;
	/* What a killed dray-iod had copied and not recorded the next one copies without knowing: seen when it is more than there is. */
	uint64_t moved = g->bytes_copied + g->bytes_skipped, most = v->size_bytes * v->n_targets;
	if (moved > most && moved - most > g->bytes_recopied)
		g->bytes_recopied = moved - most;
	p->dirty_bytes = dirty;
	p->predicted_blackout_us = v->predicted_blackout_us;
	dirty_rate(run, dirty, copied + skipped);
	speeds_look(run);
	if (p->state == DRAY_PAIR_COPYING && done != UINT64_MAX) {
		rate_sample(&run->window, run->job->agent->now, done);
		g->rate = rate_get(&run->window, run->job->agent->now);
		note_rate(run, g->rate);
		g->eta_seconds = g->rate == DRAY_UNKNOWN || !g->rate ? DRAY_UNKNOWN
								    : (g->bytes_total - g->bytes_done + g->rate - 1) / g->rate;
	} else {
		rate_reset(&run->window);
		g->rate = p->state == DRAY_PAIR_SYNCED || p->state == DRAY_PAIR_PAUSED ? 0 : DRAY_UNKNOWN;
		g->eta_seconds = p->state == DRAY_PAIR_SYNCED ? 0 : DRAY_UNKNOWN;
	}
}

/* Events of single targets: given up, and well again. */
static void judge_targets(struct pair_run *run)
{
	for (size_t t = 1; t < run->view.n_targets; t++) {
		const struct dray_leg_view *leg = &run->view.targets[t];
		struct dray_target *target = &run_pair(run)->targets[t];
		if (!leg->found || leg->held == (target->error != NULL))
			continue;
		struct change c;
		change_begin(&c, run->job->agent, run->job, ACTOR_SELF);
		change_touch(&c, run);
		if (leg->held) {
			set_text(&target->error, "%s", leg->error[0] ? leg->error : "given up");
			change_event(&c, run_pair(run)->id, "target-failed", NULL, leg->state, "target %s: %s",
				target->at.resource, target->error);
		} else {
			set_text(&target->error, NULL);
			change_event(&c, run_pair(run)->id, "target-recovered", NULL, leg->state, "target %s", target->at.resource);
		}
		change_end(&c);
	}
}

static bool synced(const struct pair_run *run)
{
	for (size_t t = 0; t < run->view.n_targets; t++) {
		const struct dray_leg_view *leg = &run->view.targets[t];
		/* The first must be; a further one that was given up or let go holds up nobody. */
		if (t == 0 ? !leg->found || !leg->synced : leg->found && !leg->held && !leg->synced)
			return false;
	}
	return true;
}

static void judge(struct pair_run *run)
{
	struct dray_pair *p = run_pair(run);
	struct agent *a = run->job->agent;
	char why[300];
	struct change c;
	if (!volume_trusted(a, &run->view, p->iod_volume, why, sizeof why)) {
		if (!p->reason || strcmp(p->reason, why)) {
			set_text(&p->reason, "%s", why);
			dray_log(DRAY_LOG_ERROR, "volume-not-trusted", "%s", why);
		}
		return;
	}
	if (pair_reconcile(run))
		return;
	if ((p->state != DRAY_PAIR_COPYING && p->state != DRAY_PAIR_SYNCED) || run->goal != GOAL_NONE)
		return;
	/* A leg on its way to a pause may be set aside because we asked for it; how it is counts when it is resumed. */
	if (pair_pause_wanted(run->job, p))
		return;
	const struct dray_leg_view *first = &run->view.targets[0];
	if (!first->found) {
		pair_fail(run, false, "target %s: its leg is gone from dray-iod", p->targets[0].at.resource);
		return;
	}
	if (first->set_aside && job_periodic(run->job))
		return; /* the image of a generation, or about to be attached again */
	if (first->held) {
		pair_fail(run, false, "target %s: %s", p->targets[0].at.resource, first->error[0] ? first->error : "given up");
		return;
	}
	judge_targets(run);
	p = run_pair(run);
	bool is = synced(run);
	if (is == (p->state == DRAY_PAIR_SYNCED))
		return;
	change_begin_soon(&c, run->job, ACTOR_SELF, NULL);
	if (is) {
		change_pair(&c, run, DRAY_PAIR_SYNCED, NULL);
		speeds_note(run);
	} else {
		change_touch(&c, run);
		verify_void(p);
		verify_anew(run);
		change_pair(&c, run, DRAY_PAIR_COPYING, "%s", first->error[0] ? first->error : "a target has to catch up");
	}
	change_end(&c);
}

/* After the switch the progress stands; what the legs are is still told. */
static void look_switched(struct pair_run *run)
{
	struct dray_pair *p = run_pair(run);
	for (size_t t = 0; t < run->view.n_targets; t++) {
		const struct dray_leg_view *leg = &run->view.targets[t];
		/* One that was let go is an image of the switch's instant. A list from before that, or of a leg whose closing takes
		 * a moment, has no news of it. */
		if (!leg->found || !strcmp(leg->state, "detached") || !strcmp(p->targets[t].state, "detached"))
			continue;
		snprintf(p->targets[t].state, sizeof p->targets[t].state, "%s", leg->state);
		p->targets[t].dirty_bytes = leg->dirty_bytes;
	}
	p->predicted_blackout_us = run->view.predicted_blackout_us;
}

static bool moving(enum dray_pair_state state)
{
	return state == DRAY_PAIR_STARTING || state == DRAY_PAIR_COPYING || state == DRAY_PAIR_SYNCED ||
	       state == DRAY_PAIR_PAUSED || state == DRAY_PAIR_QUEUED;
}

void observe_run(struct pair_run *run)
{
	struct job *job = run->job;
	struct agent *a = job->agent;
	struct dray_pair *p = run_pair(run);
	if (dray_state_final(p->state)) {
		run_unwatch(run);
		return;
	}
	if (!run->vehicle || !p->iod_volume || !a->volumes)
		return;
	watch(run, p->iod_volume);
	if (run->news) {
		run->news = false;
		run->view_valid = run->vehicle->observe(volume_find(a, p->iod_volume), job->s, p, &run->view) == 0;
	}
	if (run->view_valid)
		limits_measure(run);
	if (!run->view_valid)
		return;
	/* While a pair is given up its legs go: what was done stays told. */
	if (moving(p->state) && run->view.primary_target < 0 && run->goal == GOAL_NONE)
		progress(run);
	else if (p->state == DRAY_PAIR_SWITCHED)
		look_switched(run);
	if (run->touched)
		return; /* what it is now is not recorded yet */
	trouble_observe(run);
	if (run_settled(run)) {
		judge(run);
		verify_observe(run);
	}
}

void observe_record(struct job *job)
{
	struct agent *a = job->agent;
	if (!job_count(job, DRAY_PAIR_COPYING))
		return;
	if (a->now < job->counted_at + RECORD_EVERY) {
		job_wake_by(job, job->counted_at + RECORD_EVERY);
		return;
	}
	job->counted_at = a->now;
	struct change c;
	change_begin_soon(&c, job, ACTOR_SELF, NULL);
	job_each (job, COPYING, i) {
		if (job->runs[i].uncounted)
			change_touch(&c, &job->runs[i]);
		job->runs[i].uncounted = false;
	}
	change_end(&c);
	job_wake_by(job, job->counted_at + RECORD_EVERY);
}
