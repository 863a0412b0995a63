/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * CLONE and PLACE: the working images, which nobody writes to, become files of their own (generation.c).
 */
#include "agent/generation-parts.h"

#include "base/crash.h"
#include "base/instant.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define PACE_EVERY (SECOND / 4) /* a limit that is set counts after that */

static const struct dray_target *target_of(const struct job *job, unsigned pair)
{
	return &job->s->pairs[pair - 1].targets[0];
}

void generation_look_files(struct job *job, enum clones_kind kind)
{
	const struct dray_making *m = &generations_of(job)->making;
	struct clones order = { .kind = kind };
	if (clones_run(job, NULL)) {
		if (kind == CLONES_MAKE) {
			clones_pace(job);
			job_wake_by(job, job->agent->now + PACE_EVERY);
		}
		return;
	}
	if (kind == CLONES_MAKE && (!m->boot || strcmp(m->boot, job->agent->boot_id))) {
		generation_fail(job, "the host was restarted before it was durable", true);
		return;
	}
	for (size_t i = 0; i < m->g.n_files; i++) {
		const struct dray_generation_file *f = &m->g.files[i];
		const struct dray_target *t = target_of(job, f->pair);
		uint64_t length = job->s->pairs[f->pair - 1].progress.bytes_total;
		clones_add(&order, f->pair, 0, t->at.resource, t->made, f->part, f->path, f->identity);
		order.files[order.n - 1].length = length == DRAY_UNKNOWN ? 0 : length;
	}
	if (kind == CLONES_MAKE)
		dray_crash_point("gen-split");
	job_wake_by(job, job->agent->now + (clones_start(job, &order) ? PACE_EVERY : SECOND));
}

static bool made(struct job *job, struct clones *order)
{
	struct change c;
	change_begin(&c, job->agent, job, ACTOR_SELF);
	struct dray_making *m = &generations_of(job)->making;
	m->g.shared = 1;
	for (size_t i = 0; i < order->n && i < m->g.n_files; i++) {
		set_text(&m->g.files[i].identity, "%s", order->files[i].identity);
		m->g.shared &= order->files[i].shared;
	}
	m->step = DRAY_MAKING_PLACE;
	return generation_recorded(job, &c);
}

static bool placed(struct job *job)
{
	struct change c;
	char at[40];
	change_begin(&c, job->agent, job, ACTOR_SELF);
	struct dray_generations *g = generations_of(job);
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
	generation_mark_old(job);
	generation_pass(&c, due, time, "the one before was late");
	if (!generation_recorded(job, &c))
		return false;
	dray_crash_point("gen-complete");
	job_wake_pairs(job);
	return true;
}

bool generation_worked(struct job *job, struct clones *order)
{
	const struct dray_making *m = &generations_of(job)->making;
	if (job->agent->now < job->generation_at)
		return false;
	if (order->kind == CLONES_REMOVE)
		return generation_removed(job, order);
	if (m->step != (order->kind == CLONES_MAKE ? DRAY_MAKING_CLONE : DRAY_MAKING_PLACE))
		return true; /* nobody wants it any more */
	if (order->rc) {
		char why[sizeof order->err.text + 120];
		/* Nothing that is done again and again brings it back. */
		bool lost = order->kind == CLONES_MAKE && (order->rc == -ENOENT || order->rc == -ENOTDIR || order->rc == -ESTALE);
		snprintf(why, sizeof why, "%s%s", order->rc == -ECANCELED ? "canceled" : order->err.text,
			lost ? ": put the working image back, or cancel the session and submit it anew (its generations stay)" : "");
		generation_fail(job, why, false);
		return generations_of(job)->making.step == DRAY_MAKING_NOTHING;
	}
	return order->kind == CLONES_MAKE ? made(job, order) : placed(job);
}
