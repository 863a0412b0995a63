/* SPDX-License-Identifier: BSD-3-Clause */
/* A file that is not found was removed, if it is looked for where it was made; else it may come back, and its removal is still owed. */
#include "base/error.h"
#include "storage/clone.h"
#include "storage/identity.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[] = "/tmp/dray-test-XXXXXX", dir[100], away[100], path[120], identity[512];

static void make(void)
{
	bool stable;
	int fd = open(path, O_CREAT | O_EXCL | O_WRONLY, 0600);
	assert_true(fd >= 0);
	assert_int_equal(dray_identity_of_fd(fd, identity, sizeof identity, &stable), 0);
	close(fd);
}

static int removed(struct dray_error *err)
{
	*err = DRAY_ERROR_INIT;
	return dray_clone_remove(path, identity, err);
}

static void once_and_again(void **state)
{
	struct dray_error err;
	make();
	assert_int_equal(removed(&err), 0);
	assert_int_equal(access(path, F_OK), -1);
	assert_int_equal(removed(&err), 0);
}

static void directory_is_away(void **state)
{
	struct dray_error err;
	make();
	assert_int_equal(rename(dir, away), 0);
	assert_int_equal(removed(&err), -ENOENT);
	assert_non_null(strstr(err.text, "its directory"));
	assert_int_equal(rename(away, dir), 0);
	assert_int_equal(access(path, F_OK), 0);
	assert_int_equal(removed(&err), 0);
	assert_int_equal(access(path, F_OK), -1);
}

static void disk_is_not_mounted(void **state)
{
	struct dray_error err;
	strcpy(identity, "file:fsid=0123456789abcdef,ino=12,btime=1763939000.000000001");
	assert_int_equal(removed(&err), -ENODEV);
	assert_non_null(strstr(err.text, path));
	strcpy(identity, "file:uuid=6d2b8e0e-0000-4000-8000-000000000001,ino=12,btime=1763939000.000000001");
	assert_int_equal(removed(&err), -ENODEV);
	strcpy(identity, "file:dev=254:99,ino=12"); /* says nothing after a reboot */
	assert_int_equal(removed(&err), 0);
}

static int set_up(void **state)
{
	assert_non_null(mkdtemp(folder));
	snprintf(dir, sizeof dir, "%s/backup", folder);
	snprintf(away, sizeof away, "%s/away", folder);
	snprintf(path, sizeof path, "%s/one.img", dir);
	return mkdir(dir, 0700);
}

static int take_down(void **state)
{
	unlink(path);
	rmdir(dir);
	return rmdir(folder);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(once_and_again),
		cmocka_unit_test(directory_is_away),
		cmocka_unit_test(disk_is_not_mounted),
	};
	return cmocka_run_group_tests(tests, set_up, take_down);
}
