/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the files of generations have in common: generation.c (the essay, and up to the split), generation-when.c (moments), generation-files.c
 * (from the split to a complete one), generation-old.c (what is removed).
 */
#ifndef DRAY_AGENT_GENERATION_PARTS_H
#define DRAY_AGENT_GENERATION_PARTS_H

#include "agent/clones.h"
#include "agent/generation.h"

static inline struct dray_generations *generations_of(const struct job *job)
{
	return &job->s->generations;
}

/* ---- generation.c ---- */
/* Ends the change. false: it could not be recorded; tried again a little later. */
bool generation_recorded(struct job *job, struct change *c);
/* The one that is being made won't be: what there is of it is removed. `anew`: its moment is due still. */
void generation_fail(struct job *job, const char *why, bool anew);

/* ---- generation-when.c ---- */
time_t generation_moment_after(const struct job *job, time_t t);
/* Moments up to `upto` are not due any more; those after `due` are told to be missed. `due` 0: none, one was made by hand. */
void generation_pass(struct change *c, time_t due, time_t upto, const char *why);
/* There is none of this moment, nor of those since. */
void generation_missed(struct change *c, time_t due, const char *why);
/* Whether the clock was put back so far that the row has to begin anew; it does. */
bool generation_put_back(struct job *job);
/* Whether its window is open at that time; *opens: when it is, from then on. */
bool generation_may_transfer(const struct job *job, time_t at, time_t *opens);
/* Pairs that failed are tried again, once at each moment. */
void generation_retry_failed(struct job *job);

/* ---- generation-files.c ---- */
void generation_look_files(struct job *job, enum clones_kind kind);

/* ---- generation-old.c ---- */
/* The oldest beyond `keep` are none any more. Whether there are such. */
bool generation_mark_old(struct job *job);
void generation_remove_old(struct job *job);
/* What the thread did of it; as generation_worked. */
bool generation_removed(struct job *job, const struct clones *order);

#endif
