/* SPDX-License-Identifier: BSD-3-Clause */
/* Which sources are read for an estimate: few, whatever their number; of each disk some; none of which reading says nothing. */
#include "agent/speed.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static struct speed_candidate *sources(size_t n, unsigned disks)
{
	struct speed_candidate *list = calloc(n, sizeof *list);
	assert_non_null(list);
	for (size_t i = 0; i < n; i++) {
		list[i].pair = i;
		snprintf(list[i].place, sizeof list[i].place, "disk%u", (unsigned)(i % disks));
	}
	return list;
}

static void few_of_many(void **state)
{
	size_t chosen[SPEED_PROBES];
	struct speed_candidate *list = sources(10000, 1);
	assert_int_equal(speed_choose(list, 10000, chosen), SPEED_OF_A_DISK);
	assert_int_equal(list[chosen[0]].pair, 0);
	assert_int_equal(list[chosen[SPEED_OF_A_DISK - 1]].pair, 9999); /* far apart */
	free(list);
	list = sources(10000, 5000);
	assert_int_equal(speed_choose(list, 10000, chosen), SPEED_PROBES);
	free(list);
	list = sources(3, 1);
	assert_int_equal(speed_choose(list, 3, chosen), 3);
	free(list);
	assert_int_equal(speed_choose(NULL, 0, chosen), 0);
}

/* Each disk once before any is read twice. */
static void each_disk(void **state)
{
	size_t chosen[SPEED_PROBES];
	struct speed_candidate *list = sources(2000, 20);
	assert_int_equal(speed_choose(list, 2000, chosen), SPEED_PROBES);
	unsigned times[20] = { 0 };
	for (size_t k = 0; k < SPEED_PROBES; k++) {
		unsigned disk = (unsigned)strtoul(list[chosen[k]].place + 4, NULL, 10);
		assert_int_equal(times[disk]++, k / 20);
	}
	free(list);
}

static void tiny(void **state)
{
	size_t chosen[SPEED_PROBES];
	struct speed_candidate *list = sources(100, 2);
	for (size_t i = 0; i < 100; i++)
		list[i].tiny = i != 40 && i != 61 && i != 63;
	assert_int_equal(speed_choose(list, 100, chosen), 3);
	for (size_t k = 0; k < 3; k++)
		assert_false(list[chosen[k]].tiny);
	free(list);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(few_of_many), cmocka_unit_test(each_disk), cmocka_unit_test(tiny) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
