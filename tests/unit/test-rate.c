/* SPDX-License-Identifier: BSD-3-Clause */
/* The rate is of the last ten seconds, unknown while there is too little to say, and begins anew when the counter does. */
#include "agent/rate.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#define SECOND UINT64_C(1000000000)
#define MIB    UINT64_C(1048576)

static void sliding(void **state)
{
	struct rate_window w = { 0 };
	assert_true(rate_get(&w, 0) == UINT64_MAX);
	rate_sample(&w, SECOND, 0);
	assert_true(rate_get(&w, SECOND) == UINT64_MAX);
	rate_sample(&w, SECOND + SECOND / 10, MIB);
	assert_true(rate_get(&w, 2 * SECOND) == UINT64_MAX); /* 100 ms say nothing */
	rate_sample(&w, 2 * SECOND, 10 * MIB);
	assert_true(rate_get(&w, 2 * SECOND) == 10 * MIB);
	/* Slower from now: after ten seconds nothing of the fast start is left. */
	for (uint64_t i = 3; i < 20; i++)
		rate_sample(&w, i * SECOND, (8 + i) * MIB);
	assert_true(rate_get(&w, 19 * SECOND) == MIB);
	/* Stalled. */
	for (uint64_t i = 20; i < 40; i++)
		rate_sample(&w, i * SECOND, 27 * MIB);
	assert_true(rate_get(&w, 39 * SECOND) == 0);
}

static void counter_went_back(void **state)
{
	struct rate_window w = { 0 };
	rate_sample(&w, SECOND, 100 * MIB);
	rate_sample(&w, 2 * SECOND, 50 * MIB);
	assert_true(rate_get(&w, 2 * SECOND) == UINT64_MAX);
	rate_sample(&w, 3 * SECOND, 53 * MIB);
	assert_true(rate_get(&w, 3 * SECOND) == 3 * MIB);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(sliding), cmocka_unit_test(counter_went_back) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
