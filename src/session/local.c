/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * From one moment at which the rule may change to the next. Between two of them the clock on the wall runs evenly, unless the
 * zone's offset changes: that moment is looked for by halving, and is one more at which the rule may change. No step is longer than a day,
 * in which no zone changes its offset twice.
 */
#include "session/local.h"

#include <ctype.h>
#include <stdbool.h>

/* A window of one hour on one day a week may miss its turn twice. */
#define HORIZON (4 * DRAY_WEEK_SECONDS)

int dray_local_time_read(const char **s)
{
	const char *p = *s;
	for (int i = 0; i < 5; i++)
		if (i == 2 ? p[i] != ':' : !isdigit((unsigned char)p[i]))
			return -1;
	*s += 5;
	int hour = (p[0] - '0') * 10 + p[1] - '0', minute = (p[3] - '0') * 10 + p[4] - '0';
	return minute > 59 || hour > 24 || (hour == 24 && minute) ? -1 : hour * 60 + minute;
}

/* What the clock shows, as a second of the week; and by how much it is ahead of UTC. */
static int shown(time_t at, long *offset)
{
	struct tm tm;
	if (!localtime_r(&at, &tm)) { /* a year that does not fit */
		*offset = 0;
		return 0;
	}
	*offset = tm.tm_gmtoff;
	int second = tm.tm_sec > 59 ? 59 : tm.tm_sec; /* zones that count leap seconds */
	return tm.tm_wday * DRAY_DAY_SECONDS + tm.tm_hour * 3600 + tm.tm_min * 60 + second;
}

/* The first moment in (from, to] that has another offset than `from`, as `to` has. */
static time_t offset_changes(time_t from, time_t to)
{
	long was, is;
	shown(from, &was);
	while (to - from > 1) {
		time_t half = from + (to - from) / 2;
		shown(half, &is);
		if (is == was)
			from = half;
		else
			to = half;
	}
	return to;
}

int dray_local_says(const struct dray_local_rule *rule, time_t at)
{
	long offset;
	return rule->says(rule->ctx, shown(at, &offset));
}

time_t dray_local_change(const struct dray_local_rule *rule, time_t at)
{
	int says = dray_local_says(rule, at);
	for (time_t t = at; t - at < HORIZON;) {
		long offset, then;
		int holds = rule->holds(rule->ctx, shown(t, &offset));
		time_t next = t + (holds < DRAY_DAY_SECONDS ? holds : DRAY_DAY_SECONDS);
		shown(next, &then);
		if (then != offset)
			next = offset_changes(t, next);
		if (dray_local_says(rule, next) != says)
			return next;
		t = next;
	}
	return 0;
}
