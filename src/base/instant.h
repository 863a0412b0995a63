/* SPDX-License-Identifier: BSD-3-Clause */
/* Moments in time as people and programs write them: RFC 3339. */
#ifndef DRAY_BASE_INSTANT_H
#define DRAY_BASE_INSTANT_H

#include <stddef.h>
#include <time.h>

/* "2027-01-01T02:00:00Z", "2027-01-01t03:00:00.5+01:00": whole seconds since 1970 (a fraction is cut off). 0, or -EINVAL (not of
 * that form, or no such day or time). */
int dray_instant_parse(const char *s, time_t *seconds);
/* In UTC, to the second. Returns buf. */
char *dray_instant_format(time_t seconds, char *buf, size_t size);

#endif
