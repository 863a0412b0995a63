/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One run, from seed to verdict.
 */
#ifndef DRAY_SIM_RUN_H
#define DRAY_SIM_RUN_H

#include "sim/cover.h"

#include <stdbool.h>
#include <stdint.h>

struct sim_result {
	bool failed;
	char rule[64];
	char why[600];
	uint64_t step, now_ns;
	uint64_t cover[COVER_COUNT];
};

/* Runs the seed for about `steps` events (0: the default), then lets everything come to rest. The same seed and steps give the
 * same result on every machine. `trace`: a readable line for each thing that happens, on standard output. */
void sim_run(uint64_t seed, uint64_t steps, bool trace, struct sim_result *result);

#endif
