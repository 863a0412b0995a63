/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How gently drayd's own copying of files goes beside an application: a pure decision, from what dray-iod tells of its volume.
 *
 * dray-iod's window (engine/pacer.h) follows what a request takes with a copy and without one. Of this copying dray-iod knows nothing, so what requests
 * take without it is not known either, and only two things can be followed: whether the application asks at all, and a goal that somebody set.
 *
 *   it asked nothing for a while     all of the time
 *   it asks                          a quarter: the least, as of a window
 *   ... and has a goal for the p99   up to three quarters, as far as the p99 is below the goal: from 3/4 of it on it becomes less
 *
 * Never less than the least: a copy has to end. An application that asks is never without pauses, which its requests can use.
 */
#ifndef DRAY_AGENT_BESIDE_H
#define DRAY_AGENT_BESIDE_H

#include <stdint.h>

/* Parts of the time, in 1/16. */
#define BESIDE_ALL   16U
#define BESIDE_MOST  12U /* of an application that asks */
#define BESIDE_LEAST 4U

/* So long without a request is a sleep. It is heard of them twice a second. */
#define BESIDE_IDLE_NS UINT64_C(2000000000)

struct beside {
	uint64_t asked;   /* as it was told last */
	uint64_t at_ns;   /* when that became so, or since when it is looked at: whether it asks is not known before a while went by */
};

struct beside_told {
	uint64_t asked;   /* requests so far, counted from any point; UINT64_MAX: not known */
	uint64_t app_us;  /* p99 of what they took lately; 0: not known */
	uint64_t goal_us; /* 0: none */
};

void beside_begin(struct beside *b, const struct beside_told *told, uint64_t now_ns);
/* The part of the time in which may be copied. All of it beside one of which nothing is known. */
unsigned beside_part(struct beside *b, const struct beside_told *told, uint64_t now_ns);

#endif
