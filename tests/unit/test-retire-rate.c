/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Zero and discard write no more than they are allowed to: each piece is counted against a clock that the test turns, so that nothing here
 * depends on how fast the machine is. While it waits it can be told to leave off, and it goes on where it was.
 */
#include "storage/retire.h"

#include "storage/identity.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#define MiB    UINT64_C(1048576)
#define SECOND UINT64_C(1000000000)
#define PIECE  MiB /* of a file; what may be written at once */
#define SIZE   (8 * MiB)

static char path[] = "/tmp/dray-rate-XXXXXX", identity[256];

/* One run. */
static struct {
	uint64_t ns, rate, from, waits, records, stop_at, recorded, holes;
	char step[16];
} run;

static uint64_t now(void *ctx)
{
	return run.ns;
}

static void wait_ns(void *ctx, uint64_t ns)
{
	assert_true(ns > 0);
	run.ns += ns;
	run.waits++;
}

static int record(void *ctx, const char *step, const char *at, uint64_t done)
{
	snprintf(run.step, sizeof run.step, "%s", step);
	run.recorded = done;
	run.records++;
	return 0;
}

/* At no moment more than the time that went by allows, but for the piece that was just written. */
static void progress(void *ctx, uint64_t done, uint64_t total)
{
	assert_true(done <= total);
	if (run.rate && done - run.from > run.rate * run.ns / SECOND + PIECE + run.holes)
		fail_msg("%llu bytes after %llu ns", (unsigned long long)(done - run.from), (unsigned long long)run.ns);
}

static bool stop(void *ctx)
{
	return run.stop_at && run.ns >= run.stop_at;
}

static void point(void *ctx, const char *name)
{
}

static void fill(void)
{
	char block[4096];
	int fd = open(path, O_WRONLY | O_TRUNC);
	memset(block, 'a', sizeof block);
	for (uint64_t at = 0; at < SIZE; at += sizeof block)
		assert_int_equal(pwrite(fd, block, sizeof block, (off_t)at), sizeof block);
	close(fd);
}

/* How many of its bytes are zero. */
static uint64_t zeroes(void)
{
	static char all[SIZE];
	uint64_t n = 0;
	int fd = open(path, O_RDONLY);
	assert_int_equal(pread(fd, all, SIZE, 0), SIZE);
	close(fd);
	for (uint64_t i = 0; i < SIZE; i++)
		n += !all[i];
	return n;
}

static int retire(enum dray_retire_way way, uint64_t offset, uint64_t length, uint64_t rate, uint64_t from)
{
	char slice[256];
	struct dray_retire_result result;
	struct dray_error err;
	snprintf(slice, sizeof slice, "%s", identity);
	if (length)
		assert_int_equal(dray_identity_slice(slice, sizeof slice, offset, length, NULL), 0);
	run.ns = run.waits = run.records = 0;
	run.from = from;
	run.rate = rate == UINT64_MAX || way == DRAY_RETIRE_DISCARD ? 0 : rate;
	struct dray_retire_order o = { .way = way, .resource = path, .offset = offset, .length = length, .identity = slice, .same_boot = true,
		.session = "s-1", .pair = 1, .step = from ? run.step : "", .done_bytes = from, .rate = rate, .record = record, .progress = progress,
		.stop = stop, .point = point, .now = now, .wait = wait_ns };
	int rc = dray_retire_do(&o, &result, &err);
	if (rc && rc != -ECANCELED)
		fail_msg("%s", err.text);
	return rc;
}

/* The steps in which it looks whether it may go on. */
static void took(uint64_t least)
{
	if (run.ns < least || run.ns > least + SECOND / 10)
		fail_msg("%llu ns, not %llu", (unsigned long long)run.ns, (unsigned long long)least);
}

static void zeroing(void **state)
{
	static const uint64_t rates[] = { MiB / 2, MiB, 4 * MiB, 100 * MiB };
	for (size_t i = 0; i < sizeof rates / sizeof rates[0]; i++) {
		fill();
		assert_int_equal(retire(DRAY_RETIRE_ZERO, 0, 0, rates[i], 0), 0);
		assert_int_equal(zeroes(), SIZE);
		took(SIZE * SECOND / rates[i]);
	}
	fill();
	assert_int_equal(retire(DRAY_RETIRE_ZERO, 0, 0, UINT64_MAX, 0), 0);
	assert_int_equal(run.waits, 0);
	assert_int_equal(zeroes(), SIZE);
}

/* What is a hole already is not written, and not counted. */
static void holes(void **state)
{
	fill();
	int fd = open(path, O_WRONLY);
	int rc = fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 2 * (off_t)MiB, 4 * (off_t)MiB);
	close(fd);
	if (rc) {
		print_message("no holes here: not looked at\n");
		return;
	}
	run.holes = 4 * MiB;
	assert_int_equal(retire(DRAY_RETIRE_ZERO, 0, 0, MiB, 0), 0);
	run.holes = 0;
	assert_int_equal(zeroes(), SIZE);
	took(4 * SECOND);
}

/* What is given back is not written; the ends of a slice, which no discard can have, are. */
static void discarding(void **state)
{
	fill();
	assert_int_equal(retire(DRAY_RETIRE_DISCARD, 0, 0, 1, 0), 0);
	assert_int_equal(run.waits, 0);
	assert_int_equal(zeroes(), SIZE);
	fill();
	/* Some bytes before the first whole block and some behind the last. */
	uint64_t offset = MiB - 1024, length = 2 * MiB + 1024 + 512;
	assert_int_equal(retire(DRAY_RETIRE_DISCARD, offset, length, 512, 0), 0);
	assert_int_equal(zeroes(), length);
	took(3 * SECOND);
}

static void left_off_and_gone_on(void **state)
{
	fill();
	run.stop_at = 3 * SECOND;
	assert_int_equal(retire(DRAY_RETIRE_ZERO, 0, 0, MiB, 0), -ECANCELED);
	run.stop_at = 0;
	assert_string_equal(run.step, "begun");
	uint64_t done = run.recorded;
	assert_true(done >= 3 * MiB && done < SIZE);
	assert_int_equal(zeroes(), done);
	/* The rest only, at the same rate. */
	assert_int_equal(retire(DRAY_RETIRE_ZERO, 0, 0, MiB, done), 0);
	assert_int_equal(zeroes(), SIZE);
	took((SIZE - done) / MiB * SECOND);
}

/* Every three seconds of the clock what is done is made durable. */
static void recorded(void **state)
{
	fill();
	assert_int_equal(retire(DRAY_RETIRE_ZERO, 0, 0, MiB / 4, 0), 0);
	took(32 * SECOND);
	/* The beginning, and one for each piece of four seconds behind which three had gone by. */
	if (run.records < 8 || run.records > 11)
		fail_msg("%llu records", (unsigned long long)run.records);
}

static int begin(void **state)
{
	bool stable;
	int fd = mkstemp(path);
	if (fd < 0)
		return -1;
	int rc = ftruncate(fd, SIZE) ? -1 : dray_identity_of_fd(fd, identity, sizeof identity, &stable);
	close(fd);
	return rc;
}

static int end(void **state)
{
	return unlink(path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(zeroing),
		cmocka_unit_test(holes),
		cmocka_unit_test(discarding),
		cmocka_unit_test(left_off_and_gone_on),
		cmocka_unit_test(recorded),
	};
	return cmocka_run_group_tests(tests, begin, end);
}
