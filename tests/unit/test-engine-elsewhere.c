/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A second target is copied from the first where the source can't be read, and the first one's flush fails just then: what the flush took
 * away there is not copied on, whichever of read and flush is answered first.
 */
#include "engine/engine.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define SIZE   (UINT64_C(1) << 20)
#define REGION (UINT64_C(256) << 10)
#define MS     UINT64_C(1000000)

struct mock {
	struct dray_vol *vol;
	uint8_t *disk[3];
	bool unreadable; /* the source */
	struct dray_io *queue[1024];
	unsigned n;
	uint64_t now;
	bool answered;
	int answer;
};

static void m_submit(void *host, struct dray_io *io)
{
	struct mock *m = host;
	assert_true(m->n < sizeof m->queue / sizeof m->queue[0]);
	m->queue[m->n++] = io;
}

static void m_reply(void *host, struct dray_request *req, int error)
{
	struct mock *m = host;
	m->answered = true;
	m->answer = error;
}

static void m_release(void *host, struct dray_request *req)
{
}

static void m_event(void *host, const struct dray_event *ev)
{
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

static int carry_out(struct mock *m, const struct dray_io *io)
{
	if (io->op == DRAY_OP_READ && io->leg == 0 && m->unreadable)
		return -ENOTCONN;
	if (io->op == DRAY_OP_READ)
		memcpy(io->data, m->disk[io->leg] + io->offset, io->length);
	else if (io->op == DRAY_OP_WRITE)
		memcpy(m->disk[io->leg] + io->offset, io->data, io->length);
	return 0;
}

static void complete(struct mock *m, unsigned i, int error)
{
	struct dray_io *io = m->queue[i];
	memmove(m->queue + i, m->queue + i + 1, (--m->n - i) * sizeof m->queue[0]);
	dray_vol_complete(m->vol, io, error ? error : carry_out(m, io), 0);
	dray_vol_check(m->vol);
}

/* An operation that is under way, or -1. */
static int find(const struct mock *m, enum dray_op op, int leg)
{
	for (unsigned i = 0; i < m->n; i++)
		if (m->queue[i]->op == op && m->queue[i]->leg == leg)
			return (int)i;
	return -1;
}

/* All that is under way, but for what is on that leg (-1: all). */
static void step(struct mock *m, int but)
{
	m->now += MS;
	dray_vol_tick(m->vol, m->now);
	unsigned n = m->n;
	for (unsigned i = 0; n--;) {
		if (m->queue[i]->leg == but)
			i++;
		else
			complete(m, i, 0);
	}
}

static struct dray_leg_info info(const struct mock *m, int leg)
{
	struct dray_leg_info i;
	assert_int_equal(dray_vol_leg_info(m->vol, leg, &i), 0);
	return i;
}

static void until_synced(struct mock *m, int leg)
{
	for (int i = 0; i < 20000 && !info(m, leg).synced; i++)
		step(m, -1);
	assert_true(info(m, leg).synced);
}

/* The source is away, the first target in sync, and a step for the second reads from it. */
static struct mock *begin(void)
{
	struct mock *m = calloc(1, sizeof *m);
	m->now = 1000 * MS;
	for (int i = 0; i < 3; i++) {
		m->disk[i] = malloc(SIZE);
		memset(m->disk[i], i ? 0xee : 0x11, SIZE);
	}
	struct dray_vol_config c = { .size_bytes = SIZE, .region_bytes = REGION, .block_bytes = 512 };
	assert_int_equal(dray_vol_new(&m->vol, &c, &ops, m), 0);
	dray_vol_tick(m->vol, m->now);
	assert_int_equal(dray_vol_leg_attach(m->vol, &(struct dray_leg_config){ .id = 11 }), 0);
	assert_int_equal(dray_vol_leg_attach(m->vol, &(struct dray_leg_config){ .id = 12 }), 1);
	until_synced(m, 1);
	m->unreadable = true;
	assert_int_equal(dray_vol_leg_attach(m->vol, &(struct dray_leg_config){ .id = 13 }), 2);
	for (int i = 0; i < 1000 && find(m, DRAY_OP_READ, 1) < 0; i++)
		step(m, 1);
	assert_true(find(m, DRAY_OP_READ, 1) >= 0);
	return m;
}

static void end(struct mock *m)
{
	dray_vol_free(m->vol, true);
	for (int i = 0; i < 3; i++)
		free(m->disk[i]);
	free(m);
}

/* The application's flush is under way on all legs. */
static void flush(struct mock *m, struct dray_request *req)
{
	*req = (struct dray_request){ .op = DRAY_OP_FLUSH };
	m->answered = false;
	dray_vol_submit(m->vol, req);
	assert_true(find(m, DRAY_OP_FLUSH, 1) >= 0);
}

static void reads_answered(struct mock *m)
{
	for (int i; (i = find(m, DRAY_OP_READ, 1)) >= 0;)
		complete(m, (unsigned)i, 0);
}

/* What counts as clean on the second target is what the source has; in the end that is all of it. */
static void comes_right(struct mock *m)
{
	for (int i = 0; i < 300; i++) {
		step(m, -1);
		for (uint64_t r = 0; r < SIZE / REGION; r++)
			if (dray_vol_leg_region(m->vol, 2, r) >= DRAY_REGION_CLEAN)
				assert_memory_equal(m->disk[2] + r * REGION, m->disk[0] + r * REGION, REGION);
	}
	assert_true(m->answered && !m->answer); /* the source's flush is what counts for the application */
	m->unreadable = false;
	until_synced(m, 1);
	until_synced(m, 2);
	assert_memory_equal(m->disk[1], m->disk[0], SIZE);
	assert_memory_equal(m->disk[2], m->disk[0], SIZE);
}

static void flush_fails_first(void **state)
{
	struct mock *m = begin();
	struct dray_request req;
	flush(m, &req);
	memset(m->disk[1], 0, SIZE); /* it took away what had been written */
	complete(m, (unsigned)find(m, DRAY_OP_FLUSH, 1), -EIO);
	reads_answered(m);
	comes_right(m);
	end(m);
}

static void read_is_answered_first(void **state)
{
	struct mock *m = begin();
	struct dray_request req;
	flush(m, &req);
	memset(m->disk[1], 0, SIZE);
	reads_answered(m);
	complete(m, (unsigned)find(m, DRAY_OP_FLUSH, 1), -EIO);
	comes_right(m);
	end(m);
}

/* One that does well keeps nobody waiting: the second target is complete although the source is away. */
static void flush_does_well(void **state)
{
	struct mock *m = begin();
	struct dray_request req;
	flush(m, &req);
	reads_answered(m);
	for (int i = 0; i < 5000 && info(m, 2).dirty_bytes; i++)
		step(m, -1);
	assert_int_equal(info(m, 2).dirty_bytes, 0);
	assert_memory_equal(m->disk[2], m->disk[0], SIZE);
	assert_true(m->answered && !m->answer);
	end(m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(flush_fails_first),
		cmocka_unit_test(read_is_answered_first),
		cmocka_unit_test(flush_does_well),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
