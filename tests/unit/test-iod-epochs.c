/* SPDX-License-Identifier: BSD-3-Clause */
/* The two slots: what is read after writes, torn slots, failed and superseded records. */
#include "base/crash.h"
#include "iod/epochs.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

static char dir[64];
static int dir_fd;

static int set_up(void **state)
{
	strcpy(dir, "/tmp/dray-epochs-XXXXXX");
	dir_fd = mkdtemp(dir) ? open(dir, O_DIRECTORY | O_RDONLY) : -1;
	return dir_fd < 0;
}

static int tear_down(void **state)
{
	unlinkat(dir_fd, "epochs.0", 0);
	unlinkat(dir_fd, "epochs.1", 0);
	close(dir_fd);
	return rmdir(dir);
}

static struct iod_epoch entry(uint8_t who, uint64_t epoch, uint32_t primary, const char *token)
{
	struct iod_epoch e = { .uuid = { who }, .epoch = epoch, .primary = primary };
	strcpy(e.token, token);
	return e;
}

static struct iod_epochs *open_epochs(void)
{
	struct iod_epochs *e;
	struct dray_error err;
	assert_int_equal(iod_epochs_open(&e, dir_fd, &err), 0);
	return e;
}

static struct iod_epochs *again(struct iod_epochs *e)
{
	iod_epochs_close(e);
	return open_epochs();
}

static uint64_t epoch_of(struct iod_epochs *e, uint8_t who)
{
	struct iod_epoch got;
	uint8_t uuid[IOD_UUID_BYTES] = { who };
	return iod_epochs_get(e, uuid, &got) ? got.epoch : 0;
}

/* Changes one byte of a slot. */
static void spoil(const char *slot, off_t at)
{
	int fd = openat(dir_fd, slot, O_RDWR);
	unsigned char c;
	assert_int_equal(pread(fd, &c, 1, at), 1);
	c ^= 1;
	assert_int_equal(pwrite(fd, &c, 1, at), 1);
	close(fd);
}

static void kept(void **state)
{
	struct iod_epochs *e = open_epochs();
	assert_false(iod_epochs_known(e));
	struct iod_epoch both[2] = { entry(1, 1, 1, ""), entry(2, 7, 3, "token") };
	both[1].let_go = 1;
	assert_int_equal(iod_epochs_change(e, both, 2, NULL), 0);
	assert_true(iod_epochs_known(e));
	e = again(e);
	assert_true(iod_epochs_known(e));
	struct iod_epoch got;
	assert_true(iod_epochs_get(e, both[1].uuid, &got));
	assert_int_equal(got.epoch, 7);
	assert_int_equal(got.primary, 3);
	assert_int_equal(got.let_go, 1);
	assert_string_equal(got.token, "token");
	struct iod_epoch gone = entry(1, 0, 0, "");
	assert_int_equal(iod_epochs_change(e, &gone, 1, NULL), 0);
	e = again(e);
	assert_int_equal(epoch_of(e, 1), 0);
	assert_int_equal(epoch_of(e, 2), 7);
	iod_epochs_close(e);
}

/* A byte of either slot: the other one says the same, and a damaged one is whole again after a start. All of both: nothing
 * is known. */
static void spoiled(void **state)
{
	struct iod_epochs *e = open_epochs();
	for (uint64_t n = 1; n <= 2; n++) {
		struct iod_epoch one = entry(1, n, (uint32_t)n, "t");
		assert_int_equal(iod_epochs_change(e, &one, 1, NULL), 0);
	}
	for (off_t at = 0; at < 2 * (32 + 160); at += 7) {
		spoil(at % 2 ? "epochs.1" : "epochs.0", at / 2);
		e = again(e);
		assert_int_equal(epoch_of(e, 1), 2);
	}
	spoil("epochs.0", 0);
	spoil("epochs.1", 0);
	e = again(e);
	assert_false(iod_epochs_known(e));
	iod_epochs_close(e);
}

/* A crash right after a record, before its second copy: a torn slot would be the one that holds the older record, and the next
 * start makes the copy. */
static void cut_off(void **state)
{
	struct iod_epochs *e = open_epochs();
	struct iod_epoch one = entry(1, 1, 1, ""), two = entry(1, 2, 2, "t");
	assert_int_equal(iod_epochs_change(e, &one, 1, NULL), 0);
	assert_int_equal(iod_epochs_begin(e, 0, NULL), 0);
	assert_int_equal(iod_epochs_write(e, &two, 1, NULL), 0);
	e = again(e);
	assert_int_equal(epoch_of(e, 1), 2);
	for (int i = 0; i < 2; i++) {
		spoil(i ? "epochs.1" : "epochs.0", 40);
		e = again(e);
		assert_int_equal(epoch_of(e, 1), 2);
	}
	iod_epochs_close(e);
}

/* After a failed write the record that supersedes it goes to the same slot: the good one stays. */
static void superseded(void **state)
{
	struct iod_epochs *e = open_epochs();
	struct iod_epoch one = entry(1, 1, 1, ""), two = entry(1, 2, 2, "t");
	assert_int_equal(iod_epochs_change(e, &one, 1, NULL), 0);
	assert_int_equal(iod_epochs_begin(e, 0, NULL), 0);
	setenv("DRAY_FAULT_AT", "epoch-write", 1);
	dray_crash_init();
	struct dray_error err = DRAY_ERROR_INIT;
	assert_int_equal(iod_epochs_write(e, &two, 1, &err), -EIO);
	assert_string_equal(err.kind, "record_failed");
	unsetenv("DRAY_FAULT_AT");
	assert_int_equal(epoch_of(e, 1), 1);
	assert_int_equal(iod_epochs_write(e, NULL, 0, NULL), 0);
	spoil("epochs.0", 8); /* where the failed one went, and the one that supersedes it */
	e = again(e);
	assert_int_equal(epoch_of(e, 1), 1);
	iod_epochs_close(e);
}

static void one_pen(void **state)
{
	struct iod_epochs *e = open_epochs();
	struct dray_error err = DRAY_ERROR_INIT;
	assert_int_equal(iod_epochs_begin(e, 0, NULL), 0);
	assert_int_equal(iod_epochs_begin(e, 1000000, &err), -EBUSY);
	assert_string_equal(err.kind, "record_busy");
	iod_epochs_end(e);
	assert_int_equal(iod_epochs_begin(e, 0, NULL), 0);
	iod_epochs_end(e);
	iod_epochs_close(e);
}

struct changing {
	struct iod_epochs *e;
	uint8_t who;
	int rc;
};

static void *change_one(void *arg)
{
	struct changing *c = arg;
	struct iod_epoch change = entry(c->who, c->who % 3 ? 1 : 0, 1, "");
	struct dray_error err;
	c->rc = iod_epochs_change(c->e, &change, 1, &err);
	return NULL;
}

/* Many changes while the pen is away: one record with all of them, and each is told its outcome. */
static void changes_together(void **state)
{
	struct iod_epochs *e = open_epochs();
	pthread_t threads[30];
	struct changing c[30];
	for (uint8_t who = 1; who <= 30; who++) {
		struct iod_epoch old = entry(who, 1, 1, "");
		assert_int_equal(who % 3 ? 0 : iod_epochs_change(e, &old, 1, NULL), 0);
	}
	assert_int_equal(iod_epochs_begin(e, 0, NULL), 0);
	for (unsigned i = 0; i < 30; i++) {
		c[i] = (struct changing){ e, (uint8_t)(i + 1), 1 };
		assert_int_equal(pthread_create(&threads[i], NULL, change_one, &c[i]), 0);
	}
	iod_epochs_end(e);
	for (unsigned i = 0; i < 30; i++) {
		pthread_join(threads[i], NULL);
		assert_int_equal(c[i].rc, 0);
	}
	e = again(e);
	for (uint8_t who = 1; who <= 30; who++)
		assert_int_equal(epoch_of(e, who), who % 3 ? 1 : 0);
	iod_epochs_close(e);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(changes_together, set_up, tear_down),
		cmocka_unit_test_setup_teardown(kept, set_up, tear_down),
		cmocka_unit_test_setup_teardown(spoiled, set_up, tear_down),
		cmocka_unit_test_setup_teardown(cut_off, set_up, tear_down),
		cmocka_unit_test_setup_teardown(superseded, set_up, tear_down),
		cmocka_unit_test_setup_teardown(one_pen, set_up, tear_down),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
