/* SPDX-License-Identifier: BSD-3-Clause */
/* A limit is divided by weight, nobody gets more than its own limit, what one can't use goes to the others, and the sum is never more. */
#include "agent/shares.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#define G(w, c, p) { .weight = w, .cap = c, .pairs = p, .n = sizeof p / sizeof p[0] }

static uint64_t of(const struct share_pair *pairs, size_t n, int owner)
{
	for (size_t i = 0; i < n; i++)
		if (pairs[i].owner == (void *)(intptr_t)owner)
			return pairs[i].share;
	fail();
	return 0;
}

static void no_limit(void **state)
{
	struct share_pair a[] = { { .cap = SHARE_ALL }, { .cap = 7 } };
	struct share_group g[] = { G(5, SHARE_ALL, a) };
	shares_divide(SHARE_ALL, g, 1);
	assert_true(a[0].share == 7 && a[1].share == SHARE_ALL);
	shares_divide(SHARE_ALL, NULL, 0);
}

static void by_weight(void **state)
{
	struct share_pair a[] = { { .cap = SHARE_ALL, .owner = (void *)1 } },
			  b[] = { { .cap = SHARE_ALL, .owner = (void *)2 }, { .cap = SHARE_ALL, .owner = (void *)3 } };
	struct share_group g[] = { G(2, SHARE_ALL, a), G(8, SHARE_ALL, b) };
	shares_divide(1000, g, 2);
	assert_int_equal(of(a, 1, 1), 200); /* a session of one pair against one of two: by their weights alone */
	assert_int_equal(of(b, 2, 2), 400);
	assert_int_equal(of(b, 2, 3), 400);
}

static void what_is_left_goes_to_others(void **state)
{
	struct share_pair a[] = { { .cap = 50, .owner = (void *)1 } }, b[] = { { .cap = SHARE_ALL, .owner = (void *)2 } },
			  c[] = { { .cap = SHARE_ALL, .owner = (void *)3 }, { .cap = 100, .owner = (void *)4 } };
	struct share_group g[] = { G(8, SHARE_ALL, a), G(1, SHARE_ALL, b), G(1, 500, c) };
	shares_divide(1000, g, 3);
	assert_int_equal(of(a, 1, 1), 50);
	assert_int_equal(of(b, 1, 2), 475);
	assert_int_equal(of(c, 2, 4), 100);
	assert_int_equal(of(c, 2, 3), 375);
	/* the session's own limit, and pairs that may use more together than it has */
	struct share_pair d[] = { { .cap = 400, .owner = (void *)1 }, { .cap = 400, .owner = (void *)2 }, { .cap = 10, .owner = (void *)3 } };
	struct share_group h[] = { G(5, 210, d) };
	shares_divide(SHARE_ALL, h, 1);
	assert_true(of(d, 3, 1) == 100 && of(d, 3, 2) == 100 && of(d, 3, 3) == 10);
}

static void stopped_and_tiny(void **state)
{
	struct share_pair a[] = { { .cap = 0, .owner = (void *)1 }, { .cap = SHARE_ALL, .owner = (void *)2 } };
	struct share_group g[] = { G(5, SHARE_ALL, a) };
	shares_divide(1000, g, 1);
	assert_true(of(a, 2, 1) == 0 && of(a, 2, 2) == 1000);
	struct share_pair b[] = { { .cap = 9 }, { .cap = 9 }, { .cap = 9 } };
	struct share_group h[] = { G(1, SHARE_ALL, b) };
	shares_divide(2, h, 1); /* a limit that is divided never becomes a stop */
	for (int i = 0; i < 3; i++)
		assert_int_equal(b[i].share, 1);
	struct share_pair c[] = { { .cap = 9 } };
	struct share_group k[] = { G(1, 0, c) };
	shares_divide(SHARE_ALL, k, 1);
	assert_int_equal(c[0].share, 0);
}

static enum share_by by(const struct share_pair *pairs, size_t n, int owner)
{
	for (size_t i = 0; i < n; i++)
		if (pairs[i].owner == (void *)(intptr_t)owner)
			return pairs[i].by;
	fail();
	return SHARE_BY_NOBODY;
}

/* What one is known not to be able to use is lent; whose limit it is that the others meet is told. */
static void needs(void **state)
{
	struct share_pair a[] = { { .cap = SHARE_ALL, .need = 30, .owner = (void *)1 }, { .cap = SHARE_ALL, .owner = (void *)2 },
			  { .cap = 40, .owner = (void *)3 } },
			  b[] = { { .cap = SHARE_ALL, .need = 5000, .owner = (void *)4 } };
	struct share_group g[] = { G(5, 200, a), G(5, SHARE_ALL, b) };
	shares_divide(1000, g, 2);
	assert_int_equal(of(a, 3, 1), 30);
	assert_int_equal(of(a, 3, 2), 130);
	assert_int_equal(of(a, 3, 3), 40);
	assert_int_equal(of(b, 1, 4), 800);
	assert_int_equal(by(a, 3, 2), SHARE_BY_GROUP);
	assert_int_equal(by(a, 3, 3), SHARE_BY_PAIR);
	assert_int_equal(by(b, 1, 4), SHARE_BY_WHOLE);
	shares_divide(SHARE_ALL, g, 2);
	assert_int_equal(by(b, 1, 4), SHARE_BY_NOBODY);
	assert_int_equal(by(a, 3, 2), SHARE_BY_GROUP);
	assert_true(of(b, 1, 4) == 5000);
	struct share_pair c[] = { { .cap = SHARE_ALL, .need = 1, .owner = (void *)1 } }, d[] = { { .cap = SHARE_ALL, .owner = (void *)2 } };
	struct share_group h[] = { G(9, SHARE_ALL, c), G(1, SHARE_ALL, d) };
	shares_divide(1000, h, 2);
	assert_true(of(c, 1, 1) == 1 && of(d, 1, 2) == 999 && by(d, 1, 2) == SHARE_BY_WHOLE);
}

/* Random ones: never more than any limit; all of it used wherever somebody could. */
static void random_ones(void **state)
{
	srandom(7);
	for (int round = 0; round < 20000; round++) {
		struct share_pair pairs[40];
		struct share_group g[8];
		size_t n = 1 + (size_t)random() % 8, used = 0;
		uint64_t whole = 1000 + (uint64_t)random() % 100000, could = 0, sum = 0, most = 0;
		for (size_t i = 0; i < n; i++) {
			g[i] = (struct share_group){ .weight = 1 + (uint64_t)random() % 9, .pairs = pairs + used,
				.cap = random() % 3 ? SHARE_ALL : 100 + (uint64_t)random() % 50000, .n = 1 + (size_t)random() % 5 };
			uint64_t need = 0;
			for (size_t k = 0; k < g[i].n; k++) {
				pairs[used] = (struct share_pair){ .cap = random() % 2 ? SHARE_ALL / 64 : 1 + (uint64_t)random() % 30000 };
				need += pairs[used++].cap;
			}
			could += need < g[i].cap ? need : g[i].cap;
		}
		most = whole < could ? whole : could;
		shares_divide(whole, g, n);
		for (size_t i = 0; i < n; i++) {
			uint64_t in = 0;
			assert_true(g[i].share <= g[i].cap);
			for (size_t k = 0; k < g[i].n; k++) {
				assert_true(g[i].pairs[k].share <= g[i].pairs[k].cap && g[i].pairs[k].share > 0);
				in += g[i].pairs[k].share;
			}
			assert_true(in <= g[i].share);
			assert_true(in + g[i].n > g[i].share); /* but for what a division leaves */
			sum += in;
		}
		assert_true(sum <= whole && sum + 48 > most);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(no_limit),
		cmocka_unit_test(by_weight),
		cmocka_unit_test(what_is_left_goes_to_others),
		cmocka_unit_test(stopped_and_tiny),
		cmocka_unit_test(needs),
		cmocka_unit_test(random_ones),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
