/* SPDX-License-Identifier: BSD-3-Clause */
/* Block devices: I/O, zeroes, discards, what holds them, and whose bytes they are. On loop devices, so only where those
 * may be made. */
#include <errno.h>
#include <fcntl.h>
#include <linux/loop.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <cmocka.h>
#include "storage-help.h"
#include "storage/identity.h"
#include "storage/content.h"

#define MIB (UINT64_C(1) << 20)

static char dir[128], file[160], device[32];
static int device_fd = -1;
static const char *why_not;

/* A loop device on `length` bytes of the file at `offset`. */
static bool make_device(uint64_t offset, uint64_t length)
{
	int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC), back = open(file, O_RDWR | O_CLOEXEC), n;
	why_not = "no loop devices here (root is needed)";
	if (control < 0 || back < 0)
		goto out;
	/* Somebody else may take the free one before we do. */
	for (int i = 0; i < 20 && device_fd < 0 && (n = ioctl(control, LOOP_CTL_GET_FREE)) >= 0; i++) {
		struct loop_config c = { .fd = (unsigned)back, .info = { .lo_offset = offset, .lo_sizelimit = length,
								       .lo_flags = LO_FLAGS_AUTOCLEAR } };
		snprintf(device, sizeof device, "/dev/loop%d", n);
		device_fd = open(device, O_RDWR | O_CLOEXEC);
		if (device_fd >= 0 && ioctl(device_fd, LOOP_CONFIGURE, &c)) {
			close(device_fd);
			device_fd = -1;
			if (errno != EBUSY)
				break;
		}
	}
out:
	if (control >= 0)
		close(control);
	if (back >= 0)
		close(back);
	return device_fd >= 0;
}

static int setup(void **state)
{
	strcpy(dir, help_folder("/var/tmp"));
	snprintf(file, sizeof file, "%s/a.img", dir);
	help_loop(DRAY_LOOP_AUTO);
	return dray_storage_create(file, 16 * MIB, false, NULL);
}

static int teardown(void **state)
{
	if (device_fd >= 0)
		close(device_fd);
	device_fd = -1;
	dray_loop_free(loop);
	unlink(file);
	rmdir(dir);
	return 0;
}

#define need_device(offset, length)                                                                            \
	do {                                                                                                   \
		if (!make_device(offset, length)) {                                                            \
			print_message("skipped: %s\n", why_not);                                               \
			skip();                                                                                \
		}                                                                                              \
	} while (0)

static void io(void **state)
{
	need_device(0, 0);
	struct dray_storage *st = help_open(device, NULL);
	unsigned char *w = help_buffer(MIB, 3), *r = help_buffer(MIB, 0);
	assert_true(st->info.is_block_device);
	assert_true(st->info.direct);
	assert_int_equal(st->info.size_bytes, 16 * MIB);
	assert_int_equal(st->info.block_bytes, 512);
	assert_int_equal(help_do(st, DRAY_OP_WRITE, DRAY_F_FUA, MIB, MIB, w), 0);
	assert_int_equal(help_do(st, DRAY_OP_READ, 0, MIB, MIB, r), 0);
	assert_memory_equal(r, w, MIB);
	assert_int_equal(help_do(st, DRAY_OP_ZERO, 0, MIB, MIB / 4, NULL), 0);
	assert_int_equal(help_do(st, DRAY_OP_ZERO, DRAY_F_MAY_UNMAP, MIB + MIB / 4, MIB / 4, NULL), 0);
	if (st->info.can_discard)
		assert_int_equal(help_do(st, DRAY_OP_DISCARD, 0, 0, MIB, NULL), 0);
	assert_int_equal(help_do(st, DRAY_OP_READ, 0, MIB, MIB, r), 0);
	assert_true(help_zero(r, MIB / 2));
	assert_memory_equal(r + MIB / 2, w + MIB / 2, MIB / 2);
	assert_int_equal(help_do(st, DRAY_OP_FLUSH, 0, 0, 0, NULL), 0);
	help_close(st);
	free(w);
	free(r);
}

/* O_EXCL is for the process: slices of a device beside each other, the whole for nobody else meanwhile. */
static void slices_locked(void **state)
{
	need_device(0, 0);
	struct dray_storage_options first = { .length = MIB }, second = { .offset = MIB, .length = MIB }, both = { .length = 2 * MIB };
	struct dray_storage *a, *b, *no;
	assert_int_equal(dray_storage_open(&a, device, &first, NULL), 0);
	assert_int_equal(dray_storage_open(&b, device, &second, NULL), 0);
	assert_int_equal(dray_storage_open(&no, device, &both, NULL), -EBUSY);
	assert_int_equal(dray_storage_open(&no, device, &(struct dray_storage_options){ 0 }, NULL), -EBUSY);
	assert_int_equal(open(device, O_RDONLY | O_EXCL), -1);
	help_close(a);
	help_close(b);
	assert_int_equal(dray_storage_open(&a, device, &(struct dray_storage_options){ 0 }, NULL), 0);
	help_close(a);
}

static void identity(void **state)
{
	need_device(4 * MIB, 8 * MIB);
	struct dray_storage_info d, f, s;
	struct dray_storage_options look = { .read_only = true, .no_lock = true }, slice = look;
	slice.offset = MIB;
	slice.length = MIB;
	assert_int_equal(dray_storage_probe(device, &look, &d, NULL), 0);
	assert_int_equal(dray_storage_probe(file, &look, &f, NULL), 0);
	char want[300];
	snprintf(want, sizeof want, "%s+4194304,8388608", f.identity);
	assert_string_equal(d.identity, want);
	assert_int_equal(d.stable_identity, f.stable_identity);
	assert_true(dray_identity_overlaps(d.identity, f.identity));
	assert_int_equal(dray_storage_probe(file, &slice, &s, NULL), 0);
	assert_false(dray_identity_overlaps(d.identity, s.identity));
	assert_int_equal(dray_storage_probe(device, &slice, &s, NULL), 0);
	snprintf(want, sizeof want, "%s+5242880,1048576", f.identity);
	assert_string_equal(s.identity, want);
}

/* By identity it is found whatever it is called; what is recorded of a slice of it, too. */
static void found(void **state)
{
	need_device(0, 0);
	struct dray_storage_info d;
	struct dray_storage_options look = { .read_only = true, .no_lock = true };
	char path[64];
	assert_int_equal(dray_storage_probe(device, &look, &d, NULL), 0);
	assert_int_equal(dray_identity_find(d.identity, 0, 0, path, sizeof path), 0);
	assert_string_equal(path, device);
	look.offset = MIB;
	look.length = 2 * MIB;
	assert_int_equal(dray_storage_probe(device, &look, &d, NULL), 0);
	assert_int_equal(dray_identity_find(d.identity, 0, 0, path, sizeof path), -ENOENT);
	assert_int_equal(dray_identity_find(d.identity, MIB, 2 * MIB, path, sizeof path), 0);
	assert_string_equal(path, device);
	look.length = 0;
	assert_int_equal(dray_storage_probe(device, &look, &d, NULL), 0);
	assert_int_equal(dray_identity_find(d.identity, MIB, 0, path, sizeof path), 0);
	assert_int_equal(dray_identity_find("block:serial=nobody", 0, 0, path, sizeof path), -ENOENT);
}

static void held(void **state)
{
	need_device(0, 0);
	struct dray_storage *st;
	struct dray_error err = DRAY_ERROR_INIT;
	char mkfs[200], where[160];
	int other = open(device, O_RDWR | O_EXCL | O_CLOEXEC);
	assert_true(other >= 0);
	assert_int_equal(dray_storage_open(&st, device, NULL, &err), -EBUSY);
	assert_string_equal(err.kind, "held");
	close(other);
	/* A holder that goes away, some time after it was told to, is waited for. */
	int ready[2], go[2];
	char c;
	assert_int_equal(pipe(ready), 0);
	assert_int_equal(pipe(go), 0);
	pid_t child = fork();
	if (!child) {
		if (open(device, O_RDWR | O_EXCL) < 0 || write(ready[1], "y", 1) != 1 || read(go[0], &c, 1) != 1)
			_exit(1);
		nanosleep(&(struct timespec){ .tv_nsec = 200000000 }, NULL);
		_exit(0);
	}
	assert_int_equal(read(ready[0], &c, 1), 1);
	assert_int_equal(dray_storage_open(&st, device, NULL, NULL), -EBUSY);
	assert_int_equal(write(go[1], "y", 1), 1);
	struct dray_storage_options wait = { .lock_wait_ns = UINT64_C(60000000000) };
	assert_int_equal(dray_storage_open(&st, device, &wait, NULL), 0);
	dray_storage_close(st);
	waitpid(child, NULL, 0);
	close(ready[0]);
	close(ready[1]);
	close(go[0]);
	close(go[1]);
	snprintf(mkfs, sizeof mkfs, "PATH=$PATH:/sbin:/usr/sbin mkfs.ext4 -q -F %s", device);
	assert_int_equal(system(mkfs), 0);
	struct dray_storage_options whole = { 0 };
	struct dray_content content;
	assert_int_equal(dray_storage_content(device, &whole, true, &content, NULL), 0);
	assert_string_equal(content.what, "ext4 file system");
	assert_string_equal(content.type, "ext4");
	assert_int_equal(strlen(content.uuid), 36);
	snprintf(where, sizeof where, "%s/mnt", dir);
	assert_int_equal(mkdir(where, 0700), 0);
	if (mount(device, where, "ext4", 0, NULL)) {
		rmdir(where);
		print_message("skipped: may not mount\n");
		skip();
	}
	int rc = dray_storage_open(&st, device, NULL, &err);
	struct dray_storage_info info;
	struct dray_storage_options look = { .read_only = true, .no_lock = true };
	int seen = dray_storage_probe(device, &look, &info, NULL);
	/* The file behind it can be opened by anybody; it is in use all the same. */
	struct dray_error why = DRAY_ERROR_INIT;
	struct dray_storage_options closer = { .look = true };
	int behind = dray_storage_probe(file, &closer, &info, &why);
	umount(where);
	rmdir(where);
	assert_int_equal(rc, -EBUSY);
	assert_string_equal(err.kind, "mounted");
	assert_non_null(strstr(err.text, "mounted on"));
	assert_int_equal(seen, 0);
	assert_int_equal(behind, -EBUSY);
	assert_string_equal(why.kind, "mounted");
	assert_non_null(strstr(why.text, device));
	assert_non_null(strstr(why.text, where));
	assert_int_equal(dray_storage_open(&st, device, NULL, NULL), 0);
	dray_storage_close(st);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = { T(io), T(slices_locked), T(identity), T(found), T(held) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
