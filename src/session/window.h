/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Windows of time: "02:00-04:00", "Sat,Sun 00:00-24:00", "Mon-Fri 22:00-06:00". Local time (local.h). The days, where there are any, are
 * those on which a window begins; one whose end is before its beginning ends on the next day. The end is no part of it.
 */
#ifndef DRAY_SESSION_WINDOW_H
#define DRAY_SESSION_WINDOW_H

#include <stdbool.h>
#include <stddef.h>
#include <time.h>

struct dray_window {
	unsigned days;     /* bit 0: Sunday, as tm_wday */
	int from, to;      /* minutes from the beginning of its day; to is above from, and may reach into the next day */
};

struct dray_windows { /* n 0: always */
	struct dray_window *list;
	size_t n;
};

#define DRAY_WINDOWS_MOST 64

/* 0 or -EINVAL. */
int dray_window_parse(const char *text, struct dray_window *window);
bool dray_windows_open(const struct dray_windows *windows, time_t now);
/* When that changes next; 0: not for weeks. */
time_t dray_windows_change(const struct dray_windows *windows, time_t now);
/* None is open: when the last one closed; 0: not for two weeks. */
time_t dray_windows_closed(const struct dray_windows *windows, time_t now);
/* When one opens next: now, if one is open. */
time_t dray_windows_opening(const struct dray_windows *windows, time_t now);

#endif
