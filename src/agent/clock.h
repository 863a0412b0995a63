/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The two clocks: the one on the wall, by which people say when something is to happen, and the one that only ever runs forward, by which
 * the agent waits.
 *
 * The clock on the wall may be set, and the zone may be changed. The kernel tells of the one (a timer that is canceled by it); the other is
 * looked for now and then.
 *
 * For tests, where faults are allowed, DRAY_CLOCK names a file with a number of seconds by which the clock on the wall is put
 * forward (or back: -3600), and behind a blank, if the host is to be in another zone than TZ says, its name. It is read each time, so that a test can
 * play a fortnight, a clock that is set, or a host that travels, while the agent runs. The other clock stays as it is: what waits for so
 * many seconds does so.
 */
#ifndef DRAY_AGENT_CLOCK_H
#define DRAY_AGENT_CLOCK_H

#include "base/error.h"

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

struct clock;

/* Before anything asks for the time. */
void clock_init(bool faults_allowed);
/* Nanoseconds since some moment. */
uint64_t mono_now(void);
/* Since 1970, in milliseconds, and in seconds. Any thread. */
int64_t wall_ms(void);
time_t wall_now(void);
/* The zone may be another one: that of /etc/localtime where TZ is not set. The core's thread. */
void clock_zone(void);

/* 0 or a negative errno, with err. */
int clock_watch(struct clock **clock, struct dray_error *err);
void clock_free(struct clock *clock);
/* Readable when the clock on the wall was set. */
int clock_fd(const struct clock *clock);
/* How long may be slept at most without missing that: INT_MAX where the file above need not be looked at. */
int clock_sleep_ms(void);
/* Whether it was set since the last time, by at least a second: `*by_ms` says by how much. */
bool clock_was_set(struct clock *clock, int64_t *by_ms);

#endif
