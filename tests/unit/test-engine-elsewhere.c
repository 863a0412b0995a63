/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What can't be read of the source is read from a target that has it, for a second target that is copied or for the application, and that target's
 * flush fails just then: what the flush took away there is neither copied on nor read, whichever of read and flush is answered first.
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
	int unreadable; /* the source: with that error */
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
		return m->unreadable;
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

/* The first target is in sync. */
static struct mock *begin_synced(void)
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
	return m;
}

/* The source is away, and a step for a second target reads from the first. */
static struct mock *begin(void)
{
	struct mock *m = begin_synced();
	m->unreadable = -ENOTCONN;
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
	m->unreadable = 0;
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

/* ---- the application's read ---- */

struct app {
	struct dray_request read, flush;
	uint8_t data[512];
};

/* All is on both legs; a block was written last, and is not flushed unless it is `old`. The source can't be read, the target is asked. */
static struct mock *begin_read(struct app *a, bool old)
{
	struct mock *m = begin_synced();
	uint8_t block[512];
	memset(block, 0x77, sizeof block);
	a->flush = (struct dray_request){ .op = DRAY_OP_WRITE, .length = sizeof block, .data = block };
	m->answered = false;
	dray_vol_submit(m->vol, &a->flush);
	for (int i = 0; i < 1000 && !m->answered; i++)
		step(m, -1);
	assert_true(m->answered && !m->answer);
	if (old) {
		flush(m, &a->flush);
		step(m, -1);
	}
	m->unreadable = -EIO;
	flush(m, &a->flush);
	m->answered = false;
	a->read = (struct dray_request){ .op = DRAY_OP_READ, .length = sizeof a->data, .data = a->data };
	dray_vol_submit(m->vol, &a->read);
	complete(m, (unsigned)find(m, DRAY_OP_READ, 0), 0);
	assert_true(!m->answered && find(m, DRAY_OP_READ, 1) >= 0);
	return m;
}

/* It is what was there before the write, which was acknowledged, and no flush of the application's ever fails. */
static void dropped_before_it_is_read(void **state)
{
	for (int order = 0; order < 2; order++) {
		struct app a;
		struct mock *m = begin_read(&a, false);
		memset(m->disk[1], 0x11, sizeof a.data);
		if (!order)
			reads_answered(m);
		assert_false(m->answered);
		complete(m, (unsigned)find(m, DRAY_OP_FLUSH, 1), -EIO);
		if (order)
			reads_answered(m);
		assert_true(m->answered);
		assert_int_equal(m->answer, -EIO);
		m->answered = false;
		complete(m, (unsigned)find(m, DRAY_OP_FLUSH, 0), 0);
		assert_true(m->answered && !m->answer);
		end(m);
	}
}

/* A write to the block doesn't wait for it. */
static void read_when_the_flush_did_well(void **state)
{
	struct app a;
	struct mock *m = begin_read(&a, false);
	struct dray_request write = { .op = DRAY_OP_WRITE, .length = sizeof a.data, .data = m->disk[0] + REGION };
	reads_answered(m);
	assert_false(m->answered);
	dray_vol_submit(m->vol, &write);
	assert_true(find(m, DRAY_OP_WRITE, 0) >= 0 && find(m, DRAY_OP_WRITE, 1) >= 0);
	complete(m, (unsigned)find(m, DRAY_OP_WRITE, 1), 0);
	complete(m, (unsigned)find(m, DRAY_OP_FLUSH, 1), 0);
	assert_true(m->answered && !m->answer && a.data[0] == 0x77);
	step(m, -1);
	end(m);
}

/* What no flush can take away any more. */
static void nothing_to_wait_for(void **state)
{
	struct app a;
	struct mock *m = begin_read(&a, true);
	reads_answered(m);
	assert_true(m->answered && !m->answer && a.data[0] == 0x77);
	step(m, -1);
	end(m);
}

/* A flush that is not answered keeps the read for leg_timeout, but for the time that the host did nothing. */
static void not_for_ever(void **state)
{
	struct app a;
	struct mock *m = begin_read(&a, false);
	uint64_t since = m->now;
	reads_answered(m);
	m->now += 5000 * MS;
	dray_vol_held_up(m->vol, 5000 * MS);
	dray_vol_tick(m->vol, m->now);
	assert_false(m->answered);
	for (int i = 0; i < 3000 && !m->answered; i++) {
		uint64_t next = dray_vol_tick(m->vol, m->now);
		assert_true(m->answered || (next > m->now && next <= m->now + 1000 * MS));
		m->now += MS;
	}
	assert_true(m->answered);
	assert_int_equal(m->answer, -EIO);
	assert_in_range(m->now - since, 6000 * MS, 6010 * MS);
	step(m, -1);
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
		cmocka_unit_test(not_for_ever),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
