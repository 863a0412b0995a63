/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The operator, who gives verbs at random moments, and the one who makes things break.
 */
#ifndef DRAY_SIM_VERBS_H
#define DRAY_SIM_VERBS_H

#include "sim/sim.h"

/* Both begin (again). */
void verbs_start(struct sim *s);
/* Draws the copy's limits; `plain`: fast, for the end of a run. */
void verbs_limits(struct sim_vol *v, bool plain);
/* The end of a run: whatever was paused, held or left half done goes on. Returns whether all is at rest. */
bool verbs_settle(struct sim *s);

#endif
