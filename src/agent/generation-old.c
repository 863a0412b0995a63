/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What is removed: the oldest beyond `keep`, what is left of one that failed, and, at the end of a pair, its working image.
 */
#include "agent/generation-parts.h"

#include "base/instant.h"

#include <errno.h>
#include <stdio.h>

#define WAIT_SPACE (60 * SECOND) /* before what could not be removed is tried again */

bool generation_mark_old(struct job *job)
{
	struct dray_generations *g = generations_of(job);
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

void generation_remove_old(struct job *job)
{
	struct dray_generations *g = generations_of(job);
	struct clones order = { .kind = CLONES_REMOVE };
	struct change c;
	if (dray_generations_complete(g) > job->s->keep) { /* it was set */
		change_begin(&c, job->agent, job, ACTOR_SELF);
		generation_mark_old(job);
		if (!generation_recorded(job, &c))
			return;
	}
	g = generations_of(job);
	if (clones_run(job, NULL))
		return;
	/* One that can't be removed holds up no other. */
	bool again = job->agent->now >= job->remove_at;
	for (size_t i = 0; i < g->n; i++)
		for (size_t k = 0; g->list[i].removing && (again || !g->list[i].left) && k < g->list[i].n_files; k++) {
			const struct dray_generation_file *f = &g->list[i].files[k];
			if (f->identity)
				clones_add(&order, f->pair, (size_t)g->list[i].time, NULL, NULL, NULL, f->path, f->identity);
			if (f->part)
				clones_add(&order, f->pair, (size_t)g->list[i].time, NULL, NULL, f->part, NULL, NULL);
		}
	if (order.n && !clones_start(job, &order))
		job_wake_by(job, job->agent->now + SECOND);
	else if (!again)
		job_wake_by(job, job->remove_at);
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

/* Once of each, and not with each attempt. */
static bool told_before(const struct dray_generations *g, const struct clones_file *f)
{
	for (size_t i = 0; i < g->n; i++)
		if (f->generation && g->list[i].time == (time_t)f->generation)
			return g->list[i].left;
	return false;
}

bool generation_removed(struct job *job, const struct clones *order)
{
	struct change c;
	char at[40];
	change_begin(&c, job->agent, job, ACTOR_SELF);
	struct dray_generations *g = generations_of(job);
	bool left = false, tried = false;
	for (size_t i = 0; i < order->n; i++) {
		const struct clones_file *f = &order->files[i];
		struct pair_run *run = &job->runs[f->pair - 1];
		if (f->rc && !told_before(g, f))
			change_event(&c, 0, "generation-left", NULL, NULL, "%s", f->err.text);
		if (!f->generation) { /* a working image, of a pair that is given up */
			change_touch(&c, run);
			set_text(&run_pair(run)->targets[0].made, NULL);
		}
	}
	for (size_t i = g->n; i-- > 0;) {
		int is = g->list[i].removing ? gone(order, g->list[i].time) : 0;
		if (is <= 0) {
			tried |= is < 0;
			g->list[i].left |= is < 0;
			left |= g->list[i].left;
			continue;
		}
		if (g->list[i].n_files && !g->list[i].files[0].part)
			change_event(&c, 0, "generation-removed", NULL, NULL, "%s", dray_instant_format(g->list[i].time, at, sizeof at));
		dray_generations_drop(g, i);
	}
	if (!generation_recorded(job, &c))
		return false;
	job->remove_at = tried ? job->agent->now + WAIT_SPACE : left ? job->remove_at : 0;
	return true;
}

/* ---- the end ---- */

static bool makes(const struct job *job, unsigned pair)
{
	const struct dray_making *m = &generations_of(job)->making;
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
	const struct dray_making *m = &generations_of(job)->making;
	if (m->step == DRAY_MAKING_HOOKS || m->step == DRAY_MAKING_SPLIT || m->thaw)
		return false; /* its end first */
	if (m->step != DRAY_MAKING_NOTHING && makes(job, p->id)) {
		if (clones_run(job, NULL))
			clones_cancel(job);
		else
			generation_fail(job, "canceled", false);
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
	bool open = false;
	for (size_t i = 0; i < generations_of(job)->n; i++)
		open |= generations_of(job)->list[i].removing && !generations_of(job)->list[i].left;
	return !open || !last_one(run);
}

void generation_stay(const struct job *job, char *text, size_t size)
{
	size_t n = dray_generations_complete(generations_of(job));
	if (n)
		snprintf(text, size, "canceled; %zu generation%s", n, n == 1 ? " stays" : "s stay");
	else
		snprintf(text, size, "canceled; there is no generation");
}
