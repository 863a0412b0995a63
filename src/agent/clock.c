/* SPDX-License-Identifier: BSD-3-Clause */
#include "agent/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define FAKE_LOOK_MS 50

struct clock {
	int fd;
	/* As they were when they were looked at last: by how much the clock on the wall is ahead of all time that has passed since the boot, and
	 * how much of that the host slept. */
	int64_t ahead_ms, slept_ms;
};

static const char *fake; /* the file of DRAY_CLOCK, or NULL */

struct fake {
	int64_t ahead_ms, slept_ms;
	char zone[64]; /* or "" */
};

static struct fake fake_read(void)
{
	struct fake f = { 0 };
	char text[128], zone[64] = "";
	long long ahead = 0, slept = 0;
	int fd = fake ? open(fake, O_RDONLY | O_CLOEXEC) : -1;
	if (fd < 0)
		return f;
	ssize_t n = read(fd, text, sizeof text - 1);
	close(fd);
	text[n > 0 ? n : 0] = 0;
	sscanf(text, "%lld %63s %lld", &ahead, zone, &slept);
	f.ahead_ms = ahead * 1000;
	f.slept_ms = slept * 1000;
	if (strcmp(zone, "-"))
		memcpy(f.zone, zone, sizeof zone);
	return f;
}

void clock_zone(void)
{
	struct fake f = fake_read();
	const char *is = getenv("TZ");
	if (f.zone[0] && (!is || strcmp(f.zone, is)))
		setenv("TZ", f.zone, 1);
	tzset();
}

void clock_init(bool faults_allowed)
{
	fake = faults_allowed ? getenv("DRAY_CLOCK") : NULL;
	if (fake && !*fake)
		fake = NULL;
	clock_zone();
}

static int64_t ms_of(clockid_t id)
{
	struct timespec ts;
	clock_gettime(id, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

uint64_t mono_now(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * UINT64_C(1000000000) + (uint64_t)ts.tv_nsec;
}

int64_t wall_ms(void)
{
	struct fake f = fake_read();
	return ms_of(CLOCK_REALTIME) + f.ahead_ms + f.slept_ms;
}

static int64_t slept_ms(void)
{
	return ms_of(CLOCK_BOOTTIME) - ms_of(CLOCK_MONOTONIC) + fake_read().slept_ms;
}

/* Ahead of all time that has passed, asleep or not. */
static int64_t ahead_ms(void)
{
	return ms_of(CLOCK_REALTIME) - ms_of(CLOCK_BOOTTIME) + fake_read().ahead_ms;
}

time_t wall_now(void)
{
	return (time_t)(wall_ms() / 1000);
}

/* A timer that never comes, and is canceled when the clock is set. */
static int arm(struct clock *c)
{
	struct itimerspec never = { .it_value.tv_sec = INT64_MAX / 2000000000 };
	return timerfd_settime(c->fd, TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET, &never, NULL) < 0 ? -errno : 0;
}

int clock_watch(struct clock **clock, struct dray_error *err)
{
	struct clock *c = calloc(1, sizeof *c);
	if (!c)
		return dray_error_errno(err, -ENOMEM, "the clock");
	c->fd = timerfd_create(CLOCK_REALTIME, TFD_CLOEXEC | TFD_NONBLOCK);
	int rc = c->fd < 0 ? -errno : arm(c);
	if (rc) {
		clock_free(c);
		return dray_error_errno(err, rc, "a timer that tells when the clock is set");
	}
	c->ahead_ms = ahead_ms();
	c->slept_ms = slept_ms();
	*clock = c;
	return 0;
}

void clock_free(struct clock *c)
{
	if (c && c->fd >= 0)
		close(c->fd);
	free(c);
}

int clock_fd(const struct clock *c)
{
	return c->fd;
}

int clock_sleep_ms(void)
{
	return fake ? FAKE_LOOK_MS : INT_MAX;
}

/* By how much it is another one, if by a second: as a clock is slewed, it may drift; that is kept in mind until it is as much. */
static int64_t moved(int64_t *from, int64_t to)
{
	int64_t by = to - *from;
	if (by > -1000 && by < 1000)
		return 0;
	*from = to;
	return by;
}

bool clock_look(struct clock *c, int64_t *set, int64_t *slept)
{
	uint64_t ignored;
	if (read(c->fd, &ignored, sizeof ignored) < 0 && errno == ECANCELED)
		arm(c);
	*set = moved(&c->ahead_ms, ahead_ms());
	*slept = moved(&c->slept_ms, slept_ms());
	return *set || *slept;
}
