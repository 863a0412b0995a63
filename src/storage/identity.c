/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Identities of files and block devices (the forms are in the header).
 *
 * A regular file is its file system, inode number and birth time: the number alone comes back for another file after
 * a deletion. A block device is what the hardware or the layer that made it says of itself in /sys; a partition is a part of
 * its disk; a multipath device is the disk behind it, under the name its paths have; a loop device is (a part of) its file.
 * Words from /sys are made plain: what could be mistaken for our own punctuation becomes '_'.
 */
#include "storage/identity.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/loop.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define XFS_MAGIC 0x58465342

/* One line of a file below the device's folder in /sys, trimmed and made plain. 0, or -ENOENT if it is missing or says
 * nothing. */
static int sys_line(dev_t dev, const char *name, char *buf, size_t size)
{
	char path[160];
	snprintf(path, sizeof path, "/sys/dev/block/%u:%u/%s", major(dev), minor(dev), name);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -ENOENT;
	ssize_t n = read(fd, buf, size - 1);
	close(fd);
	while (n > 0 && isspace((unsigned char)buf[n - 1]))
		n--;
	if (n <= 0)
		return -ENOENT;
	buf[n] = 0;
	size_t skip = strspn(buf, " \t");
	memmove(buf, buf + skip, (size_t)n - skip + 1);
	for (char *p = buf; *p; p++)
		if (!isalnum((unsigned char)*p) && !strchr("._:=-/", *p))
			*p = '_';
	return buf[0] ? 0 : -ENOENT;
}

static int sys_number(dev_t dev, const char *name, uint64_t *value)
{
	char line[64], *end;
	if (sys_line(dev, name, line, sizeof line))
		return -ENOENT;
	*value = strtoull(line, &end, 10);
	return *end ? -ENOENT : 0;
}

/* Which name in /dev/disk/by-uuid leads to the device? */
static int uuid_of(dev_t dev, char *buf, size_t size)
{
	DIR *d = opendir("/dev/disk/by-uuid");
	int rc = -ENOENT;
	for (struct dirent *e; d && rc && (e = readdir(d));) {
		struct stat st;
		if (e->d_name[0] != '.' && !fstatat(dirfd(d), e->d_name, &st, 0) && S_ISBLK(st.st_mode) &&
			st.st_rdev == dev) {
			rc = (size_t)snprintf(buf, size, "%s", e->d_name) < size ? 0 : -ENAMETOOLONG;
		}
	}
	if (d)
		closedir(d);
	return rc;
}

static int of_file(int fd, char *buf, size_t size, bool *stable)
{
	struct statx sx;
	struct statfs fs;
	char where[64], uuid[48];
	if (statx(fd, "", AT_EMPTY_PATH, STATX_INO | STATX_BTIME, &sx) || fstatfs(fd, &fs))
		return -errno;
	dev_t dev = makedev(sx.stx_dev_major, sx.stx_dev_minor);
	*stable = true;
	switch ((unsigned)fs.f_type) {
	case EXT4_SUPER_MAGIC: /* ext2 and ext3 too */
	case BTRFS_SUPER_MAGIC:
	case F2FS_SUPER_MAGIC:
		snprintf(where, sizeof where, "fsid=%08x%08x", (unsigned)fs.f_fsid.__val[0], (unsigned)fs.f_fsid.__val[1]);
		break;
	default:
		if ((unsigned)fs.f_type == XFS_MAGIC && !uuid_of(dev, uuid, sizeof uuid)) {
			snprintf(where, sizeof where, "uuid=%s", uuid);
			break;
		}
		snprintf(where, sizeof where, "dev=%u:%u", major(dev), minor(dev));
		*stable = false;
	}
	int n = snprintf(buf, size, "file:%s,ino=%" PRIu64, where, (uint64_t)sx.stx_ino);
	if (sx.stx_mask & STATX_BTIME)
		snprintf(buf + n, size - (size_t)n, ",btime=%lld.%09u", (long long)sx.stx_btime.tv_sec,
			sx.stx_btime.tv_nsec);
	else
		*stable = false; /* a number that may have been given to another file */
	return 0;
}

/* The file behind a loop device, if its path still leads to it. */
static int of_loop(int fd, dev_t dev, char *buf, size_t size, bool *stable)
{
	struct loop_info64 li;
	char path[4096], name[96];
	/* Of the disk, also when asked for one of its partitions: so not by an ioctl on `fd`, but by /sys. */
	snprintf(name, sizeof name, "/sys/dev/block/%u:%u/loop/backing_file", major(dev), minor(dev));
	int f = open(name, O_RDONLY | O_CLOEXEC);
	if (f < 0)
		return -ENOENT;
	ssize_t n = read(f, path, sizeof path - 1);
	close(f);
	if (n <= 1)
		return -ENOENT;
	path[path[n - 1] == '\n' ? n - 1 : n] = 0;
	f = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (f < 0)
		return -ENOENT;
	struct stat st;
	uint64_t offset = 0, limit = 0;
	int rc = fstat(f, &st) ? -errno : 0;
	if (!rc && !ioctl(fd, LOOP_GET_STATUS64, &li) &&
		(li.lo_inode != st.st_ino || li.lo_device != st.st_dev))
		rc = -ENOENT; /* another file has the name now */
	if (!rc)
		rc = sys_number(dev, "loop/offset", &offset) || sys_number(dev, "loop/sizelimit", &limit) ? -ENOENT :
			dray_identity_of_fd(f, buf, size, stable);
	if (!rc && (offset || limit)) {
		uint64_t sectors;
		rc = sys_number(dev, "size", &sectors);
		if (!rc)
			rc = dray_identity_slice(buf, size, offset, sectors * 512, NULL);
	}
	close(f);
	return rc;
}

static void of_disk(int fd, dev_t dev, char *buf, size_t size, bool *stable)
{
	static const struct {
		const char *file, *word;
	} names[] = { { "dm/uuid", "dm" }, { "wwid", "wwid" }, { "device/wwid", "wwid" }, { "uuid", "uuid" },
		{ "serial", "serial" }, { "device/serial", "serial" }, { "md/uuid", "md" } };
	char line[160];
	*stable = true;
	if (!of_loop(fd, dev, buf, size, stable))
		return;
	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
		if (sys_line(dev, names[i].file, line, sizeof line))
			continue;
		/* multipath's 3 + hex digits is what its paths call naa. + hex digits */
		if (!strncmp(line, "mpath-3", 7))
			snprintf(buf, size, "block:wwid=naa.%s", line + 7);
		else
			snprintf(buf, size, "block:%s=%s", names[i].word, line);
		*stable = true;
		return;
	}
	*stable = false;
	snprintf(buf, size, "block:%u:%u", major(dev), minor(dev));
}

int dray_identity_of_fd(int fd, char *buf, size_t size, bool *stable)
{
	struct stat st;
	if (fstat(fd, &st))
		return -errno;
	if (S_ISREG(st.st_mode))
		return of_file(fd, buf, size, stable);
	if (!S_ISBLK(st.st_mode))
		return -EINVAL;
	uint64_t partition, start, sectors;
	if (sys_number(st.st_rdev, "partition", &partition)) {
		of_disk(fd, st.st_rdev, buf, size, stable);
		return 0;
	}
	char disk[32];
	unsigned maj, min;
	if (sys_line(st.st_rdev, "../dev", disk, sizeof disk) || sscanf(disk, "%u:%u", &maj, &min) != 2 ||
		sys_number(st.st_rdev, "start", &start) || sys_number(st.st_rdev, "size", &sectors)) {
		*stable = false;
		snprintf(buf, size, "block:%u:%u", major(st.st_rdev), minor(st.st_rdev));
		return 0;
	}
	of_disk(fd, makedev(maj, min), buf, size, stable);
	return dray_identity_slice(buf, size, start * 512, sectors * 512, NULL);
}

/* ---- parts ---- */

/* Splits off "+OFFSET,LENGTH". Returns the length of what stands before; *part says whether there was one. */
static size_t split(const char *id, bool *part, uint64_t *offset, uint64_t *length)
{
	const char *plus = strrchr(id, '+');
	int end = 0;
	*part = plus && sscanf(plus, "+%" SCNu64 ",%" SCNu64 "%n", offset, length, &end) == 2 && !plus[end];
	return *part ? (size_t)(plus - id) : strlen(id);
}

int dray_identity_slice(char *identity, size_t size, uint64_t offset, uint64_t length, struct dray_error *err)
{
	bool part;
	uint64_t o = 0, l = 0;
	size_t n = split(identity, &part, &o, &l);
	if (part)
		offset += o;
	if ((size_t)snprintf(identity + n, size - n, "+%" PRIu64 ",%" PRIu64, offset, length) >= size - n)
		return dray_error_errno(err, -ENAMETOOLONG, "identity");
	return 0;
}

bool dray_identity_overlaps(const char *a, const char *b)
{
	bool part_a, part_b;
	uint64_t oa, la, ob, lb;
	size_t na = split(a, &part_a, &oa, &la), nb = split(b, &part_b, &ob, &lb);
	if (na != nb || memcmp(a, b, na))
		return false;
	if (!part_a || !part_b)
		return true;
	/* By subtraction, so that nothing overflows. */
	return oa < ob ? ob - oa < la : oa - ob < lb;
}
