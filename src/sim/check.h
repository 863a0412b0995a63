/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Invariants: what the engine says, held against what the disks hold and the oracle allows.
 */
#ifndef DRAY_SIM_CHECK_H
#define DRAY_SIM_CHECK_H

#include "sim/sim.h"

/* After every call into the engine. */
void check_step(struct sim_vol *v);
/* Every region that the engine calls clean is equal on the two legs, unless an application writes it now. */
void check_clean(struct sim_vol *v);
/* What `d` holds is what applications may read now; `durable`: and a power loss now would lose nothing flushed. */
void check_takeover(struct sim_vol *v, const struct sim_disk *d, bool durable, const char *what);
/* The switch under way to `d` is forced, and the engine says that what the block holds is lost with it. */
bool check_given_up(const struct sim_vol *v, const struct sim_disk *d, unsigned block);
/* DRAINED without an error: the new primary is ready, and by the engine's own figures, too. */
void check_drained(struct sim_vol *v);
/* A request was answered (inside the engine: nothing is called there). */
void check_answered(struct sim_vol *v, struct sim_req *r, int error);
void check_detached(struct sim_vol *v, struct sim_leg *leg, int error);
/* The first block of a disk that is not what may be read at this instant; -1: none. */
int check_image(struct sim_vol *v, const struct sim_disk *d);
/* Does the engine call the block bad, and the primary without it? Fails if it has no reason to. `lost` may be NULL. */
bool check_bad(struct sim_vol *v, unsigned block, bool *lost);
void check_verified(struct sim_vol *v, struct sim_leg *leg, int error);
/* Counts the situations a write comes into. */
void check_note_write(struct sim_vol *v, const struct sim_leg *leg, const struct sim_req *r);
/* Progress may go back now, for a reason. */
void check_excuse_all(struct sim_vol *v);
/* Everything rests: all legs are equal, nothing is under way. */
void check_rest(struct sim_vol *v);

#endif
