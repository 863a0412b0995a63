/* SPDX-License-Identifier: BSD-3-Clause */
/* Dead or alive: a file that can be read is alive, also one that can't be written; its disk may be gone from /sys; what has no answer is no
 * proof. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>
#include <cmocka.h>
#include "storage/dead.h"
#include "storage/sysfs.h"

static char dir[64];
static const struct dray_storage_info info = { .size_bytes = 1 << 20, .block_bytes = 512, .memory_align = 512 };

static int file_at(const char *path, int flags)
{
	int fd = open(path, flags | O_CREAT | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(truncate(path, 1 << 20), 0);
	return fd;
}

static void alive_while_it_can_be_read(void **state)
{
	char path[100];
	snprintf(path, sizeof path, "%s/file", dir);
	int fd = file_at(path, O_RDWR);
	assert_false(dray_storage_dead(fd, &info, 0));
	unlink(path); /* it is gone from its folder, and serves still */
	assert_false(dray_storage_dead(fd, &info, 0));
	/* Behind its end there is nothing, which is not an error of the file system. */
	assert_int_equal(ftruncate(fd, 0), 0);
	assert_false(dray_storage_dead(fd, &info, 0));
	assert_false(dray_storage_dead(fd, &info, 1 << 30));
	close(fd);
}

/* Reading fails with EBADF: the test's own mistake, and no word of a file system. */
static void an_error_of_another_kind_is_no_death(void **state)
{
	char path[100];
	snprintf(path, sizeof path, "%s/write-only", dir);
	int fd = file_at(path, O_WRONLY);
	assert_false(dray_storage_dead(fd, &info, 0));
	close(fd);
	assert_false(dray_storage_dead(fd, &info, 0));
}

/* A file system in memory has no disk that could be gone. */
static bool on_a_disk(const char *path)
{
	struct stat st;
	return stat(path, &st) == 0 && major(st.st_dev) != 0;
}

static void dead_with_its_disk(void **state)
{
	char path[100], sys[100], block[120], link[160];
	struct stat st;
	snprintf(path, sizeof path, "%s/file", dir);
	snprintf(sys, sizeof sys, "%s/sys", dir);
	snprintf(block, sizeof block, "%s/dev/block", sys);
	int fd = file_at(path, O_RDWR);
	assert_int_equal(fstat(fd, &st), 0);
	dray_sysfs_set_roots(sys, "/dev");
	/* No /sys at all says nothing. */
	assert_false(dray_storage_dead(fd, &info, 0));
	assert_int_equal(mkdir(sys, 0755), 0);
	snprintf(link, sizeof link, "%s/dev", sys);
	assert_int_equal(mkdir(link, 0755), 0);
	assert_int_equal(mkdir(block, 0755), 0);
	assert_int_equal(dray_storage_dead(fd, &info, 0), on_a_disk(path));
	snprintf(link, sizeof link, "%s/%u:%u", block, major(st.st_dev), minor(st.st_dev));
	assert_int_equal(symlink("../../devices/sda", link), 0);
	assert_false(dray_storage_dead(fd, &info, 0));
	dray_sysfs_set_roots(NULL, NULL);
	close(fd);
}

static void a_second_descriptor_of_files_only(void **state)
{
	char path[100];
	struct dray_storage *st;
	struct dray_error err = DRAY_ERROR_INIT;
	snprintf(path, sizeof path, "%s/file", dir);
	close(file_at(path, O_RDWR));
	assert_int_equal(dray_storage_open(&st, path, &(struct dray_storage_options){ 0 }, &err), 0);
	int fd = dray_storage_dup(st);
	assert_true(fd >= 0);
	assert_false(dray_storage_dead(fd, &st->info, st->slice_offset));
	/* It may be closed meanwhile. */
	dray_storage_close(st);
	assert_false(dray_storage_dead(fd, &info, 0));
	close(fd);
	snprintf(path, sizeof path, "fault::%s/file", dir);
	assert_int_equal(dray_storage_open(&st, path, &(struct dray_storage_options){ .allow_faults = true }, &err), 0);
	assert_int_equal(dray_storage_dup(st), -ENOTSUP);
	dray_storage_close(st);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(alive_while_it_can_be_read),
		cmocka_unit_test(an_error_of_another_kind_is_no_death),
		cmocka_unit_test(dead_with_its_disk),
		cmocka_unit_test(a_second_descriptor_of_files_only),
	};
	snprintf(dir, sizeof dir, "/tmp/dray-dead-XXXXXX");
	if (!mkdtemp(dir))
		return 1;
	int rc = cmocka_run_group_tests(tests, NULL, NULL);
	char command[100];
	snprintf(command, sizeof command, "rm -rf %s", dir);
	return system(command) ? 1 : rc;
}
