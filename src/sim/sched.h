/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Virtual time: a queue of events. Events of the same instant run in an order that the seed decides.
 */
#ifndef DRAY_SIM_SCHED_H
#define DRAY_SIM_SCHED_H

#include "sim/sim.h"

/* `gen` is handed back, so that the owner of `arg` can tell an event that was overtaken. */
typedef void (*sim_fn)(struct sim *s, void *arg, uint32_t gen);

void sched_init(struct sim *s);
/* Runs fn at `at` (at once, if that is past). `mortal`: not if the process was killed in between. */
void sched_at(struct sim *s, uint64_t at, bool mortal, sim_fn fn, void *arg, uint32_t gen);
/* Runs the next event. False: there is none. */
bool sched_step(struct sim *s);
/* When the next event is due; UINT64_MAX: never. */
uint64_t sched_next(const struct sim *s);
void sched_free(struct sim *s);

#endif
