/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the engine does about storages in trouble, at its limits, where the simulator seldom goes: a target that fails for longer than it is
 * given, one that is full, a source with more bad sectors than the list has room for, one that is gone as a whole, and a list of bad ranges
 * that is read back, damaged or not.
 */
#include "tests/lib/engine-host.h"

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
#define MS     HOST_MS

static const uint8_t id[16] = { 7 };

struct mock {
	struct engine_host h;
	uint8_t unreadable[BLOCKS];
	int write_error, read_error; /* of the target's writes; of all reads of the source */
	int flush_error;             /* of the source's flushes */
	unsigned degraded, cleared, source_reads;
};

static void heard(struct engine_host *h, const struct dray_event *ev)
{
	struct mock *m = dray_container(h, struct mock, h);
	m->degraded += ev->kind == DRAY_EV_LEG_STATE && ev->leg_state == DRAY_LEG_DEGRADED;
	m->cleared += ev->kind == DRAY_EV_BAD_RANGE && !ev->error;
}

static int fails(struct engine_host *h, const struct dray_io *io)
{
	struct mock *m = dray_container(h, struct mock, h);
	uint8_t *unreadable = m->unreadable + io->offset / BLOCK;
	if (io->op == DRAY_OP_WRITE && io->leg == 1)
		return m->write_error;
	if (io->leg != 0)
		return 0;
	switch (io->op) {
	case DRAY_OP_READ:
		m->source_reads++;
		return m->read_error ? m->read_error : memchr(unreadable, 1, io->length / BLOCK) ? -EIO : 0;
	case DRAY_OP_WRITE: memset(unreadable, 0, io->length / BLOCK); return 0;
	case DRAY_OP_FLUSH: return m->flush_error;
	default: return 0;
	}
}

static int volume(struct mock *m)
{
	const void *slots[2] = { m->h.slots[0], m->h.slots[1] };
	struct dray_vol_config c = { .size_bytes = SIZE, .region_bytes = REGION, .block_bytes = BLOCK, .bad_slots = slots };
	memcpy(c.bad_id, id, sizeof id);
	int rc = host_start(&m->h, &c);
	if (rc)
		return rc;
	assert_int_equal(dray_vol_leg_attach(m->h.vol, &(struct dray_leg_config){ .id = 11 }), 0);
	m->h.now += MS;
	dray_vol_tick(m->h.vol, m->h.now); /* and nothing is carried out: the slots stay as the test left them */
	return 0;
}

static struct mock *begin(void)
{
	struct mock *m = calloc(1, sizeof *m);
	m->h.fails = fails;
	m->h.heard = heard;
	host_memory(&m->h, 2, SIZE);
	for (int i = 0; i < 2; i++)
		dray_bad_slot_format(m->h.slots[i], id, BLOCK);
	assert_int_equal(volume(m), 0);
	return m;
}

static void attach(struct mock *m)
{
	assert_int_equal(dray_vol_leg_attach(m->h.vol, &(struct dray_leg_config){ .id = 12 }), 1);
}

static void end(struct mock *m)
{
	host_end(&m->h);
	free(m);
}

static struct dray_leg_info info(struct mock *m)
{
	return host_leg(&m->h, 1);
}

static struct dray_vol_info vol_info(struct mock *m)
{
	return host_vol(&m->h);
}

/* A volume whose target is in sync. */
static struct mock *begin_synced(void)
{
	struct mock *m = begin();
	attach(m);
	host_run(&m->h, 1000);
	assert_true(info(m).synced);
	return m;
}

/* Tried again with back-off for a minute, a few times only, then held; a retry goes on from what is there. */
static void target_fails(void **state)
{
	struct mock *m = begin();
	assert_int_equal(dray_vol_set_limits(m->h.vol, &(struct dray_copy_limits){ .rate = 8 << 20 }), 0);
	attach(m);
	host_run(&m->h, 250);
	uint64_t before = info(m).copied_bytes;
	assert_true(before > 0 && before < SIZE);
	m->write_error = -EIO;
	host_run(&m->h, 59000);
	assert_int_equal(m->h.events[DRAY_EV_LEG_HELD], 0);
	assert_true(m->degraded > 5 && m->degraded < 40);
	host_run(&m->h, 3000);
	assert_int_equal(m->h.events[DRAY_EV_LEG_HELD], 1);
	assert_int_equal(m->h.last[DRAY_EV_LEG_HELD].error, -EIO);
	assert_string_equal(m->h.last[DRAY_EV_LEG_HELD].why, "no progress");
	unsigned degraded = m->degraded;
	m->write_error = 0;
	host_run(&m->h, 20000);
	assert_int_equal(m->degraded, degraded);
	assert_true(info(m).held);
	assert_int_equal(dray_vol_leg_retry(m->h.vol, 1), 0);
	host_run(&m->h, 2000);
	assert_true(info(m).synced);
	assert_int_equal(info(m).copied_bytes, SIZE);
	end(m);
}

static void target_full(void **state)
{
	struct mock *m = begin();
	attach(m);
	m->write_error = -ENOSPC;
	host_run(&m->h, 100);
	assert_int_equal(m->h.events[DRAY_EV_LEG_HELD], 1);
	assert_int_equal(m->h.last[DRAY_EV_LEG_HELD].error, -ENOSPC);
	uint8_t w[512];
	memset(w, 0x77, sizeof w);
	assert_int_equal(host_request(&m->h, DRAY_OP_WRITE, 0, sizeof w, w), 0);
	m->write_error = 0;
	assert_int_equal(dray_vol_leg_retry(m->h.vol, 1), 0);
	host_run(&m->h, 1000);
	assert_true(info(m).synced);
	assert_memory_equal(m->h.disk[0], m->h.disk[1], SIZE);
	end(m);
}

/* Every fourth block: more ranges than there is room for. The leg is given up on, and the source is as it was. */
static void too_many(void **state)
{
	struct mock *m = begin();
	for (uint64_t b = 0; b < BLOCKS; b += 4)
		m->unreadable[b] = 1;
	attach(m);
	host_run(&m->h, 120000);
	assert_int_equal(m->h.events[DRAY_EV_LEG_HELD], 1);
	assert_string_equal(m->h.last[DRAY_EV_LEG_HELD].why, "too many bad ranges on the source");
	assert_true(vol_info(m).bad_ranges > 100 && vol_info(m).bad_ranges <= DRAY_BAD_RANGES_MOST);
	uint8_t r[512];
	assert_int_equal(host_request(&m->h, DRAY_OP_READ, BLOCK, sizeof r, r), 0);
	assert_int_equal(host_request(&m->h, DRAY_OP_READ, 0, sizeof r, r), -EIO);
	/* Let go, its list goes too: nobody was given zeroes. */
	assert_int_equal(dray_vol_leg_detach(m->h.vol, 1), 0);
	host_run(&m->h, 100);
	assert_int_equal(vol_info(m).bad_ranges, 0);
	end(m);
}

/* A scratch: adjacent blocks are one range, and do not cost the whole back-off each. */
static void scratch(void **state)
{
	struct mock *m = begin();
	memset(m->unreadable + 1000, 1, 600);
	attach(m);
	host_run(&m->h, 5000);
	assert_true(info(m).synced);
	assert_int_equal(vol_info(m).bad_ranges, 1);
	assert_int_equal(vol_info(m).bad_bytes, 600 * BLOCK);
	struct dray_bad_range r;
	assert_int_equal(dray_vol_bad_ranges(m->h.vol, &r, 1), 1);
	assert_int_equal(r.offset, 1000 * BLOCK);
	assert_false(r.lost);
	for (uint64_t i = 0; i < 600 * BLOCK; i++)
		assert_int_equal(m->h.disk[1][1000 * BLOCK + i], 0);
	assert_memory_equal(m->h.disk[0], m->h.disk[1], 1000 * BLOCK);
	/* Read back by the next life. */
	assert_int_equal(volume(m), 0);
	assert_int_equal(vol_info(m).bad_bytes, 600 * BLOCK);
	/* One slot damaged: the other has it. Both: nobody guesses. */
	for (int i = 0; i < 2; i++) {
		m->h.slots[i][100] ^= 1;
		int rc = volume(m);
		assert_int_equal(rc, i ? -EBADMSG : 0);
		if (!i)
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
		assert_int_equal(dray_vol_set_limits(m->h.vol, &(struct dray_copy_limits){ .rate = 8 << 20 }), 0);
		attach(m);
		host_run(&m->h, 200);
		m->read_error = errors[e];
		host_run(&m->h, 2000);
		unsigned reads = m->source_reads;
		host_run(&m->h, 60000);
		assert_int_equal(vol_info(m).bad_ranges, 0);
		assert_int_equal(m->h.events[DRAY_EV_LEG_HELD], 0);
		/* Asked for now and then, and said so. */
		assert_true(m->source_reads - reads < 1500);
		assert_true(m->h.events[DRAY_EV_SOURCE_READ] > 5 || errors[e] != -EIO);
		m->read_error = 0;
		host_run(&m->h, 12000);
		assert_true(info(m).synced);
		assert_memory_equal(m->h.disk[0], m->h.disk[1], SIZE);
		end(m);
	}
}

/* A bad block that is written to is not bad any more, and the range around it is two. */
static void overwritten(void **state)
{
	struct mock *m = begin();
	memset(m->unreadable + 64, 1, 16);
	attach(m);
	host_run(&m->h, 3000);
	assert_int_equal(vol_info(m).bad_ranges, 1);
	uint8_t w[1024], r[1024];
	memset(w, 0x55, sizeof w);
	assert_int_equal(host_request(&m->h, DRAY_OP_WRITE, 70 * BLOCK, sizeof w, w), 0);
	assert_int_equal(vol_info(m).bad_ranges, 2);
	assert_int_equal(vol_info(m).bad_bytes, 14 * BLOCK);
	assert_int_equal(host_request(&m->h, DRAY_OP_READ, 70 * BLOCK, sizeof r, r), 0);
	assert_memory_equal(w, r, sizeof w);
	assert_memory_equal(w, m->h.disk[1] + 70 * BLOCK, sizeof w);
	assert_int_equal(host_request(&m->h, DRAY_OP_READ, 69 * BLOCK, sizeof r, r), -EIO);
	assert_int_equal(m->cleared, 1);
	end(m);
}

/* A write to a bad block waits for its intent while the source is opened anew: what that may have dropped was not of this write. */
static void overwritten_after_reopen(void **state)
{
	struct mock *m = begin();
	memset(m->unreadable + 64, 1, 16);
	assert_int_equal(dray_vol_leg_attach(m->h.vol, &(struct dray_leg_config){ .id = 12, .durable = true, .map_id = { 1 } }), 1);
	host_run(&m->h, 3000);
	assert_int_equal(vol_info(m).bad_bytes, 16 * BLOCK);
	assert_int_equal(info(m).recorded_bytes, SIZE);
	uint8_t w[1024] = { 0x55 };
	struct dray_request req = { .op = DRAY_OP_WRITE, .offset = 70 * BLOCK, .length = sizeof w, .data = w };
	m->h.answered = false;
	dray_vol_submit(m->h.vol, &req);
	assert_true(host_find(&m->h, DRAY_OP_MAP_WRITE, 1) >= 0 && host_find(&m->h, DRAY_OP_WRITE, 0) < 0);
	assert_int_equal(dray_vol_leg_closed(m->h.vol, 0), 0);
	host_run(&m->h, 100);
	assert_true(m->h.answered);
	assert_int_equal(m->h.answer, 0);
	assert_int_equal(vol_info(m).bad_bytes, 14 * BLOCK);
	/* Opened anew after it was written, it may be gone. */
	req.offset = 66 * BLOCK;
	m->h.answered = false;
	dray_vol_submit(m->h.vol, &req);
	for (int i = 0; i < 10 && host_find(&m->h, DRAY_OP_WRITE, 0) < 0; i++)
		host_run(&m->h, 1);
	host_complete(&m->h, host_find(&m->h, DRAY_OP_WRITE, 0), 0);
	assert_int_equal(dray_vol_leg_closed(m->h.vol, 0), 0);
	host_run(&m->h, 100);
	assert_true(m->h.answered);
	assert_int_equal(m->h.answer, -EIO);
	assert_int_equal(vol_info(m).bad_bytes, 14 * BLOCK);
	end(m);
}

/* The target has what the source lost after it was copied: a read comes from there, and a verification has nothing to compare. */
static void lost_later(void **state)
{
	struct mock *m = begin_synced();
	m->unreadable[40] = 1;
	uint8_t r[512];
	assert_int_equal(host_request(&m->h, DRAY_OP_READ, 40 * BLOCK, sizeof r, r), 0);
	assert_int_equal(r[0], 0x10);
	assert_int_equal(dray_vol_verify(m->h.vol, 1, 1, false), 0);
	host_run(&m->h, 1000);
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
	dray_vol_switch_prepare(m->h.vol, 1, token);
	host_run(&m->h, 10);
	dray_vol_switch_suspend(m->h.vol, token, m->h.now + 1000 * MS);
	host_run(&m->h, 10);
	assert_int_equal(dray_vol_switch_seal(m->h.vol, token), 0);
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
		assert_int_equal(host_request(&m->h, DRAY_OP_WRITE, 0, sizeof w, w), 0);
		m->flush_error = -EIO;
		seal(m, 7);
		if (variant == DONE) {
			assert_int_equal(dray_vol_switch_apply(m->h.vol, 7), 0);
			assert_int_equal(host_request(&m->h, DRAY_OP_FLUSH, 0, 0, NULL), 0);
			end(m);
			continue;
		}
		assert_int_equal(dray_vol_switch_abort(m->h.vol, 7), 0);
		m->flush_error = 0;
		if (variant == DONE_LATER) {
			host_run(&m->h, 1000);
			assert_true(info(m).synced);
			seal(m, 8);
			assert_int_equal(dray_vol_switch_apply(m->h.vol, 8), 0);
		}
		assert_int_equal(host_request(&m->h, DRAY_OP_FLUSH, 0, 0, NULL), -EIO);
		assert_int_equal(host_request(&m->h, DRAY_OP_FLUSH, 0, 0, NULL), 0);
		host_run(&m->h, 1000); /* no step is under way */
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
	m->h.may_land = true;
	assert_int_equal(host_request(&m->h, DRAY_OP_WRITE, 0, sizeof w, w), 0);
	m->write_error = 0;
	host_run(&m->h, 1000);
	assert_int_equal(info(m).dirty_bytes, 0);
	assert_int_equal(dray_vol_leg_region(m->h.vol, 1, 0), DRAY_REGION_DOUBT);
	dray_vol_switch_force(m->h.vol, true);
	dray_vol_switch_prepare(m->h.vol, 1, 7);
	assert_int_equal(m->h.last[DRAY_EV_PREPARED].error, -EAGAIN);
	/* Kept from comparing. */
	assert_int_equal(dray_vol_leg_pause(m->h.vol, 1, true), 0);
	host_run(&m->h, 6000);
	seal(m, 8);
	assert_true(dray_vol_leg_lacks(m->h.vol, 1, 0));
	assert_false(dray_vol_leg_lacks(m->h.vol, 1, 1));
	assert_int_equal(dray_vol_switch_apply(m->h.vol, 8), 0);
	/* And on the side that was left it is compared. */
	dray_vol_switch_force(m->h.vol, false);
	host_run(&m->h, 6000);
	struct dray_leg_info i;
	assert_int_equal(dray_vol_leg_info(m->h.vol, 0, &i), 0);
	assert_true(i.synced);
	end(m);
}

/* What waits while the host itself does nothing is not held against the target; what waits while it looks is. */
static void held_up(void **state)
{
	struct mock *m = begin_synced();
	uint8_t block[BLOCK] = { 3 };
	struct dray_request req = { .op = DRAY_OP_WRITE, .length = BLOCK, .data = block };
	m->h.answered = false;
	dray_vol_submit(m->h.vol, &req);
	m->h.now += 10 * MS;
	dray_vol_tick(m->h.vol, m->h.now);
	dray_vol_held_up(m->h.vol, 59990 * MS); /* a minute: nobody ran */
	m->h.now += 60000 * MS;
	dray_vol_tick(m->h.vol, m->h.now);
	assert_int_equal(m->degraded, 0);
	host_run(&m->h, 5);
	assert_true(m->h.answered && !m->h.answer && info(m).synced);

	/* The same of a copy step's claim, and of one that is not answered when it is looked for in time. */
	m->h.answered = false;
	dray_vol_submit(m->h.vol, &req);
	for (int i = 0; i < 12; i++) {
		m->h.now += 100 * MS;
		dray_vol_tick(m->h.vol, m->h.now);
	}
	assert_int_equal(m->degraded, 1);
	host_run(&m->h, 1000);
	assert_true(m->h.answered && !m->h.answer && info(m).synced);
	end(m);

	m = begin();
	attach(m);
	m->h.now += MS;
	dray_vol_tick(m->h.vol, m->h.now); /* steps are under way */
	dray_vol_held_up(m->h.vol, 2000 * MS);
	m->h.now += 2000 * MS;
	dray_vol_tick(m->h.vol, m->h.now);
	host_run(&m->h, 1000);
	assert_true(info(m).synced);
	assert_int_equal(m->degraded + m->h.events[DRAY_EV_SOURCE_READ], 0);
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
		cmocka_unit_test(overwritten_after_reopen),
		cmocka_unit_test(lost_later),
		cmocka_unit_test(flush_fails_at_switch),
		cmocka_unit_test(forced_past_late_writes),
		cmocka_unit_test(held_up),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
