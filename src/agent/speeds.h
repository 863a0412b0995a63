/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What copies took, for the estimates of later ones.
 *
 * Of each copy that nothing limited, how fast it was, by the identities of its source and its first target, and by what these lie on (probe_place): a file
 * that is made anew each night is another one each time, and its file system is the same. Where several were copied at a time from one place, that is what
 * they moved together. And of pairs with next to nothing to copy what one takes all the same: its start, its records, its end.
 *
 * The newest 256 (64 of the others) are kept, for 400 days, in the repository. They are a hint: one that can't be recorded is lost, which is in
 * the log, and so are those of the last seconds before a kill.
 */
#ifndef DRAY_AGENT_SPEEDS_H
#define DRAY_AGENT_SPEEDS_H

#include "agent/agent.h"
#include "agent/probe.h"

/* At the agent's start, and its end. */
void speeds_load(struct agent *a);
void speeds_free(struct agent *a);
/* Of a session that is being submitted. */
void speeds_places(struct dray_session *s, const struct probe_set *probes);
/* It got its place; its counters were looked at while it is copied; it is in sync; it is copied no longer. */
void speeds_begin(struct pair_run *run);
void speeds_look(struct pair_run *run);
void speeds_note(struct pair_run *run);
void speeds_leave(struct pair_run *run);
/* At the end of a turn. */
void speeds_step(struct agent *a);
/* All of them, for another thread. New reference. */
json_t *speeds_all(const struct agent *a);

enum speeds_basis { SPEEDS_SAME, SPEEDS_SAME_TARGET, SPEEDS_PLACES };

struct speeds_found {
	size_t n;                /* 0: none; then the rest is not set */
	enum speeds_basis by;    /* of the same source and target; of other sources to the same target; of others between the same two places */
	uint64_t low, mid, high; /* bytes a second, of all that are copied there at a time */
};
/* For many questions: refers to `all`. Free it. */
struct speeds_list;
struct speeds_list *speeds_list(const json_t *all);
/* Any thread. The first kind of which there is any. */
struct speeds_found speeds_find(const struct speeds_list *all, const struct dray_pair *pair);

/* Seconds for one pair, beside its bytes, where many are under way. */
struct speeds_fixed {
	size_t n; /* 0: none was measured yet */
	double low, mid, high;
};
struct speeds_fixed speeds_fixed(const struct agent *a);

#endif
