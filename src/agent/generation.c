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
 * A moment is late, never lost, while the agent was away, its volumes were not in sync, or switch.window was closed: one generation is made as soon as it can be,
 * of the instant that it is then; the moments that went by meanwhile are told and not made up for. So there is at most one.
 *
 * One that could not be made leaves nothing behind, is told with the reason, and the next moment is another chance.
 *
 * Removing. With the record of a new one, and not before, the oldest beyond `keep` cease to be listed as complete; then their files are removed, if they are
 * what the record says that was made (H24); then they leave the record.
 */
#include "agent/generation.h"

#include "agent/clones.h"
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

#define PUT_BACK   (3 * 3600)    /* s */
#define TRY_AGAIN  (2 * SECOND)
#define WAIT_SPACE (60 * SECOND) /* before what could not be removed is tried again */

static struct dray_generations *of(const struct job *job)
{
	return &job->s->generations;
}

bool generation_holds(const struct job *job)
{
	return job_periodic(job) && of(job)->making.step >= DRAY_MAKING_SPLIT;
}

/* ---- when ---- */

void generation_begin(struct dray_session *s)
{
	if (s->start != DRAY_START_EVERY)
		return;
	s->generations.anchor = wall_now();
	s->generations.last = s->generations.anchor - 1;
}

static time_t moment_after(const struct job *job, time_t t)
{
	const struct dray_moments m = dray_session_moments(job->s);
	return dray_moment_after(&m, of(job)->anchor, t);
}

time_t generation_due(const struct job *job)
{
	return job_periodic(job) && job_live(job) ? moment_after(job, of(job)->last) : 0;
}

bool generation_waits(const struct job *job, char *why, size_t size)
{
	const struct dray_generations *g = of(job);
	time_t due = generation_due(job), opens;
	char at[40], then[40];
	size_t n = 0;
	if (!due || job_count(job, DRAY_PAIR_SCHEDULED))
		return false;
	dray_instant_format(due, at, sizeof at);
	*why = 0;
	if (g->making.step != DRAY_MAKING_NOTHING)
		n = (size_t)snprintf(why, size, "a generation is being made");
	else if (due > wall_now())
		n = (size_t)snprintf(why, size, "the next generation is due at %s", at);
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

/* ---- records ---- */

/* false: it could not be recorded; tried again a little later. */
static bool recorded(struct job *job, struct change *c)
{
	if (change_end(c) == 0)
		return true;
	job->generation_at = job->agent->now + SECOND;
	job_wake_by(job, job->generation_at);
	return false;
}

/* Moments up to now are not due any more. */
static void pass(struct change *c, time_t due, time_t upto, const char *why)
{
	struct job *job = c->job;
	char first[40], last[40];
	if (!due)
		return; /* by hand */
	time_t next = moment_after(job, due);
	if (next <= upto)
		change_event(c, 0, "generation-missed", NULL, NULL, "what was due from %s up to %s is not made up for: %s", dray_instant_format(next, first, sizeof first),
			dray_instant_format(upto, last, sizeof last), why);
	if (upto > of(job)->last)
		of(job)->last = upto;
}

/* It is given up for this moment. */
static void missed(struct change *c, time_t due, const char *why)
{
	char at[40];
	dray_instant_format(due ? due : wall_now(), at, sizeof at);
	change_event(c, 0, "generation-missed", NULL, NULL, "%s: %s", at, why);
	set_text(&of(c->job)->why, "%s: %s", at, why);
	pass(c, due, wall_now(), why);
}

/* What there is of it is removed, and as long as there is something it stays on record. */
static void drop_making(struct change *c)
{
	struct dray_making *m = &of(c->job)->making;
	m->g.complete = false;
	m->g.removing = true;
	if (m->g.n_files)
		dray_generations_add(of(c->job), &m->g);
	dray_generation_clear(&m->g);
	m->step = DRAY_MAKING_NOTHING;
}

static void fail(struct job *job, const char *why, bool anew)
{
	struct change c;
	change_begin(&c, job->agent, job, ACTOR_SELF);
	char at[40];
	time_t due = of(job)->making.due;
	change_event(&c, 0, "generation-failed", NULL, NULL, "%s: %s", dray_instant_format(of(job)->making.g.time, at, sizeof at), why);
	set_text(&of(job)->why, "%s: %s", at, why);
	drop_making(&c);
	if (!anew)
		pass(&c, due, wall_now(), why);
	recorded(job, &c);
	job_wake_pairs(job);
}

/* The oldest beyond `keep` are none any more. */
static bool mark_old(struct job *job)
{
	struct dray_generations *g = of(job);
	size_t complete = dray_generations_complete(g);
	bool any = false;
	for (size_t i = 0; i < g->n && complete > job->s->keep; i++) {
		if (!g->list[i].complete)
			continue;
		g->list[i].complete = false;
		g->list[i].removing = any = true;
		complete--;
	}
	return any;
}

/* ---- NOTHING: is one due? ---- */

/* The clock was put back so far that the next moment is out of reach: the row goes on from what it shows. A little makes no second generation of one moment. */
static bool put_back(struct job *job)
{
	struct dray_generations *g = of(job);
	time_t now = wall_now(), every = (time_t)(job->s->every_ns / SECOND), reach = every + (every < PUT_BACK ? every : PUT_BACK);
	struct change c;
	if (g->last <= now || generation_due(job) <= now + reach)
		return false;
	change_begin(&c, job->agent, job, ACTOR_SELF);
	g->last = now;
	if (g->anchor > now)
		g->anchor = now;
	recorded(job, &c);
	return true;
}

static bool time_is_taken(const struct job *job)
{
	time_t now = wall_now();
	for (size_t i = 0; i < of(job)->n; i++)
		if (of(job)->list[i].time == now)
			return true;
	return false;
}

static void tidy_after_refusal(struct job *job, const struct dray_error *err)
{
	struct change c;
	if (of(job)->making.step != DRAY_MAKING_HOOKS)
		return;
	change_begin(&c, job->agent, job, ACTOR_SELF);
	of(job)->making.step = DRAY_MAKING_NOTHING;
	set_text(&of(job)->why, "%s", err->text);
	recorded(job, &c);
}

/* 0: the split is on its way. */
static int split(struct job *job, const bool *pairs, struct dray_error *err)
{
	char actor[40];
	snprintf(actor, sizeof actor, "%s", of(job)->making.actor ? of(job)->making.actor : ACTOR_SELF);
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
	struct dray_making *m = &of(job)->making;
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
	if (!recorded(job, &c)) {
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
		return;
	}
	if (!iod_ready(job->agent->iod) || job->token || !switch_group_ready(job, job->pick))
		return; /* what it waits for wakes us */
	if (!switch_in_window(job, &opens)) {
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

int generation_ask(struct job *job, unsigned consent, const char *actor, struct dray_error *err)
{
	const struct dray_making *m = &of(job)->making;
	if (m->step != DRAY_MAKING_NOTHING || m->thaw || time_is_taken(job))
		return dray_error_kind(err, -EBUSY, "busy", "a generation of this session is being made, or was made this second");
	bool *pairs = job->pick;
	for (size_t i = 0; i < job->s->n_pairs; i++)
		pairs[i] = !dray_state_final(job->s->pairs[i].state) && job->s->pairs[i].state != DRAY_PAIR_FAILED;
	int rc = switch_check(job, "moment", pairs, consent, err);
	if (rc)
		return rc;
	job->generation_consent = consent;
	return begin(job, pairs, 0, actor, err);
}

/* ---- HOOKS ---- */

static void hooks_failed(struct change *c, const char *why)
{
	change_event(c, 0, "hook-failed", NULL, NULL, "%s", why);
}

static void look_hooks(struct job *job)
{
	struct dray_making *m = &of(job)->making;
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
			missed(&c, of(job)->making.due, why);
		if (rc == -2 || job->s->hook_failure)
			of(job)->making.step = DRAY_MAKING_NOTHING;
		if (!recorded(job, &c) || of(job)->making.step == DRAY_MAKING_NOTHING) {
			job_wake(job);
			return;
		}
	}
	bool *pairs = job->pick;
	if (switch_group_ready(job, pairs)) {
		split(job, pairs, &err);
	} else {
		dray_error_kind(&err, -EAGAIN, "not_synced", "while the hooks ran, it fell out of sync");
		tidy_after_refusal(job, &err);
		job_wake(job);
	}
}

/* Those after the split, until they have ended: again after a kill. */
static void look_thaw(struct job *job)
{
	struct dray_making *m = &of(job)->making;
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
	of(job)->making.thaw = false;
	if (recorded(job, &c))
		job_wake(job);
}

/* ---- SPLIT ---- */

void generation_splitting(struct job *job)
{
	struct dray_making *m = &of(job)->making;
	m->step = DRAY_MAKING_SPLIT;
	m->split = false;
	m->g.time = wall_now();
}

static void add_file(struct job *job, const struct dray_pair *p)
{
	struct dray_making *m = &of(job)->making;
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
	struct dray_making *m = &of(job)->making;
	const char *why = !result ? "dray-iod was restarted while it was split, and can't say that its images are good" : bad_image(result);
	char at[40];
	m->split = true;
	set_text(&m->boot, "%s", job->agent->boot_id);
	if (why) {
		/* Made anew as soon as can be. */
		change_event(c, 0, "generation-failed", NULL, NULL, "%s: %s", dray_instant_format(m->g.time, at, sizeof at), why);
		set_text(&of(job)->why, "%s: %s", at, why);
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
	struct dray_making *m = &of(c->job)->making;
	m->step = DRAY_MAKING_NOTHING;
	if (last || !m->due)
		missed(c, m->due, why);
	c->job->generation_at = c->a->now + TRY_AGAIN;
}

/* ---- CLONE and PLACE ---- */

static const struct dray_target *target_of(const struct job *job, unsigned pair)
{
	return &job->s->pairs[pair - 1].targets[0];
}

static void look_work(struct job *job, enum clones_kind kind)
{
	const struct dray_making *m = &of(job)->making;
	struct clones order = { .kind = kind };
	if (clones_run(job, NULL))
		return;
	if (kind == CLONES_MAKE && (!m->boot || strcmp(m->boot, job->agent->boot_id))) {
		fail(job, "the host was restarted before it was durable", true);
		return;
	}
	if (kind == CLONES_MAKE && !job->s->limits.rate) {
		job_wake_by(job, job->agent->now + SECOND);
		return; /* nothing moves just now */
	}
	for (size_t i = 0; i < m->g.n_files; i++) {
		const struct dray_generation_file *f = &m->g.files[i];
		const struct dray_target *t = target_of(job, f->pair);
		clones_add(&order, f->pair, 0, t->at.resource, t->made, f->part, f->path, f->identity);
	}
	if (kind == CLONES_MAKE)
		dray_crash_point("gen-split");
	if (!clones_start(job, &order))
		job_wake_by(job, job->agent->now + SECOND);
}

static bool made(struct job *job, struct clones *order)
{
	struct change c;
	change_begin(&c, job->agent, job, ACTOR_SELF);
	struct dray_making *m = &of(job)->making;
	m->g.shared = 1;
	for (size_t i = 0; i < order->n && i < m->g.n_files; i++) {
		set_text(&m->g.files[i].identity, "%s", order->files[i].identity);
		m->g.shared &= order->files[i].shared;
	}
	m->step = DRAY_MAKING_PLACE;
	return recorded(job, &c);
}

static bool placed(struct job *job)
{
	struct change c;
	char at[40];
	change_begin(&c, job->agent, job, ACTOR_SELF);
	struct dray_generations *g = of(job);
	struct dray_making *m = &g->making;
	time_t due = m->due, time = m->g.time;
	m->g.complete = true;
	for (size_t i = 0; i < m->g.n_files; i++)
		set_text(&m->g.files[i].part, NULL);
	change_event(&c, 0, "generation", NULL, "complete", "%s: %zu file%s, the first is %s", dray_instant_format(time, at, sizeof at), m->g.n_files,
		m->g.n_files == 1 ? "" : "s", m->g.n_files ? m->g.files[0].path : "none");
	dray_generations_add(g, &m->g);
	m->step = DRAY_MAKING_NOTHING;
	g->made++;
	schedule_count_anew(job);
	set_text(&g->why, NULL);
	mark_old(job);
	pass(&c, due, time, "the one before was late");
	if (!recorded(job, &c))
		return false;
	dray_crash_point("gen-complete");
	job_wake_pairs(job);
	return true;
}

/* ---- removing ---- */

static void remove_old(struct job *job)
{
	struct dray_generations *g = of(job);
	struct clones order = { .kind = CLONES_REMOVE };
	struct change c;
	if (dray_generations_complete(g) > job->s->keep) { /* it was set */
		change_begin(&c, job->agent, job, ACTOR_SELF);
		mark_old(job);
		if (!recorded(job, &c))
			return;
	}
	g = of(job);
	if (clones_run(job, NULL))
		return;
	if (job->agent->now < job->remove_at) {
		job_wake_by(job, job->remove_at);
		return;
	}
	for (size_t i = 0; i < g->n; i++)
		for (size_t k = 0; g->list[i].removing && k < g->list[i].n_files; k++) {
			const struct dray_generation_file *f = &g->list[i].files[k];
			if (f->identity)
				clones_add(&order, f->pair, (size_t)g->list[i].time, NULL, NULL, NULL, f->path, f->identity);
			if (f->part)
				clones_add(&order, f->pair, (size_t)g->list[i].time, NULL, NULL, f->part, NULL, NULL);
		}
	if (order.n && !clones_start(job, &order))
		job_wake_by(job, job->agent->now + SECOND);
}

/* Whether all that was ordered of this generation is done: 1; 0: nothing was ordered; -1: not all. What another file stands in the way of is. */
static int gone(const struct clones *order, time_t time)
{
	int gone = 0;
	for (size_t i = 0; i < order->n && gone >= 0; i++) {
		const struct clones_file *f = &order->files[i];
		if ((time_t)f->generation == time)
			gone = f->rc && f->rc != -ESTALE ? -1 : 1;
	}
	return gone;
}

static bool removed(struct job *job, const struct clones *order)
{
	struct change c;
	char at[40];
	change_begin(&c, job->agent, job, ACTOR_SELF);
	struct dray_generations *g = of(job);
	bool left = false;
	for (size_t i = 0; i < order->n; i++) {
		const struct clones_file *f = &order->files[i];
		struct pair_run *run = &job->runs[f->pair - 1];
		if (f->rc)
			change_event(&c, 0, "generation-left", NULL, NULL, "%s", f->err.text);
		if (!f->generation) { /* a working image, of a pair that is given up */
			change_touch(&c, run);
			set_text(&run_pair(run)->targets[0].made, NULL);
		}
	}
	for (size_t i = g->n; i-- > 0;) {
		int is = g->list[i].removing ? gone(order, g->list[i].time) : 0;
		left |= is < 0;
		if (is <= 0)
			continue;
		if (g->list[i].n_files && !g->list[i].files[0].part)
			change_event(&c, 0, "generation-removed", NULL, NULL, "%s", dray_instant_format(g->list[i].time, at, sizeof at));
		dray_generations_drop(g, i);
	}
	if (!recorded(job, &c))
		return false;
	job->remove_at = left ? job->agent->now + WAIT_SPACE : 0;
	return true;
}

bool generation_worked(struct job *job, struct clones *order)
{
	const struct dray_making *m = &of(job)->making;
	if (job->agent->now < job->generation_at)
		return false;
	if (order->kind == CLONES_REMOVE)
		return removed(job, order);
	if (m->step != (order->kind == CLONES_MAKE ? DRAY_MAKING_CLONE : DRAY_MAKING_PLACE))
		return true; /* nobody wants it any more */
	if (order->rc) {
		fail(job, order->rc == -ECANCELED ? "canceled" : order->err.text, false);
		return of(job)->making.step == DRAY_MAKING_NOTHING;
	}
	return order->kind == CLONES_MAKE ? made(job, order) : placed(job);
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
		if (!recorded(job, &c))
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
	const struct dray_making *m = &of(job)->making;
	if (m->thaw && m->step != DRAY_MAKING_HOOKS && m->step != DRAY_MAKING_SPLIT)
		look_thaw(job);
	m = &of(job)->making;
	switch (m->step) {
	case DRAY_MAKING_NOTHING:
		remove_old(job);
		if (!of(job)->making.thaw && !put_back(job))
			begin_if_due(job);
		break;
	case DRAY_MAKING_HOOKS: look_hooks(job); break;
	case DRAY_MAKING_CLONE: look_work(job, CLONES_MAKE); break;
	case DRAY_MAKING_PLACE: look_work(job, CLONES_PLACE); break;
	default: break; /* switch.c has it */
	}
}

/* ---- the end ---- */

static bool makes(const struct job *job, unsigned pair)
{
	const struct dray_making *m = &of(job)->making;
	for (size_t i = 0; i < m->g.n_files; i++)
		if (m->g.files[i].pair == pair)
			return true;
	return false;
}

/* Whether any but this one is still to do with. */
static bool last_one(const struct pair_run *run)
{
	const struct dray_session *s = run->job->s;
	for (size_t i = 0; i < s->n_pairs; i++)
		if (i != run->index && !dray_state_final(s->pairs[i].state))
			return false;
	return true;
}

bool generation_over(struct pair_run *run)
{
	struct job *job = run->job;
	struct dray_pair *p = run_pair(run);
	struct clones order = { .kind = CLONES_REMOVE };
	if (!job_periodic(job))
		return true;
	const struct dray_making *m = &of(job)->making;
	if (m->step == DRAY_MAKING_HOOKS || m->step == DRAY_MAKING_SPLIT || m->thaw)
		return false; /* its end first */
	if (m->step != DRAY_MAKING_NOTHING && makes(job, p->id)) {
		if (clones_run(job, NULL))
			clones_cancel(job);
		else
			fail(job, "canceled", false);
		return false;
	}
	if (clones_run(job, NULL))
		return false;
	if (p->targets[0].made) {
		clones_add(&order, p->id, 0, NULL, NULL, NULL, p->targets[0].at.resource, p->targets[0].made);
		if (!clones_start(job, &order))
			job_wake_by(job, job->agent->now + SECOND);
		return false;
	}
	/* What could not be removed was told. */
	bool left = false;
	for (size_t i = 0; i < of(job)->n; i++)
		left |= of(job)->list[i].removing;
	return !left || !last_one(run) || job->remove_at;
}

void generation_stay(const struct job *job, char *text, size_t size)
{
	size_t n = dray_generations_complete(of(job));
	if (n)
		snprintf(text, size, "canceled; %zu generation%s", n, n == 1 ? " stays" : "s stay");
	else
		snprintf(text, size, "canceled; there is no generation");
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
