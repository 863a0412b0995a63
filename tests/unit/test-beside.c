/* SPDX-License-Identifier: BSD-3-Clause */
/* Files are copied all of the time beside an application that asks nothing, a quarter of it beside one that does, and more where it has a goal that is met. */
#include "agent/beside.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define MS UINT64_C(1000000)

static void asleep_and_awake(void **state)
{
	struct beside b;
	struct beside_told t = { .asked = 7 };
	uint64_t now = 5 * MS;
	/* Whether it asks is not known at first. */
	beside_begin(&b, &t, now);
	assert_int_equal(beside_part(&b, &t, now), BESIDE_LEAST);
	assert_int_equal(beside_part(&b, &t, now + BESIDE_IDLE_NS - 1), BESIDE_LEAST);
	assert_int_equal(beside_part(&b, &t, now + BESIDE_IDLE_NS), BESIDE_ALL);
	/* It wakes, and goes on asking. */
	for (unsigned i = 1; i < 100; i++) {
		t.asked++;
		now += BESIDE_IDLE_NS / 2;
		assert_int_equal(beside_part(&b, &t, now), BESIDE_LEAST);
		assert_int_equal(beside_part(&b, &t, now + BESIDE_IDLE_NS / 4), BESIDE_LEAST);
	}
	assert_int_equal(beside_part(&b, &t, now + BESIDE_IDLE_NS), BESIDE_ALL);
	/* Counted anew by another dray-iod. */
	t.asked = 0;
	assert_int_equal(beside_part(&b, &t, now + 2 * BESIDE_IDLE_NS), BESIDE_LEAST);
	assert_int_equal(beside_part(&b, &t, now + 3 * BESIDE_IDLE_NS), BESIDE_ALL);
}

static void with_a_goal(void **state)
{
	struct beside b;
	struct beside_told t = { .asked = 1, .goal_us = 1000 };
	beside_begin(&b, &t, 0);
	assert_int_equal(beside_part(&b, &t, 0), BESIDE_LEAST); /* what its requests take is not known */
	t.app_us = 1;
	assert_int_equal(beside_part(&b, &t, 0), BESIDE_MOST);
	t.app_us = 750;
	assert_int_equal(beside_part(&b, &t, 0), BESIDE_MOST);
	t.app_us = 875;
	assert_int_equal(beside_part(&b, &t, 0), (BESIDE_MOST + BESIDE_LEAST) / 2);
	for (t.app_us = 1000; t.app_us < 1 << 20; t.app_us *= 2)
		assert_int_equal(beside_part(&b, &t, 0), BESIDE_LEAST);
	/* Never more for taking longer; goals of any size. */
	for (uint64_t goal = 1; goal < UINT64_C(1) << 40; goal *= 7) {
		unsigned before = BESIDE_MOST;
		for (uint64_t part = 1; part <= 20; part++) {
			t = (struct beside_told){ .asked = 1, .app_us = goal * part / 16 + 1, .goal_us = goal };
			unsigned is = beside_part(&b, &t, 0);
			assert_true(is >= BESIDE_LEAST && is <= before);
			before = is;
		}
	}
	/* One that sleeps needs none. */
	t = (struct beside_told){ .asked = 1, .app_us = 5000, .goal_us = 1000 };
	assert_int_equal(beside_part(&b, &t, BESIDE_IDLE_NS), BESIDE_ALL);
}

static void not_known(void **state)
{
	struct beside b;
	struct beside_told t = { .asked = UINT64_MAX, .goal_us = 1 };
	beside_begin(&b, &t, 0);
	assert_int_equal(beside_part(&b, &t, 0), BESIDE_ALL);
	/* It came to be known. */
	t.asked = 0;
	assert_int_equal(beside_part(&b, &t, 1), BESIDE_LEAST);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(asleep_and_awake),
		cmocka_unit_test(with_a_goal),
		cmocka_unit_test(not_known),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
