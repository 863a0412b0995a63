/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The moments of a periodic session: {every: 24h, at: "02:00"}. Pure, but for the process's zone (local.h).
 *
 * Without `at` they are an even row that begins when the session was submitted. With it they are what the clock on the wall shows: `every` is whole
 * days, or a minute or more and goes into a day without rest, and the moments of a day are `at` and what is so many `every` away from it. So in the odd nights of
 * daylight saving
 *
 *   a time that is left out    is taken at the first one that is shown after it
 *   a time that comes twice    is taken the first time
 */
#ifndef DRAY_SESSION_MOMENTS_H
#define DRAY_SESSION_MOMENTS_H

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

struct dray_moments {
	uint64_t every_s;
	int at; /* minutes of the day; -1: not given */
};

/* Whether `at` goes with it. */
bool dray_moments_good(const struct dray_moments *moments);
/* The first moment after `t`, of a row that begins at `anchor`: without `at` that is the first of them, with it they begin after it. */
time_t dray_moment_after(const struct dray_moments *moments, time_t anchor, time_t t);

#endif
