/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a pair is doing just now, in a word: finer than its state, and only told, never acted on.
 *
 *   waiting     for a place, a time, or dray-iod       pausing, paused
 *   attaching   its targets                            switching
 *   copying                                            mirroring   both sides get what is written
 *   comparing   what was in doubt after a crash        resyncing   the old source catches up after a switch
 *   cloning     a generation                           (beside switching: split for it)
 *   recovering  a target stalled or failed             verifying
 *   recording   all is there, not yet on record        canceling, committing, retiring, finishing, halting
 */
#include "agent/agent.h"
#include "agent/generation.h"

#include <string.h>

static const char *by_goal(const struct pair_run *run)
{
	switch (run->goal) {
	case GOAL_CANCEL: return "canceling";
	case GOAL_COMMIT: return "committing";
	case GOAL_FINISH: return "finishing";
	case GOAL_HALT: return "halting";
	default: return NULL;
	}
}

static const char *of_copy(const struct pair_run *run)
{
	uint64_t dirty = 0, doubt = 0;
	bool any = false;
	for (size_t t = 0; run->view_valid && t < run->view.n_targets; t++) {
		const struct dray_leg_view *leg = &run->view.targets[t];
		if (!leg->found || leg->held)
			continue;
		any = true;
		if (leg->degraded && leg->error[0] && strcmp(leg->error, "set aside"))
			return "recovering";
		dirty += leg->dirty_bytes;
		doubt += leg->doubt_bytes;
	}
	return doubt && doubt == dirty ? "comparing" : any && !dirty ? "recording" : "copying";
}

const char *pair_phase(const struct pair_run *run)
{
	const struct dray_pair *p = &run->job->s->pairs[run->index];
	const char *goal = by_goal(run);
	if (goal)
		return goal;
	bool pausing = pair_pause_wanted(run->job, p);
	switch (p->state) {
	case DRAY_PAIR_SCHEDULED:
	case DRAY_PAIR_QUEUED: return "waiting";
	case DRAY_PAIR_STARTING: return pausing ? "pausing" : "attaching";
	case DRAY_PAIR_COPYING: return generation_holds(run->job) ? "cloning" : pausing ? "pausing" : of_copy(run);
	case DRAY_PAIR_PAUSED: return "paused";
	case DRAY_PAIR_SWITCHING: return "switching";
	case DRAY_PAIR_SYNCED: return pausing ? "pausing" : run->verifying ? "verifying" : "mirroring";
	case DRAY_PAIR_SWITCHED:
		if (run->verifying)
			return "verifying";
		return run->view_valid && run->view.source.found && !run->view.source.synced ? "resyncing" : "mirroring";
	case DRAY_PAIR_COMMITTED:
	case DRAY_PAIR_COMPLETED: return p->retired.state == DRAY_RETIRED_PENDING ? "retiring" : NULL;
	default: return NULL; /* over, or failed: nothing is going on */
	}
}

const char *job_phase(const struct job *job)
{
	/* What an operator wants to hear first. */
	static const char *const order[] = { "switching", "recovering", "canceling", "halting", "committing", "retiring", "finishing", "cloning", "copying",
		"comparing", "recording", "attaching", "verifying", "pausing", "paused", "waiting", "resyncing", "mirroring" };
	size_t best = sizeof order / sizeof order[0];
	for (size_t i = 0; i < job->s->n_pairs && best; i++) {
		const char *phase = pair_phase(&job->runs[i]);
		for (size_t k = 0; phase && k < best; k++)
			if (!strcmp(order[k], phase))
				best = k;
	}
	return best < sizeof order / sizeof order[0] ? order[best] : NULL;
}
