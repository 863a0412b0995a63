/* SPDX-License-Identifier: BSD-3-Clause */
#include "agent/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define FAKE_LOOK_MS 50

struct clock {
	int fd;
	int64_t ahead_ms; /* of the clock that only runs forward, when it was looked at last */
};

static const char *fake; /* the file of DRAY_CLOCK, or NULL */

/* The seconds; behind them `*zone`, or "". */
static int64_t fake_seconds(char text[96], const char **zone)
{
	int fd = open(fake, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? 0 : read(fd, text, 95);
	if (fd >= 0)
		close(fd);
	text[n > 0 ? n : 0] = 0;
	char *end;
	int64_t seconds = strtoll(text, &end, 10);
	end += strspn(end, " ");
	end[strcspn(end, "\n")] = 0;
	*zone = end;
	return seconds;
}

static int64_t fake_ms(void)
{
	char text[96];
	const char *zone;
	return fake_seconds(text, &zone) * 1000;
}

void clock_zone(void)
{
	char text[96];
	const char *zone = "", *is = getenv("TZ");
	if (fake)
		fake_seconds(text, &zone);
	if (*zone && (!is || strcmp(zone, is)))
		setenv("TZ", zone, 1);
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
	return ms_of(CLOCK_REALTIME) + (fake ? fake_ms() : 0);
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
	c->ahead_ms = wall_ms() - ms_of(CLOCK_MONOTONIC);
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

bool clock_was_set(struct clock *c, int64_t *by_ms)
{
	uint64_t ignored;
	if (read(c->fd, &ignored, sizeof ignored) < 0 && errno == ECANCELED)
		arm(c);
	int64_t ahead_ms = wall_ms() - ms_of(CLOCK_MONOTONIC);
	*by_ms = ahead_ms - c->ahead_ms;
	if (*by_ms > -1000 && *by_ms < 1000)
		return false; /* as it is slewed, it may drift; that is kept in mind until it is a second */
	c->ahead_ms = ahead_ms;
	return true;
}
