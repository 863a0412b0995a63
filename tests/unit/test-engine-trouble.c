/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the engine does about storages in trouble, at its limits, where the simulator seldom goes: a target that fails for longer than it is
 * given, one that is full, a source with more bad sectors than the list has room for, one that is gone as a whole, and a list of bad ranges
 * that is read back, damaged or not.
 */
#include "engine/engine.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define BLOCK  UINT64_C(512)
#define SIZE   (UINT64_C(4) << 20)
#define BLOCKS (SIZE / BLOCK)
#define REGION (UINT64_C(256) << 10)
#define MS     UINT64_C(1000000)

static const uint8_t id[16] = { 7 };

struct mock {
	struct dray_vol *vol;
	uint8_t *disk[2];
	uint8_t slots[2][DRAY_BAD_SLOT_BYTES];
	uint8_t unreadable[BLOCKS];
	int write_error, read_error; /* of the target's writes; of all reads of the source */
	int flush_error;             /* of the source's flushes */
	bool may_land;               /* the target's failed writes may land late */
	int prepared;
	struct dray_io *queue[4096];
	unsigned head, tail, source_reads;
	uint64_t now;
	unsigned held, degraded, cleared, listed, source_events;
	int held_error;
	const char *held_why;
	int answer;
	bool answered;
};

static void m_submit(void *host, struct dray_io *io)
{
	struct mock *m = host;
	m->queue[m->tail++ % 4096] = io;
}

static void m_reply(void *host, struct dray_request *req, int error)
{
	struct mock *m = host;
	m->answer = error;
	m->answered = true;
}

static void m_release(void *host, struct dray_request *req)
{
}

static void m_event(void *host, const struct dray_event *ev)
{
	struct mock *m = host;
	m->degraded += ev->kind == DRAY_EV_LEG_STATE && ev->leg_state == DRAY_LEG_DEGRADED;
	m->source_events += ev->kind == DRAY_EV_SOURCE_READ;
	m->listed += ev->kind == DRAY_EV_BAD_RANGE && ev->error;
	m->cleared += ev->kind == DRAY_EV_BAD_RANGE && !ev->error;
	if (ev->kind == DRAY_EV_PREPARED)
		m->prepared = ev->error;
	if (ev->kind == DRAY_EV_LEG_HELD) {
		m->held++;
		m->held_error = ev->error;
		m->held_why = ev->why;
	}
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

static int carry_out(struct mock *m, struct dray_io *io)
{
	switch (io->op) {
	case DRAY_OP_READ:
		if (io->leg == 0) {
			m->source_reads++;
			if (m->read_error)
				return m->read_error;
			if (memchr(m->unreadable + io->offset / BLOCK, 1, io->length / BLOCK))
				return -EIO;
		}
		memcpy(io->data, m->disk[io->leg] + io->offset, io->length);
		return 0;
	case DRAY_OP_WRITE:
		if (io->leg == 1 && m->write_error)
			return m->write_error;
		memcpy(m->disk[io->leg] + io->offset, io->data, io->length);
		if (io->leg == 0)
			memset(m->unreadable + io->offset / BLOCK, 0, io->length / BLOCK);
		return 0;
	case DRAY_OP_FLUSH: return io->leg == 0 ? m->flush_error : 0;
	case DRAY_OP_BAD_WRITE: memcpy(m->slots[io->offset / DRAY_BAD_SLOT_BYTES], io->data, io->length); return 0;
	default: return 0;
	}
}

static void step(struct mock *m)
{
	m->now += MS;
	dray_vol_tick(m->vol, m->now);
	unsigned n = m->tail - m->head;
	while (n--) {
		struct dray_io *io = m->queue[m->head++ % 4096];
		int error = carry_out(m, io);
		dray_vol_complete(m->vol, io, error, error && m->may_land ? DRAY_C_MAY_LAND_LATE : 0);
	}
	dray_vol_check(m->vol);
}

static void run(struct mock *m, unsigned ms)
{
	while (ms--)
		step(m);
}

static int volume(struct mock *m, bool with_list)
{
	const void *slots[2] = { m->slots[0], m->slots[1] };
	struct dray_vol_config c = { .size_bytes = SIZE, .region_bytes = REGION, .block_bytes = BLOCK, .bad_slots = with_list ? slots : NULL };
	memcpy(c.bad_id, id, sizeof id);
	int rc = dray_vol_new(&m->vol, &c, &ops, m);
	if (rc)
		return rc;
	assert_int_equal(dray_vol_leg_attach(m->vol, &(struct dray_leg_config){ .id = 11 }), 0);
	m->now += MS;
	dray_vol_tick(m->vol, m->now);
	return 0;
}

static struct mock *begin(void)
{
	struct mock *m = calloc(1, sizeof *m);
	for (int i = 0; i < 2; i++) {
		m->disk[i] = malloc(SIZE);
		memset(m->disk[i], i ? 0xee : 0x11, SIZE);
		dray_bad_slot_format(m->slots[i], id, BLOCK);
	}
	m->now = 1000 * MS;
	assert_int_equal(volume(m, true), 0);
	return m;
}

static void attach(struct mock *m)
{
	assert_int_equal(dray_vol_leg_attach(m->vol, &(struct dray_leg_config){ .id = 12 }), 1);
}

static void end(struct mock *m)
{
	dray_vol_free(m->vol, true);
	free(m->disk[0]);
	free(m->disk[1]);
	free(m);
}

static struct dray_leg_info info(struct mock *m)
{
	struct dray_leg_info i;
	assert_int_equal(dray_vol_leg_info(m->vol, 1, &i), 0);
	return i;
}

/* A volume whose target is in sync. */
static struct mock *begin_synced(void)
{
	struct mock *m = begin();
	attach(m);
	run(m, 1000);
	assert_true(info(m).synced);
	return m;
}

static struct dray_vol_info vol_info(struct mock *m)
{
	struct dray_vol_info i;
	dray_vol_info(m->vol, &i);
	return i;
}

static int do_request(struct mock *m, enum dray_op op, uint64_t offset, uint64_t length, void *data)
{
	struct dray_request req = { .op = op, .offset = offset, .length = length, .data = data };
	m->answered = false;
	dray_vol_submit(m->vol, &req);
	for (int i = 0; i < 1000 && !m->answered; i++)
		step(m);
	assert_true(m->answered);
	return m->answer;
}

/* Tried again with back-off for a minute, a few times only, then held; a retry goes on from what is there. */
static void target_fails(void **state)
{
	struct mock *m = begin();
	assert_int_equal(dray_vol_set_limits(m->vol, &(struct dray_copy_limits){ .rate = 8 << 20 }), 0);
	attach(m);
	run(m, 250);
	uint64_t before = info(m).copied_bytes;
	assert_true(before > 0 && before < SIZE);
	m->write_error = -EIO;
	run(m, 59000);
	assert_int_equal(m->held, 0);
	assert_true(m->degraded > 5 && m->degraded < 40);
	run(m, 3000);
	assert_int_equal(m->held, 1);
	assert_int_equal(m->held_error, -EIO);
	assert_string_equal(m->held_why, "no progress");
	unsigned degraded = m->degraded;
	m->write_error = 0;
	run(m, 20000);
	assert_int_equal(m->degraded, degraded);
	assert_true(info(m).held);
	assert_int_equal(dray_vol_leg_retry(m->vol, 1), 0);
	run(m, 2000);
	assert_true(info(m).synced);
	assert_int_equal(info(m).copied_bytes, SIZE);
	end(m);
}

static void target_full(void **state)
{
	struct mock *m = begin();
	attach(m);
	m->write_error = -ENOSPC;
	run(m, 100);
	assert_int_equal(m->held, 1);
	assert_int_equal(m->held_error, -ENOSPC);
	uint8_t w[512];
	memset(w, 0x77, sizeof w);
	assert_int_equal(do_request(m, DRAY_OP_WRITE, 0, sizeof w, w), 0);
	m->write_error = 0;
	assert_int_equal(dray_vol_leg_retry(m->vol, 1), 0);
	run(m, 1000);
	assert_true(info(m).synced);
	assert_memory_equal(m->disk[0], m->disk[1], SIZE);
	end(m);
}

/* Every fourth block: more ranges than there is room for. The leg is given up on, and the source is as it was. */
static void too_many(void **state)
{
	struct mock *m = begin();
	for (uint64_t b = 0; b < BLOCKS; b += 4)
		m->unreadable[b] = 1;
	attach(m);
	run(m, 120000);
	assert_int_equal(m->held, 1);
	assert_string_equal(m->held_why, "too many bad ranges on the source");
	assert_true(vol_info(m).bad_ranges > 100 && vol_info(m).bad_ranges <= DRAY_BAD_RANGES_MOST);
	uint8_t r[512];
	assert_int_equal(do_request(m, DRAY_OP_READ, BLOCK, sizeof r, r), 0);
	assert_int_equal(do_request(m, DRAY_OP_READ, 0, sizeof r, r), -EIO);
	/* Let go, its list goes too: nobody was given zeroes. */
	assert_int_equal(dray_vol_leg_detach(m->vol, 1), 0);
	run(m, 100);
	assert_int_equal(vol_info(m).bad_ranges, 0);
	end(m);
}

/* A scratch: adjacent blocks are one range, and do not cost the whole back-off each. */
static void scratch(void **state)
{
	struct mock *m = begin();
	memset(m->unreadable + 1000, 1, 600);
	attach(m);
	run(m, 5000);
	assert_true(info(m).synced);
	assert_int_equal(vol_info(m).bad_ranges, 1);
	assert_int_equal(vol_info(m).bad_bytes, 600 * BLOCK);
	struct dray_bad_range r;
	assert_int_equal(dray_vol_bad_ranges(m->vol, &r, 1), 1);
	assert_int_equal(r.offset, 1000 * BLOCK);
	assert_false(r.lost);
	for (uint64_t i = 0; i < 600 * BLOCK; i++)
		assert_int_equal(m->disk[1][1000 * BLOCK + i], 0);
	assert_memory_equal(m->disk[0], m->disk[1], 1000 * BLOCK);
	/* Read back by the next life. */
	dray_vol_free(m->vol, true);
	m->head = m->tail = 0;
	assert_int_equal(volume(m, true), 0);
	assert_int_equal(vol_info(m).bad_bytes, 600 * BLOCK);
	/* One slot damaged: the other has it. Both: nobody guesses. */
	for (int i = 0; i < 2; i++) {
		dray_vol_free(m->vol, true);
		m->head = m->tail = 0;
		m->slots[i][100] ^= 1;
		int rc = volume(m, true);
		assert_int_equal(rc, i ? -EBADMSG : 0);
		if (i)
			m->vol = NULL;
		else
			assert_int_equal(vol_info(m).bad_bytes, 600 * BLOCK);
	}
	end(m);
}

/* A source that is gone is not one bad sector after the other. */
static void source_gone(void **state)
{
	static const int errors[] = { -EIO, -ENODEV, -ENOTCONN };
	for (size_t e = 0; e < sizeof errors / sizeof errors[0]; e++) {
		struct mock *m = begin();
		assert_int_equal(dray_vol_set_limits(m->vol, &(struct dray_copy_limits){ .rate = 8 << 20 }), 0);
		attach(m);
		run(m, 200);
		m->read_error = errors[e];
		run(m, 2000);
		unsigned reads = m->source_reads;
		run(m, 60000);
		assert_int_equal(vol_info(m).bad_ranges, 0);
		assert_int_equal(m->held, 0);
		/* Asked for now and then, and said so. */
		assert_true(m->source_reads - reads < 1500);
		assert_true(m->source_events > 5 || errors[e] != -EIO);
		m->read_error = 0;
		run(m, 12000);
		assert_true(info(m).synced);
		assert_memory_equal(m->disk[0], m->disk[1], SIZE);
		end(m);
	}
}

/* A bad block that is written to is not bad any more, and the range around it is two. */
static void overwritten(void **state)
{
	struct mock *m = begin();
	memset(m->unreadable + 64, 1, 16);
	attach(m);
	run(m, 3000);
	assert_int_equal(vol_info(m).bad_ranges, 1);
	uint8_t w[1024], r[1024];
	memset(w, 0x55, sizeof w);
	assert_int_equal(do_request(m, DRAY_OP_WRITE, 70 * BLOCK, sizeof w, w), 0);
	assert_int_equal(vol_info(m).bad_ranges, 2);
	assert_int_equal(vol_info(m).bad_bytes, 14 * BLOCK);
	assert_int_equal(do_request(m, DRAY_OP_READ, 70 * BLOCK, sizeof r, r), 0);
	assert_memory_equal(w, r, sizeof w);
	assert_memory_equal(w, m->disk[1] + 70 * BLOCK, sizeof w);
	assert_int_equal(do_request(m, DRAY_OP_READ, 69 * BLOCK, sizeof r, r), -EIO);
	assert_int_equal(m->cleared, 1);
	end(m);
}

/* The target has what the source lost after it was copied: a read comes from there, and a verification has nothing to compare. */
static void lost_later(void **state)
{
	struct mock *m = begin_synced();
	m->unreadable[40] = 1;
	uint8_t r[512];
	assert_int_equal(do_request(m, DRAY_OP_READ, 40 * BLOCK, sizeof r, r), 0);
	assert_int_equal(r[0], 0x11);
	assert_int_equal(dray_vol_verify(m->vol, 1, 1, false), 0);
	run(m, 1000);
	struct dray_leg_info i = info(m);
	assert_false(i.verifying);
	assert_int_equal(i.verify_differing_bytes, 0);
	assert_true(i.verify_skipped_bytes && i.verify_skipped_bytes <= 256 << 10);
	assert_int_equal(i.verify_compared_bytes + i.verify_skipped_bytes, SIZE);
	assert_int_equal(vol_info(m).bad_ranges, 0);
	assert_true(i.synced);
	end(m);
}

static void seal(struct mock *m, uint64_t token)
{
	dray_vol_switch_prepare(m->vol, 1, token);
	run(m, 10);
	dray_vol_switch_suspend(m->vol, token, m->now + 1000 * MS);
	run(m, 10);
	assert_int_equal(dray_vol_switch_seal(m->vol, token), 0);
}

/* The old primary's flush fails while it is left: nothing is lost then, and no application hears of it. If the switch is not done, it does;
 * also after a later switch, for what was dropped may have been copied since. */
static void flush_fails_at_switch(void **state)
{
	enum { DONE, NOT_DONE, DONE_LATER, VARIANTS };
	for (int variant = 0; variant < VARIANTS; variant++) {
		struct mock *m = begin_synced();
		uint8_t w[512];
		memset(w, 0x33, sizeof w);
		assert_int_equal(do_request(m, DRAY_OP_WRITE, 0, sizeof w, w), 0);
		m->flush_error = -EIO;
		seal(m, 7);
		if (variant == DONE) {
			assert_int_equal(dray_vol_switch_apply(m->vol, 7), 0);
			assert_int_equal(do_request(m, DRAY_OP_FLUSH, 0, 0, NULL), 0);
			end(m);
			continue;
		}
		assert_int_equal(dray_vol_switch_abort(m->vol, 7), 0);
		m->flush_error = 0;
		if (variant == DONE_LATER) {
			run(m, 1000);
			assert_true(info(m).synced);
			seal(m, 8);
			assert_int_equal(dray_vol_switch_apply(m->vol, 8), 0);
		}
		assert_int_equal(do_request(m, DRAY_OP_FLUSH, 0, 0, NULL), -EIO);
		assert_int_equal(do_request(m, DRAY_OP_FLUSH, 0, 0, NULL), 0);
		run(m, 1000); /* no step is under way */
		end(m);
	}
}

/* A forced undo does not go to a leg on which an old write may still land: nobody would look for that any more. Where it may have landed is lost. */
static void forced_past_late_writes(void **state)
{
	struct mock *m = begin_synced();
	uint8_t w[512];
	memset(w, 0x33, sizeof w);
	m->write_error = -ENOTCONN;
	m->may_land = true;
	assert_int_equal(do_request(m, DRAY_OP_WRITE, 0, sizeof w, w), 0);
	m->write_error = 0;
	run(m, 1000);
	assert_int_equal(info(m).dirty_bytes, 0);
	assert_int_equal(dray_vol_leg_region(m->vol, 1, 0), DRAY_REGION_DOUBT);
	dray_vol_switch_force(m->vol, true);
	dray_vol_switch_prepare(m->vol, 1, 7);
	assert_int_equal(m->prepared, -EAGAIN);
	/* Kept from comparing. */
	assert_int_equal(dray_vol_leg_pause(m->vol, 1, true), 0);
	run(m, 6000);
	seal(m, 8);
	assert_true(dray_vol_leg_lacks(m->vol, 1, 0));
	assert_false(dray_vol_leg_lacks(m->vol, 1, 1));
	assert_int_equal(dray_vol_switch_apply(m->vol, 8), 0);
	/* And on the side that was left it is compared. */
	dray_vol_switch_force(m->vol, false);
	run(m, 6000);
	struct dray_leg_info i;
	assert_int_equal(dray_vol_leg_info(m->vol, 0, &i), 0);
	assert_true(i.synced);
	end(m);
}

/* What waits while the host itself does nothing is not held against the target; what waits while it looks is. */
static void held_up(void **state)
{
	struct mock *m = begin_synced();
	uint8_t block[BLOCK] = { 3 };
	struct dray_request req = { .op = DRAY_OP_WRITE, .length = BLOCK, .data = block };
	m->answered = false;
	dray_vol_submit(m->vol, &req);
	m->now += 10 * MS;
	dray_vol_tick(m->vol, m->now);
	dray_vol_held_up(m->vol, 59990 * MS); /* a minute: nobody ran */
	m->now += 60000 * MS;
	dray_vol_tick(m->vol, m->now);
	assert_int_equal(m->degraded, 0);
	run(m, 5);
	assert_true(m->answered && !m->answer && info(m).synced);

	/* The same of a copy step's claim, and of one that is not answered when it is looked for in time. */
	m->answered = false;
	dray_vol_submit(m->vol, &req);
	for (int i = 0; i < 12; i++) {
		m->now += 100 * MS;
		dray_vol_tick(m->vol, m->now);
	}
	assert_int_equal(m->degraded, 1);
	run(m, 1000);
	assert_true(m->answered && !m->answer && info(m).synced);
	end(m);

	m = begin();
	attach(m);
	m->now += MS;
	dray_vol_tick(m->vol, m->now); /* steps are under way */
	dray_vol_held_up(m->vol, 2000 * MS);
	m->now += 2000 * MS;
	dray_vol_tick(m->vol, m->now);
	run(m, 1000);
	assert_true(info(m).synced);
	assert_int_equal(m->degraded + m->source_events, 0);
	end(m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(target_fails),
		cmocka_unit_test(target_full),
		cmocka_unit_test(too_many),
		cmocka_unit_test(scratch),
		cmocka_unit_test(source_gone),
		cmocka_unit_test(overwritten),
		cmocka_unit_test(lost_later),
		cmocka_unit_test(flush_fails_at_switch),
		cmocka_unit_test(forced_past_late_writes),
		cmocka_unit_test(held_up),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
