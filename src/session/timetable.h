/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A number by the time of day: "08:00,20M 19:00,off" is 20 MiB from eight in the morning, and no limit from seven in the evening. Local time
 * (local.h). Each entry holds until the next one; before the first one of a day the last one of the day before does.
 */
#ifndef DRAY_SESSION_TIMETABLE_H
#define DRAY_SESSION_TIMETABLE_H

#include <stddef.h>
#include <stdint.h>
#include <time.h>

#define DRAY_TIMETABLE_MOST 64

struct dray_timetable {
	size_t n; /* at least 1 */
	struct dray_timetable_entry {
		int from;      /* minutes from midnight */
		uint64_t rate; /* bytes per second; 0: nothing; UINT64_MAX: no limit */
	} entries[DRAY_TIMETABLE_MOST]; /* in order */
};

/* Entries in any order, separated by blanks. 0, or -EINVAL (not of that form, or a time twice), -ERANGE (a size that does not fit), -E2BIG. */
int dray_timetable_parse(const char *text, struct dray_timetable *table);
uint64_t dray_timetable_at(const struct dray_timetable *table, time_t now);
/* When another entry holds; 0: never. */
time_t dray_timetable_change(const struct dray_timetable *table, time_t now);

#endif
