/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A file that is copied beside an application is copied in small steps, each of which is on the disk before the next one begins, with a rest after each in
 * proportion to what it took; with nobody beside it there are no rests. The clock is the test's, and so is what a step takes: what is waited for is counted, not measured.
 */
#include "storage/clone.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define KiB  UINT64_C(1024)
#define MiB  (1024 * KiB)
#define SIZE (16 * MiB)
#define BEGAN UINT64_C(1000000000)
#define TOOK UINT64_C(30000000) /* ns: each write to the disk */

static char folder[] = "/tmp/dray-clone-XXXXXX", from[64], part[64];

static struct {
	uint64_t ns, worked, slept, longest_step, last_length;
	unsigned waits, naps;
	unsigned share, later; /* the share of the time; another one after some steps */
	uint64_t rate;
	unsigned stop_after;   /* naps */
	unsigned bound[DRAY_CLONE_BOUND_STORAGE + 1]; /* how often it was told */
} run;

int __wrap_clock_gettime(clockid_t id, struct timespec *ts);
int __wrap_nanosleep(const struct timespec *ts, struct timespec *left);
int __wrap_sync_file_range(int fd, off64_t offset, off64_t length, unsigned flags);
int __wrap_ioctl(int fd, unsigned long request, void *arg);
int __real_ioctl(int fd, unsigned long request, void *arg);

int __wrap_clock_gettime(clockid_t id, struct timespec *ts)
{
	*ts = (struct timespec){ .tv_sec = (time_t)(run.ns / 1000000000), .tv_nsec = (long)(run.ns % 1000000000) };
	return 0;
}

int __wrap_nanosleep(const struct timespec *ts, struct timespec *left)
{
	assert_true(ts->tv_sec == 0 && ts->tv_nsec > 0);
	run.ns += (uint64_t)ts->tv_nsec;
	run.slept += (uint64_t)ts->tv_nsec;
	run.naps++;
	return 0;
}

/* To wait for nothing takes no time. */
int __wrap_sync_file_range(int fd, off64_t offset, off64_t length, unsigned flags)
{
	if (!(flags & SYNC_FILE_RANGE_WAIT_BEFORE)) {
		run.last_length = (uint64_t)length;
		if (run.last_length > run.longest_step)
			run.longest_step = run.last_length;
		return 0;
	}
	if (length) {
		run.ns += TOOK;
		run.worked += TOOK;
		run.waits++;
	}
	/* All of what was sent is waited for, where it rests. */
	if (run.share < DRAY_CLONE_ALL)
		assert_int_equal((uint64_t)length, run.last_length);
	return 0;
}

/* No file system shares blocks here. */
int __wrap_ioctl(int fd, unsigned long request, void *arg)
{
	if (request != FICLONE)
		return __real_ioctl(fd, request, arg);
	errno = EOPNOTSUPP;
	return -1;
}

static uint64_t rate(void *ctx)
{
	return run.rate;
}

static unsigned share(void *ctx)
{
	if (run.later && run.waits >= 10)
		run.share = run.later;
	return run.share;
}

static bool stop(void *ctx)
{
	return run.stop_after && run.naps >= run.stop_after;
}

static void bound(void *ctx, enum dray_clone_bound by)
{
	run.bound[by]++;
}

/* Told is this alone, but for the first piece, which waits for nothing. */
static void was_bound_by(enum dray_clone_bound by)
{
	for (unsigned i = 0; i <= DRAY_CLONE_BOUND_STORAGE; i++)
		if (i == by)
			assert_true(run.bound[i] > 1);
		else
			assert_int_equal(run.bound[i], i == DRAY_CLONE_BOUND_STORAGE);
}

static void begin(unsigned of_the_time)
{
	memset(&run, 0, sizeof run);
	run.ns = BEGAN;
	run.share = of_the_time;
	run.rate = UINT64_MAX;
}

static int copy(void)
{
	char identity[512];
	bool shared = true;
	struct dray_error err = DRAY_ERROR_INIT;
	struct dray_clone_order order = { .from = from, .part = part, .rate = rate, .share = share, .stop = stop, .bound = bound };
	int rc = dray_clone_make(&order, identity, sizeof identity, &shared, &err);
	if (!rc)
		assert_false(shared);
	return rc;
}

static void is_right(void)
{
	char command[200];
	snprintf(command, sizeof command, "cmp %s %s", from, part);
	assert_int_equal(system(command), 0);
	assert_int_equal(unlink(part), 0);
}

static void nobody_there(void **state)
{
	begin(DRAY_CLONE_ALL);
	assert_int_equal(copy(), 0);
	is_right();
	assert_int_equal(run.naps, 0);
	assert_true(run.longest_step >= 8 * MiB);
	was_bound_by(DRAY_CLONE_BOUND_STORAGE);
}

static void beside(void **state)
{
	for (unsigned s = 1; s < DRAY_CLONE_ALL; s += 3) {
		begin(s);
		assert_int_equal(copy(), 0);
		is_right();
		assert_int_equal(run.waits, SIZE / (256 * KiB));
		assert_int_equal(run.longest_step, 256 * KiB);
		/* After each but the last. */
		uint64_t rest = TOOK * (DRAY_CLONE_ALL - s) / s;
		assert_int_equal(run.slept, rest * (run.waits - 1));
		was_bound_by(DRAY_CLONE_BOUND_SHARE);
	}
}

static void falls_asleep(void **state)
{
	begin(4);
	run.later = DRAY_CLONE_ALL;
	assert_int_equal(copy(), 0);
	is_right();
	/* The rest that it would be in is over at once. */
	assert_int_equal(run.slept, 9 * 3 * TOOK);
	assert_true(run.longest_step >= 8 * MiB);
}

/* The rest is part of the time that a rate takes, not more. */
static void with_a_rate(void **state)
{
	begin(4);
	run.rate = MiB;
	assert_int_equal(copy(), 0);
	is_right();
	assert_true(run.longest_step <= MiB / 10);
	assert_true(run.ns - BEGAN >= 15 * UINT64_C(1000000000));
	assert_true(run.slept >= 3 * (run.worked - TOOK));
	begin(4);
	run.rate = 256 * KiB;
	assert_int_equal(copy(), 0);
	is_right();
	assert_in_range((run.ns - BEGAN) / 1000000000, 60, 70);
	assert_true(run.bound[DRAY_CLONE_BOUND_RATE] > 100 && run.bound[DRAY_CLONE_BOUND_SHARE] < 5 && run.bound[DRAY_CLONE_BOUND_STORAGE] < 5);
	/* Wider than what it rests. */
	begin(1);
	run.rate = 100 * MiB;
	assert_int_equal(copy(), 0);
	is_right();
	assert_true(run.bound[DRAY_CLONE_BOUND_SHARE] > 100 && run.bound[DRAY_CLONE_BOUND_RATE] < 5 && run.bound[DRAY_CLONE_BOUND_STORAGE] < 5);
}

static void is_told_to_stop_in_a_rest(void **state)
{
	begin(1);
	run.stop_after = 5;
	assert_int_equal(copy(), -ECANCELED);
	assert_int_equal(run.waits, 1);
	assert_int_equal(access(part, F_OK), -1);
}

static int set_up(void **state)
{
	assert_non_null(mkdtemp(folder));
	snprintf(from, sizeof from, "%s/from", folder);
	snprintf(part, sizeof part, "%s/part", folder);
	char command[200];
	snprintf(command, sizeof command, "head -c %llu /dev/urandom >%s", (unsigned long long)SIZE, from);
	assert_int_equal(system(command), 0);
	return 0;
}

static int take_down(void **state)
{
	unlink(from);
	unlink(part);
	return rmdir(folder);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nobody_there),
		cmocka_unit_test(beside),
		cmocka_unit_test(falls_asleep),
		cmocka_unit_test(with_a_rate),
		cmocka_unit_test(is_told_to_stop_in_a_rest),
	};
	return cmocka_run_group_tests(tests, set_up, take_down);
}
