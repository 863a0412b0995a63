/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What can't be read of the source is read from a target that has it, for a second target that is copied or for the application, and that target's
 * flush fails just then: what the flush took away there is neither copied on nor read, whichever of read and flush is answered first.
 */
#include "tests/lib/engine-host.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define SIZE   (UINT64_C(1) << 20)
#define REGION (UINT64_C(256) << 10)
#define MS     HOST_MS

static int unreadable; /* the source: with that error */

static int fails(struct engine_host *m, const struct dray_io *io)
{
	return io->op == DRAY_OP_READ && io->leg == 0 ? unreadable : 0;
}

static void until_synced(struct engine_host *m, int leg)
{
	for (int i = 0; i < 20000 && !host_leg(m, leg).synced; i++)
		host_run(m, 1);
	assert_true(host_leg(m, leg).synced);
}

/* The first target is in sync. */
static struct engine_host *begin_synced(void)
{
	struct engine_host *m = calloc(1, sizeof *m);
	m->fails = fails;
	unreadable = 0;
	host_memory(m, 3, SIZE);
	assert_int_equal(host_start(m, &(struct dray_vol_config){ .size_bytes = SIZE, .region_bytes = REGION, .block_bytes = 512 }), 0);
	assert_int_equal(dray_vol_leg_attach(m->vol, &(struct dray_leg_config){ .id = 11 }), 0);
	assert_int_equal(dray_vol_leg_attach(m->vol, &(struct dray_leg_config){ .id = 12 }), 1);
	until_synced(m, 1);
	return m;
}

/* The source is away, and a step for a second target reads from the first. */
static struct engine_host *begin(void)
{
	struct engine_host *m = begin_synced();
	unreadable = -ENOTCONN;
	assert_int_equal(dray_vol_leg_attach(m->vol, &(struct dray_leg_config){ .id = 13 }), 2);
	m->stuck[1] = true;
	for (int i = 0; i < 1000 && host_find(m, DRAY_OP_READ, 1) < 0; i++)
		host_run(m, 1);
	m->stuck[1] = false;
	assert_true(host_find(m, DRAY_OP_READ, 1) >= 0);
	return m;
}

static void end(struct engine_host *m)
{
	host_end(m);
	free(m);
}

/* The application's flush is under way on all legs. */
static void flush(struct engine_host *m, struct dray_request *req)
{
	*req = (struct dray_request){ .op = DRAY_OP_FLUSH };
	m->answered = false;
	dray_vol_submit(m->vol, req);
	assert_true(host_find(m, DRAY_OP_FLUSH, 1) >= 0);
}

static void reads_answered(struct engine_host *m)
{
	for (int i; (i = host_find(m, DRAY_OP_READ, 1)) >= 0;)
		host_complete(m, i, 0);
}

/* What counts as clean on the second target is what the source has; in the end that is all of it. */
static void comes_right(struct engine_host *m)
{
	for (int i = 0; i < 300; i++) {
		host_run(m, 1);
		for (uint64_t r = 0; r < SIZE / REGION; r++)
			if (dray_vol_leg_region(m->vol, 2, r) >= DRAY_REGION_CLEAN)
				assert_memory_equal(m->disk[2] + r * REGION, m->disk[0] + r * REGION, REGION);
	}
	assert_true(m->answered && !m->answer); /* the source's flush is what counts for the application */
	unreadable = 0;
	until_synced(m, 1);
	until_synced(m, 2);
	assert_memory_equal(m->disk[1], m->disk[0], SIZE);
	assert_memory_equal(m->disk[2], m->disk[0], SIZE);
}

static void flush_fails_first(void **state)
{
	struct engine_host *m = begin();
	struct dray_request req;
	flush(m, &req);
	memset(m->disk[1], 0, SIZE); /* it took away what had been written */
	host_complete(m, host_find(m, DRAY_OP_FLUSH, 1), -EIO);
	reads_answered(m);
	comes_right(m);
	end(m);
}

static void read_is_answered_first(void **state)
{
	struct engine_host *m = begin();
	struct dray_request req;
	flush(m, &req);
	memset(m->disk[1], 0, SIZE);
	reads_answered(m);
	host_complete(m, host_find(m, DRAY_OP_FLUSH, 1), -EIO);
	comes_right(m);
	end(m);
}

/* One that does well keeps nobody waiting: the second target is complete although the source is away. */
static void flush_does_well(void **state)
{
	struct engine_host *m = begin();
	struct dray_request req;
	flush(m, &req);
	reads_answered(m);
	for (int i = 0; i < 5000 && host_leg(m, 2).dirty_bytes; i++)
		host_run(m, 1);
	assert_int_equal(host_leg(m, 2).dirty_bytes, 0);
	assert_memory_equal(m->disk[2], m->disk[0], SIZE);
	assert_true(m->answered && !m->answer);
	end(m);
}

/* ---- the application's read ---- */

struct app {
	struct dray_request read, flush;
	uint8_t data[512];
};

/* All is on both legs; a block was written last, and is not flushed unless it is `old`. The source can't be read, the target is asked. */
static struct engine_host *begin_read(struct app *a, bool old)
{
	struct engine_host *m = begin_synced();
	uint8_t block[512];
	memset(block, 0x77, sizeof block);
	a->flush = (struct dray_request){ .op = DRAY_OP_WRITE, .length = sizeof block, .data = block };
	m->answered = false;
	dray_vol_submit(m->vol, &a->flush);
	for (int i = 0; i < 1000 && !m->answered; i++)
		host_run(m, 1);
	assert_true(m->answered && !m->answer);
	if (old) {
		flush(m, &a->flush);
		host_run(m, 1);
	}
	unreadable = -EIO;
	flush(m, &a->flush);
	m->answered = false;
	a->read = (struct dray_request){ .op = DRAY_OP_READ, .length = sizeof a->data, .data = a->data };
	dray_vol_submit(m->vol, &a->read);
	host_complete(m, host_find(m, DRAY_OP_READ, 0), 0);
	assert_true(!m->answered && host_find(m, DRAY_OP_READ, 1) >= 0);
	return m;
}

/* It is what was there before the write, which was acknowledged, and no flush of the application's ever fails. */
static void dropped_before_it_is_read(void **state)
{
	for (int order = 0; order < 2; order++) {
		struct app a;
		struct engine_host *m = begin_read(&a, false);
		memset(m->disk[1], 0x10, sizeof a.data);
		if (!order)
			reads_answered(m);
		assert_false(m->answered);
		host_complete(m, host_find(m, DRAY_OP_FLUSH, 1), -EIO);
		if (order)
			reads_answered(m);
		assert_true(m->answered);
		assert_int_equal(m->answer, -EIO);
		m->answered = false;
		host_complete(m, host_find(m, DRAY_OP_FLUSH, 0), 0);
		assert_true(m->answered && !m->answer);
		end(m);
	}
}

/* A write to the block doesn't wait for it. */
static void read_when_the_flush_did_well(void **state)
{
	struct app a;
	struct engine_host *m = begin_read(&a, false);
	struct dray_request write = { .op = DRAY_OP_WRITE, .length = sizeof a.data, .data = m->disk[0] + REGION };
	reads_answered(m);
	assert_false(m->answered);
	dray_vol_submit(m->vol, &write);
	assert_true(host_find(m, DRAY_OP_WRITE, 0) >= 0 && host_find(m, DRAY_OP_WRITE, 1) >= 0);
	host_complete(m, host_find(m, DRAY_OP_WRITE, 1), 0);
	host_complete(m, host_find(m, DRAY_OP_FLUSH, 1), 0);
	assert_true(m->answered && !m->answer && a.data[0] == 0x77);
	host_run(m, 1);
	end(m);
}

/* What no flush can take away any more. */
static void nothing_to_wait_for(void **state)
{
	struct app a;
	struct engine_host *m = begin_read(&a, true);
	reads_answered(m);
	assert_true(m->answered && !m->answer && a.data[0] == 0x77);
	host_run(m, 1);
	end(m);
}

/* An application that writes there and flushes all the time: the read waits for the flushes that were under way when it was answered, for all of
 * them and for no other, in whatever order they are answered. */
static void flushes_all_the_time(void **state)
{
	for (int fail = 0; fail < 2; fail++) {
		struct app a;
		struct engine_host *m = begin_read(&a, false);
		struct dray_request write = { .op = DRAY_OP_WRITE, .length = sizeof a.data, .data = m->disk[0] + REGION }, more[4];
		flush(m, &more[0]);
		reads_answered(m);
		for (int i = 1; i < 4; i++)
			flush(m, &more[i]);
		struct dray_io *under_way[8];
		int n = 0;
		for (unsigned i = 0; i < m->n; i++)
			if (m->ops[i].io->op == DRAY_OP_FLUSH && m->ops[i].io->leg == 1)
				under_way[n++] = m->ops[i].io;
		assert_int_equal(n, 5);
		dray_vol_submit(m->vol, &write);
		host_complete(m, host_find(m, DRAY_OP_WRITE, 1), 0);
		static const int order[] = { 3, 1, 0 };
		for (int k = 0; k < 3; k++) {
			int i = 0;
			assert_false(m->answered);
			while (m->ops[i].io != under_way[order[k]])
				i++;
			host_complete(m, i, fail && k == 2 ? -EIO : 0);
		}
		assert_true(m->answered);
		assert_int_equal(m->answer, fail ? -EIO : 0);
		assert_true(fail || a.data[0] == 0x77);
		assert_true(host_find(m, DRAY_OP_FLUSH, 1) >= 0);
		host_run(m, 1);
		end(m);
	}
}

/* A flush that is not answered keeps the read for give_up, but for the time that the host did nothing. */
static void not_for_ever(void **state)
{
	struct app a;
	struct engine_host *m = begin_read(&a, false);
	uint64_t since = m->now;
	reads_answered(m);
	m->now += 5000 * MS;
	dray_vol_held_up(m->vol, 5000 * MS);
	dray_vol_tick(m->vol, m->now);
	assert_false(m->answered);
	for (int i = 0; i < 1000 && !m->answered; i++) {
		uint64_t next = dray_vol_tick(m->vol, m->now);
		assert_true(m->answered || (next > m->now && next <= m->now + 60000 * MS));
		m->now += 100 * MS;
	}
	assert_true(m->answered);
	assert_int_equal(m->answer, -EIO);
	assert_in_range(m->now - since, 65000 * MS, 65200 * MS);
	host_run(m, 1);
	end(m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(flush_fails_first),
		cmocka_unit_test(read_is_answered_first),
		cmocka_unit_test(flush_does_well),
		cmocka_unit_test(dropped_before_it_is_read),
		cmocka_unit_test(read_when_the_flush_did_well),
		cmocka_unit_test(nothing_to_wait_for),
		cmocka_unit_test(flushes_all_the_time),
		cmocka_unit_test(not_for_ever),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
