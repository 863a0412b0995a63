/* SPDX-License-Identifier: BSD-3-Clause */
/* The fault driver does each of its troubles, and nothing else. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "storage-help.h"

#define MIB (UINT64_C(1) << 20)

static char dir[128], file[160], flag[160];
static unsigned char *w, *r;

static int setup(void **state)
{
	strcpy(dir, help_folder("/tmp"));
	snprintf(file, sizeof file, "%s/a.img", dir);
	snprintf(flag, sizeof flag, "%s/flag", dir);
	help_loop(DRAY_LOOP_AUTO);
	w = help_buffer(65536, 3);
	r = help_buffer(65536, 0);
	return dray_storage_create(file, 4 * MIB, false, NULL);
}

static int teardown(void **state)
{
	dray_loop_free(loop);
	unlink(file);
	unlink(flag);
	rmdir(dir);
	free(w);
	free(r);
	return 0;
}

static struct dray_storage *with(const char *options)
{
	char resource[512];
	snprintf(resource, sizeof resource, "fault:%s:%s", options, file);
	return help_open(resource, &(struct dray_storage_options){ .allow_faults = true });
}

static void raise_flag(void)
{
	int fd = open(flag, O_CREAT | O_WRONLY, 0600);
	assert_true(fd >= 0);
	close(fd);
}

static void only_where_allowed(void **state)
{
	struct dray_storage *st;
	struct dray_error err = DRAY_ERROR_INIT;
	char resource[512];
	snprintf(resource, sizeof resource, "fault:delay_ms=1:%s", file);
	assert_int_equal(dray_storage_open(&st, resource, NULL, &err), -EINVAL);
	static const char *const bad[] = { "delay=1", "delay_ms=x", "delay_ms", "write_error=EFOO", "write_error=EIO@1" };
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		snprintf(resource, sizeof resource, "fault:%s:%s", bad[i], file);
		assert_int_equal(dray_storage_open(&st, resource, &(struct dray_storage_options){ .allow_faults = true },
			&err), -EINVAL);
		assert_string_equal(err.kind, "bad_resource");
	}
}

static void passes_through(void **state)
{
	struct dray_storage *st = with("");
	struct dray_storage_info plain;
	assert_int_equal(help_do(st, DRAY_OP_WRITE, 0, MIB, 65536, w), 0);
	assert_int_equal(help_do(st, DRAY_OP_READ, 0, MIB, 65536, r), 0);
	assert_memory_equal(r, w, 65536);
	assert_int_equal(help_do(st, DRAY_OP_FLUSH, 0, 0, 0, NULL), 0);
	struct dray_extent e[4];
	unsigned n;
	assert_int_equal(help_extents(st, 0, 4 * MIB, e, 4, &n), 0);
	assert_int_equal(n, 3);
	assert_int_equal(dray_storage_probe(file, &(struct dray_storage_options){ .no_lock = true }, &plain, NULL), 0);
	assert_string_equal(plain.identity, st->info.identity);
	help_close(st);
}

static void errors_in_a_range(void **state)
{
	struct dray_storage *st = with("write_error=ENOSPC@1M+4096,read_error=EIO@2M+4096");
	assert_int_equal(help_do(st, DRAY_OP_WRITE, 0, MIB - 65536, 65536, w), 0);
	assert_int_equal(help_do(st, DRAY_OP_WRITE, 0, MIB - 4096, 65536, w), -ENOSPC);
	assert_int_equal(help_do(st, DRAY_OP_ZERO, 0, MIB, 512, NULL), -ENOSPC);
	assert_int_equal(help_do(st, DRAY_OP_WRITE, 0, MIB + 4096, 65536, w), 0);
	assert_int_equal(help_do(st, DRAY_OP_READ, 0, MIB, 4096, r), 0);
	assert_true(help_zero(r, 4096)); /* what failed did not arrive */
	assert_int_equal(help_do(st, DRAY_OP_READ, 0, 2 * MIB + 512, 512, r), -EIO);
	assert_int_equal(help_do(st, DRAY_OP_WRITE, 0, 2 * MIB, 4096, w), 0);
	help_close(st);
}

static void flush_and_fail_after(void **state)
{
	struct dray_storage *st = with("flush_error=2,fail_after=5");
	assert_int_equal(help_do(st, DRAY_OP_FLUSH, 0, 0, 0, NULL), -EIO);
	assert_int_equal(help_do(st, DRAY_OP_FLUSH, 0, 0, 0, NULL), -EIO);
	assert_int_equal(help_do(st, DRAY_OP_FLUSH, 0, 0, 0, NULL), 0);
	assert_int_equal(help_do(st, DRAY_OP_WRITE, 0, 0, 4096, w), 0);
	assert_int_equal(help_do(st, DRAY_OP_READ, 0, 0, 4096, r), 0);
	assert_int_equal(help_do(st, DRAY_OP_READ, 0, 0, 4096, r), -EIO);
	help_close(st);
}

static void delays(void **state)
{
	struct dray_storage *st = with("delay_ms=50,flush_delay_ms=50");
	uint64_t since = dray_loop_now(loop);
	assert_int_equal(help_do(st, DRAY_OP_WRITE, 0, 0, 4096, w), 0);
	assert_true(dray_loop_now(loop) - since >= 50000000);
	since = dray_loop_now(loop);
	assert_int_equal(help_do(st, DRAY_OP_FLUSH, 0, 0, 0, NULL), 0);
	assert_true(dray_loop_now(loop) - since >= 100000000);
	help_close(st);
}

static void stuck(void **state)
{
	char options[256];
	snprintf(options, sizeof options, "stuck_file=%s", flag);
	struct dray_storage *st = with(options);
	struct help_op op;
	raise_flag();
	help_start(st, &op, DRAY_OP_WRITE, 0, 0, 4096, w);
	for (int i = 0; i < 10; i++)
		dray_loop_once(loop, 10000000);
	assert_int_equal(op.calls, 0);
	unlink(flag);
	help_wait(&op);
	assert_int_equal(op.error, 0);
	help_close(st);
}

static void by_files(void **state)
{
	char options[512];
	snprintf(options, sizeof options, "full_file=%s", flag);
	struct dray_storage *st = with(options);
	raise_flag();
	assert_int_equal(help_do(st, DRAY_OP_WRITE, 0, 0, 4096, w), -ENOSPC);
	assert_int_equal(help_do(st, DRAY_OP_READ, 0, 0, 4096, r), 0);
	unlink(flag);
	assert_int_equal(help_do(st, DRAY_OP_WRITE, 0, 0, 4096, w), 0);
	help_close(st);
	snprintf(options, sizeof options, "error_file=%s", flag);
	st = with(options);
	raise_flag();
	assert_int_equal(help_do(st, DRAY_OP_READ, 0, 0, 4096, r), -EIO);
	unlink(flag);
	assert_int_equal(help_do(st, DRAY_OP_READ, 0, 0, 4096, r), 0);
	help_close(st);
}

static void late(void **state)
{
	struct dray_storage *st = with("write_error=EIO@0+4096,late=1,late_ms=50");
	struct help_op op;
	unsigned char *mine = help_buffer(4096, 77);
	assert_true(st->info.late_writes);
	help_start(st, &op, DRAY_OP_WRITE, 0, 0, 4096, mine);
	help_wait(&op);
	assert_int_equal(op.error, -EIO);
	assert_true(op.late);
	memcpy(r, mine, 4096);
	memset(mine, 0, 4096); /* our memory is ours again */
	unsigned char *back = help_buffer(4096, 0);
	assert_int_equal(help_do(st, DRAY_OP_READ, 0, 0, 4096, back), 0);
	assert_true(help_zero(back, 4096));
	help_close(st); /* waits for what is still on its way */
	int fd = open(file, O_RDONLY);
	assert_int_equal(pread(fd, back, 4096, 0), 4096);
	assert_memory_equal(back, r, 4096);
	close(fd);
	free(mine);
	free(back);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(only_where_allowed), T(passes_through), T(errors_in_a_range), T(flush_and_fail_after), T(delays), T(stuck),
		T(by_files), T(late),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
