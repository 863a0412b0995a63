/* SPDX-License-Identifier: BSD-3-Clause */
#include "session/window.h"

#include "session/local.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>
#include <strings.h>

#define DAY DRAY_DAY_MINUTES

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

int dray_window_parse(const char *text, struct dray_window *w)
{
	w->days = 0x7f;
	if (isalpha((unsigned char)*text) && !read_days(&text, &w->days))
		return -EINVAL;
	w->from = dray_local_time_read(&text);
	if (w->from < 0 || w->from == DAY || *text++ != '-')
		return -EINVAL;
	w->to = dray_local_time_read(&text);
	if (w->to < 0 || *text || w->to == w->from)
		return -EINVAL;
	if (w->to < w->from)
		w->to += DAY;
	return 0;
}

/* The second of the week at which the window that begins on this day does so. */
static int begins(const struct dray_window *w, int weekday)
{
	return weekday * DRAY_DAY_SECONDS + w->from * 60;
}

/* How far `to` is ahead of `from` in a week that begins again. */
static int ahead(int from, int to)
{
	return (to - from + 2 * DRAY_WEEK_SECONDS) % DRAY_WEEK_SECONDS;
}

static int is_open(const void *ctx, int second)
{
	const struct dray_windows *windows = ctx;
	for (size_t i = 0; i < windows->n; i++) {
		const struct dray_window *w = &windows->list[i];
		for (int d = 0; d < 7; d++)
			if ((w->days >> d & 1) && ahead(begins(w, d), second) < (w->to - w->from) * 60)
				return true;
	}
	return false;
}

static int until_edge(const void *ctx, int second)
{
	const struct dray_windows *windows = ctx;
	int least = DRAY_WEEK_SECONDS;
	for (size_t i = 0; i < windows->n; i++) {
		const struct dray_window *w = &windows->list[i];
		for (int d = 0; d < 7; d++) {
			int edges[] = { begins(w, d), begins(w, d) + (w->to - w->from) * 60 };
			for (int e = 0; e < 2; e++) {
				int left = ahead(second, edges[e]);
				if ((w->days >> d & 1) && left && left < least)
					least = left;
			}
		}
	}
	return least;
}

static struct dray_local_rule rule_of(const struct dray_windows *windows)
{
	return (struct dray_local_rule){ windows, is_open, until_edge };
}

bool dray_windows_open(const struct dray_windows *windows, time_t now)
{
	struct dray_local_rule rule = rule_of(windows);
	return !windows->n || dray_local_says(&rule, now);
}

time_t dray_windows_change(const struct dray_windows *windows, time_t now)
{
	struct dray_local_rule rule = rule_of(windows);
	return windows->n ? dray_local_change(&rule, now) : 0;
}

time_t dray_windows_closed(const struct dray_windows *windows, time_t now)
{
	/* Of the days before, the latest with a change in it: as it is closed now, the last change closed it. */
	for (int days = 1; days <= 15; days++) {
		time_t last = 0;
		for (time_t t = dray_windows_change(windows, now - days * DRAY_DAY_SECONDS); t && t <= now; t = dray_windows_change(windows, t))
			last = t;
		if (last)
			return last;
	}
	return 0;
}

time_t dray_windows_opening(const struct dray_windows *windows, time_t now)
{
	if (dray_windows_open(windows, now))
		return now;
	/* Each comes once a week at least, and misses its turn only where the clock is put forward over it. */
	time_t opens = dray_windows_change(windows, now);
	return opens ? opens : now + DRAY_WEEK_SECONDS;
}
