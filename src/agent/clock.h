/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The two clocks: the one on the wall, by which people say when something is to happen, and the one that only ever runs forward, by which
 * the agent waits.
 *
 * The clock on the wall may be set, the host may sleep, and the zone may be changed. The kernel tells of the first two (a timer that is
 * canceled by them, and clocks that count sleep and do not); the third is looked for now and then.
 *
 * For tests, where faults are allowed, DRAY_CLOCK names a file "SECONDS ZONE SLEPT": by how much the clock on the wall was put forward (or back:
 * -3600), the zone in which the host is (-: as TZ says), and for how long it slept. All but the first may be left out. It is read each time, so
 * that a test can play a fortnight, a clock that is set, or a host that travels, while the agent runs. The clock that only runs forward
 * stays as it is: what waits for so many seconds does so.
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
/* Readable when the clock on the wall was set, or the host has slept. */
int clock_fd(const struct clock *clock);
/* How long may be slept at most without missing that: INT_MAX where the file above need not be looked at. */
int clock_sleep_ms(void);
/* Whether either happened since the last time, for at least a second: by how much it was set, and for how long the host slept; else 0. */
bool clock_look(struct clock *clock, int64_t *set_ms, int64_t *slept_ms);

#endif
