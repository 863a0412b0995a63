/* SPDX-License-Identifier: BSD-3-Clause */
/* What lies below and above a device, in a made-up /sys: LVM on a partition, md, multipath with its paths, and slices. */
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
#include "storage-help.h"
#include "storage/lineage.h"
#include "storage/sysfs.h"

#define MIB (1 << 20)

static char root[128];

static void sh(const char *format, ...)
{
	char command[1000];
	va_list ap;
	va_start(ap, format);
	vsnprintf(command, sizeof command, format, ap);
	va_end(ap);
	assert_int_equal(system(command), 0);
}

/* A device: its number, size and a file that tells who it is. */
static void device(const char *folder, const char *number, unsigned mib, const char *file, const char *text)
{
	sh("cd %s && mkdir -p devices/%s/$(dirname %s) devices/%s/slaves devices/%s/holders dev/block && echo %s >devices/%s/dev && "
	   "echo %u >devices/%s/size && echo %s >devices/%s/%s && ln -sfn ../../devices/%s dev/block/%s",
		root, folder, file, folder, folder, number, folder, mib * 2048, folder, text, folder, file, folder, number);
}

static void partition(const char *folder, const char *number, unsigned at_mib, unsigned mib)
{
	device(folder, number, mib, "partition", "1");
	sh("echo %u >%s/devices/%s/start", at_mib * 2048, root, folder);
}

static void lies_on(const char *upper, const char *lower)
{
	sh("ln -s %s/devices/%s %s/devices/%s/slaves/ && ln -s %s/devices/%s %s/devices/%s/holders/", root, lower, root, upper, root, upper,
		root, lower);
}

/* The device that our own scratch file's file system is on: dm-0, a logical volume on sda2 and sdb. */
static char file[160];

static int setup(void **state)
{
	struct stat st;
	char own[32];
	strcpy(root, help_folder("/var/tmp"));
	dray_sysfs_set_roots(root, root);
	snprintf(file, sizeof file, "%s/file", root);
	sh("touch %s", file);
	assert_int_equal(stat(file, &st), 0);
	snprintf(own, sizeof own, "%u:%u", major(st.st_dev), minor(st.st_dev));
	device("sda", "8:0", 1000, "wwid", "naa.a");
	partition("sda/sda1", "8:1", 1, 100);
	partition("sda/sda2", "8:2", 200, 800);
	device("sdb", "8:16", 1000, "wwid", "naa.b");
	device("fs", own, 100, "dm/uuid", "LVM-fs");
	device("dm-1", "251:1", 100, "dm/uuid", "LVM-other");
	device("md0", "9:0", 100, "md/uuid", "1234");
	partition("md0/md0p1", "259:1", 1, 50);
	device("sdc", "8:32", 100, "wwid", "naa.c");
	device("sdd", "8:48", 100, "wwid", "naa.d");
	lies_on("fs", "sda/sda2");
	lies_on("fs", "sdb");
	lies_on("dm-1", "sdb");
	lies_on("md0", "sdc");
	lies_on("md0", "sdd");
	/* Two paths of one LUN, and a logical volume on them. */
	device("sde", "8:64", 100, "wwid", "naa.e");
	device("sdf", "8:80", 100, "wwid", "naa.e");
	device("dm-2", "251:2", 100, "dm/uuid", "mpath-3e");
	device("dm-3", "251:3", 100, "dm/uuid", "LVM-on-mpath");
	lies_on("dm-2", "sde");
	lies_on("dm-2", "sdf");
	lies_on("dm-3", "dm-2");
	return 0;
}

static int teardown(void **state)
{
	dray_sysfs_set_roots(NULL, NULL);
	sh("rm -rf %s", root);
	return 0;
}

static const char *words(char **list, size_t n)
{
	static char text[4][600];
	static unsigned next;
	char *out = text[next++ % 4];
	*out = 0;
	/* In order, whatever the folders' order is. */
	for (size_t i = 0; i < n; i++)
		for (size_t k = i + 1; k < n; k++)
			if (strcmp(list[k], list[i]) < 0) {
				char *other = list[i];
				list[i] = list[k];
				list[k] = other;
			}
	for (size_t i = 0; i < n; i++)
		sprintf(out + strlen(out), "%s%s", i ? " " : "", list[i]);
	return out;
}

static const char *below(const char *resource)
{
	struct dray_lineage l;
	dray_lineage_find(&l, resource, 0, 0, NULL);
	const char *text = words(l.below, l.n_below);
	assert_false(l.cut);
	dray_lineage_free(&l);
	return text;
}

static const char *node(unsigned major_no, unsigned minor_no)
{
	static char path[200];
	snprintf(path, sizeof path, "%s/node-%u-%u", root, major_no, minor_no);
	unlink(path);
	return mknod(path, S_IFBLK | 0600, makedev(major_no, minor_no)) ? NULL : path;
}

static const char *above(unsigned major_no, unsigned minor_no, uint64_t offset, uint64_t length)
{
	struct dray_lineage l;
	dray_lineage_find(&l, node(major_no, minor_no), offset, length, NULL);
	const char *text = words(l.above, l.n_above);
	assert_false(l.cut);
	dray_lineage_free(&l);
	return text;
}

static void test_below_a_file(void **state)
{
	char missing[200], resource[200];
	const char *all = "block:dm=LVM-fs block:wwid=naa.a+209715200,838860800 block:wwid=naa.b";
	assert_string_equal(below(file), all);
	snprintf(resource, sizeof resource, "file:%s", file);
	assert_string_equal(below(resource), all);
	snprintf(missing, sizeof missing, "%s/to-be-made", root);
	assert_string_equal(below(missing), all);
	assert_string_equal(below("nbd://host/x"), "");
	assert_string_equal(below("/no/such/folder/x"), "");
}

static void test_devices(void **state)
{
	if (!node(8, 0)) {
		print_message("no device nodes can be made here: devices are left out\n");
		skip();
	}
	assert_string_equal(below(node(251, 1)), "block:wwid=naa.b");
	assert_string_equal(below(node(9, 0)), "block:wwid=naa.c block:wwid=naa.d");
	/* A partition is a part of its disk by its identity: what is below the disk is below it. */
	assert_string_equal(below(node(259, 1)), "block:wwid=naa.c block:wwid=naa.d");
	assert_string_equal(below(node(8, 2)), "");
	assert_string_equal(above(8, 16, 0, 0), "block:dm=LVM-fs block:dm=LVM-other");
	assert_string_equal(above(8, 2, 0, 0), "block:dm=LVM-fs");
	assert_string_equal(above(8, 1, 0, 0), "");
	/* The disk, and slices of it beside and inside the partition that is in use. */
	assert_string_equal(above(8, 0, 0, 0), "block:dm=LVM-fs");
	assert_string_equal(above(8, 0, MIB, 100 * MIB), "");
	assert_string_equal(above(8, 0, 199 * MIB, MIB), "");
	assert_string_equal(above(8, 0, 199 * MIB, MIB + 512), "block:dm=LVM-fs");
	assert_string_equal(above(8, 0, 500 * MIB, MIB), "block:dm=LVM-fs");
	assert_string_equal(above(8, 32, 0, 0), "block:md=1234");
	assert_string_equal(above(9, 0, 0, 0), "");
	/* A multipath device is what its paths are, and lies on none. */
	assert_string_equal(below(node(251, 2)), "");
	assert_string_equal(above(251, 2, 0, 0), "block:dm=LVM-on-mpath");
	assert_string_equal(above(8, 64, 0, 0), "block:dm=LVM-on-mpath");
	assert_string_equal(below(node(251, 3)), "block:wwid=naa.e");
	/* A circle of them ends, and is told as what was not looked at to its end. */
	struct dray_lineage l;
	lies_on("sdc", "md0");
	dray_lineage_find(&l, node(9, 0), 0, 0, NULL);
	assert_true(l.cut);
	assert_string_equal(words(l.below, l.n_below), "block:wwid=naa.c block:wwid=naa.d");
	dray_lineage_free(&l);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test_setup_teardown(test_below_a_file, setup, teardown),
		cmocka_unit_test_setup_teardown(test_devices, setup, teardown) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
