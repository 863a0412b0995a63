/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Crashes, recovery, and the question what a crash would find.
 */
#ifndef DRAY_SIM_CRASH_H
#define DRAY_SIM_CRASH_H

#include "sim/sim.h"

/* The process is killed, or the power fails: now. A recovery follows by itself. */
void crash_now(struct sim *s, bool power);
/* What would a power loss at this moment leave? Changes nothing. */
void crash_what_if(struct sim_vol *v);
/* ... on `d`, were it the primary of the recovery, and with the list of bad ranges that it would find. Fails with `rule`. */
void crash_what_if_power(struct sim_vol *v, const struct sim_disk *d, const char *rule, const char *which);
/* The host starts for the first time, or again. */
void host_start_volume(struct sim_vol *v, bool recovery);

#endif
