/* SPDX-License-Identifier: BSD-3-Clause */
/* An error's text grows at its front, says each thing once, and is cut at its end. */
#include "base/error.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

static void grows(void **state)
{
	struct dray_error err = DRAY_ERROR_INIT;
	assert_int_equal(dray_error_errno(&err, -ENOSPC, "write at %d", 4096), -ENOSPC);
	assert_int_equal(dray_error_prepend(&err, "target %s", "/dev/sdc"), -ENOSPC);
	dray_error_prepend(&err, "pair 2");
	assert_string_equal(err.text, "pair 2: target /dev/sdc: write at 4096: No space left on device");
}

static void says_it_once(void **state)
{
	struct dray_error err = DRAY_ERROR_INIT;
	dray_error_kind(&err, -EBUSY, "busy", "volume f4: another call is under way");
	assert_int_equal(dray_error_prepend(&err, "volume %s", "f4"), -EBUSY);
	assert_string_equal(err.text, "volume f4: another call is under way");
	assert_string_equal(err.kind, "busy");
	/* Another one of which the name is the beginning. */
	dray_error_prepend(&err, "volume f");
	assert_string_equal(err.text, "volume f: volume f4: another call is under way");
}

static void is_cut_at_its_end(void **state)
{
	struct dray_error err = DRAY_ERROR_INIT;
	char longest[sizeof err.text];
	memset(longest, 'x', sizeof longest - 1);
	longest[sizeof longest - 1] = 0;
	dray_error_set(&err, -EIO, "%s", longest);
	dray_error_prepend(&err, "front");
	assert_int_equal(strlen(err.text), sizeof err.text - 1);
	assert_memory_equal(err.text, "front: xxx", 10);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(grows),
		cmocka_unit_test(says_it_once),
		cmocka_unit_test(is_cut_at_its_end),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
