/* SPDX-License-Identifier: BSD-3-Clause */
#include "agent/beside.h"

void beside_begin(struct beside *b, const struct beside_told *told, uint64_t now)
{
	*b = (struct beside){ told->asked, now };
}

static unsigned by_goal(uint64_t app, uint64_t goal)
{
	uint64_t from = goal - goal / 4;
	if (!app || app >= goal)
		return BESIDE_LEAST;
	if (app <= from)
		return BESIDE_MOST;
	return BESIDE_LEAST + (unsigned)((double)(BESIDE_MOST - BESIDE_LEAST) * (double)(goal - app) / (double)(goal - from));
}

unsigned beside_part(struct beside *b, const struct beside_told *told, uint64_t now)
{
	if (told->asked == UINT64_MAX)
		return BESIDE_ALL;
	/* (Fewer than before: dray-iod was started anew, which is no request but no harm either.) */
	if (told->asked != b->asked)
		*b = (struct beside){ told->asked, now };
	return now - b->at_ns >= BESIDE_IDLE_NS ? BESIDE_ALL : by_goal(told->app_us, told->goal_us);
}
