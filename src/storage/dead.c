/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A block device is dead when the kernel has none with its number, or one that is newer: each disk has a sequence number that is never
 * given twice. That is asked of /sys, without any I/O.
 *
 * A file is dead when its file system is. With the disk below, if that is gone; else only trying can tell: nothing of it can be read, not at its
 * beginning, nor in the middle, nor at its end, and then it can't be synced; or the server of a network file system does not know it any
 * more (ESTALE, wherever it is read). In this order: where something can be read, no sync is tried, for the
 * kernel tells a lost write only once, and that is the application's to hear (H13).
 */
#include "storage/dead.h"

#include "storage/sysfs.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#ifndef BLKGETDISKSEQ /* Linux 5.15 */
#define BLKGETDISKSEQ _IOR(0x12, 128, __u64)
#endif

int dray_storage_dup(const struct dray_storage *st)
{
	return st->driver->dup ? st->driver->dup(st) : -ENOTSUP;
}

/* There is a /sys, and it has no such device. */
static bool no_device(dev_t dev)
{
	char path[4096], name[256];
	snprintf(path, sizeof path, "%s/dev/block", dray_sysfs_root());
	return dray_sysfs_name(dev, name, sizeof name) && access(path, X_OK) == 0;
}

static bool device_dead(int fd, dev_t dev)
{
	uint64_t ours, now;
	if (no_device(dev))
		return true;
	if (ioctl(fd, BLKGETDISKSEQ, &ours))
		return false;
	return (!dray_sysfs_number(dev, "diskseq", &now) || !dray_sysfs_number(dev, "../diskseq", &now)) && now != ours;
}

/* What a file system that is no more answers to everything. */
static bool hopeless(int error)
{
	return error == EIO || error == ENODEV || error == ENXIO || error == ESTALE || error == ENOTCONN || error == ESHUTDOWN;
}

static bool unreadable(int fd, void *buf, size_t size, uint64_t at, bool *stale)
{
	ssize_t n;
	do
		n = pread(fd, buf, size, (off_t)at);
	while (n < 0 && errno == EINTR);
	*stale &= n < 0 && errno == ESTALE;
	return n < 0 && hopeless(errno);
}

static bool file_dead(int fd, const struct dray_storage_info *info, uint64_t start)
{
	size_t unit = info->block_bytes > 4096 ? info->block_bytes : 4096;
	size_t align = info->memory_align > 4096 ? info->memory_align : 4096;
	uint64_t last = info->size_bytes > unit ? (info->size_bytes - unit) / unit * unit : 0;
	void *buf = NULL;
	if (posix_memalign(&buf, align, unit))
		return false;
	bool stale = true;
	bool dead = unreadable(fd, buf, unit, start, &stale) && unreadable(fd, buf, unit, start + last / 2 / unit * unit, &stale) &&
		unreadable(fd, buf, unit, start + last, &stale) && (stale || (fdatasync(fd) && hopeless(errno)));
	free(buf);
	return dead;
}

bool dray_storage_dead(int fd, const struct dray_storage_info *info, uint64_t slice_offset)
{
	struct stat st;
	if (fstat(fd, &st))
		return false;
	if (S_ISBLK(st.st_mode))
		return device_dead(fd, st.st_rdev);
	return (major(st.st_dev) && no_device(st.st_dev)) || file_dead(fd, info, slice_offset);
}
