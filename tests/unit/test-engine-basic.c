/* SPDX-License-Identifier: BSD-3-Clause */
/* The engine over plain memory: a copy with writes in between, a switch, an undo, a restart from the map. What can go wrong
 * around them is the simulator's business (dray-sim). */
#include "tests/lib/engine-host.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define SIZE   (UINT64_C(5) << 20)
#define REGION (UINT64_C(256) << 10)

static const struct dray_vol_config config = { .size_bytes = SIZE, .region_bytes = REGION, .block_bytes = 512, .intent_group = 4 };

static struct engine_host *begin(void)
{
	struct engine_host *m = calloc(1, sizeof *m);
	host_memory(m, 4, SIZE);
	for (int i = 0; i < 4; i++)
		for (uint64_t o = 0; o < SIZE; o++)
			m->disk[i][o] = (uint8_t)(i * 31 + (int)(o >> 12));
	assert_int_equal(host_start(m, &config), 0);
	assert_int_equal(dray_vol_leg_attach(m->vol, &(struct dray_leg_config){ 0 }), 0);
	dray_vol_tick(m->vol, m->now);
	return m;
}
static void end(struct engine_host *m)
{
	host_end(m);
	free(m);
}
static void do_write(struct engine_host *m, enum dray_op op, uint64_t offset, uint64_t length, uint8_t fill)
{
	uint8_t *data = malloc(length);
	memset(data, fill, length);
	assert_int_equal(host_request(m, op, offset, length, data), 0);
	free(data);
}
static int attach(struct engine_host *m, bool durable)
{
	struct dray_leg_config c = { .durable = durable, .map_id = { 1, 1 } };
	return dray_vol_leg_attach(m->vol, &c);
}
static void switch_to(struct engine_host *m, int leg, uint64_t token)
{
	dray_vol_switch_prepare(m->vol, leg, token);
	host_run(m, 5);
	assert_int_equal(m->last[DRAY_EV_PREPARED].error, 0);
	assert_true(m->last[DRAY_EV_PREPARED].token == token);
	dray_vol_switch_suspend(m->vol, token, m->now + 1000000000);
	host_run(m, 5);
	assert_int_equal(m->last[DRAY_EV_DRAINED].error, 0);
	assert_true(m->last[DRAY_EV_DRAINED].token == token);
	assert_int_equal(dray_vol_switch_seal(m->vol, token), 0);
	assert_int_equal(dray_vol_switch_apply(m->vol, token), 0);
	struct dray_vol_info info;
	dray_vol_info(m->vol, &info);
	assert_int_equal(info.primary, leg);
}

/* The longest that is told of: the bucket. */
static int slowest(const uint64_t *latency)
{
	int slowest = -1;
	for (int i = 0; i < DRAY_LATENCY_BUCKETS; i++)
		slowest = latency[i] ? i : slowest;
	return slowest;
}

/* What requests took is told of the last ten to twenty seconds in which there were any. */
static void latency_of_lately(void **state)
{
	struct engine_host *m = begin();
	uint8_t data[4096];
	m->takes_ns = 100 * HOST_MS;
	do_write(m, DRAY_OP_WRITE, 0, 4096, 1);
	assert_int_equal(host_request(m, DRAY_OP_READ, 0, 4096, data), 0);
	m->takes_ns = 0;
	assert_true(slowest(host_vol(m).latency_write) >= 16 && slowest(host_vol(m).latency_read) >= 16); /* 2^16 us */
	for (int s = 0; s < 8; s++) {
		host_pass(m, 1000 * HOST_MS);
		do_write(m, DRAY_OP_WRITE, 0, 4096, 2);
	}
	assert_true(slowest(host_vol(m).latency_write) >= 16 && slowest(host_vol(m).latency_read) >= 16);
	for (int s = 0; s < 14; s++) {
		host_pass(m, 1000 * HOST_MS);
		do_write(m, DRAY_OP_WRITE, 0, 4096, 3);
	}
	int fast = slowest(host_vol(m).latency_write);
	assert_true(fast >= 0 && fast < 16);
	assert_int_equal(slowest(host_vol(m).latency_read), -1);
	/* Nothing was asked for a while: what is known stays told, and the next one begins anew. */
	m->takes_ns = 100 * HOST_MS;
	do_write(m, DRAY_OP_WRITE, 0, 4096, 4);
	host_pass(m, 60000 * HOST_MS);
	assert_true(slowest(host_vol(m).latency_write) >= 16);
	m->takes_ns = 0;
	do_write(m, DRAY_OP_WRITE, 0, 4096, 5);
	fast = slowest(host_vol(m).latency_write);
	assert_true(fast >= 0 && fast < 16);
	assert_int_equal(host_vol(m).writes, 25);
	end(m);
}

static void copies_and_switches(void **state)
{
	struct engine_host *m = begin();
	int leg = attach(m, true);
	assert_int_equal(leg, 1);
	for (unsigned i = 0; i < 200; i++)
		do_write(m, i % 3 ? DRAY_OP_WRITE : DRAY_OP_DISCARD, (i * 7919 % 1000) * 4096, 12288, (uint8_t)i);
	host_run(m, 100);
	assert_int_equal(m->events[DRAY_EV_LEG_SYNCED], 1);
	assert_memory_equal(m->disk[0], m->disk[1], SIZE);
	struct dray_leg_info info;
	assert_int_equal(dray_vol_leg_info(m->vol, 1, &info), 0);
	assert_true(info.copied_bytes + info.skipped_bytes + info.zeroed_bytes == SIZE);
	assert_int_equal(info.recopied_bytes, 0);
	assert_int_equal(info.dirty_bytes, 0);

	switch_to(m, 1, 77);
	do_write(m, DRAY_OP_WRITE, 4096, 4096, 0xee);
	do_write(m, DRAY_OP_ZERO, 65536, 4096 * 100, 0);
	assert_memory_equal(m->disk[0], m->disk[1], SIZE);
	assert_int_equal(m->disk[1][4096], 0xee);
	switch_to(m, 0, 78);
	assert_int_equal(dray_vol_switch_apply(m->vol, 78), -ESTALE);
	assert_int_equal(dray_vol_leg_detach(m->vol, 1), 0);
	host_run(m, 5);
	assert_int_equal(dray_vol_leg_info(m->vol, 1, &info), -ENOENT);
	end(m);
}

/* After a restart only what was not recorded clean is copied, and intents are compared: those of the group that was
 * written to. */
static void goes_on_from_the_map(void **state)
{
	struct engine_host *m = begin();
	attach(m, true);
	host_run(m, 1000);
	struct dray_leg_info info;
	dray_vol_leg_info(m->vol, 1, &info);
	assert_true(info.recorded_bytes == SIZE);
	do_write(m, DRAY_OP_WRITE, 0, 4096, 0x11); /* leaves intents */

	assert_int_equal(host_start(m, &config), 0);
	dray_vol_leg_attach(m->vol, &(struct dray_leg_config){ 0 });
	const void *pages[] = { m->map[1] };
	struct dray_leg_config lc = { .durable = true, .map_id = { 1, 1 }, .pages = pages, .n_pages = 1 };
	assert_int_equal(dray_vol_leg_attach(m->vol, &lc), 1);
	host_run(m, 1000);
	dray_vol_leg_info(m->vol, 1, &info);
	assert_int_equal(info.dirty_bytes, 0);
	assert_int_equal(info.copied_bytes, 0);
	assert_int_equal(info.compared_bytes, 4 * REGION);
	assert_memory_equal(m->disk[0], m->disk[1], SIZE);
	end(m);
}

/* A target that stalls costs the application leg_timeout, once, and comes back by itself. */
static void stalled_target(void **state)
{
	struct engine_host *m = begin();
	attach(m, true);
	host_run(m, 1000);
	m->stuck[1] = true;
	uint64_t start = m->now;
	uint8_t data[4096] = { 0x55 };
	struct dray_request req = { .op = DRAY_OP_WRITE, .offset = 8192, .length = 4096, .data = data };
	dray_vol_submit(m->vol, &req);
	for (int i = 0; i < 3000 && !m->replies; i++)
		host_run(m, 1);
	assert_int_equal(m->replies, 1);
	assert_int_equal(m->answer, 0);
	assert_in_range(m->now - start, 900000000, 1010000000);
	assert_int_equal(m->releases, 0); /* the leg still holds the payload */
	struct dray_leg_info info;
	dray_vol_leg_info(m->vol, 1, &info);
	assert_int_equal(info.state, DRAY_LEG_DEGRADED);
	assert_int_equal(info.dirty_bytes, REGION);
	dray_vol_switch_prepare(m->vol, 1, 5);
	assert_int_equal(m->last[DRAY_EV_PREPARED].error, -EAGAIN);

	start = m->now;
	do_write(m, DRAY_OP_WRITE, 16384 * 20, 4096, 0x66);
	assert_in_range(m->now - start, 0, 20000000);

	m->stuck[1] = false;
	host_run(m, 1000);
	assert_int_equal(m->releases, 2);
	dray_vol_leg_info(m->vol, 1, &info);
	assert_int_equal(info.state, DRAY_LEG_MIRROR);
	assert_memory_equal(m->disk[0], m->disk[1], SIZE);
	end(m);
}

/* A suspend ends at its deadline, and what comes later is refused. */
static void deadline(void **state)
{
	struct engine_host *m = begin();
	attach(m, true);
	host_run(m, 1000);
	dray_vol_switch_prepare(m->vol, 1, 9);
	host_run(m, 5);
	m->stuck[1] = true; /* its flush under the suspend never comes back */
	dray_vol_switch_suspend(m->vol, 9, m->now + 50000000);
	uint8_t data[512];
	struct dray_request req = { .op = DRAY_OP_READ, .offset = 0, .length = 512, .data = data };
	dray_vol_submit(m->vol, &req);
	host_run(m, 40);
	assert_int_equal(m->replies, 0);
	host_run(m, 20);
	assert_int_equal(m->replies, 1);
	assert_int_equal(m->last[DRAY_EV_DRAINED].error, -ETIMEDOUT);
	assert_in_range(m->last[DRAY_EV_RESUMED].blackout_ns, 45000000, 55000000);
	assert_int_equal(dray_vol_switch_seal(m->vol, 9), -ESTALE);
	assert_int_equal(dray_vol_switch_apply(m->vol, 9), -ESTALE);
	end(m);
}

/* The old primary's flush is waited for, but not as long as a leg may take to answer: a minute, and if the primary is given up, seconds. When it fails
 * while that one is drained, the application hears of it (H13), unless the switch has lost nothing (H18). */
static void old_primary_that_stalls(void **state)
{
	for (int force = 0; force < 2; force++) {
		struct engine_host *m = begin();
		struct dray_copy_limits limits = { .leg_timeout_ns = 3600000 * HOST_MS };
		assert_int_equal(dray_vol_set_limits(m->vol, &limits), 0);
		attach(m, true);
		host_run(m, 1000);
		do_write(m, DRAY_OP_WRITE, 0, 4096, 1);
		host_run(m, 1000);
		m->stuck[0] = true;
		dray_vol_switch_force(m->vol, force);
		dray_vol_switch_prepare(m->vol, 1, 9);
		host_run(m, force ? 4990 : 59990);
		assert_int_equal(m->events[DRAY_EV_PREPARED], 0);
		host_run(m, 20);
		assert_int_equal(m->events[DRAY_EV_PREPARED], 1);
		assert_int_equal(m->last[DRAY_EV_PREPARED].error, 0);
		dray_vol_switch_suspend(m->vol, 9, m->now + 1000 * HOST_MS);
		host_complete(m, host_find(m, DRAY_OP_FLUSH, 0), -ENOTCONN);
		host_run(m, 5);
		assert_int_equal(m->last[DRAY_EV_DRAINED].error, 0);
		assert_int_equal(dray_vol_switch_seal(m->vol, 9), 0);
		assert_int_equal(dray_vol_switch_apply(m->vol, 9), 0);
		assert_int_equal(host_vol(m).primary, 1);
		m->stuck[0] = false;
		assert_int_equal(host_request(m, DRAY_OP_FLUSH, 0, 0, NULL), force ? -ENOTCONN : 0);
		assert_int_equal(host_request(m, DRAY_OP_FLUSH, 0, 0, NULL), 0);
		host_run(m, 3000);
		assert_memory_equal(m->disk[0], m->disk[1], SIZE);
		end(m);
	}
}

/* Asked in doubt, answered by the old primary after the switch: an error is an error, not "no extents". */
static void extents_of_an_old_primary(void **state)
{
	for (int early = 0; early < 2; early++) {
		struct engine_host *m = begin();
		attach(m, true);
		host_run(m, 1000);
		dray_vol_switch_prepare(m->vol, 1, 9);
		host_run(m, 5);
		dray_vol_switch_suspend(m->vol, 9, m->now + 50000000);
		host_run(m, 5);
		assert_int_equal(dray_vol_switch_seal(m->vol, 9), 0);
		host_run(m, 60); /* past the deadline: resumed, in doubt */
		m->stuck[0] = true;
		struct dray_extent extents[3];
		struct dray_request req = { .op = DRAY_OP_EXTENTS, .offset = 0, .length = 4096, .extents = extents, .max_extents = 3 };
		dray_vol_submit(m->vol, &req);
		host_run(m, 5);
		int asked = host_find(m, DRAY_OP_EXTENTS, 0);
		if (early)
			host_complete(m, asked, -ENOTCONN);
		assert_int_equal(dray_vol_switch_apply(m->vol, 9), 0);
		if (!early)
			host_complete(m, asked, -ENOTCONN);
		host_run(m, 5);
		assert_int_equal(m->replies, 1);
		assert_int_equal(m->answer, -ENOTCONN);
		end(m);
	}
}

/* A rate, or a window that one step fills, is for all targets: they take turns, and none waits until another is full. */
static void targets_take_turns(void **state)
{
	struct dray_copy_limits limits[] = { { .step_bytes = 16 << 10, .rate = 16 << 20 },
		{ .step_bytes = 16 << 10, .in_flight_bytes = 16 << 10 } };
	for (size_t k = 0; k < 2; k++) {
		struct engine_host *m = begin();
		uint64_t least = UINT64_MAX, most = 0;
		assert_int_equal(dray_vol_set_limits(m->vol, &limits[k]), 0);
		for (int i = 1; i < 4; i++)
			assert_int_equal(attach(m, false), i);
		for (int i = 0; i < 4000 && most < SIZE / 4; i++) {
			least = UINT64_MAX;
			host_run(m, 1);
			for (int leg = 1; leg < 4; leg++) {
				struct dray_leg_info info;
				dray_vol_leg_info(m->vol, leg, &info);
				uint64_t done = info.copied_bytes + info.zeroed_bytes + info.skipped_bytes;
				most = done > most ? done : most;
				least = done < least ? done : least;
			}
		}
		assert_true(most >= SIZE / 4);
		assert_true(least + 4 * limits[k].step_bytes >= most);
		host_run(m, 6000);
		for (int leg = 1; leg < 4; leg++)
			assert_memory_equal(m->disk[0], m->disk[leg], SIZE);
		end(m);
	}
}

/* A split that keeps its legs: one is an image of that instant, whatever is written, until it is gone on with, and then only what changed since comes. When the deadline
 * passed between the seal and the apply, the volume has gone on, and it is none. */
static void split_that_keeps(void **state)
{
	for (int late = 0; late < 2; late++) {
		struct engine_host *m = begin();
		struct dray_leg_info before, info;
		attach(m, true);
		host_run(m, 1000);
		dray_vol_split_keep(m->vol, true);
		dray_vol_switch_prepare(m->vol, DRAY_NO_LEG, 9);
		host_run(m, 5);
		assert_int_equal(m->last[DRAY_EV_PREPARED].error, 0);
		dray_vol_switch_suspend(m->vol, 9, m->now + 50000000);
		host_run(m, 5);
		assert_int_equal(dray_vol_switch_seal(m->vol, 9), 0);
		if (late)
			host_run(m, 60);
		assert_int_equal(dray_vol_switch_apply(m->vol, 9), 0);
		dray_vol_leg_info(m->vol, 1, &info);
		assert_int_equal(info.image_error, late ? -ETIMEDOUT : 0);
		assert_int_equal(info.state, DRAY_LEG_DEGRADED);
		assert_true(info.held && info.paused && !info.synced);
		uint8_t *image = malloc(SIZE);
		memcpy(image, m->disk[1], SIZE);
		assert_memory_equal(image, m->disk[0], SIZE);
		do_write(m, DRAY_OP_WRITE, 3 * REGION, 4096, 0x11);
		do_write(m, DRAY_OP_ZERO, 7 * REGION + 512, 512, 0);
		host_run(m, 3000);
		assert_memory_equal(image, m->disk[1], SIZE);
		dray_vol_leg_info(m->vol, 1, &before);
		assert_int_equal(before.dirty_bytes, 2 * REGION);
		assert_int_equal(dray_vol_leg_pause(m->vol, 1, false), 0);
		assert_int_equal(dray_vol_leg_retry(m->vol, 1), 0);
		host_run(m, 3000);
		dray_vol_leg_info(m->vol, 1, &info);
		assert_true(info.synced && !info.held && !info.paused);
		assert_int_equal(info.copied_bytes + info.zeroed_bytes + info.skipped_bytes,
			before.copied_bytes + before.zeroed_bytes + before.skipped_bytes + 2 * REGION);
		assert_memory_equal(m->disk[0], m->disk[1], SIZE);
		/* The next one lets go, if it is not told otherwise. */
		dray_vol_split_keep(m->vol, false);
		dray_vol_switch_prepare(m->vol, DRAY_NO_LEG, 10);
		host_run(m, 5);
		dray_vol_switch_suspend(m->vol, 10, m->now + 50000000);
		host_run(m, 5);
		assert_int_equal(dray_vol_switch_apply(m->vol, 10), 0);
		host_run(m, 5);
		assert_int_equal(dray_vol_leg_info(m->vol, 1, &info), -ENOENT);
		free(image);
		end(m);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(split_that_keeps),
		cmocka_unit_test(latency_of_lately),
		cmocka_unit_test(copies_and_switches),
		cmocka_unit_test(goes_on_from_the_map),
		cmocka_unit_test(stalled_target),
		cmocka_unit_test(deadline),
		cmocka_unit_test(old_primary_that_stalls),
		cmocka_unit_test(targets_take_turns),
		cmocka_unit_test(extents_of_an_old_primary),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
