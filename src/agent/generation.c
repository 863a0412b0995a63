/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * From a moment to a generation.
 *
 *   NOTHING   the volumes run, each with its working image as a mirror; nothing is due
 *   HOOKS     those before the split run: what they brought to rest is owed the hooks after it, which is on record first
 *   SPLIT     the intent is on record, and asked of dray-iod (switch.c): all volumes of the session stand still for one instant, and their working images
 *             are set aside there, or none is. Then the hooks after it run, whatever came of it
 *   CLONE     a thread flushes the working images and clones each, under a name that was put on record before and that nobody else has
 *   PLACE     the clones are durable and known by their identities, which is on record; they get their names, and these are made durable
 *   NOTHING   the generation is listed complete. The working images are attached again, and only what changed since the instant is brought
 *
 * What always holds (H21). From SPLIT to the end of PLACE nobody writes to a working image: dray-iod has its leg set aside, and keeps that over its own
 * kill; pair.c asks generation_holds before it attaches one. Nothing is listed complete before its files and their names are durable.
 *
 * A kill of drayd: what is on record is done again from the beginning of its step, which can be repeated. In HOOKS the moment begins anew after the hooks
 * after the split were told that there was none. A kill of dray-iod in SPLIT: its record says whether the images are of the instant, but not whether all is well with
 * them, so the generation is made anew. Later nothing of it is noticed. A restart of the host in CLONE: the images may not be on the disk as they were;
 * anew. In PLACE: the clones were durable.
 *
 * A moment is late, never lost, while the agent was away, its volumes were not in sync, or window or switch.window was closed: one generation is made as soon as it can be,
 * of the instant that it is then; the moments that went by meanwhile are told and not made up for. So there is at most one.
 *
 * One that could not be made leaves nothing behind, is told with the reason, and the next moment is another chance.
 *
 * Removing. With the record of a new one, and not before, the oldest beyond `keep` cease to be listed as complete; then their files are removed, if they are
 * what the record says that was made (H24); then they leave the record.
 */
#include "agent/generation-parts.h"

#include "agent/split_hooks.h"
#include "base/crash.h"
#include "base/instant.h"
#include "base/log.h"
#include "session/periodic.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define TRY_AGAIN (2 * SECOND)

bool generation_holds(const struct job *job)
{
	return job_periodic(job) && generations_of(job)->making.step >= DRAY_MAKING_SPLIT;
}

bool generation_clones(const struct job *job)
{
	return job_periodic(job) && generations_of(job)->making.step == DRAY_MAKING_CLONE;
}

/* ---- records ---- */

bool generation_recorded(struct job *job, struct change *c)
{
	if (change_end(c) == 0)
		return true;
	job->generation_at = job->agent->now + SECOND;
	job_wake_by(job, job->generation_at);
	return false;
}

/* What there is of it is removed, and as long as there is something it stays on record. */
static void drop_making(struct change *c)
{
	struct dray_making *m = &generations_of(c->job)->making;
	m->g.complete = false;
	m->g.removing = true;
	if (m->g.n_files)
		dray_generations_add(generations_of(c->job), &m->g);
	dray_generation_clear(&m->g);
	m->step = DRAY_MAKING_NOTHING;
}

void generation_fail(struct job *job, const char *why, bool anew)
{
	struct change c;
	change_begin(&c, job->agent, job, ACTOR_SELF);
	char at[40];
	time_t due = generations_of(job)->making.due;
	change_event(&c, 0, "generation-failed", NULL, NULL, "%s: %s", dray_instant_format(generations_of(job)->making.g.time, at, sizeof at), why);
	set_text(&generations_of(job)->why, "%s: %s", at, why);
	drop_making(&c);
	if (!anew)
		generation_pass(&c, due, wall_now(), why);
	generation_recorded(job, &c);
	job_wake_pairs(job);
}

/* ---- NOTHING: is one due? ---- */

static bool time_is_taken(const struct job *job)
{
	time_t now = wall_now();
	for (size_t i = 0; i < generations_of(job)->n; i++)
		if (generations_of(job)->list[i].time == now)
			return true;
	return false;
}

static void tidy_after_refusal(struct job *job, const struct dray_error *err)
{
	struct change c;
	if (generations_of(job)->making.step != DRAY_MAKING_HOOKS)
		return;
	change_begin(&c, job->agent, job, ACTOR_SELF);
	generations_of(job)->making.step = DRAY_MAKING_NOTHING;
	set_text(&generations_of(job)->why, "%s", err->text);
	generation_recorded(job, &c);
}

/* 0: the split is on its way. */
static int split(struct job *job, const bool *pairs, struct dray_error *err)
{
	char actor[40];
	snprintf(actor, sizeof actor, "%s", generations_of(job)->making.actor ? generations_of(job)->making.actor : ACTOR_SELF);
	int rc = switch_begin(job, "moment", pairs, job->generation_consent, actor, err);
	if (!rc)
		return 0;
	tidy_after_refusal(job, err);
	job->generation_at = job->agent->now + TRY_AGAIN;
	job_wake_by(job, job->generation_at);
	return rc;
}

/* `due` 0: by hand. */
static int begin(struct job *job, const bool *pairs, time_t due, const char *actor, struct dray_error *err)
{
	struct change c;
	struct dray_making *m = &generations_of(job)->making;
	dray_making_clear(m);
	m->due = due;
	set_text(&m->actor, "%s", actor);
	bool before, any = split_hooks_any(job->agent, &before);
	m->g.quiesced = before ? 0 : -1;
	m->g.shared = -1;
	if (!any)
		return split(job, pairs, err);
	change_begin(&c, job->agent, job, actor);
	m->step = DRAY_MAKING_HOOKS;
	m->thaw = true;
	if (!generation_recorded(job, &c)) {
		*err = c.err;
		return err->code;
	}
	dray_crash_point("gen-hooks");
	split_hooks_start(job, HOOKS_BEFORE, false);
	job_wake(job);
	return 0;
}

static void begin_if_due(struct job *job)
{
	time_t due = generation_due(job), opens;
	struct dray_error err;
	if (due > wall_now()) {
		job_wake_at_wall(job, due);
		generation_retry_failed(job);
		return;
	}
	if (!iod_ready(job->agent->iod) || job->token)
		return; /* what it waits for wakes us */
	if (!switch_group_ready(job, job->pick)) {
		generation_retry_failed(job);
		return;
	}
	if (!generation_may_transfer(job, wall_now(), &opens) || !switch_in_window(job, &opens)) {
		job_wake_at_wall(job, opens);
		return;
	}
	if (time_is_taken(job)) {
		job_wake_by(job, job->agent->now + SECOND / 4);
		return;
	}
	job->generation_consent = 0;
	if (begin(job, job->pick, due, ACTOR_SELF, &err))
		dray_log(DRAY_LOG_INFO, "generation-not-begun", "session %s: %s", job->s->id, err.text);
}

/* Who asks for one wants it of all that there is. */
static bool is_there(const struct dray_pair *p)
{
	return !dray_state_final(p->state) && p->state != DRAY_PAIR_FAILED;
}

static void pick_by_hand(const struct job *job, bool *pairs)
{
	for (size_t i = 0; i < job->s->n_pairs; i++)
		pairs[i] = is_there(&job->s->pairs[i]);
}

int generation_ask(struct job *job, unsigned consent, const char *actor, struct dray_error *err)
{
	const struct dray_making *m = &generations_of(job)->making;
	if (m->step != DRAY_MAKING_NOTHING || m->thaw)
		return dray_error_kind(err, -EBUSY, "busy", "a generation of this session is being made");
	if (time_is_taken(job)) /* by which it is known, and named */
		return dray_error_kind(err, -EAGAIN, "this_second", "a generation of this session was made this second");
	bool *pairs = job->pick;
	pick_by_hand(job, pairs);
	int rc = switch_check(job, "moment", pairs, consent, err);
	if (rc)
		return rc;
	job->generation_consent = consent;
	return begin(job, pairs, 0, actor, err);
}

bool generation_catches_up(const struct job *job)
{
	for (size_t i = 0; i < job->s->n_pairs; i++) {
		const struct dray_pair *p = &job->s->pairs[i];
		bool on_its_way = p->state == DRAY_PAIR_STARTING || p->state == DRAY_PAIR_COPYING || p->state == DRAY_PAIR_SYNCED;
		if (is_there(p) && !on_its_way)
			return false;
	}
	return generations_of(job)->made;
}

/* ---- HOOKS ---- */

static void hooks_failed(struct change *c, const char *why)
{
	change_event(c, 0, "hook-failed", NULL, NULL, "%s", why);
}

static void look_hooks(struct job *job)
{
	struct dray_making *m = &generations_of(job)->making;
	char why[700];
	struct change c;
	struct dray_error err;
	/* drayd was killed meanwhile: whether they had done anything is not known, and they may still run. */
	int rc = split_hooks_run(job) ? split_hooks_step(job, why, sizeof why) : -2;
	if (!rc)
		return;
	if (m->g.quiesced >= 0)
		m->g.quiesced = rc > 0;
	if (rc != 1) {
		change_begin(&c, job->agent, job, ACTOR_SELF);
		if (rc == -1)
			hooks_failed(&c, why);
		if (rc == -1 && job->s->hook_failure)
			generation_missed(&c, generations_of(job)->making.due, why);
		if (rc == -2 || job->s->hook_failure)
			generations_of(job)->making.step = DRAY_MAKING_NOTHING;
		if (!generation_recorded(job, &c) || generations_of(job)->making.step == DRAY_MAKING_NOTHING) {
			job_wake(job);
			return;
		}
	}
	bool *pairs = job->pick, by_hand = !generations_of(job)->making.due, ready = switch_group_ready(job, pairs);
	if (by_hand)
		pick_by_hand(job, pairs);
	if (by_hand || ready) {
		split(job, pairs, &err);
	} else {
		dray_error_kind(&err, -EAGAIN, "not_synced", "while the hooks ran, it was paused or fell out of sync");
		tidy_after_refusal(job, &err);
	}
	job_wake(job);
}

/* Those after the split, until they have ended: again after a kill. */
static void look_thaw(struct job *job)
{
	struct dray_making *m = &generations_of(job)->making;
	char why[700];
	struct change c;
	if (!split_hooks_run(job))
		split_hooks_start(job, HOOKS_AFTER, m->split);
	int rc = split_hooks_step(job, why, sizeof why);
	if (!rc)
		return;
	dray_crash_point("gen-thawed");
	change_begin(&c, job->agent, job, ACTOR_SELF);
	if (rc < 0)
		hooks_failed(&c, why);
	generations_of(job)->making.thaw = false;
	if (generation_recorded(job, &c))
		job_wake_pairs(job); /* what is canceled waited for that */
}

/* ---- SPLIT ---- */

void generation_splitting(struct job *job)
{
	struct dray_making *m = &generations_of(job)->making;
	m->step = DRAY_MAKING_SPLIT;
	m->split = false;
	m->g.time = wall_now();
}

static void add_file(struct job *job, const struct dray_pair *p)
{
	struct dray_making *m = &generations_of(job)->making;
	uint64_t random = 0;
	if (getrandom(&random, sizeof random, 0) != sizeof random)
		abort();
	char *path = dray_periodic_path(&p->targets[0], m->g.time), *part;
	const char *name = strrchr(path, '/') + 1;
	if (asprintf(&part, "%.*s.%s.dray-%016llx", (int)(name - path), path, name, (unsigned long long)random) < 0)
		abort();
	dray_generation_add(&m->g, p->id, path, part);
}

static const char *bad_image(const json_t *result)
{
	size_t i, k;
	json_t *member, *image;
	json_array_foreach (json_object_get(result, "members"), i, member)
		json_array_foreach (json_object_get(member, "images"), k, image)
			if (json_is_string(json_object_get(image, "error")))
				return json_string_value(json_object_get(image, "error"));
	return NULL;
}

void generation_split(struct change *c, const json_t *result)
{
	struct job *job = c->job;
	struct dray_making *m = &generations_of(job)->making;
	const char *why = !result ? "dray-iod was restarted while it was split, and can't say that its images are good" : bad_image(result);
	char at[40];
	m->split = true;
	set_text(&m->boot, "%s", job->agent->boot_id);
	if (why) {
		/* Made anew as soon as can be. */
		change_event(c, 0, "generation-failed", NULL, NULL, "%s: %s", dray_instant_format(m->g.time, at, sizeof at), why);
		set_text(&generations_of(job)->why, "%s: %s", at, why);
		m->step = DRAY_MAKING_NOTHING;
		return;
	}
	job_each (job, SWITCHING, i)
		if (job->token && job->s->pairs[i].switch_token && !strcmp(job->s->pairs[i].switch_token, job->token))
			add_file(job, &job->s->pairs[i]);
	m->step = DRAY_MAKING_CLONE;
}

void generation_not_split(struct change *c, bool last, const char *why)
{
	struct dray_making *m = &generations_of(c->job)->making;
	m->step = DRAY_MAKING_NOTHING;
	if (last || !m->due)
		generation_missed(c, m->due, why);
	c->job->generation_at = c->a->now + TRY_AGAIN;
}

/* ---- the whole ---- */

/* By what a working image is known later, when it is cloned or removed. */
static void note_made(struct job *job)
{
	for (size_t i = 0; i < job->s->n_pairs; i++) {
		struct pair_run *run = &job->runs[i];
		struct dray_target *t = &job->s->pairs[i].targets[0];
		if (!run->view_valid || !run->view.n_targets || !run->view.targets[0].found || !*run->view.targets[0].identity || run->touched ||
			dray_state_final(job->s->pairs[i].state) || (t->made && !strcmp(t->made, run->view.targets[0].identity)))
			continue;
		struct change c;
		change_begin(&c, job->agent, job, ACTOR_SELF);
		change_touch(&c, run);
		set_text(&run_pair(run)->targets[0].made, "%s", run->view.targets[0].identity);
		if (!generation_recorded(job, &c))
			return;
	}
}

void generation_look(struct job *job)
{
	if (!job_periodic(job) || !job_live(job) || job->agent->stopping)
		return;
	if (job->agent->now < job->generation_at) {
		job_wake_by(job, job->generation_at);
		return;
	}
	note_made(job);
	const struct dray_making *m = &generations_of(job)->making;
	if (m->thaw && m->step != DRAY_MAKING_HOOKS && m->step != DRAY_MAKING_SPLIT)
		look_thaw(job);
	m = &generations_of(job)->making;
	switch (m->step) {
	case DRAY_MAKING_NOTHING:
		generation_remove_old(job);
		if (!generations_of(job)->making.thaw && !generation_put_back(job))
			begin_if_due(job);
		break;
	case DRAY_MAKING_HOOKS: look_hooks(job); break;
	case DRAY_MAKING_CLONE: generation_look_files(job, CLONES_MAKE); break;
	case DRAY_MAKING_PLACE: generation_look_files(job, CLONES_PLACE); break;
	default: break; /* switch.c has it */
	}
}
