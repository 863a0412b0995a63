/* SPDX-License-Identifier: BSD-3-Clause */
/* Sizes and durations are read as documented, and what is not one is refused. */
#include "base/units.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

static void sizes(void **state)
{
	static const struct {
		const char *s;
		int rc;
		uint64_t v;
	} cases[] = {
		{ "0", 0, 0 }, { "512", 0, 512 }, { "64K", 0, 65536 }, { "1MiB", 0, 1 << 20 }, { "10G", 0, UINT64_C(10) << 30 },
		{ "2t", 0, UINT64_C(2) << 40 }, { "18446744073709551615", 0, UINT64_MAX },
		{ "18446744073709551616", -ERANGE, 0 }, { "16777216T", -ERANGE, 0 }, { "", -EINVAL, 0 }, { "-1", -EINVAL, 0 },
		{ "1.5G", -EINVAL, 0 }, { "1MB", -EINVAL, 0 }, { "1 M", -EINVAL, 0 }, { "M", -EINVAL, 0 }, { "1KK", -EINVAL, 0 },
	};
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		uint64_t v = 77;
		assert_int_equal(dray_size_parse(cases[i].s, &v), cases[i].rc);
		assert_true(v == (cases[i].rc ? 77 : cases[i].v));
	}
}

static void durations(void **state)
{
	uint64_t v;
	assert_int_equal(dray_duration_parse("350ms", &v), 0);
	assert_true(v == 350000000);
	assert_int_equal(dray_duration_parse("2", &v), 0);
	assert_true(v == UINT64_C(2000000000));
	assert_int_equal(dray_duration_parse("24h", &v), 0);
	assert_true(v == UINT64_C(86400000000000));
	assert_int_equal(dray_duration_parse("2w", &v), -EINVAL);
	assert_int_equal(dray_duration_parse("", &v), -EINVAL);
	assert_int_equal(dray_duration_parse("999999999999d", &v), -ERANGE);
}

static void formats(void **state)
{
	char b[32];
	assert_string_equal(dray_size_format(512, b, sizeof b), "512 B");
	assert_string_equal(dray_size_format(3 << 19, b, sizeof b), "1.5 MiB");
	assert_string_equal(dray_duration_format(UINT64_C(125000000000), b, sizeof b), "2 min 5 s");
	assert_string_equal(dray_duration_format(350000000, b, sizeof b), "350 ms");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sizes),
		cmocka_unit_test(durations),
		cmocka_unit_test(formats),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
