/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A window's beginnings and ends are worked out as local dates and times of the days around now, so that a day with 23 or 25
 * hours has its windows where the clock on the wall says.
 */
#include "session/window.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>
#include <strings.h>

#define DAY (24 * 60)

static const char *const day_words[] = { "Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat" };

static int day(const char **s)
{
	for (int i = 0; i < 7; i++)
		if (!strncasecmp(*s, day_words[i], 3)) {
			*s += 3;
			return i;
		}
	return -1;
}

/* "Mon-Fri,Sun " */
static bool read_days(const char **s, unsigned *days)
{
	*days = 0;
	for (;;) {
		int from = day(s), to = from;
		if (from >= 0 && **s == '-') {
			(*s)++;
			to = day(s);
		}
		if (from < 0 || to < 0)
			return false;
		for (int i = from;; i = (i + 1) % 7) {
			*days |= 1U << i;
			if (i == to)
				break;
		}
		if (**s != ',')
			break;
		(*s)++;
	}
	if (**s != ' ')
		return false;
	while (**s == ' ')
		(*s)++;
	return true;
}

/* "02:00" in minutes, or -1. */
static int read_time(const char **s)
{
	const char *p = *s;
	for (int i = 0; i < 5; i++)
		if (i == 2 ? p[i] != ':' : !isdigit((unsigned char)p[i]))
			return -1;
	*s += 5;
	int hour = (p[0] - '0') * 10 + p[1] - '0', minute = (p[3] - '0') * 10 + p[4] - '0';
	return minute > 59 || hour > 24 || (hour == 24 && minute) ? -1 : hour * 60 + minute;
}

int dray_window_parse(const char *text, struct dray_window *w)
{
	w->days = 0x7f;
	if (isalpha((unsigned char)*text) && !read_days(&text, &w->days))
		return -EINVAL;
	w->from = read_time(&text);
	if (w->from < 0 || w->from == DAY || *text++ != '-')
		return -EINVAL;
	w->to = read_time(&text);
	if (w->to < 0 || *text || w->to == w->from)
		return -EINVAL;
	if (w->to < w->from)
		w->to += DAY;
	return 0;
}

/* The moment that is `minutes` into the day `days` from that of `now`, by the clock on the wall. */
static time_t moment(const struct tm *now, int days, int minutes)
{
	struct tm tm = { .tm_year = now->tm_year, .tm_mon = now->tm_mon, .tm_mday = now->tm_mday + days + minutes / DAY,
		.tm_hour = minutes % DAY / 60, .tm_min = minutes % 60, .tm_isdst = -1 };
	return mktime(&tm);
}

time_t dray_windows_opening(const struct dray_windows *windows, time_t now)
{
	struct tm tm;
	time_t first = 0;
	if (!windows->n || !localtime_r(&now, &tm))
		return now;
	for (size_t i = 0; i < windows->n; i++) {
		const struct dray_window *w = &windows->list[i];
		/* One that began yesterday may still be open; within a week each has begun. */
		for (int d = -1; d <= 7; d++) {
			if (!(w->days >> ((tm.tm_wday + d + 7) % 7) & 1) || moment(&tm, d, w->to) <= now)
				continue;
			time_t opens = moment(&tm, d, w->from);
			if (opens <= now)
				return now;
			if (!first || opens < first)
				first = opens;
		}
	}
	return first ? first : now;
}

bool dray_windows_open(const struct dray_windows *windows, time_t now)
{
	return dray_windows_opening(windows, now) == now;
}
