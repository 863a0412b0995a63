/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The clock on the wall: rules that are said in local time ("19:00-07:00", "08:00,20M"), and when what they say changes.
 *
 * Such a rule is a function of what the clock shows, day of the week and time of day, and of nothing else. That decides the two
 * odd nights of daylight saving, and every other change of a zone's offset:
 *
 *   an hour that is left out    was never shown: what lies within it does not happen that day, what began before it is over, or goes
 *                               on, as the rule says for the time that is shown after it
 *   an hour that comes twice    is what it is both times
 *
 * The zone is the process's (TZ, /etc/localtime); after tzset() the same moment may show another time. No clock is read here.
 */
#ifndef DRAY_SESSION_LOCAL_H
#define DRAY_SESSION_LOCAL_H

#include <time.h>

#define DRAY_DAY_MINUTES  (24 * 60)
#define DRAY_DAY_SECONDS  (24 * 60 * 60)
#define DRAY_WEEK_SECONDS (7 * DRAY_DAY_SECONDS)

/* "02:00", up to 24:00, in minutes; moves behind it. -1: it is not of that form. */
int dray_local_time_read(const char **s);

struct dray_local_rule {
	const void *ctx;
	/* What the rule says at that second of the week (from Sunday, 00:00). */
	int (*says)(const void *ctx, int second);
	/* In how many seconds it may say something else, at the earliest: at least 1. */
	int (*holds)(const void *ctx, int second);
};

/* What the rule says at that moment. */
int dray_local_says(const struct dray_local_rule *rule, time_t at);
/* The first moment after `at` at which it says something else than then. 0: for weeks there is none. */
time_t dray_local_change(const struct dray_local_rule *rule, time_t at);

#endif
