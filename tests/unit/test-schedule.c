/* SPDX-License-Identifier: BSD-3-Clause */
/* Who may transfer: limits of session and agent, priority, age, and what the others are told. */
#include "agent/schedule.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#define NO_LIMIT UINT64_MAX

static struct sched_pair pair(uint64_t seq, unsigned number, unsigned priority, uint64_t limit, bool active)
{
	return (struct sched_pair){ .seq = seq, .pair = number, .priority = priority, .session_limit = limit, .active = active };
}

/* "1/1 1/2- 2/1": in the order of admission, with - behind those that wait. */
static const char *order(struct sched_pair *pairs, size_t n, uint64_t limit)
{
	static char text[512];
	schedule(pairs, n, limit);
	text[0] = 0;
	for (size_t i = 0; i < n; i++)
		sprintf(text + strlen(text), "%s%llu/%u%s", i ? " " : "", (unsigned long long)pairs[i].seq, pairs[i].pair,
			pairs[i].run ? "" : "-");
	return text;
}

static void within_the_session(void **state)
{
	struct sched_pair p[] = { pair(1, 3, 5, 1, false), pair(1, 1, 5, 1, false), pair(1, 2, 5, 1, false) };
	assert_string_equal(order(p, 3, 4), "1/1 1/2- 1/3-");
	assert_string_equal(p[0].reason, "");
	assert_string_equal(p[1].reason, "waits for 1 of 1 active pairs of this session (limits.active_pairs); 0 pairs before it");
	assert_string_equal(p[2].reason, "waits for 1 of 1 active pairs of this session (limits.active_pairs); 1 pair before it");
}

static void within_the_agent(void **state)
{
	struct sched_pair p[] = { pair(1, 1, 5, NO_LIMIT, false), pair(2, 1, 5, NO_LIMIT, false), pair(3, 1, 5, NO_LIMIT, false),
		pair(4, 1, 5, NO_LIMIT, false) };
	assert_string_equal(order(p, 4, 2), "1/1 2/1 3/1- 4/1-");
	assert_string_equal(p[3].reason, "waits for 1 of 2 active pairs of the agent (active_pairs of its configuration); 1 pair before it");
}

static void priority_then_age(void **state)
{
	struct sched_pair p[] = { pair(1, 1, 2, NO_LIMIT, false), pair(2, 1, 8, NO_LIMIT, false), pair(3, 1, 8, NO_LIMIT, false),
		pair(4, 1, 5, NO_LIMIT, false) };
	assert_string_equal(order(p, 4, 2), "2/1 3/1 4/1- 1/1-");
}

static void running_ones_are_not_displaced(void **state)
{
	struct sched_pair p[] = { pair(1, 1, 1, NO_LIMIT, true), pair(2, 1, 9, NO_LIMIT, false) };
	assert_string_equal(order(p, 2, 1), "1/1 2/1-");
}

static void surplus_goes_back_youngest_first(void **state)
{
	struct sched_pair p[] = { pair(1, 1, 5, 2, true), pair(1, 2, 5, 2, true), pair(1, 3, 5, 2, true), pair(2, 1, 9, 2, false) };
	assert_string_equal(order(p, 4, 4), "1/1 1/2 1/3- 2/1");
	struct sched_pair q[] = { pair(1, 1, 5, NO_LIMIT, true), pair(2, 1, 9, NO_LIMIT, true) };
	assert_string_equal(order(q, 2, 1), "2/1 1/1-");
}

static void a_full_session_holds_up_nobody_else(void **state)
{
	struct sched_pair p[] = { pair(1, 1, 9, 1, true), pair(1, 2, 9, 1, false), pair(2, 1, 1, 1, false) };
	assert_string_equal(order(p, 3, 2), "1/1 1/2- 2/1");
}

static void none(void **state)
{
	schedule(NULL, 0, 4);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(within_the_session), cmocka_unit_test(within_the_agent),
		cmocka_unit_test(priority_then_age), cmocka_unit_test(running_ones_are_not_displaced),
		cmocka_unit_test(surplus_goes_back_youngest_first), cmocka_unit_test(a_full_session_holds_up_nobody_else),
		cmocka_unit_test(none) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
