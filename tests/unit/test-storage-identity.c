/* SPDX-License-Identifier: BSD-3-Clause */
/* One storage under two names has one identity; parts overlap where they have bytes in common; signatures are seen. */
#include <errno.h>
#include <ifaddrs.h>
#include <netdb.h>
#include <netinet/in.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <cmocka.h>
#include "storage-help.h"
#include "storage/identity.h"
#include "storage/nbd.h"
#include "storage/content.h"

#define MIB (UINT64_C(1) << 20)

static char dir[128];

static char *in_dir(const char *name)
{
	static char path[4][192];
	static int next;
	char *p = path[next++ % 4];
	snprintf(p, sizeof path[0], "%s/%s", dir, name);
	return p;
}

static struct dray_storage_info probe(const char *resource, uint64_t offset, uint64_t length)
{
	struct dray_storage_options o = { .read_only = true, .no_lock = true, .offset = offset, .length = length };
	struct dray_storage_info info;
	struct dray_error err = DRAY_ERROR_INIT;
	if (dray_storage_probe(resource, &o, &info, &err))
		fail_msg("%s", err.text);
	return info;
}

static int setup(void **state)
{
	strcpy(dir, help_folder("/var/tmp"));
	return dray_storage_create(in_dir("a"), 4 * MIB, false, NULL);
}

static int teardown(void **state)
{
	static const char *const names[] = { "a", "b", "hard", "soft" };
	for (size_t i = 0; i < 4; i++)
		unlink(in_dir(names[i]));
	rmdir(dir);
	return 0;
}

static void names(void **state)
{
	struct dray_storage_info a = probe(in_dir("a"), 0, 0);
	char spelled[256];
	assert_int_equal(link(in_dir("a"), in_dir("hard")), 0);
	assert_int_equal(symlink("a", in_dir("soft")), 0);
	snprintf(spelled, sizeof spelled, "file:%s/../%s/./a", dir, strrchr(dir, '/') + 1);
	assert_string_equal(probe(in_dir("hard"), 0, 0).identity, a.identity);
	assert_string_equal(probe(in_dir("soft"), 0, 0).identity, a.identity);
	assert_string_equal(probe(spelled, 0, 0).identity, a.identity);
	assert_int_equal(rename(in_dir("a"), in_dir("b")), 0);
	assert_string_equal(probe(in_dir("b"), 0, 0).identity, a.identity);
	assert_int_equal(dray_storage_create(in_dir("a"), MIB, false, NULL), 0);
	assert_string_not_equal(probe(in_dir("a"), 0, 0).identity, a.identity);
	assert_false(dray_identity_overlaps(probe(in_dir("a"), 0, 0).identity, a.identity));
}

/* The number of a deleted file may be given to a new one: that is another file. */
static void deleted(void **state)
{
	struct dray_storage_info a = probe(in_dir("a"), 0, 0);
	if (!strstr(a.identity, "btime="))
		skip(); /* the file system keeps no birth time */
	for (int i = 0; i < 20; i++) {
		unlink(in_dir("a"));
		assert_int_equal(dray_storage_create(in_dir("a"), 4 * MIB, false, NULL), 0);
		assert_string_not_equal(probe(in_dir("a"), 0, 0).identity, a.identity);
	}
}

static void parts(void **state)
{
	struct dray_storage_info whole = probe(in_dir("a"), 0, 0), first = probe(in_dir("a"), 0, MIB),
				 second = probe(in_dir("a"), MIB, MIB), both = probe(in_dir("a"), MIB / 2, MIB),
				 rest = probe(in_dir("a"), MIB, 0);
	assert_true(dray_identity_overlaps(whole.identity, whole.identity));
	assert_true(dray_identity_overlaps(whole.identity, second.identity));
	assert_true(dray_identity_overlaps(second.identity, whole.identity));
	assert_false(dray_identity_overlaps(first.identity, second.identity));
	assert_false(dray_identity_overlaps(second.identity, first.identity));
	assert_true(dray_identity_overlaps(first.identity, both.identity));
	assert_true(dray_identity_overlaps(both.identity, second.identity));
	assert_true(dray_identity_overlaps(rest.identity, second.identity));
	assert_int_equal(rest.size_bytes, 3 * MIB);
}

static void lines(void **state)
{
	static const struct {
		const char *a, *b;
		bool overlap;
	} cases[] = {
		{ "block:wwid=naa.6001", "block:wwid=naa.6001+1048576,1048576", true },
		{ "block:wwid=naa.6001", "block:wwid=naa.60012", false },
		{ "block:8:16+0,512", "block:8:16+512,512", false },
		{ "block:8:16+0,513", "block:8:16+512,512", true },
		{ "block:8:1", "block:8:16", false },
		{ "nbd:h:10809/a:100", "nbd:h:10809/a:100", true },
		{ "nbd:h:10809/a+1,2:100", "nbd:h:10809/a+3,4:100", false },
		{ "nbd:h:10809/a:100", "nbd:h:10809/a:1000", false },
		{ "x+0,18446744073709551615", "x+18446744073709551614,1", true },
		{ "", "x", false },
	};
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		assert_int_equal(dray_identity_overlaps(cases[i].a, cases[i].b), cases[i].overlap);
		assert_int_equal(dray_identity_overlaps(cases[i].b, cases[i].a), cases[i].overlap);
	}
	char id[64] = "block:8:0+4096,8192", small[] = "block:8:0";
	assert_int_equal(dray_identity_slice(id, sizeof id, 512, 1024, NULL), 0); /* a part of a part */
	assert_string_equal(id, "block:8:0+4608,1024");
	assert_int_equal(dray_identity_slice(small, sizeof small, 512, 1024, NULL), -ENAMETOOLONG);
}

static void exports(void **state)
{
	static const struct {
		const char *uri, *id;
	} cases[] = {
		{ "nbd://Host", "nbd:host:10809/:100" },
		{ "nbd://host:10809/", "nbd:host:10809/:100" },
		{ "nbd://user@host:1/a%2Fb", "nbd:host:1/a/b:100" },
		{ "nbd://127.0.0.1/x", "nbd:localhost:10809/x:100" },
		{ "nbd://[::1]:10809/x", "nbd:localhost:10809/x:100" },
		{ "nbd://127.8.9.1/x", "nbd:localhost:10809/x:100" },
		{ "nbd://127.8.9.1.org/x", "nbd:127.8.9.1.org:10809/x:100" },
		{ "nbd://[::ffff:127.0.0.1]:10809/x", "nbd:localhost:10809/x:100" },
		{ "nbd://LocalHost.:1/x", "nbd:localhost:1/x:100" },
		{ "nbd://[fe80::2]/x", "nbd:[fe80::2]:10809/x:100" },
		{ "nbds://host/x?tls-certificates=/etc/pki", "nbd:host:10809/x:100" },
		{ "nbd+unix:///x?socket=/no/such%20place", "nbd:/no/such place/x:100" },
		{ "nbd+unix:///x?tls-hostname=a&socket=/tmp/../no/b", "nbd:/tmp/../no/b/x:100" },
	};
	char id[256], uri[1200];
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		dray_nbd_identity(cases[i].uri, 100, id, sizeof id);
		assert_string_equal(id, cases[i].id);
	}
	memset(uri, 'a', sizeof uri);
	memcpy(uri, "nbd://h/", 8);
	uri[1199] = 0;
	dray_nbd_identity(uri, 100, id, sizeof id);
	assert_true(strlen(id) < 200);
	assert_memory_equal(id, "nbd:xxh=", 8);
}

/* A host has many names: its own addresses are localhost, too. */
static void aliases(void **state)
{
	char id[300], alias[300], text[64];
	struct ifaddrs *all;
	assert_int_equal(dray_nbd_alias("nbd:localhost:10809/x:100", alias, sizeof alias), -ENOENT); /* it is that already */
	assert_int_equal(dray_nbd_alias("nbd:/run/x.sock/y:100", alias, sizeof alias), -ENOENT);
	assert_int_equal(dray_nbd_alias("block:8:0", alias, sizeof alias), -ENOENT);
	assert_int_equal(getifaddrs(&all), 0);
	for (struct ifaddrs *i = all; i; i = i->ifa_next) {
		if (!i->ifa_addr || i->ifa_addr->sa_family != AF_INET ||
			getnameinfo(i->ifa_addr, sizeof(struct sockaddr_in), text, sizeof text, NULL, 0, NI_NUMERICHOST))
			continue;
		snprintf(id, sizeof id, "nbd:%s:77/a:b/c:100", text);
		assert_int_equal(dray_nbd_alias(id, alias, sizeof alias), 0);
		assert_string_equal(alias, "nbd:localhost:77/a:b/c:100");
	}
	freeifaddrs(all);
}

static int content(const char *resource, uint64_t offset, uint64_t length, struct dray_content *c, struct dray_error *err)
{
	struct dray_storage_options o = { .offset = offset, .length = length };
	return dray_storage_content(resource, &o, true, c, err);
}

static void signatures(void **state)
{
	struct dray_content c;
	const char *s = c.what;
	assert_int_equal(content(in_dir("a"), 0, 0, &c, NULL), 0);
	assert_string_equal(s, "");
	int fd = open(in_dir("a"), O_WRONLY);
	assert_int_equal(pwrite(fd, "SWAPSPACE2", 10, 4086), 10);
	unsigned char head[12] = { 1, 0, 0, 0, 255, 3 }; /* version 1, last page 1023 */
	assert_int_equal(pwrite(fd, head, sizeof head, 1024), sizeof head);
	assert_int_equal(content(in_dir("a"), 0, 0, &c, NULL), 0);
	assert_string_equal(s, "swap");
	assert_int_equal(pwrite(fd, "\0\0\0\0\0\0\0\0\0\0", 10, 4086), 10);
	/* An empty partition table of the old kind: one entry, of type Linux, and the mark at its end. */
	unsigned char mbr[66] = { 0, 0, 2, 0, 0x83, 0, 0, 0, 1, 0, 0, 0, 0, 16, 0, 0 };
	mbr[64] = 0x55;
	mbr[65] = 0xaa;
	assert_int_equal(pwrite(fd, mbr, sizeof mbr, 446), sizeof mbr);
	assert_int_equal(content(in_dir("a"), 0, 0, &c, NULL), 0);
	assert_string_equal(s, "dos partition table");
	/* A slice at its front has none of its own when it is short; it would destroy the table all the same. */
	assert_int_equal(content(in_dir("a"), 2 * MIB, MIB, &c, NULL), 0);
	assert_string_equal(s, "");
	assert_string_equal(c.whole, "dos partition table");
	close(fd);
	struct dray_error err = DRAY_ERROR_INIT;
	assert_int_equal(content(in_dir("none"), 0, 0, &c, &err), -ENOENT);
	assert_int_equal(content("nbd+unix:///x?socket=/no/such/place", 0, 0, &c, &err), -ECONNREFUSED);
}

/* What libblkid does not know: disk images, and bytes that are just there. */
static void images_and_data(void **state)
{
	static const struct {
		const char *magic;
		size_t n;
		int64_t at; /* negative: from the end */
		const char *image;
	} cases[] = { { "QFI\xfb\0\0\0\3", 8, 0, "qcow2" }, { "QFI\xfb\0\0\0\2", 8, 0, "qcow2" }, { "KDMV", 4, 0, "vmdk" },
		{ "# Disk DescriptorFile", 21, 0, "vmdk" }, { "\x7f\x10\xda\xbe", 4, 64, "vdi" }, { "vhdxfile", 8, 0, "vhdx" },
		{ "conectix", 8, 0, "vhd" }, { "conectix", 8, -512, "vhd" }, { "QED\0", 4, 0, "qed" } };
	struct dray_content c;
	char zero[32] = "";
	int fd = open(in_dir("a"), O_RDWR);
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		off_t at = cases[i].at < 0 ? (off_t)(4 * MIB) + cases[i].at : cases[i].at;
		assert_int_equal(pwrite(fd, cases[i].magic, cases[i].n, at), cases[i].n);
		assert_int_equal(content(in_dir("a"), 0, 0, &c, NULL), 0);
		assert_string_equal(c.image, cases[i].image);
		assert_non_null(strstr(c.what, "disk image"));
		assert_int_equal(pwrite(fd, zero, cases[i].n, at), cases[i].n);
	}
	assert_int_equal(content(in_dir("a"), 0, 0, &c, NULL), 0);
	assert_string_equal(c.what, ""); /* allocated, and nothing but zeroes */
	/* One byte, anywhere: found by extents. The slices beside it are empty. */
	assert_int_equal(pwrite(fd, "x", 1, (off_t)(2 * MIB) + 77777), 1);
	assert_int_equal(content(in_dir("a"), 0, 0, &c, NULL), 0);
	assert_string_equal(c.what, "data (the first found is at byte 2174929)");
	assert_int_equal(content(in_dir("a"), 0, MIB, &c, NULL), 0);
	assert_string_equal(c.what, "");
	assert_int_equal(content(in_dir("a"), 3 * MIB, 0, &c, NULL), 0);
	assert_string_equal(c.what, "");
	assert_int_equal(content(in_dir("a"), 2 * MIB, MIB, &c, NULL), 0);
	assert_string_not_equal(c.what, "");
	close(fd);
}

/* To look changes no times and keeps nothing locked; what others lock is seen, whoever asks. */
static void looking(void **state)
{
	struct dray_storage_options o = { .look = true };
	struct dray_storage_info info;
	struct dray_error err = DRAY_ERROR_INIT;
	struct dray_content c;
	struct stat before, after;
	struct timespec old[2] = { { .tv_sec = 1000000000 }, { .tv_sec = 1000000001 } };
	assert_int_equal(utimensat(AT_FDCWD, in_dir("a"), old, 0), 0);
	assert_int_equal(stat(in_dir("a"), &before), 0);
	assert_int_equal(dray_storage_probe(in_dir("a"), &o, &info, &err), 0);
	assert_int_equal(content(in_dir("a"), 0, 0, &c, NULL), 0);
	assert_int_equal(stat(in_dir("a"), &after), 0);
	assert_memory_equal(&before.st_mtim, &after.st_mtim, sizeof before.st_mtim);
	assert_memory_equal(&before.st_ctim, &after.st_ctim, sizeof before.st_ctim);
	assert_memory_equal(&before.st_atim, &after.st_atim, sizeof before.st_atim);
	int fd = open(in_dir("a"), O_RDONLY);
	assert_int_equal(flock(fd, LOCK_EX | LOCK_NB), 0);
	assert_int_equal(dray_storage_probe(in_dir("a"), &o, &info, &err), -EBUSY);
	assert_string_equal(err.kind, "held");
	assert_int_equal(flock(fd, LOCK_UN), 0);
	/* As QEMU does: a range of an open file description. */
	struct flock range = { .l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = 100, .l_len = 1 };
	assert_int_equal(fcntl(fd, F_OFD_SETLK, &range), 0);
	assert_int_equal(dray_storage_probe(in_dir("a"), &o, &info, &err), -EBUSY);
	o.read_only = true;
	assert_int_equal(dray_storage_probe(in_dir("a"), &o, &info, &err), 0);
	o.read_only = false;
	close(fd);
	assert_int_equal(dray_storage_probe(in_dir("a"), &o, &info, &err), 0);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = { T(names), T(deleted), T(parts), cmocka_unit_test(lines), cmocka_unit_test(exports), cmocka_unit_test(aliases), T(signatures), T(images_and_data),
		T(looking) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
