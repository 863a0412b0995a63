/* SPDX-License-Identifier: BSD-3-Clause */
/* What lies below a storage is found through device-mapper, partitions and loop devices, and a loop of them ends. */
#include "storage/below.h"
#include "storage/sysfs.h"

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

static char root[64], file[96];

static void sh(const char *format, ...)
{
	char command[600];
	va_list ap;
	va_start(ap, format);
	vsnprintf(command, sizeof command, format, ap);
	va_end(ap);
	assert_int_equal(system(command), 0);
}

/* The device of our own file system carries: dm (253:0) on a partition (259:1) of nbd (43:0), and loop (7:0) on our file. */
static int set_up(void **state)
{
	(void)state;
	strcpy(root, "/tmp/dray-below-XXXXXX");
	assert_non_null(mkdtemp(root));
	snprintf(file, sizeof file, "%s/file", root);
	sh("touch %s", file);
	struct stat st;
	assert_int_equal(stat(file, &st), 0);
	sh("cd %s && mkdir -p sys/dev/block sys/devices/fs/slaves/dm-0 sys/devices/fs/slaves/loop0 sys/devices/dm-0/slaves/nbd0p1 "
	   "sys/devices/nbd0/nbd0p1 sys/devices/loop0/loop",
		root);
	sh("cd %s/sys/devices && echo 253:0 >fs/slaves/dm-0/dev && echo 7:0 >fs/slaves/loop0/dev && echo 259:1 >dm-0/slaves/nbd0p1/dev && "
	   "echo 43:0 >nbd0/dev && echo 259:1 >nbd0/nbd0p1/dev && echo 1 >nbd0/nbd0p1/partition && echo %s >loop0/loop/backing_file",
		root, file);
	sh("cd %s/sys/dev/block && ln -s ../../devices/fs %u:%u && ln -s ../../devices/dm-0 253:0 && ln -s ../../devices/nbd0 43:0 && "
	   "ln -s ../../devices/nbd0/nbd0p1 259:1 && ln -s ../../devices/loop0 7:0",
		root, major(st.st_dev), minor(st.st_dev));
	static char sys[80];
	snprintf(sys, sizeof sys, "%s/sys", root);
	dray_sysfs_set_roots(sys, NULL);
	return 0;
}

static int take_down(void **state)
{
	(void)state;
	dray_sysfs_set_roots(NULL, NULL);
	sh("rm -rf %s", root);
	return 0;
}

static bool is(void *arg, dev_t dev)
{
	return dev == *(dev_t *)arg;
}

static void test_found(void **state)
{
	(void)state;
	dev_t nbd = makedev(43, 0), dm = makedev(253, 0), loop = makedev(7, 0), none = makedev(43, 1);
	char resource[128];
	assert_true(dray_storage_below(file, is, &nbd));
	assert_true(dray_storage_below(file, is, &dm));
	assert_true(dray_storage_below(file, is, &loop));
	snprintf(resource, sizeof resource, "file:%s", file);
	assert_true(dray_storage_below(resource, is, &nbd));
	/* One that is to be made is on the file system of its folder. */
	snprintf(resource, sizeof resource, "%s/none", root);
	assert_true(dray_storage_below(resource, is, &nbd));
	/* The loop device lies on a file of what it carries: looked at for a while, not for ever. */
	assert_false(dray_storage_below(file, is, &none));
	assert_false(dray_storage_below("nbd://localhost/x", is, &nbd));
	assert_false(dray_storage_below("/no/such/folder/file", is, &nbd));
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test_setup_teardown(test_found, set_up, take_down) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
