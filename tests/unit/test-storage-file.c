/* SPDX-License-Identifier: BSD-3-Clause */
/* The file driver on real files: what is written is read, zeroes and holes are what they say, locks hold. Each case
 * runs on a disk file system and on tmpfs, under both loops. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <cmocka.h>
#include "storage-help.h"

#define MIB (UINT64_C(1) << 20)

static char dir[128], file[160];

static int setup_in(const char *parent, enum dray_loop_want want)
{
	strcpy(dir, help_folder(parent));
	snprintf(file, sizeof file, "%s/a.img", dir);
	help_loop(want);
	assert_int_equal(dray_storage_create(file, 8 * MIB, false, NULL), 0);
	return 0;
}

static int on_disk(void **state)
{
	return setup_in("/var/tmp", DRAY_LOOP_AUTO);
}

static int on_disk_epoll(void **state)
{
	return setup_in("/var/tmp", DRAY_LOOP_EPOLL);
}

static int in_memory(void **state)
{
	return setup_in("/dev/shm", DRAY_LOOP_AUTO);
}

static int in_memory_epoll(void **state)
{
	return setup_in("/dev/shm", DRAY_LOOP_EPOLL);
}

static int teardown(void **state)
{
	dray_loop_free(loop);
	unlink(file);
	rmdir(dir);
	return 0;
}

static void read_write(void **state)
{
	struct dray_storage *st = help_open(file, NULL);
	assert_int_equal(st->info.size_bytes, 8 * MIB);
	assert_string_equal(st->info.driver, "file");
	unsigned char *w = help_buffer(MIB, 3), *r = help_buffer(MIB, 0);
	assert_int_equal(help_do(st, DRAY_OP_WRITE, 0, MIB, MIB, w), 0);
	assert_int_equal(help_do(st, DRAY_OP_READ, 0, MIB, MIB, r), 0);
	assert_memory_equal(r, w, MIB);
	assert_int_equal(help_do(st, DRAY_OP_WRITE, DRAY_F_FUA, 8 * MIB - 4096, 4096, w), 0);
	assert_int_equal(help_do(st, DRAY_OP_FLUSH, 0, 0, 0, NULL), 0);
	/* Memory that is not aligned is no concern of the caller's. */
	assert_int_equal(help_do(st, DRAY_OP_WRITE, 0, 3 * MIB, 8192, w + 1), 0);
	assert_int_equal(help_do(st, DRAY_OP_READ, 0, 3 * MIB, 8192, r + 3), 0);
	assert_memory_equal(r + 3, w + 1, 8192);
	/* What others see. */
	int fd = open(file, O_RDONLY);
	assert_int_equal(pread(fd, r, 8192, 3 * MIB), 8192);
	assert_memory_equal(r, w + 1, 8192);
	close(fd);
	assert_int_equal(help_do(st, DRAY_OP_CACHE, 0, 0, MIB, NULL), 0);
	help_close(st);
	free(w);
	free(r);
}

static void many_at_once(void **state)
{
	enum { N = 512 };
	struct dray_storage *st = help_open(file, NULL);
	unsigned char *w = help_buffer(N * 4096, 9), *r = help_buffer(N * 4096, 0);
	static struct help_op op[N];
	for (int round = 0; round < 2; round++) {
		for (unsigned i = 0; i < N; i++)
			help_start(st, &op[i], round ? DRAY_OP_READ : DRAY_OP_WRITE, 0, i * 4096, 4096,
				(round ? r : w) + i * 4096);
		for (unsigned i = 0; i < N; i++) {
			help_wait(&op[i]);
			assert_int_equal(op[i].error, 0);
		}
	}
	assert_memory_equal(r, w, N * 4096);
	help_close(st);
	free(w);
	free(r);
}

static void refusals(void **state)
{
	struct dray_storage *st = help_open(file, NULL);
	unsigned char *b = help_buffer(4096, 1);
	uint64_t end = st->info.size_bytes;
	assert_int_equal(help_do(st, DRAY_OP_READ, 0, end, 4096, b), -EINVAL);
	assert_int_equal(help_do(st, DRAY_OP_READ, 0, end - 512, 4096, b), -EINVAL);
	assert_int_equal(help_do(st, DRAY_OP_READ, 0, UINT64_MAX - 511, 512, b), -EINVAL);
	assert_int_equal(help_do(st, DRAY_OP_WRITE, 0, 0, 0, b), -EINVAL);
	if (st->info.block_bytes > 1) {
		assert_int_equal(help_do(st, DRAY_OP_WRITE, 0, 1, st->info.block_bytes, b), -EINVAL);
		assert_int_equal(help_do(st, DRAY_OP_WRITE, 0, 0, st->info.block_bytes + 1, b), -EINVAL);
	}
	help_close(st);
	st = help_open(file, &(struct dray_storage_options){ .read_only = true });
	assert_true(st->info.read_only);
	assert_int_equal(help_do(st, DRAY_OP_READ, 0, 0, 4096, b), 0);
	assert_int_equal(help_do(st, DRAY_OP_WRITE, 0, 0, 4096, b), -EROFS);
	assert_int_equal(help_do(st, DRAY_OP_ZERO, 0, 0, 4096, NULL), -EROFS);
	assert_int_equal(help_do(st, DRAY_OP_DISCARD, 0, 0, 4096, NULL), -EROFS);
	help_close(st);
	free(b);
}

static void zero_and_discard(void **state)
{
	struct dray_storage *st = help_open(file, NULL);
	unsigned char *w = help_buffer(4 * MIB, 5), *r = help_buffer(4 * MIB, 0);
	struct stat full, thin;
	static const uint32_t flags[] = { 0, DRAY_F_MAY_UNMAP, DRAY_F_FUA, DRAY_F_MAY_UNMAP | DRAY_F_FUA };
	for (unsigned i = 0; i < 4; i++) {
		assert_int_equal(help_do(st, DRAY_OP_WRITE, 0, 0, 4 * MIB, w), 0);
		assert_int_equal(help_do(st, DRAY_OP_FLUSH, 0, 0, 0, NULL), 0);
		stat(file, &full);
		assert_int_equal(help_do(st, DRAY_OP_ZERO, flags[i], MIB, 2 * MIB, NULL), 0);
		assert_int_equal(help_do(st, DRAY_OP_READ, 0, 0, 4 * MIB, r), 0);
		assert_memory_equal(r, w, MIB);
		assert_true(help_zero(r + MIB, 2 * MIB));
		assert_memory_equal(r + 3 * MIB, w + 3 * MIB, MIB);
		stat(file, &thin);
		if (flags[i] & DRAY_F_MAY_UNMAP)
			assert_true(thin.st_blocks < full.st_blocks);
		else
			assert_true(thin.st_blocks >= full.st_blocks);
	}
	assert_int_equal(help_do(st, DRAY_OP_WRITE, 0, 0, 4 * MIB, w), 0);
	assert_true(st->info.can_discard);
	assert_int_equal(help_do(st, DRAY_OP_DISCARD, 0, 0, 2 * MIB, NULL), 0);
	stat(file, &thin);
	assert_true(thin.st_blocks < full.st_blocks);
	assert_int_equal(help_do(st, DRAY_OP_READ, 0, 2 * MIB, 2 * MIB, r), 0);
	assert_memory_equal(r, w + 2 * MIB, 2 * MIB);
	stat(file, &full);
	assert_int_equal(full.st_size, 8 * MIB);
	help_close(st);
	free(w);
	free(r);
}

static void holes(void **state)
{
	struct dray_storage *st = help_open(file, NULL);
	unsigned char *w = help_buffer(MIB, 5);
	struct dray_extent e[8];
	unsigned n;
	assert_true(st->info.can_extents);
	assert_true(st->info.thin);
	assert_int_equal(help_do(st, DRAY_OP_WRITE, 0, MIB, MIB, w), 0);
	assert_int_equal(help_do(st, DRAY_OP_WRITE, 0, 5 * MIB, MIB, w), 0);
	assert_int_equal(help_do(st, DRAY_OP_FLUSH, 0, 0, 0, NULL), 0);
	assert_int_equal(help_extents(st, 0, 8 * MIB, e, 8, &n), 0);
	static const uint64_t lengths[] = { MIB, MIB, 3 * MIB, MIB, 2 * MIB };
	assert_int_equal(n, 5);
	for (unsigned i = 0; i < n; i++) {
		assert_int_equal(e[i].length, lengths[i]);
		assert_int_equal(e[i].flags, i % 2 ? 0 : DRAY_EXTENT_HOLE | DRAY_EXTENT_ZERO);
	}
	/* A part, and an array that is too small. */
	assert_int_equal(help_extents(st, MIB + 65536, MIB, e, 1, &n), 0);
	assert_int_equal(n, 1);
	assert_int_equal(e[0].length, MIB - 65536);
	assert_int_equal(e[0].flags, 0);
	assert_int_equal(help_extents(st, 7 * MIB, 4096, e, 8, &n), 0);
	assert_int_equal(n, 1);
	assert_int_equal(e[0].length, 4096);
	help_close(st);
	free(w);
}

static void slices(void **state)
{
	struct dray_error err = DRAY_ERROR_INIT;
	struct dray_storage *st =
		help_open(file, &(struct dray_storage_options){ .offset = 2 * MIB, .length = MIB });
	unsigned char *w = help_buffer(8192, 5), *r = help_buffer(8192, 0);
	assert_int_equal(st->info.size_bytes, MIB);
	assert_non_null(strstr(st->info.identity, "+2097152,1048576"));
	assert_int_equal(help_do(st, DRAY_OP_WRITE, 0, MIB - 8192, 8192, w), 0);
	assert_int_equal(help_do(st, DRAY_OP_WRITE, 0, MIB - 4096, 8192, w), -EINVAL);
	assert_int_equal(help_do(st, DRAY_OP_ZERO, 0, MIB - 4096, 4096, NULL), 0);
	struct dray_extent e[4];
	unsigned n;
	assert_int_equal(help_do(st, DRAY_OP_FLUSH, 0, 0, 0, NULL), 0);
	assert_int_equal(help_extents(st, 0, MIB, e, 4, &n), 0);
	assert_int_equal(e[0].length, MIB - 8192);
	assert_int_equal(e[0].flags, DRAY_EXTENT_HOLE | DRAY_EXTENT_ZERO);
	help_close(st);
	int fd = open(file, O_RDONLY);
	assert_int_equal(pread(fd, r, 8192, 3 * MIB - 8192), 8192);
	assert_memory_equal(r, w, 4096);
	assert_true(help_zero(r + 4096, 4096));
	close(fd);
	struct dray_storage_options beyond = { .offset = 7 * MIB, .length = 2 * MIB };
	assert_int_equal(dray_storage_open(&st, file, &beyond, &err), -EINVAL);
	assert_string_equal(err.kind, "bad_resource");
	free(w);
	free(r);
}

static int try_open(struct dray_storage **st, uint64_t offset, uint64_t length, bool read_only)
{
	struct dray_storage_options o = { .offset = offset, .length = length, .read_only = read_only };
	return dray_storage_open(st, file, &o, NULL);
}

/* Several slices of one storage may be open, also here, but no two that overlap; the whole only where nobody writes. */
static void slices_locked(void **state)
{
	struct dray_storage *a, *b, *c, *no;
	assert_int_equal(try_open(&a, 0, MIB, false), 0);
	assert_int_equal(try_open(&b, MIB, MIB, false), 0);
	assert_int_equal(try_open(&c, 4 * MIB, 0, true), 0);
	assert_int_equal(try_open(&no, MIB / 2, MIB, false), -EBUSY);
	assert_int_equal(try_open(&no, MIB / 2, MIB, true), -EBUSY);
	assert_int_equal(try_open(&no, 5 * MIB, MIB, false), -EBUSY);
	assert_int_equal(try_open(&no, 0, 0, false), -EBUSY);
	assert_int_equal(try_open(&no, 0, 0, true), -EBUSY);
	assert_int_equal(try_open(&no, 5 * MIB, MIB, true), 0);
	help_close(no);
	help_close(a);
	help_close(b);
	assert_int_equal(try_open(&no, 0, 0, true), 0);
	help_close(no);
	assert_int_equal(try_open(&no, 0, 0, false), -EBUSY);
	help_close(c);
	assert_int_equal(try_open(&a, 0, 0, false), 0);
	assert_int_equal(try_open(&no, MIB, MIB, true), -EBUSY);
	help_close(a);
}

/* Sizes that are no whole blocks go through the page cache. */
static void odd_size(void **state)
{
	assert_int_equal(truncate(file, 100001), 0);
	struct dray_storage *st = help_open(file, NULL);
	assert_false(st->info.direct);
	assert_int_equal(st->info.block_bytes, 1);
	char b[5] = "tail", r[5] = "";
	assert_int_equal(help_do(st, DRAY_OP_WRITE, 0, 100001 - 4, 4, b), 0);
	assert_int_equal(help_do(st, DRAY_OP_READ, 0, 100001 - 4, 4, r), 0);
	assert_string_equal(r, "tail");
	assert_int_equal(help_do(st, DRAY_OP_ZERO, 0, 99999, 2, NULL), 0);
	assert_int_equal(help_do(st, DRAY_OP_READ, 0, 100001 - 4, 4, r), 0);
	assert_memory_equal(r, "ta\0\0", 4);
	help_close(st);
}

static void cut_short(void **state)
{
	struct dray_storage *st = help_open(file, NULL);
	unsigned char *r = help_buffer(65536, 0);
	assert_int_equal(truncate(file, MIB), 0);
	assert_int_equal(help_do(st, DRAY_OP_READ, 0, 2 * MIB, 65536, r), -EIO);
	help_close(st);
	free(r);
}

/* A holder in another process: refused, named; waited for; and what reads shares. */
static void locks(void **state)
{
	int ready[2];
	struct dray_error err = DRAY_ERROR_INIT;
	struct dray_storage *st;
	assert_int_equal(pipe(ready), 0);
	pid_t child = fork();
	if (!child) {
		struct dray_storage *mine;
		char c = dray_storage_open(&mine, file, NULL, NULL) ? 'n' : 'y';
		if (write(ready[1], &c, 1) != 1)
			_exit(1);
		for (;;)
			pause();
	}
	char c;
	assert_int_equal(read(ready[0], &c, 1), 1);
	assert_int_equal(c, 'y');
	assert_int_equal(dray_storage_open(&st, file, NULL, &err), -EBUSY);
	assert_string_equal(err.kind, "held");
	char pid[32];
	snprintf(pid, sizeof pid, "process %d", (int)child);
	if (!strstr(err.text, pid) && !strstr(err.text, "another program"))
		fail_msg("%s", err.text);
	struct dray_storage_info info;
	struct dray_storage_options look = { .no_lock = true };
	struct stat before, after;
	stat(file, &before);
	assert_int_equal(dray_storage_probe(file, &look, &info, NULL), 0);
	assert_int_equal(info.size_bytes, 8 * MIB);
	stat(file, &after); /* looking leaves no trace */
	assert_memory_equal(&before.st_mtim, &after.st_mtim, sizeof before.st_mtim);
	assert_memory_equal(&before.st_ctim, &after.st_ctim, sizeof before.st_ctim);
	/* Killed while we wait: then it is ours. */
	pid_t killer = fork();
	if (!killer) {
		nanosleep(&(struct timespec){ .tv_nsec = 200000000 }, NULL);
		kill(child, SIGKILL);
		_exit(0);
	}
	struct dray_storage_options wait = { .lock_wait_ns = UINT64_C(60000000000) };
	assert_int_equal(dray_storage_open(&st, file, &wait, NULL), 0);
	struct dray_storage *second;
	assert_int_equal(dray_storage_open(&second, file, NULL, NULL), -EBUSY); /* also within one process */
	dray_storage_close(st);
	struct dray_storage_options read_only = { .read_only = true };
	assert_int_equal(dray_storage_open(&st, file, &read_only, NULL), 0);
	assert_int_equal(dray_storage_open(&second, file, &read_only, NULL), 0);
	dray_storage_close(second);
	assert_int_equal(dray_storage_open(&second, file, NULL, NULL), -EBUSY);
	dray_storage_close(st);
	waitpid(child, NULL, 0);
	waitpid(killer, NULL, 0);
	close(ready[0]);
	close(ready[1]);
}

static void not_storage(void **state)
{
	struct dray_storage *st;
	struct dray_error err = DRAY_ERROR_INIT;
	char missing[192];
	snprintf(missing, sizeof missing, "%s/none", dir);
	assert_int_equal(dray_storage_open(&st, missing, NULL, &err), -ENOENT);
	assert_string_equal(err.kind, "not_found");
	assert_int_equal(dray_storage_open(&st, dir, NULL, &err), -EINVAL);
	assert_string_equal(err.kind, "bad_resource");
	assert_int_equal(dray_storage_open(&st, "/dev/null", NULL, &err), -EINVAL);
	assert_int_equal(dray_storage_open(&st, "iscsi://x/y", NULL, &err), -EINVAL);
	assert_string_equal(err.kind, "bad_resource");
	assert_int_equal(dray_storage_create(file, MIB, false, &err), -EEXIST);
	assert_string_equal(err.kind, "exists");
	if (geteuid()) {
		chmod(file, 0400);
		assert_int_equal(dray_storage_open(&st, file, NULL, &err), -EACCES);
		assert_string_equal(err.kind, "not_accessible");
	}
}

static void create(void **state)
{
	char path[192];
	struct stat s;
	for (int full = 0; full < 2; full++) {
		snprintf(path, sizeof path, "file:%s/new", dir);
		assert_int_equal(dray_storage_create(path, MIB, full, NULL), 0);
		assert_int_equal(stat(path + 5, &s), 0);
		assert_int_equal(s.st_size, MIB);
		if (full)
			assert_true(s.st_blocks * 512 >= (blkcnt_t)MIB);
		else
			assert_int_equal(s.st_blocks, 0);
		unlink(path + 5);
	}
}

#define ALL(f)                                                                                                 \
	cmocka_unit_test_setup_teardown(f, on_disk, teardown),                                                 \
		cmocka_unit_test_setup_teardown(f, on_disk_epoll, teardown),                                   \
		cmocka_unit_test_setup_teardown(f, in_memory, teardown),                                       \
		cmocka_unit_test_setup_teardown(f, in_memory_epoll, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		ALL(read_write), ALL(many_at_once), ALL(refusals), ALL(zero_and_discard), ALL(holes), ALL(slices), ALL(slices_locked),
		ALL(odd_size), ALL(cut_short), ALL(locks), ALL(not_storage), ALL(create),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
