/* SPDX-License-Identifier: BSD-3-Clause */
/* A system's program: its output, its status and words, its environment, its time, and nothing else of ours in it. */
#include "base/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#define S UINT64_C(1000000000)
#define RUN(...) (const char *const[]){ __VA_ARGS__, NULL }

static char out[4096];

static int run(const char *const *argv, uint64_t timeout, struct dray_error *err)
{
	static const char *const keep[] = { "DRAY_TEST_KEPT", "DRAY_TEST_ABSENT", NULL };
	struct dray_spawn s = { .argv = argv, .keep = keep, .timeout_ns = timeout, .out = out, .out_size = sizeof out };
	*err = DRAY_ERROR_INIT;
	return dray_spawn(&s, err);
}

static void says_and_ends(void **state)
{
	struct dray_error err;
	assert_int_equal(run(RUN("sh", "-c", "echo hello; cat"), 20 * S, &err), 0);
	assert_string_equal(out, "hello\n");
	assert_int_equal(run(RUN("sh", "-c", "echo no luck >&2; echo more >&2; exit 5"), 20 * S, &err), -EIO);
	assert_non_null(strstr(err.text, "no luck (status 5)"));
	assert_int_equal(run(RUN("sh", "-c", "kill -9 $$"), 20 * S, &err), -EIO);
	assert_non_null(strstr(err.text, "signal 9"));
	/* More than fits, and more than a pipe holds. */
	assert_int_equal(run(RUN("head", "-c", "300000", "/dev/zero"), 20 * S, &err), 0);
}

static void not_there(void **state)
{
	struct dray_error err;
	assert_int_equal(run(RUN("no-such-program-of-any-system"), S, &err), -ENOENT);
	assert_non_null(strstr(err.text, "is not installed"));
	/* Not by any other path. */
	assert_int_equal(run(RUN("../../tmp/x"), S, &err), -ENOENT);
}

static void its_own_world(void **state)
{
	struct dray_error err;
	setenv("DRAY_TEST_KEPT", "1", 1);
	setenv("DRAY_TEST_OTHER", "1", 1);
	setenv("LC_ALL", "de_DE.UTF-8", 1);
	assert_int_equal(run(RUN("env"), 20 * S, &err), 0);
	assert_non_null(strstr(out, "DRAY_TEST_KEPT=1\n"));
	assert_non_null(strstr(out, "LC_ALL=C\n"));
	assert_null(strstr(out, "DRAY_TEST_OTHER"));
	assert_null(strstr(out, "DRAY_TEST_ABSENT"));
	/* A descriptor that was forgotten to be closed by itself, and blocked signals. */
	int fd = dup(0);
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigprocmask(SIG_BLOCK, &set, NULL);
	assert_int_equal(run(RUN("sh", "-c", "ls /proc/$$/fd; exec grep SigBlk /proc/self/status"), 20 * S, &err), 0);
	for (const char *p = out; *p && *p != 'S'; p++)
		if (*p == '\n' || p == out)
			assert_true(atoi(p) <= 10); /* 10: the shell's own copy of its script */
	assert_non_null(strstr(out, "SigBlk:\t0000000000000000"));
	close(fd);
}

static void too_long(void **state)
{
	struct dray_error err;
	assert_int_equal(run(RUN("sleep", "600"), S / 10, &err), -ETIMEDOUT);
	/* With its output closed it is waited for all the same. */
	assert_int_equal(run(RUN("sh", "-c", "exec >&- 2>&-; exec sleep 600"), S / 10, &err), -ETIMEDOUT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(says_and_ends),
		cmocka_unit_test(not_there),
		cmocka_unit_test(its_own_world),
		cmocka_unit_test(too_long),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
