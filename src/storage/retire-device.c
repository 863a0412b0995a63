/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Block devices: read-only, offline. Both are states in the kernel, set by one call and seen at once; a repeat sets them again.
 */
#include "storage/retire.h"

#include "storage/held.h"
#include "storage/storage.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define POLL_NS     100000000

static int read_state(const char *file, char *buf, size_t size)
{
	FILE *f = fopen(file, "re");
	bool good = f && fgets(buf, (int)size, f);
	if (f)
		fclose(f);
	if (!good)
		return -EIO;
	buf[strcspn(buf, "\n")] = 0;
	return 0;
}

static int set_read_only(const struct dray_retire_order *o, int fd, struct dray_retire_result *result, struct dray_error *err)
{
	int on = 1, is = 0;
	if (ioctl(fd, BLKROSET, &on))
		return dray_error_errno(err, -errno, "%s: make it read-only", o->path);
	if (ioctl(fd, BLKROGET, &is) || !is)
		return dray_error_set(err, -EIO, "%s was made read-only and is not", o->path);
	snprintf(result->detail, sizeof result->detail, "the kernel takes no more writes to it, until it appears again");
	return 0;
}

static int set_offline(const struct dray_retire_order *o, const char *state_file, struct dray_retire_result *result,
	struct dray_error *err)
{
	char state[64];
	int fd = open(state_file, O_WRONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : write(fd, "offline\n", 8);
	int e = errno;
	if (fd >= 0)
		close(fd);
	if (n != 8)
		return dray_error_errno(err, -e, "%s", state_file);
	if (read_state(state_file, state, sizeof state) || strcmp(state, "offline"))
		return dray_error_set(err, -EIO, "%s was taken offline and is not", o->path);
	snprintf(result->detail, sizeof result->detail, "offline, until it appears again or \"running\" is written to its state in /sys");
	return 0;
}

/* Nobody may have it open; some do for a moment. */
static int wait_until_free(const struct dray_retire_order *o, int fd, struct dray_error *err)
{
	for (uint64_t waited = 0;; waited += POLL_NS) {
		int rc = dray_storage_held(fd, o->path, err);
		if (rc != -EBUSY || waited >= o->wait_ns)
			return rc;
		if (o->stop(o->ctx))
			return -ECANCELED;
		nanosleep(&(struct timespec){ .tv_nsec = POLL_NS }, NULL);
	}
}

int dray_retire_device(const struct dray_retire_order *o, enum dray_retire_kind kind, struct dray_retire_result *result,
	struct dray_error *err)
{
	struct dray_storage_options options = { .read_only = true, .lock_wait_ns = o->wait_ns };
	struct dray_storage *st = NULL;
	struct stat sb;
	char state_file[PATH_MAX] = "", state[64];
	int fd = open(o->path, O_PATH | O_CLOEXEC);
	int rc = fd < 0 ? dray_error_errno(err, -errno, "%s", o->path) : dray_retire_same(o, fd, o->path, err);
	if (!rc && fstat(fd, &sb))
		rc = dray_error_errno(err, -errno, "%s", o->path);
	if (fd >= 0)
		close(fd);
	fd = -1;
	if (!rc && o->way == DRAY_RETIRE_OFFLINE) {
		if (dray_retire_scsi_state(sb.st_rdev, state_file, sizeof state_file))
			return dray_error_kind(err, -ENOTSUP, "retire", "%s is no SCSI disk", o->path);
		/* It can't be opened any more, and need not be. */
		if (!read_state(state_file, state, sizeof state) && !strcmp(state, "offline")) {
			snprintf(result->detail, sizeof result->detail, "it is offline");
			return 0;
		}
	}
	/* Exclusively: not mounted, not part of anything. */
	if (!rc)
		rc = dray_storage_open(&st, o->path, &options, err);
	if (!rc && strcmp(st->info.identity, o->identity))
		rc = dray_error_kind(err, -ESTALE, "replaced", "%s is another device now", o->path);
	if (!rc && (fd = open(o->path, O_RDONLY | O_NONBLOCK | O_CLOEXEC)) < 0)
		rc = dray_error_errno(err, -errno, "%s", o->path);
	if (!rc)
		rc = dray_retire_same(o, fd, o->path, err);
	if (!rc)
		rc = wait_until_free(o, fd, err);
	if (!rc && !*o->step)
		rc = o->record(o->ctx, "begun", o->path, 0);
	if (!rc) {
		o->point(o->ctx, "retire-begun");
		rc = o->way == DRAY_RETIRE_READ_ONLY ? set_read_only(o, fd, result, err) :
						       set_offline(o, state_file, result, err);
	}
	if (fd >= 0)
		close(fd);
	dray_storage_close(st);
	return rc;
}
