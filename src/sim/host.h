/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The engine's host in the simulation: the table of functions the engine calls, and the way into the engine.
 */
#ifndef DRAY_SIM_HOST_H
#define DRAY_SIM_HOST_H

#include "sim/sim.h"

extern const struct dray_host_ops sim_host_ops;

/* Every call into the engine stands between these two: time is told before, invariants are checked, events handled and the
 * next tick is planned after. */
void vol_enter(struct sim_vol *v);
void vol_leave(struct sim_vol *v);

void vol_complete(struct sim_vol *v, struct dray_io *io, int error, unsigned flags);
/* Takes a leg in. Returns its index or what the engine said. `pages` as in dray_leg_config. */
int vol_attach(struct sim_vol *v, struct sim_disk *d, const void *const *pages, bool paused, bool tracked_only);
/* The host forgets the leg durably, then lets go of it. */
void vol_detach(struct sim_vol *v, struct sim_leg *leg);
/* Soon, when nothing is under way on it; a switch takes that back. */
void vol_reopen_primary(struct sim_vol *v);
int leg_index(const struct sim_vol *v, const struct sim_leg *leg);

/* The host's books after a switch: a new primary; the map (or that there is none) is of the pair, and goes on the other way. */
void vol_exchange(struct sim_vol *v, struct sim_disk *new_primary);

struct sim_req *req_new(struct sim_vol *v);
void req_free(struct sim_req *r);
/* All that the engine held of the host's memory is given back (after a crash). */
void host_forget(struct sim *s);
/* Fails the run if a buffer is still out. */
void host_check_buffers(struct sim *s);
void host_free_buffers(struct sim *s);

/* Counts the time since the last call as an excuse for waiting writes, if there is one now. */
void vol_excuse(struct sim_vol *v);

#endif
