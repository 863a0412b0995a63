/* SPDX-License-Identifier: BSD-3-Clause */
/* The engine over plain memory: a copy with writes in between, a switch, an undo, a restart from the map. What can go wrong
 * around them is the simulator's business (dray-sim). */
#include "engine/engine.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define SIZE   (UINT64_C(5) << 20)
#define REGION (UINT64_C(256) << 10)
#define PAGES  1

struct mock {
	struct dray_vol *vol;
	uint8_t *disk[4];
	uint8_t map[4][PAGES * DRAY_MAP_PAGE_BYTES];
	struct dray_list ios;
	struct dray_io *queue[4096];
	unsigned head, tail;
	unsigned replies, releases, synced, map_writes;
	int last_error;
	struct dray_event prepared, drained, resumed;
	uint64_t now;
	bool stuck[4];
	struct dray_io *parked[256];
	unsigned n_parked;
};

static void m_submit(void *host, struct dray_io *io)
{
	struct mock *m = host;
	if (m->stuck[io->leg] && io->op != DRAY_OP_MAP_WRITE && io->op != DRAY_OP_MAP_SYNC)
		m->parked[m->n_parked++] = io;
	else
		m->queue[m->tail++ % 4096] = io;
}
static void m_reply(void *host, struct dray_request *req, int error)
{
	struct mock *m = host;
	m->replies++;
	m->last_error = error;
}
static void m_release(void *host, struct dray_request *req)
{
	((struct mock *)host)->releases++;
}
static void m_event(void *host, const struct dray_event *ev)
{
	struct mock *m = host;
	if (ev->kind == DRAY_EV_LEG_SYNCED)
		m->synced++;
	if (ev->kind == DRAY_EV_PREPARED)
		m->prepared = *ev;
	if (ev->kind == DRAY_EV_DRAINED)
		m->drained = *ev;
	if (ev->kind == DRAY_EV_RESUMED)
		m->resumed = *ev;
}
static void *m_buf_get(void *host, uint64_t bytes)
{
	return malloc(bytes);
}
static void m_buf_put(void *host, void *buf, uint64_t bytes)
{
	free(buf);
}
static const struct dray_host_ops ops = { m_submit, m_reply, m_release, m_event, m_buf_get, m_buf_put };

static void carry_out(struct mock *m, struct dray_io *io)
{
	switch (io->op) {
	case DRAY_OP_READ: memcpy(io->data, m->disk[io->leg] + io->offset, io->length); break;
	case DRAY_OP_WRITE: memcpy(m->disk[io->leg] + io->offset, io->data, io->length); break;
	case DRAY_OP_ZERO: memset(m->disk[io->leg] + io->offset, 0, io->length); break;
	case DRAY_OP_DISCARD: memset(m->disk[io->leg] + io->offset, 0xdd, io->length); break;
	case DRAY_OP_MAP_WRITE:
		memcpy(m->map[io->leg] + io->offset, io->data, io->length);
		m->map_writes++;
		break;
	default: break;
	}
}

static void step(struct mock *m)
{
	m->now += 1000000;
	dray_vol_tick(m->vol, m->now);
	unsigned n = m->tail - m->head;
	while (n--) {
		struct dray_io *io = m->queue[m->head++ % 4096];
		carry_out(m, io);
		dray_vol_complete(m->vol, io, 0, 0);
	}
	dray_vol_check(m->vol);
}
static void run(struct mock *m, unsigned steps)
{
	while (steps--)
		step(m);
}

static struct mock *mock_new(void)
{
	struct mock *m = calloc(1, sizeof *m);
	for (int i = 0; i < 4; i++) {
		m->disk[i] = malloc(SIZE);
		for (uint64_t o = 0; o < SIZE; o++)
			m->disk[i][o] = (uint8_t)(i * 31 + (int)(o >> 12));
		dray_map_page_format(m->map[i], (const uint8_t[16]){ 1, (uint8_t)i }, 0, REGION);
	}
	m->now = 1000000000;
	struct dray_vol_config c = { .size_bytes = SIZE, .region_bytes = REGION, .block_bytes = 512, .intent_group = 4 };
	assert_int_equal(dray_vol_new(&m->vol, &c, &ops, m), 0);
	assert_int_equal(dray_vol_leg_attach(m->vol, &(struct dray_leg_config){ 0 }), 0);
	dray_vol_tick(m->vol, m->now);
	return m;
}
static void mock_free(struct mock *m)
{
	dray_vol_free(m->vol, true);
	for (int i = 0; i < 4; i++)
		free(m->disk[i]);
	free(m);
}
static void do_write(struct mock *m, enum dray_op op, uint64_t offset, uint64_t length, uint8_t fill)
{
	uint8_t *data = malloc(length);
	memset(data, fill, length);
	struct dray_request req = { .op = op, .offset = offset, .length = length, .data = data };
	unsigned before = m->releases;
	dray_vol_submit(m->vol, &req);
	for (int i = 0; i < 5000 && m->releases == before; i++)
		step(m);
	assert_int_equal(m->releases, before + 1);
	assert_int_equal(m->last_error, 0);
	free(data);
}
static int attach(struct mock *m, bool durable)
{
	struct dray_leg_config c = { .durable = durable, .map_id = { 1, 1 } };
	return dray_vol_leg_attach(m->vol, &c);
}
static void switch_to(struct mock *m, int leg, uint64_t token)
{
	dray_vol_switch_prepare(m->vol, leg, token);
	run(m, 5);
	assert_int_equal(m->prepared.error, 0);
	assert_true(m->prepared.token == token);
	dray_vol_switch_suspend(m->vol, token, m->now + 1000000000);
	run(m, 5);
	assert_int_equal(m->drained.error, 0);
	assert_true(m->drained.token == token);
	assert_int_equal(dray_vol_switch_seal(m->vol, token), 0);
	assert_int_equal(dray_vol_switch_apply(m->vol, token), 0);
	struct dray_vol_info info;
	dray_vol_info(m->vol, &info);
	assert_int_equal(info.primary, leg);
}

static void copies_and_switches(void **state)
{
	struct mock *m = mock_new();
	int leg = attach(m, true);
	assert_int_equal(leg, 1);
	for (unsigned i = 0; i < 200; i++)
		do_write(m, i % 3 ? DRAY_OP_WRITE : DRAY_OP_DISCARD, (i * 7919 % 1000) * 4096, 12288, (uint8_t)i);
	run(m, 100);
	assert_int_equal(m->synced, 1);
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
	run(m, 5);
	assert_int_equal(dray_vol_leg_info(m->vol, 1, &info), -ENOENT);
	mock_free(m);
}

/* After a restart only what was not recorded clean is copied, and intents are compared: those of the group that was
 * written to. */
static void goes_on_from_the_map(void **state)
{
	struct mock *m = mock_new();
	attach(m, true);
	run(m, 1000);
	struct dray_leg_info info;
	dray_vol_leg_info(m->vol, 1, &info);
	assert_true(info.recorded_bytes == SIZE);
	do_write(m, DRAY_OP_WRITE, 0, 4096, 0x11); /* leaves intents */
	dray_vol_free(m->vol, true);
	m->head = m->tail = 0;

	struct dray_vol_config c = { .size_bytes = SIZE, .region_bytes = REGION, .block_bytes = 512, .intent_group = 4 };
	assert_int_equal(dray_vol_new(&m->vol, &c, &ops, m), 0);
	dray_vol_leg_attach(m->vol, &(struct dray_leg_config){ 0 });
	const void *pages[] = { m->map[1] };
	struct dray_leg_config lc = { .durable = true, .map_id = { 1, 1 }, .pages = pages, .n_pages = 1 };
	assert_int_equal(dray_vol_leg_attach(m->vol, &lc), 1);
	run(m, 1000);
	dray_vol_leg_info(m->vol, 1, &info);
	assert_int_equal(info.dirty_bytes, 0);
	assert_int_equal(info.copied_bytes, 0);
	assert_int_equal(info.compared_bytes, 4 * REGION);
	assert_memory_equal(m->disk[0], m->disk[1], SIZE);
	mock_free(m);
}

/* A target that stalls costs the application leg_timeout, once, and comes back by itself. */
static void stalled_target(void **state)
{
	struct mock *m = mock_new();
	attach(m, true);
	run(m, 1000);
	m->stuck[1] = true;
	uint64_t start = m->now;
	uint8_t data[4096] = { 0x55 };
	struct dray_request req = { .op = DRAY_OP_WRITE, .offset = 8192, .length = 4096, .data = data };
	dray_vol_submit(m->vol, &req);
	for (int i = 0; i < 3000 && !m->replies; i++)
		step(m);
	assert_int_equal(m->replies, 1);
	assert_int_equal(m->last_error, 0);
	assert_in_range(m->now - start, 900000000, 1010000000);
	assert_int_equal(m->releases, 0); /* the leg still holds the payload */
	struct dray_leg_info info;
	dray_vol_leg_info(m->vol, 1, &info);
	assert_int_equal(info.state, DRAY_LEG_DEGRADED);
	assert_int_equal(info.dirty_bytes, REGION);
	dray_vol_switch_prepare(m->vol, 1, 5);
	assert_int_equal(m->prepared.error, -EAGAIN);

	start = m->now;
	do_write(m, DRAY_OP_WRITE, 16384 * 20, 4096, 0x66);
	assert_in_range(m->now - start, 0, 20000000);

	m->stuck[1] = false;
	for (unsigned i = 0; i < m->n_parked; i++)
		m->queue[m->tail++ % 4096] = m->parked[i];
	run(m, 1000);
	assert_int_equal(m->releases, 2);
	dray_vol_leg_info(m->vol, 1, &info);
	assert_int_equal(info.state, DRAY_LEG_MIRROR);
	assert_memory_equal(m->disk[0], m->disk[1], SIZE);
	mock_free(m);
}

/* A suspend ends at its deadline, and what comes later is refused. */
static void deadline(void **state)
{
	struct mock *m = mock_new();
	attach(m, true);
	run(m, 1000);
	dray_vol_switch_prepare(m->vol, 1, 9);
	run(m, 5);
	m->stuck[1] = true; /* its flush under the suspend never comes back */
	dray_vol_switch_suspend(m->vol, 9, m->now + 50000000);
	uint8_t data[512];
	struct dray_request req = { .op = DRAY_OP_READ, .offset = 0, .length = 512, .data = data };
	dray_vol_submit(m->vol, &req);
	run(m, 40);
	assert_int_equal(m->replies, 0);
	run(m, 20);
	assert_int_equal(m->replies, 1);
	assert_int_equal(m->drained.error, -ETIMEDOUT);
	assert_in_range(m->resumed.blackout_ns, 45000000, 55000000);
	assert_int_equal(dray_vol_switch_seal(m->vol, 9), -ESTALE);
	assert_int_equal(dray_vol_switch_apply(m->vol, 9), -ESTALE);
	mock_free(m);
}

/* Asked in doubt, answered by the old primary after the switch: an error is an error, not "no extents". */
static void extents_of_an_old_primary(void **state)
{
	for (int early = 0; early < 2; early++) {
		struct mock *m = mock_new();
		attach(m, true);
		run(m, 1000);
		dray_vol_switch_prepare(m->vol, 1, 9);
		run(m, 5);
		dray_vol_switch_suspend(m->vol, 9, m->now + 50000000);
		run(m, 5);
		assert_int_equal(dray_vol_switch_seal(m->vol, 9), 0);
		run(m, 60); /* past the deadline: resumed, in doubt */
		m->stuck[0] = true;
		struct dray_extent extents[3];
		struct dray_request req = { .op = DRAY_OP_EXTENTS, .offset = 0, .length = 4096, .extents = extents, .max_extents = 3 };
		dray_vol_submit(m->vol, &req);
		run(m, 5);
		assert_int_equal(m->n_parked, 1);
		if (early)
			dray_vol_complete(m->vol, m->parked[0], -ENOTCONN, 0);
		assert_int_equal(dray_vol_switch_apply(m->vol, 9), 0);
		if (!early)
			dray_vol_complete(m->vol, m->parked[0], -ENOTCONN, 0);
		run(m, 5);
		assert_int_equal(m->replies, 1);
		assert_int_equal(m->last_error, -ENOTCONN);
		mock_free(m);
	}
}

/* A rate, or a window that one step fills, is for all targets: they take turns, and none waits until another is full. */
static void targets_take_turns(void **state)
{
	struct dray_copy_limits limits[] = { { .step_bytes = 16 << 10, .rate = 16 << 20 },
		{ .step_bytes = 16 << 10, .in_flight_bytes = 16 << 10 } };
	for (size_t k = 0; k < 2; k++) {
		struct mock *m = mock_new();
		uint64_t least = UINT64_MAX, most = 0;
		assert_int_equal(dray_vol_set_limits(m->vol, &limits[k]), 0);
		for (int i = 1; i < 4; i++)
			assert_int_equal(attach(m, false), i);
		for (int i = 0; i < 4000 && most < SIZE / 4; i++) {
			least = UINT64_MAX;
			step(m);
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
		run(m, 6000);
		for (int leg = 1; leg < 4; leg++)
			assert_memory_equal(m->disk[0], m->disk[leg], SIZE);
		mock_free(m);
	}
}

/* A split that keeps its legs: one is an image of that instant, whatever is written, until it is gone on with, and then only what changed since comes. When the deadline
 * passed between the seal and the apply, the volume has gone on, and it is none. */
static void split_that_keeps(void **state)
{
	for (int late = 0; late < 2; late++) {
		struct mock *m = mock_new();
		struct dray_leg_info before, info;
		attach(m, true);
		run(m, 1000);
		dray_vol_split_keep(m->vol, true);
		dray_vol_switch_prepare(m->vol, DRAY_NO_LEG, 9);
		run(m, 5);
		assert_int_equal(m->prepared.error, 0);
		dray_vol_switch_suspend(m->vol, 9, m->now + 50000000);
		run(m, 5);
		assert_int_equal(dray_vol_switch_seal(m->vol, 9), 0);
		if (late)
			run(m, 60);
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
		run(m, 3000);
		assert_memory_equal(image, m->disk[1], SIZE);
		dray_vol_leg_info(m->vol, 1, &before);
		assert_int_equal(before.dirty_bytes, 2 * REGION);
		assert_int_equal(dray_vol_leg_pause(m->vol, 1, false), 0);
		assert_int_equal(dray_vol_leg_retry(m->vol, 1), 0);
		run(m, 3000);
		dray_vol_leg_info(m->vol, 1, &info);
		assert_true(info.synced && !info.held && !info.paused);
		assert_int_equal(info.copied_bytes + info.zeroed_bytes + info.skipped_bytes,
			before.copied_bytes + before.zeroed_bytes + before.skipped_bytes + 2 * REGION);
		assert_memory_equal(m->disk[0], m->disk[1], SIZE);
		/* The next one lets go, if it is not told otherwise. */
		dray_vol_split_keep(m->vol, false);
		dray_vol_switch_prepare(m->vol, DRAY_NO_LEG, 10);
		run(m, 5);
		dray_vol_switch_suspend(m->vol, 10, m->now + 50000000);
		run(m, 5);
		assert_int_equal(dray_vol_switch_apply(m->vol, 10), 0);
		run(m, 5);
		assert_int_equal(dray_vol_leg_info(m->vol, 1, &info), -ENOENT);
		free(image);
		mock_free(m);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(split_that_keeps),
		cmocka_unit_test(copies_and_switches),
		cmocka_unit_test(goes_on_from_the_map),
		cmocka_unit_test(stalled_target),
		cmocka_unit_test(deadline),
		cmocka_unit_test(targets_take_turns),
		cmocka_unit_test(extents_of_an_old_primary),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
