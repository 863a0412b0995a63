/* SPDX-License-Identifier: BSD-3-Clause */
#include "session/moments.h"

#include "session/local.h"

#include <string.h>

#define DAY DRAY_DAY_SECONDS

bool dray_moments_good(const struct dray_moments *m)
{
	return m->at < 0 || (m->every_s >= 60 && (m->every_s % DAY == 0 || DAY % m->every_s == 0));
}

/* Days since 1970 of the date that is shown. */
static int64_t day_of(time_t t)
{
	struct tm tm;
	if (!localtime_r(&t, &tm))
		return t / DAY;
	struct tm date = { .tm_year = tm.tm_year, .tm_mon = tm.tm_mon, .tm_mday = tm.tm_mday };
	return timegm(&date) / DAY;
}

static bool shows(time_t t, int64_t day, int second)
{
	struct tm tm;
	return localtime_r(&t, &tm) && day_of(t) == day && tm.tm_hour * 3600 + tm.tm_min * 60 + tm.tm_sec == second;
}

/* When that second of that day is shown first, or, if it never is, the first one after it. */
static time_t shown_at(int64_t day, int second)
{
	time_t utc = day * DAY + second;
	/* No zone is further from UTC than a day, and none changes twice in one: of what is shown then one offset is right. */
	time_t first = 0, before = utc - DAY, after = utc + DAY;
	struct tm tm;
	for (int i = 0; i < 2; i++) {
		if (!localtime_r(i ? &after : &before, &tm))
			return utc;
		time_t t = utc - tm.tm_gmtoff;
		if (shows(t, day, second) && (!first || t < first))
			first = t;
	}
	if (first)
		return first;
	/* Left out: by halving, the moment at which the offset changes. */
	localtime_r(&before, &tm);
	long offset = tm.tm_gmtoff;
	while (before + 1 < after) {
		time_t middle = before + (after - before) / 2;
		localtime_r(&middle, &tm);
		if (tm.tm_gmtoff == offset)
			before = middle;
		else
			after = middle;
	}
	return after;
}

static time_t in_days(const struct dray_moments *m, time_t anchor, time_t t)
{
	int64_t days = (int64_t)m->every_s / DAY, begin = day_of(anchor), day = day_of(t) - 1;
	if (shown_at(begin, m->at * 60) <= anchor)
		begin++;
	if (day < begin)
		day = begin;
	day += (days - (day - begin) % days) % days;
	while (shown_at(day, m->at * 60) <= t)
		day += days;
	return shown_at(day, m->at * 60);
}

/* No clock is put back by more than that. */
#define TWICE (3 * 3600)

static time_t in_a_day(const struct dray_moments *m, time_t t)
{
	int step = (int)m->every_s, second = m->at * 60 % step;
	struct tm tm;
	int shown = localtime_r(&t, &tm) ? tm.tm_hour * 3600 + tm.tm_min * 60 + tm.tm_sec - TWICE : 0;
	if (shown > second)
		second += (shown - second) / step * step;
	for (int64_t day = day_of(t);; day++, second = m->at * 60 % step) {
		time_t first = 0;
		for (; second < DAY; second += step) {
			time_t at = shown_at(day, second);
			if (first && at >= first)
				break;
			if (at > t)
				first = at;
		}
		if (first)
			return first;
	}
}

time_t dray_moment_after(const struct dray_moments *m, time_t anchor, time_t t)
{
	if (m->at >= 0 && t < anchor)
		t = anchor;
	if (m->at < 0)
		return t < anchor ? anchor : anchor + (time_t)(((uint64_t)(t - anchor) / m->every_s + 1) * m->every_s);
	return m->every_s % DAY == 0 ? in_days(m, anchor, t) : in_a_day(m, t);
}
