/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What copies took, for the estimates of later ones: of each that nothing limited, how fast it was, by the identities of its source and its first target.
 *
 * The newest 256 are kept, for 400 days, as one value in the repository. They are a hint: one that can't be recorded is lost, which is in the log,
 * and so are those of the last seconds before a kill.
 */
#ifndef DRAY_AGENT_SPEEDS_H
#define DRAY_AGENT_SPEEDS_H

#include "agent/agent.h"

/* At the agent's start, and its end. */
void speeds_load(struct agent *a);
void speeds_free(struct agent *a);
/* Its counters were looked at while it is copied; it is in sync. */
void speeds_look(struct pair_run *run);
void speeds_note(struct pair_run *run);
/* At the end of a turn. */
void speeds_step(struct agent *a);
/* All of them, for another thread. New reference. */
json_t *speeds_all(const struct agent *a);

struct speeds_found {
	size_t n;                /* 0: none; then the rest is not set */
	bool target_only;        /* of other sources to the same target */
	uint64_t low, mid, high; /* bytes a second */
};
/* Any thread. Of the same source and target; if there is none, of the same target. */
struct speeds_found speeds_find(const json_t *all, const char *source, const char *target);

#endif
