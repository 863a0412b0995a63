/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Files are retired, killed at every point of it, and retired again: by processes that end there, with what they recorded
 * kept in memory that they share. In between nothing happens, or somebody makes a new file of the same name, which must
 * survive.
 */
#include "storage/retire.h"

#include "storage/identity.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#define SIZE (3U << 20)

/* What survives a kill. */
static struct disk {
	char step[16], path[PATH_MAX];
	uint64_t done;
} *disk;

static char dir[] = "/tmp/dray-retire-XXXXXX", file[64], link_name[64], tombstone[96], renamed[96];
static const char *crash_at;
static bool stopping;
static char identity[256];

static int record(void *ctx, const char *step, const char *path, uint64_t done)
{
	snprintf(disk->step, sizeof disk->step, "%s", step);
	snprintf(disk->path, sizeof disk->path, "%s", path);
	disk->done = done;
	return 0;
}

static void progress(void *ctx, uint64_t done, uint64_t total)
{
	assert_true(done <= total);
}

static bool stop(void *ctx)
{
	return stopping;
}

static void point(void *ctx, const char *name)
{
	if (crash_at && !strcmp(crash_at, name))
		_exit(137);
}

static uint64_t patience_ns; /* with whoever has the file open: 0, but where that was this test itself a moment ago */

static int retire(enum dray_retire_way way, struct dray_retire_result *result, struct dray_error *err)
{
	struct dray_retire_order o = { .way = way, .resource = file, .identity = identity, .same_boot = true, .session = "s-1",
		.pair = 2, .step = disk->step, .path = disk->path, .done_bytes = disk->done, .rate = UINT64_MAX, .record = record,
		.progress = progress, .stop = stop, .point = point, .wait_ns = patience_ns };
	return dray_retire_do(&o, result, err);
}

static void name_file(const char *path)
{
	int fd = open(path, O_PATH);
	bool stable;
	assert_true(fd >= 0);
	assert_int_equal(dray_identity_of_fd(fd, identity, sizeof identity, &stable), 0);
	close(fd);
}

static void make(const char *path, char byte)
{
	char block[4096];
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0644);
	memset(block, byte, sizeof block);
	assert_true(fd >= 0);
	for (size_t at = 0; at < SIZE; at += sizeof block)
		assert_int_equal(pwrite(fd, block, sizeof block, (off_t)at), sizeof block);
	assert_int_equal(ftruncate(fd, SIZE + 1000), 0);
	close(fd);
}

static void set_up(void)
{
	unlink(file);
	unlink(tombstone);
	unlink(renamed);
	unlink(link_name);
	memset(disk, 0, sizeof *disk);
	crash_at = NULL;
	stopping = false;
	make(file, 'a');
	name_file(file);
}

/* 'a', 'b' or 0: what the whole file is made of; '?': mixed; -1: no such file. */
static int made_of(const char *path)
{
	int fd = open(path, O_RDONLY), first = -2;
	char block[4096];
	struct stat st;
	if (fd < 0)
		return -1;
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_size, SIZE + 1000);
	for (size_t at = 0; at < SIZE; at += sizeof block) {
		assert_int_equal(pread(fd, block, sizeof block, (off_t)at), sizeof block);
		for (size_t i = 0; i < sizeof block; i++) {
			if (first == -2)
				first = block[i];
			else if (first != block[i])
				first = '?';
		}
	}
	close(fd);
	return first;
}

static void is_retired(enum dray_retire_way way, bool new_file)
{
	struct stat st;
	switch (way) {
	case DRAY_RETIRE_READ_ONLY:
		assert_int_equal(stat(file, &st), 0);
		assert_int_equal(st.st_mode & 07777, 0444);
		assert_int_equal(made_of(file), 'a');
		break;
	case DRAY_RETIRE_OFFLINE:
		assert_int_equal(stat(file, &st), 0);
		assert_int_equal(st.st_mode & 07777, 0);
		break;
	case DRAY_RETIRE_DISCARD:
		assert_int_equal(made_of(file), 0);
		assert_int_equal(stat(file, &st), 0);
		assert_true(st.st_blocks < 16);
		break;
	case DRAY_RETIRE_ZERO:
		assert_int_equal(made_of(file), 0);
		assert_int_equal(stat(file, &st), 0);
		assert_true(st.st_blocks >= SIZE / 512); /* written, not punched */
		break;
	case DRAY_RETIRE_DELETE:
		assert_int_equal(made_of(file), new_file ? 'b' : -1);
		assert_int_equal(made_of(tombstone), -1);
		break;
	case DRAY_RETIRE_RENAME:
		assert_int_equal(made_of(file), new_file ? 'b' : -1);
		assert_int_equal(made_of(renamed), 'a');
		break;
	default: fail();
	}
}

static const enum dray_retire_way all[] = { DRAY_RETIRE_READ_ONLY, DRAY_RETIRE_OFFLINE, DRAY_RETIRE_DISCARD, DRAY_RETIRE_ZERO,
	DRAY_RETIRE_DELETE, DRAY_RETIRE_RENAME };
static const char *const points[] = { "retire-begun", "retire-mode", "retire-renamed", "retire-moved", "retire-unlinked",
	"retire-piece", "retire-acted" };

/* Runs until the point; false: it is not on the way. */
static bool killed_at(enum dray_retire_way way, const char *name)
{
	int status;
	fflush(stdout);
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (!pid) {
		struct dray_retire_result result;
		struct dray_error err;
		crash_at = name;
		_exit(retire(way, &result, &err) ? 1 : 0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status) && (WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == 137));
	return WEXITSTATUS(status) == 137;
}

static void each_way(void **state)
{
	struct dray_retire_result result;
	struct dray_error err;
	for (size_t w = 0; w < sizeof all / sizeof all[0]; w++) {
		set_up();
		assert_int_equal(retire(all[w], &result, &err), 0);
		is_retired(all[w], false);
		assert_true(result.detail[0]);
		if (all[w] == DRAY_RETIRE_RENAME)
			assert_string_equal(result.name, renamed);
	}
}

static void killed_anywhere(void **state)
{
	struct dray_retire_result result;
	struct dray_error err;
	unsigned kills = 0;
	for (size_t w = 0; w < sizeof all / sizeof all[0]; w++)
		for (size_t p = 0; p < sizeof points / sizeof points[0]; p++) {
			set_up();
			if (!killed_at(all[w], points[p]))
				continue;
			kills++;
			assert_int_equal(retire(all[w], &result, &err), 0);
			is_retired(all[w], false);
		}
	/* begun and acted of each, and delete's moved, renamed, unlinked, rename's renamed, two modes */
	assert_true(kills >= 6 * 2 + 6);
}

/* The new file is never touched, whatever else becomes of it. */
static void killed_anywhere_and_a_new_file(void **state)
{
	struct dray_retire_result result;
	struct dray_error err;
	for (size_t w = 0; w < sizeof all / sizeof all[0]; w++)
		for (size_t p = 0; p < sizeof points / sizeof points[0]; p++) {
			struct stat before, after;
			char aside[96];
			set_up();
			if (!killed_at(all[w], points[p]))
				continue;
			bool gone = made_of(file) < 0 && access(file, F_OK);
			snprintf(aside, sizeof aside, "%s/aside", dir);
			if (!gone)
				assert_int_equal(rename(file, aside), 0);
			make(file, 'b');
			assert_int_equal(stat(file, &before), 0);
			int rc = retire(all[w], &result, &err);
			assert_int_equal(stat(file, &after), 0);
			assert_int_equal(before.st_ino, after.st_ino);
			assert_int_equal(before.st_mode, after.st_mode);
			assert_memory_equal(&before.st_mtim, &after.st_mtim, sizeof before.st_mtim);
			assert_int_equal(made_of(file), 'b');
			if (gone) {
				/* It had moved out of the way: done. */
				assert_int_equal(rc, 0);
				is_retired(all[w], true);
			} else {
				assert_int_equal(rc, -ESTALE);
				assert_string_equal(err.kind, "replaced");
				unlink(aside);
			}
		}
}

static void refused_untouched(enum dray_retire_way way, const char *kind)
{
	struct dray_retire_result result;
	struct dray_error err;
	int rc = retire(way, &result, &err);
	if (rc >= 0 || strcmp(err.kind, kind))
		fail_msg("%s: %d %s %s, not %s", dray_retire_word(way), rc, err.kind, err.text, kind);
	assert_string_equal(disk->step, "");
}

static void held_by_somebody(void **state)
{
	set_up();
	int pipes[2];
	char byte;
	assert_int_equal(pipe(pipes), 0);
	pid_t pid = fork();
	if (!pid) {
		int fd = open(file, O_RDONLY);
		if (fd < 0 || write(pipes[1], "x", 1) != 1)
			_exit(1);
		pause();
	}
	assert_int_equal(read(pipes[0], &byte, 1), 1);
	refused_untouched(DRAY_RETIRE_DELETE, "held");
	refused_untouched(DRAY_RETIRE_ZERO, "held");
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	close(pipes[0]);
	close(pipes[1]);
	assert_int_equal(made_of(file), 'a');
}

static void names(void **state)
{
	struct dray_retire_result result;
	struct dray_error err;
	/* Another name of the same data. */
	set_up();
	assert_int_equal(link(file, link_name), 0);
	refused_untouched(DRAY_RETIRE_DELETE, "retire");
	refused_untouched(DRAY_RETIRE_RENAME, "retire");
	assert_int_equal(retire(DRAY_RETIRE_READ_ONLY, &result, &err), 0);
	/* The new name is taken. */
	set_up();
	make(renamed, 'c');
	refused_untouched(DRAY_RETIRE_RENAME, "exists");
	assert_int_equal(made_of(renamed), 'c');
	/* A symbolic link: what it leads to is meant, and it stays. */
	set_up();
	char real[96];
	snprintf(real, sizeof real, "%s/real", dir);
	assert_int_equal(rename(file, real), 0);
	assert_int_equal(symlink(real, file), 0);
	assert_int_equal(retire(DRAY_RETIRE_DELETE, &result, &err), 0);
	assert_int_equal(access(real, F_OK), -1);
	char to[96];
	assert_true(readlink(file, to, sizeof to) > 0);
	/* Gone, or another file, before anything was begun. */
	set_up();
	unlink(file);
	refused_untouched(DRAY_RETIRE_DELETE, "not_found");
	make(file, 'b');
	refused_untouched(DRAY_RETIRE_DELETE, "replaced");
	refused_untouched(DRAY_RETIRE_DISCARD, "replaced");
	refused_untouched(DRAY_RETIRE_OFFLINE, "replaced");
	assert_int_equal(made_of(file), 'b');
}

static void left_off(void **state)
{
	struct dray_retire_result result;
	struct dray_error err;
	set_up();
	stopping = true;
	assert_int_equal(retire(DRAY_RETIRE_ZERO, &result, &err), -ECANCELED);
	assert_string_equal(disk->step, "begun");
	assert_true(disk->done > 0 && disk->done < SIZE);
	assert_int_equal(made_of(file), '?');
	stopping = false;
	patience_ns = UINT64_C(20000000000); /* the kernel lets go of a file after its last request has ended, which may be after its close */
	assert_int_equal(retire(DRAY_RETIRE_ZERO, &result, &err), 0);
	patience_ns = 0;
	is_retired(DRAY_RETIRE_ZERO, false);
}

/* Neither side of a slice is touched. */
static void slices(void **state)
{
	static const uint64_t at = (1 << 20) + 512, len = (1 << 20) + 1024;
	for (int way = DRAY_RETIRE_DISCARD; way <= DRAY_RETIRE_ZERO; way++) {
		struct dray_retire_result result;
		struct dray_error err;
		set_up();
		assert_int_equal(truncate(file, SIZE), 0);
		name_file(file);
		assert_int_equal(dray_identity_slice(identity, sizeof identity, at, len, NULL), 0);
		struct dray_retire_order o = { .way = (enum dray_retire_way)way, .resource = file, .offset = at, .length = len,
			.identity = identity, .same_boot = true, .session = "s-1", .pair = 2, .step = "", .rate = UINT64_MAX,
			.record = record, .progress = progress, .stop = stop, .point = point };
		/* The rest of the file is in use. */
		int fd = open(file, O_RDONLY);
		if (dray_retire_do(&o, &result, &err))
			fail_msg("%s", err.text);
		char *map = mmap(NULL, SIZE, PROT_READ, MAP_SHARED, fd, 0);
		assert_true(map != MAP_FAILED);
		for (uint64_t i = 0; i < SIZE; i++)
			if (map[i] != (i >= at && i < at + len ? 0 : 'a'))
				fail_msg("%s: byte %llu is %d", dray_retire_word(o.way), (unsigned long long)i, map[i]);
		munmap(map, SIZE);
		close(fd);
		o.way = DRAY_RETIRE_DELETE;
		assert_true(dray_retire_do(&o, &result, &err) < 0);
		assert_string_equal(err.kind, "retire");
	}
}

static void what_a_look_finds(void **state)
{
	struct dray_retire_facts f;
	struct dray_error err;
	struct dray_retire_look look = { .resource = file };
	set_up();
	assert_int_equal(dray_retire_look(&look, &f, &err), 0);
	assert_int_equal(f.kind, DRAY_RETIRE_KIND_FILE);
	assert_string_equal(f.identity, identity);
	for (int way = 0; way < DRAY_RETIRE_COUNT; way++)
		if (dray_retire_possible(&f, (enum dray_retire_way)way, &err))
			fail_msg("%s", err.text);
	assert_int_equal(link(file, link_name), 0);
	assert_int_equal(dray_retire_look(&look, &f, &err), 0);
	assert_int_equal(dray_retire_possible(&f, DRAY_RETIRE_DELETE, &err), -ENOTSUP);
	assert_int_equal(dray_retire_possible(&f, DRAY_RETIRE_OFFLINE, &err), 0);
	/* A part of it. */
	look.offset = 4096;
	assert_int_equal(dray_retire_look(&look, &f, &err), 0);
	assert_true(f.slice && strstr(f.identity, "+4096,"));
	assert_int_equal(dray_retire_possible(&f, DRAY_RETIRE_OFFLINE, &err), -ENOTSUP);
	assert_int_equal(dray_retire_possible(&f, DRAY_RETIRE_ZERO, &err), 0);
	/* A name that is long already. */
	char long_name[NAME_MAX + 64];
	snprintf(long_name, sizeof long_name, "%s/%0240d", dir, 1);
	make(long_name, 'a');
	look = (struct dray_retire_look){ .resource = long_name };
	assert_int_equal(dray_retire_look(&look, &f, &err), 0);
	assert_int_equal(dray_retire_possible(&f, DRAY_RETIRE_RENAME, &err), -ENOTSUP);
	assert_int_equal(dray_retire_possible(&f, DRAY_RETIRE_DELETE, &err), 0);
	unlink(long_name);
	/* A logical volume that is not active has no device; here, there is no such group either. */
	look = (struct dray_retire_look){ .resource = "/dev/no-group/no-volume",
		.identity = "block:dm=LVM-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaabbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb" };
	assert_int_equal(dray_retire_look(&look, &f, &err), 0);
	assert_int_equal(f.kind, DRAY_RETIRE_KIND_LV);
	assert_string_equal(f.identity, look.identity);
	for (int way = DRAY_RETIRE_READ_ONLY; way < DRAY_RETIRE_COUNT; way++)
		assert_int_equal(dray_retire_possible(&f, (enum dray_retire_way)way, &err), -ENOTSUP);
	look.identity = NULL;
	assert_true(dray_retire_look(&look, &f, &err) < 0);
	look.resource = "/no/such/file";
	assert_true(dray_retire_look(&look, &f, &err) < 0);
	assert_string_equal(err.kind, "not_found");
}

/* ---- names that can't be changed ---- */

/* As somebody for whom the directory is read-only; root first stops to be root. */
static void no_rights(void)
{
	bool root = geteuid() == 0;
	if (chmod(dir, root ? 0755 : 0555) || (root && (setegid(65534) || seteuid(65534))))
		_exit(9);
}

/* On a file system whose rename takes no flags. */
static void no_flags(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_renameat2, 0, 3),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[4])),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0, 1, 0),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EINVAL),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { .len = sizeof code / sizeof code[0], .filter = code };
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program))
		_exit(8);
}

/* In a process of its own, in which `prepare` has made it impossible: it fails with that kind, a text that says what to do, and
 * nothing was touched; here, where it is possible, it is done afterwards. */
static void fails_there(void (*prepare)(void), enum dray_retire_way way, const char *kind, const char *words)
{
	int status;
	set_up();
	pid_t pid = fork();
	if (!pid) {
		struct dray_retire_result result;
		struct dray_error err = DRAY_ERROR_INIT;
		prepare();
		int rc = retire(way, &result, &err);
		bool good = rc < 0 && !strcmp(err.kind, kind) && strstr(err.text, words) && strstr(err.text, "`dray retire`") && !result.name[0];
		if (!good)
			fprintf(stderr, "%d %s: %s\n", rc, err.kind, err.text);
		_exit(good ? 0 : 1);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 8) {
		print_message("this kernel filters no calls: not looked at\n");
		return;
	}
	assert_int_equal(status, 0);
	assert_int_equal(chmod(dir, 0700), 0);
	assert_int_equal(made_of(file), 'a');
	assert_int_equal(access(tombstone, F_OK), -1);
	assert_int_equal(access(renamed, F_OK), -1);
	/* A new order, as the command gives it. */
	memset(disk, 0, sizeof *disk);
	struct dray_retire_result result;
	struct dray_error err;
	assert_int_equal(retire(way, &result, &err), 0);
	is_retired(way, false);
}

static void no_new_name(void **state)
{
	static const enum dray_retire_way ways[] = { DRAY_RETIRE_RENAME, DRAY_RETIRE_DELETE };
	for (size_t i = 0; i < 2; i++) {
		fails_there(no_rights, ways[i], "not_accessible", "no name can be changed in");
		fails_there(no_flags, ways[i], "retire", "RENAME_NOREPLACE");
	}
}

/* The same, seen before, where that is possible without a change. */
static void no_new_name_is_foreseen(void **state)
{
	set_up();
	int status;
	pid_t pid = fork();
	if (!pid) {
		struct dray_retire_facts f;
		struct dray_error err;
		char legal[200];
		no_rights();
		bool good = !dray_retire_look(&(struct dray_retire_look){ .resource = file }, &f, &err) &&
			    dray_retire_possible(&f, DRAY_RETIRE_RENAME, &err) == -ENOTSUP && strstr(err.text, "no name can be changed in") &&
			    dray_retire_possible(&f, DRAY_RETIRE_DELETE, &err) == -ENOTSUP &&
			    !strstr(dray_retire_legal(&f, legal, sizeof legal), "rename");
		_exit(good ? 0 : 1);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	/* A sticky directory of somebody else's: only root's, or the owner's, to rename in. */
	if (geteuid() == 0) {
		assert_int_equal(chmod(dir, 01777), 0);
		pid = fork();
		if (!pid) {
			struct dray_retire_facts f;
			struct dray_error err;
			if (setegid(65534) || seteuid(65534))
				_exit(9);
			bool good = !dray_retire_look(&(struct dray_retire_look){ .resource = file }, &f, &err) &&
				    dray_retire_possible(&f, DRAY_RETIRE_RENAME, &err) == -ENOTSUP && strstr(err.text, "sticky");
			_exit(good ? 0 : 1);
		}
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_int_equal(status, 0);
	}
	assert_int_equal(chmod(dir, 0700), 0);
	static const long cant[] = { 0x6969, 0x00c36400, 0x01021997, 0x7461636f };
	static const long can[] = { 0xef53 /* ext4 */, 0x58465342 /* XFS */, 0x9123683e /* Btrfs */, 0x01021994 /* tmpfs */, 0x794c7630 /* overlay */,
		0x65735546 /* FUSE: who knows */ };
	for (size_t i = 0; i < sizeof cant / sizeof cant[0]; i++)
		assert_false(dray_retire_may_rename(cant[i]));
	for (size_t i = 0; i < sizeof can / sizeof can[0]; i++)
		assert_true(dray_retire_may_rename(can[i]));
	/* As the kernel gives it where it is negative in 32 bits. */
	assert_true(dray_retire_may_rename((long)(int)0x9123683e));
}

static int begin(void **state)
{
	disk = mmap(NULL, sizeof *disk, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (disk == MAP_FAILED || !mkdtemp(dir))
		return -1;
	snprintf(file, sizeof file, "%s/a", dir);
	snprintf(link_name, sizeof link_name, "%s/other", dir);
	snprintf(tombstone, sizeof tombstone, "%s/.dray-retired-s-1-2", dir);
	snprintf(renamed, sizeof renamed, "%s/a.retired-s-1", dir);
	return 0;
}

static int end(void **state)
{
	unlink(file);
	unlink(link_name);
	unlink(tombstone);
	unlink(renamed);
	return rmdir(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_way),
		cmocka_unit_test(killed_anywhere),
		cmocka_unit_test(killed_anywhere_and_a_new_file),
		cmocka_unit_test(held_by_somebody),
		cmocka_unit_test(names),
		cmocka_unit_test(left_off),
		cmocka_unit_test(slices),
		cmocka_unit_test(what_a_look_finds),
		cmocka_unit_test(no_new_name),
		cmocka_unit_test(no_new_name_is_foreseen),
	};
	return cmocka_run_group_tests(tests, begin, end);
}
