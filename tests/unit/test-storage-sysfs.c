/* SPDX-License-Identifier: BSD-3-Clause */
/* Identities of devices in a made-up /sys: disks, partitions, multipath, LVM, md; found again by identity when their numbers move. */
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
#include "storage-help.h"
#include "storage/busy.h"
#include "storage/identity.h"
#include "storage/retire.h"
#include "storage/sysfs.h"

static char root[128], dev_root[160];

static void make_dirs(const char *path)
{
	char part[400];
	snprintf(part, sizeof part, "%s", path);
	for (char *p = part + strlen(root) + 1; (p = strchr(p, '/')); p++) {
		*p = 0;
		mkdir(part, 0755);
		*p = '/';
	}
}

static void put(const char *name, const char *text)
{
	char path[400];
	snprintf(path, sizeof path, "%s/%s", root, name);
	make_dirs(path);
	FILE *f = fopen(path, "w");
	assert_non_null(f);
	fprintf(f, "%s\n", text);
	fclose(f);
}

/* A device: its folder, and the link by its number. `folder`: "sda", "sda/sda1", "dm-0". */
static void device(const char *folder, const char *number, const char *sectors)
{
	char name[200], link[400], to[300];
	snprintf(name, sizeof name, "devices/%s/dev", folder);
	put(name, number);
	snprintf(name, sizeof name, "devices/%s/size", folder);
	put(name, sectors);
	snprintf(link, sizeof link, "%s/dev/block/%s", root, number);
	make_dirs(link);
	snprintf(to, sizeof to, "../../devices/%s", folder);
	unlink(link);
	assert_int_equal(symlink(to, link), 0);
}

static void file(const char *folder, const char *file_name, const char *text)
{
	char name[200];
	snprintf(name, sizeof name, "devices/%s/%s", folder, file_name);
	put(name, text);
}

static void holds(const char *below, const char *holder)
{
	char link[400], to[300];
	snprintf(link, sizeof link, "%s/devices/%s/holders/%s", root, below, holder);
	make_dirs(link);
	snprintf(to, sizeof to, "../../%s", holder);
	assert_int_equal(symlink(to, link), 0);
}

static void clear(void)
{
	char command[200];
	snprintf(command, sizeof command, "rm -rf %s", root);
	assert_int_equal(system(command), 0);
	mkdir(root, 0755);
}

static int setup(void **state)
{
	strcpy(root, help_folder("/var/tmp"));
	snprintf(dev_root, sizeof dev_root, "%s/node", root);
	dray_sysfs_set_roots(root, dev_root);
	return 0;
}

static int teardown(void **state)
{
	clear();
	rmdir(root);
	dray_sysfs_set_roots(NULL, NULL);
	return 0;
}

static const char *id_of(unsigned major_no, unsigned minor_no, bool *stable)
{
	static char id[4][256];
	static int next;
	char *out = id[next++ % 4];
	assert_int_equal(dray_identity_of_device(-1, makedev(major_no, minor_no), out, 256, stable), 0);
	return out;
}

static void scsi(void **state)
{
	bool stable;
	device("sda", "8:0", "2048000");
	file("sda", "device/wwid", "naa.5000c500a1b2c3d4");
	device("sda/sda1", "8:1", "204800");
	file("sda/sda1", "partition", "1");
	file("sda/sda1", "start", "2048");
	device("sdb", "8:16", "2048000");
	file("sdb", "device/wwid", "t10.ATA     Some Disk + one                 SERIAL,1");
	device("nvme0n1", "259:0", "2048000");
	file("nvme0n1", "wwid", "eui.0025385b71b00001");
	device("vda", "254:0", "2048000");
	file("vda", "serial", "orders");
	device("nbd0", "43:0", "2048000");
	assert_string_equal(id_of(8, 0, &stable), "block:wwid=naa.5000c500a1b2c3d4");
	assert_true(stable);
	assert_string_equal(id_of(8, 1, &stable), "block:wwid=naa.5000c500a1b2c3d4+1048576,104857600");
	assert_true(dray_identity_overlaps(id_of(8, 0, &stable), id_of(8, 1, &stable)));
	/* What could be taken for our own punctuation is not left in. */
	assert_null(strpbrk(id_of(8, 16, &stable), "+, "));
	assert_string_equal(id_of(259, 0, &stable), "block:wwid=eui.0025385b71b00001");
	assert_string_equal(id_of(254, 0, &stable), "block:serial=orders");
	assert_string_equal(id_of(43, 0, &stable), "block:43:0");
	assert_false(stable);
}

/* After a boot the disks have each other's numbers, and a new one has come. */
static void renumbered(void **state)
{
	char path[256];
	bool stable;
	device("sda", "8:0", "2048000");
	file("sda", "device/wwid", "naa.a");
	device("sda/sda1", "8:1", "204800");
	file("sda/sda1", "partition", "1");
	file("sda/sda1", "start", "2048");
	device("sdb", "8:16", "2048000");
	file("sdb", "device/wwid", "naa.b");
	char a[256], part[256], slice[256];
	strcpy(a, id_of(8, 0, &stable));
	strcpy(part, id_of(8, 1, &stable));
	strcpy(slice, part);
	assert_int_equal(dray_identity_slice(slice, sizeof slice, 1048576, 4096, NULL), 0);
	clear();
	device("sda", "8:0", "999999");
	file("sda", "device/wwid", "naa.stranger");
	device("sdb", "8:16", "2048000");
	file("sdb", "device/wwid", "naa.b");
	device("sdc", "8:32", "2048000");
	file("sdc", "device/wwid", "naa.a");
	device("sdc/sdc1", "8:33", "204800");
	file("sdc/sdc1", "partition", "1");
	file("sdc/sdc1", "start", "2048");
	assert_int_equal(dray_identity_find(a, 0, 0, path, sizeof path), 0);
	assert_string_equal(strrchr(path, '/'), "/sdc");
	assert_int_equal(dray_identity_find(part, 0, 0, path, sizeof path), 0);
	assert_string_equal(strrchr(path, '/'), "/sdc1");
	assert_int_equal(dray_identity_find(slice, 1048576, 4096, path, sizeof path), 0);
	assert_string_equal(strrchr(path, '/'), "/sdc1");
	/* The same bytes, as a slice of the whole disk. */
	assert_int_equal(dray_identity_find(slice, 2097152, 4096, path, sizeof path), 0);
	assert_string_equal(strrchr(path, '/'), "/sdc");
	assert_int_equal(dray_identity_find(slice, 3145728, 4096, path, sizeof path), -ENOENT);
	assert_int_equal(dray_identity_find("block:wwid=naa.gone", 0, 0, path, sizeof path), -ENOENT);
	/* Two with one serial number, which are not paths of one: nobody guesses. */
	device("sdd", "8:48", "2048000");
	file("sdd", "device/wwid", "naa.a");
	assert_int_equal(dray_identity_find(a, 0, 0, path, sizeof path), -ENOTUNIQ);
	/* A disk that became smaller is found by its identity all the same; its size is looked at when it is opened. An empty
	 * drive is none. */
	device("sr0", "11:0", "0");
	file("sr0", "device/wwid", "naa.cd");
	assert_int_equal(dray_identity_find("block:wwid=naa.cd", 0, 0, path, sizeof path), -ENOENT);
}

/* Where udev runs, a device is its own until it has an entry for it. */
static void udev(void **state)
{
	device("sda", "8:0", "2048000");
	device("dm-0", "253:0", "2048000");
	file("dm-0", "dm/name", "vg-orders");
	assert_false(dray_udev_pending(makedev(8, 0))); /* it does not run */
	put("node/udev/control", "");
	assert_true(dray_udev_pending(makedev(8, 0)));
	assert_false(dray_udev_pending(makedev(253, 0)));
	put("node/udev/data/b8:0", "I:1234");
	assert_false(dray_udev_pending(makedev(8, 0)));
	assert_true(dray_udev_pending(makedev(8, 16)));
}

/* Two paths and the multipath device over them are one storage, and the last is the one to use; LVM and md have their own ids. */
static void built(void **state)
{
	char path[256], why[300];
	bool stable;
	device("sda", "8:0", "2048000");
	file("sda", "device/wwid", "naa.600508b1001c");
	device("sdb", "8:16", "2048000");
	file("sdb", "device/wwid", "naa.600508b1001c");
	device("dm-0", "253:0", "2048000");
	file("dm-0", "dm/uuid", "mpath-3600508b1001c");
	file("dm-0", "dm/name", "mpatha");
	holds("sda", "dm-0");
	holds("sdb", "dm-0");
	device("dm-1", "253:1", "1024000");
	file("dm-1", "dm/uuid", "LVM-abcDEF");
	file("dm-1", "dm/name", "vg-orders");
	holds("dm-0", "dm-1");
	device("md0", "9:0", "2048000");
	file("md0", "md/uuid", "1234abcd:00000000:00000000:00000001");
	assert_string_equal(id_of(8, 0, &stable), id_of(253, 0, &stable));
	assert_string_equal(id_of(253, 1, &stable), "block:dm=LVM-abcDEF");
	assert_string_equal(id_of(9, 0, &stable), "block:md=1234abcd:00000000:00000000:00000001");
	device("dm-2", "253:2", "1024000");
	file("dm-2", "dm/uuid", "LVM-other");
	file("dm-2", "dm/name", "vg-other");
	/* dm-0 has a holder, too: its paths are what it is built on, so it is not they that are meant. */
	assert_int_equal(dray_identity_find("block:dm=LVM-other", 0, 0, path, sizeof path), 0);
	assert_string_equal(strrchr(path, '/'), "/dm-2"); /* no node /dev/mapper/vg-other */
	mkdir(dev_root, 0755);
	put("node/mapper/vg-other", "");
	assert_int_equal(dray_identity_find("block:dm=LVM-other", 0, 0, path, sizeof path), 0);
	assert_string_equal(strrchr(path, '/'), "/vg-other");
	/* Who has it is named. */
	assert_true(dray_busy_device(makedev(8, 0), why, sizeof why));
	assert_string_equal(why, "it is part of dm-0 (mpatha)");
	assert_true(dray_busy_device(makedev(253, 0), why, sizeof why));
	assert_string_equal(why, "it is part of dm-1 (vg-orders)");
	assert_false(dray_busy_device(makedev(253, 1), why, sizeof why));
	device("sdc", "8:32", "2048000");
	device("sdc/sdc2", "8:34", "2048");
	file("sdc/sdc2", "partition", "2");
	file("sdc/sdc2", "holders/dm-1/dev", "253:1");
	assert_true(dray_busy_device(makedev(8, 32), why, sizeof why));
	assert_string_equal(why, "its partition sdc2 is part of dm-1 (vg-orders)");
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

/* ---- what kind of storage it is to whoever retires it ---- */

static void driven(const char *folder, const char *subsystem)
{
	char link[400], to[300];
	snprintf(link, sizeof link, "%s/devices/%s/device/subsystem", root, folder);
	make_dirs(link);
	snprintf(to, sizeof to, "../../../bus/%s", subsystem);
	assert_int_equal(symlink(to, link), 0);
}

static const char *kind_of(unsigned major_no, unsigned minor_no)
{
	return dray_retire_kind_word(dray_retire_kind_of_device(makedev(major_no, minor_no)));
}

static void partition(const char *folder, const char *number)
{
	device(folder, number, "2048");
	file(folder, "partition", "1");
	file(folder, "start", "2048");
}

static void kinds(void **state)
{
	device("sda", "8:0", "204800");
	driven("sda", "scsi");
	file("sda", "device/state", "running");
	partition("sda/sda1", "8:1");
	device("vda", "254:0", "204800");
	driven("vda", "virtio");
	partition("vda/vda1", "254:1");
	device("nvme0n1", "259:0", "204800");
	driven("nvme0n1", "nvme");
	file("nvme0n1", "device/state", "live");
	device("nvme1n1", "259:1", "204800");
	driven("nvme1n1", "nvme-subsystem");
	device("loop0", "7:0", "204800");
	file("loop0", "loop/backing_file", "/srv/a");
	partition("loop0/loop0p1", "259:2");
	device("nbd0", "43:0", "204800");
	partition("nbd0/nbd0p1", "43:1");
	device("md0", "9:0", "204800");
	file("md0", "md/level", "raid1");
	partition("md0/md0p1", "259:3");
	device("dm-0", "253:0", "204800");
	file("dm-0", "dm/uuid", "LVM-0123456789abcdefghijklmnopqrstuv0123456789abcdefghijklmnopqrstuv");
	device("dm-1", "253:1", "204800");
	file("dm-1", "dm/uuid", "LVM-0123456789abcdefghijklmnopqrstuv0123456789abcdefghijklmnopqrstuv-tpool");
	device("dm-2", "253:2", "204800");
	file("dm-2", "dm/uuid", "mpath-36001405");
	device("dm-3", "253:3", "204800");
	file("dm-3", "dm/uuid", "part1-mpath-36001405");
	device("dm-4", "253:4", "204800");
	file("dm-4", "dm/uuid", "CRYPT-LUKS2-0011-x");
	device("dm-5", "253:5", "204800");
	file("dm-5", "dm/name", "nameless"); /* dmsetup gives no uuid unless asked to */
	device("zram0", "251:0", "204800");
	device("sdx", "8:240", "204800");
	driven("sdx", "scsi"); /* without a state */

	static const struct { unsigned major, minor; const char *kind; } expected[] = {
		{ 8, 0, "SCSI or SATA disk" }, { 8, 1, "partition of a disk" }, { 254, 0, "virtio or NVMe disk" },
		{ 254, 1, "partition of a disk" }, { 259, 0, "virtio or NVMe disk" }, { 259, 1, "virtio or NVMe disk" },
		{ 7, 0, "loop device" }, { 259, 2, "loop device" }, { 43, 0, "kernel NBD device" }, { 43, 1, "kernel NBD device" },
		{ 9, 0, "md array" }, { 259, 3, "md array" }, { 253, 0, "LVM logical volume" },
		{ 253, 1, "other device-mapper device" }, { 253, 2, "multipath device" }, { 253, 3, "other device-mapper device" },
		{ 253, 4, "other device-mapper device" }, { 253, 5, "other device-mapper device" },
		{ 251, 0, "other block device" }, { 8, 240, "other block device" }, { 99, 1, "other block device" },
	};
	for (size_t i = 0; i < sizeof expected / sizeof expected[0]; i++)
		if (strcmp(kind_of(expected[i].major, expected[i].minor), expected[i].kind))
			fail_msg("%u:%u is \"%s\", should be \"%s\"", expected[i].major, expected[i].minor,
				kind_of(expected[i].major, expected[i].minor), expected[i].kind);
	clear();
}

int main(void)
{
	const struct CMUnitTest tests[] = { T(kinds), T(scsi), T(renumbered), T(udev), T(built) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
