/* SPDX-License-Identifier: BSD-3-Clause */
/* Engines are looked after when they were entered and when their time has come, in any order of entering, moving and leaving; those that stand idle
 * are not. */
#include "iod/ticks.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>

#define MANY 500

struct engine {
	struct iod_tick tick;
	uint64_t next_ns; /* what its run answers */
	uint64_t ran_ns;
	unsigned runs;
};

static uint64_t run(struct iod_tick *tick, uint64_t now_ns)
{
	struct engine *e = dray_container(tick, struct engine, tick);
	e->runs++;
	e->ran_ns = now_ns;
	return e->next_ns;
}

static struct engine *engines(size_t n)
{
	struct engine *e = calloc(n, sizeof *e);
	for (size_t i = 0; i < n; i++) {
		dray_list_init(&e[i].tick.node);
		e[i].tick.run = run;
		e[i].next_ns = UINT64_MAX;
	}
	return e;
}

static int begin(void **state)
{
	struct iod_ticks *t = calloc(1, sizeof *t);
	struct dray_loop *loop;
	if (dray_loop_new(&loop, DRAY_LOOP_EPOLL, 0, NULL))
		return -1;
	iod_ticks_init(t, loop);
	*state = t;
	return 0;
}

static int end(void **state)
{
	struct iod_ticks *t = *state;
	struct dray_loop *loop = t->loop;
	iod_ticks_free(t);
	dray_loop_free(loop);
	free(t);
	return 0;
}

static uint64_t turn(struct iod_ticks *t, uint64_t now_ns)
{
	return t->hook.run(&t->hook, now_ns);
}

static void entered(void **state)
{
	struct iod_ticks *t = *state;
	struct engine *e = engines(3);
	assert_true(turn(t, 1) == UINT64_MAX);
	iod_tick_enter(t, &e[1].tick);
	iod_tick_enter(t, &e[1].tick);
	assert_true(turn(t, 2) == UINT64_MAX);
	assert_int_equal(e[0].runs + e[2].runs, 0);
	assert_int_equal(e[1].runs, 1);
	turn(t, 3);
	assert_int_equal(e[1].runs, 1);
	/* It wants another turn at once, and gets one. */
	iod_tick_enter(t, &e[0].tick);
	e[0].next_ns = 4;
	assert_true(turn(t, 4) == 4);
	e[0].next_ns = UINT64_MAX;
	assert_true(turn(t, 4) == UINT64_MAX);
	assert_int_equal(e[0].runs, 2);
	free(e);
}

static void by_time(void **state)
{
	struct iod_ticks *t = *state;
	struct engine *e = engines(MANY);
	uint64_t at[MANY], least = UINT64_MAX;
	srandom(7);
	for (int round = 0; round < 3; round++)
		for (size_t i = 0; i < MANY; i++) {
			at[i] = 100 + (uint64_t)random() % 1000;
			iod_tick_at(t, &e[i].tick, at[i]);
		}
	for (size_t i = 0; i < MANY; i += 5) {
		iod_tick_leave(t, &e[i].tick);
		at[i] = UINT64_MAX;
	}
	for (size_t i = 0; i < MANY; i++)
		least = at[i] < least ? at[i] : least;
	assert_true(turn(t, 99) == least);
	for (uint64_t now = 100; now < 1200; now += 7) {
		uint64_t next = UINT64_MAX;
		uint64_t told = turn(t, now);
		for (size_t i = 0; i < MANY; i++) {
			assert_int_equal(e[i].runs, at[i] <= now);
			if (at[i] <= now)
				assert_true(e[i].ran_ns < at[i] + 7 && e[i].ran_ns >= at[i]);
			else if (at[i] < next)
				next = at[i];
		}
		assert_true(told == next);
	}
	free(e);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(entered, begin, end),
		cmocka_unit_test_setup_teardown(by_time, begin, end),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
