/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The generations of a periodic session: made at each moment, listed when they are durable, removed when there are more than are to be kept.
 */
#ifndef DRAY_AGENT_GENERATION_H
#define DRAY_AGENT_GENERATION_H

#include "agent/agent.h"

struct clones;

/* It is submitted, or its moments are others now: the row begins. */
void generation_begin(struct dray_session *s);
/* A job is looked at: does what is due next. */
void generation_look(struct job *job);
/* The working images have to stay as they are: no leg is attached again. */
bool generation_holds(const struct job *job);
/* Its working images are being cloned: that is what its pairs use their rates for. */
bool generation_clones(const struct job *job);
/* By hand: one of this instant. 0: it is begun; or why not (as switch_begin; "this_second": there is one of this second already, ask again in the next). */
int generation_ask(struct job *job, unsigned consent, const char *actor, struct dray_error *err);
/* There is one, and what changed since is being brought to the working images, with nothing in the way: all will soon be in sync. */
bool generation_catches_up(const struct job *job);
/* switch.c's, each inside its change: the split is about to be asked for; it happened (`result` NULL: nobody knows how); it did not. `last`: not
 * tried again for this moment. */
void generation_splitting(struct job *job);
void generation_split(struct change *c, const json_t *result);
void generation_not_split(struct change *c, bool last, const char *why);
/* What the thread did. false: it could not be recorded yet. */
bool generation_worked(struct job *job, struct clones *order);
/* Of a pair that is given up, when its legs are gone: whether nothing is left to be done. Its working image is removed; what is complete stays. */
bool generation_over(struct pair_run *run);
/* "canceled; 3 generations stay". */
void generation_stay(const struct job *job, char *text, size_t size);
/* When the next one is due. 0: it is none of these sessions. */
time_t generation_due(const struct job *job);
/* What it waits for. false: for nothing that would have to be told. */
bool generation_waits(const struct job *job, char *why, size_t size);
/* At the agent's start, after the repository was read. */
void generation_missed_while_away(struct agent *a);

#endif
