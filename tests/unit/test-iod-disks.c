/* SPDX-License-Identifier: BSD-3-Clause */
/* What volumes that share a disk say to each other: the tightest holds, of whoever says it, for half a second. */
#include "iod/disks.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static void tightest(void **state)
{
	struct iod_disk d = { 0 };
	uint64_t now = UINT64_C(0x1fffffff0); /* where 32 bits of it run over */
	assert_int_equal(iod_disk_allowed(&d, 1, now), IOD_WINDOW_ANY);
	iod_disk_allow(&d, 1, 40, now);
	assert_int_equal(iod_disk_allowed(&d, 1, now), IOD_WINDOW_ANY); /* what it said itself is no news */
	assert_int_equal(iod_disk_allowed(&d, 2, now), 40);
	iod_disk_allow(&d, 2, 60, now + 1); /* more than another allows */
	assert_int_equal(iod_disk_allowed(&d, 3, now + 1), 40);
	iod_disk_allow(&d, 2, 8, now + 2);
	assert_int_equal(iod_disk_allowed(&d, 1, now + 2), 8);
	iod_disk_allow(&d, 2, 20, now + 3); /* its own may grow again */
	assert_int_equal(iod_disk_allowed(&d, 1, now + 3), 20);
	assert_int_equal(iod_disk_allowed(&d, 2, now + 3), 40);
	/* It goes on saying so; all others hear it, and it hears the next to it. */
	for (unsigned i = 0; i < 40; i++) {
		iod_disk_allow(&d, 2, 20, now + 3 + i * 50);
		iod_disk_allow(&d, 1, 30, now + 3 + i * 50);
		assert_int_equal(iod_disk_allowed(&d, 3, now + 3 + i * 50), 20);
		assert_int_equal(iod_disk_allowed(&d, 2, now + 3 + i * 50), 30);
	}
	now += 3 + 39 * 50;
	assert_int_equal(iod_disk_allowed(&d, 3, now + 400), 20);
	assert_int_equal(iod_disk_allowed(&d, 3, now + 600), IOD_WINDOW_ANY);
	iod_disk_allow(&d, 1, 30, now + 600);
	assert_int_equal(iod_disk_allowed(&d, 3, now + 600), 30);
	/* A clock that was read a moment earlier, on another thread. */
	assert_int_equal(iod_disk_allowed(&d, 3, now + 599), 30);
	/* Somebody falls asleep, or allows more: the next to it holds at once, for whoever that was as well. */
	now += 1000;
	iod_disk_allow(&d, 1, 0, now); /* none at all, for a moment */
	iod_disk_allow(&d, 2, 4, now);
	iod_disk_allow(&d, 3, 8, now);
	assert_true(iod_disk_allowed(&d, 4, now) == 0 && iod_disk_allowed(&d, 1, now) == 4);
	iod_disk_allow(&d, 1, 128, now + 1);
	assert_true(iod_disk_allowed(&d, 4, now + 1) == 4 && iod_disk_allowed(&d, 1, now + 1) == 4);
	iod_disk_allow(&d, 3, 8, now + 1);
	assert_true(iod_disk_allowed(&d, 1, now + 1) == 4 && iod_disk_allowed(&d, 2, now + 1) == 8);
	iod_disk_allow_all(&d, 2, now + 2);
	assert_true(iod_disk_allowed(&d, 1, now + 2) == 8 && iod_disk_allowed(&d, 2, now + 2) == 8);
	iod_disk_allow_all(&d, 1, now + 2); /* who is none of them */
	iod_disk_allow_all(&d, 3, now + 2);
	assert_int_equal(iod_disk_allowed(&d, 4, now + 2), IOD_WINDOW_ANY);
	/* Of two that are alike none takes the other's place. */
	for (unsigned i = 0; i < 200; i++)
		iod_disk_allow(&d, 1 + i % 2, 4, now + 10 + i);
	assert_true(iod_disk_allowed(&d, 1, now + 210) == 4 && iod_disk_allowed(&d, 2, now + 210) == 4 && iod_disk_allowed(&d, 3, now + 210) == 4);
	iod_disk_allow(&d, 4, 100000, now + 2000);
	assert_true(iod_disk_allowed(&d, 3, now + 2000) >= 1024); /* more than any window is */
}

static void copied(void **state)
{
	struct iod_disk d = { 0 };
	assert_false(iod_disk_is_copied(&d, 0, 1000));
	iod_disk_copied(&d, 1, 1000);
	assert_true(iod_disk_is_copied(&d, 0, 1000) && iod_disk_is_copied(&d, 2, 1050) && iod_disk_is_copied(&d, 2, 999));
	assert_false(iod_disk_is_copied(&d, 2, 1200));
	/* What its own copy does is no news to a volume, and hides nobody's. */
	assert_false(iod_disk_is_copied(&d, 1, 1000));
	for (unsigned t = 1000; t < 1300; t += 10)
		iod_disk_copied(&d, 1 + t / 10 % 2, t);
	assert_true(iod_disk_is_copied(&d, 1, 1300) && iod_disk_is_copied(&d, 2, 1300));
	for (unsigned t = 1300; t < 1500; t += 10)
		iod_disk_copied(&d, 1, t);
	assert_true(iod_disk_is_copied(&d, 2, 1500) && !iod_disk_is_copied(&d, 1, 1500));
	/* Three of them: each hears of another. */
	for (unsigned t = 1500; t < 1600; t += 10)
		iod_disk_copied(&d, 1 + t / 10 % 3, t);
	for (unsigned who = 1; who <= 3; who++)
		assert_true(iod_disk_is_copied(&d, who, 1600));
}

static bool meet(struct iod_disk *const *a, unsigned n, struct iod_disk *const *b, unsigned m)
{
	for (unsigned i = 0; i < n; i++)
		for (unsigned k = 0; k < m; k++)
			if (a[i] == b[k])
				return true;
	return false;
}

/* Files of one file system, and exports of one server, whole or slices; not two servers. */
static void which(void **state)
{
	static struct iod_disks disks;
	struct iod_disk *a[IOD_DISKS_OF_LEG], *b[IOD_DISKS_OF_LEG];
	struct dray_storage_info x = { .identity = "" }, y = { .identity = "" };
	char here[] = "/tmp/dray-disks-XXXXXX";
	int fd = mkstemp(here);
	assert_true(fd >= 0);
	unsigned n = iod_disks_below(&disks, here, &x, a), m = iod_disks_below(&disks, "/tmp", &y, b);
	assert_true(n && m && meet(a, n, b, m));
	char faulty[64];
	snprintf(faulty, sizeof faulty, "fault:delay_ms=1:%s", here);
	m = iod_disks_below(&disks, faulty, &y, b);
	assert_true(meet(a, n, b, m));
	strcpy(x.identity, "nbd:/a.sock/one:4096+0,1024");
	strcpy(y.identity, "nbd:/a.sock/one:4096+1024,1024");
	n = iod_disks_below(&disks, "nbd+unix:///one?socket=/a.sock", &x, a);
	m = iod_disks_below(&disks, "nbd+unix:///one?socket=/a.sock", &y, b);
	assert_true(n == 1 && m == 1 && a[0] == b[0]);
	strcpy(y.identity, "nbd:/a.sock/one:4096");
	assert_true(iod_disks_below(&disks, "nbd+unix:///one?socket=/a.sock", &y, b) == 1 && a[0] == b[0]);
	strcpy(y.identity, "nbd:/a.sock/two:4096");
	assert_true(iod_disks_below(&disks, "nbd+unix:///two?socket=/a.sock", &y, b) == 1 && a[0] == b[0]);
	assert_true(iod_disks_below(&disks, "fault:delay_ms=1:nbd+unix:///two?socket=/a.sock", &y, b) == 1 && a[0] == b[0]);
	strcpy(y.identity, "nbd:/b.sock/one:4096");
	assert_true(iod_disks_below(&disks, "nbd+unix:///one?socket=/b.sock", &y, b) == 1 && a[0] != b[0]);
	strcpy(x.identity, "nbd:localhost:10809/one:4096");
	strcpy(y.identity, "nbd:localhost:10809/two:4096");
	assert_true(iod_disks_below(&disks, "nbd://localhost/one", &x, a) == 1 && iod_disks_below(&disks, "nbd://127.0.0.1:10809/two", &y, b) == 1);
	assert_ptr_equal(a[0], b[0]);
	assert_true(iod_disks_below(&disks, "nbd://localhost:10810/two", &y, b) == 1 && a[0] != b[0]);
	strcpy(y.identity, "other:1");
	assert_int_equal(iod_disks_below(&disks, "other://1", &y, b), 0);
	close(fd);
	unlink(here);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(tightest),
		cmocka_unit_test(copied),
		cmocka_unit_test(which),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
