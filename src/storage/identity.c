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
#include "storage/sysfs.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
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

/* Which name in /dev/disk/FOLDER that begins with `prefix` leads to the device? What stands behind the prefix. */
static int link_of(dev_t dev, const char *folder, const char *prefix, char *buf, size_t size)
{
	char path[PATH_MAX];
	size_t n = strlen(prefix);
	snprintf(path, sizeof path, "%s/disk/%s", dray_dev_root(), folder);
	DIR *d = opendir(path);
	int rc = -ENOENT;
	for (struct dirent *e; d && rc && (e = readdir(d));) {
		struct stat st;
		if (e->d_name[0] != '.' && !strncmp(e->d_name, prefix, n) && !fstatat(dirfd(d), e->d_name, &st, 0) &&
			S_ISBLK(st.st_mode) && st.st_rdev == dev) {
			rc = (size_t)snprintf(buf, size, "%s", e->d_name + n) < size ? 0 : -ENAMETOOLONG;
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
		if ((unsigned)fs.f_type == XFS_MAGIC && !link_of(dev, "by-uuid", "", uuid, sizeof uuid)) {
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
	char path[PATH_MAX];
	/* Of the disk, also when asked for one of its partitions: so not by an ioctl on `fd`, but by /sys. */
	if (dray_sysfs_text(dev, "loop/backing_file", path, sizeof path))
		return -ENOENT;
	int f = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (f < 0)
		return -ENOENT;
	struct stat st;
	uint64_t offset = 0, limit = 0;
	int rc = fstat(f, &st) ? -errno : 0;
	if (!rc && fd >= 0 && !ioctl(fd, LOOP_GET_STATUS64, &li) &&
		(li.lo_inode != st.st_ino || li.lo_device != st.st_dev))
		rc = -ENOENT; /* another file has the name now */
	if (!rc)
		rc = dray_sysfs_number(dev, "loop/offset", &offset) || dray_sysfs_number(dev, "loop/sizelimit", &limit) ? -ENOENT :
			dray_identity_of_fd(f, buf, size, stable);
	if (!rc && (offset || limit)) {
		uint64_t sectors;
		rc = dray_sysfs_number(dev, "size", &sectors);
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
		if (dray_sysfs_line(dev, names[i].file, line, sizeof line))
			continue;
		/* multipath's 3 + hex digits is what its paths call naa. + hex digits */
		if (!strncmp(line, "mpath-3", 7))
			snprintf(buf, size, "block:wwid=naa.%s", line + 7);
		else
			snprintf(buf, size, "block:%s=%s", names[i].word, line);
		*stable = true;
		return;
	}
	if (!link_of(dev, "by-id", "md-uuid-", line, sizeof line)) {
		snprintf(buf, size, "block:md=%s", line);
		*stable = true;
		return;
	}
	*stable = false;
	snprintf(buf, size, "block:%u:%u", major(dev), minor(dev));
}

int dray_identity_of_device(int fd, dev_t dev, char *buf, size_t size, bool *stable)
{
	uint64_t partition, start, sectors;
	dev_t disk;
	if (dray_sysfs_number(dev, "partition", &partition)) {
		of_disk(fd, dev, buf, size, stable);
		return 0;
	}
	if (dray_sysfs_disk(dev, &disk) || dray_sysfs_number(dev, "start", &start) || dray_sysfs_number(dev, "size", &sectors)) {
		*stable = false;
		snprintf(buf, size, "block:%u:%u", major(dev), minor(dev));
		return 0;
	}
	of_disk(fd, disk, buf, size, stable);
	return dray_identity_slice(buf, size, start * 512, sectors * 512, NULL);
}

int dray_identity_of_fd(int fd, char *buf, size_t size, bool *stable)
{
	struct stat st;
	if (fstat(fd, &st))
		return -errno;
	if (S_ISREG(st.st_mode) || S_ISDIR(st.st_mode))
		return of_file(fd, buf, size, stable);
	return S_ISBLK(st.st_mode) ? dray_identity_of_device(fd, st.st_rdev, buf, size, stable) : -EINVAL;
}

/* ---- the other way round ---- */

struct search {
	const char *identity;
	uint64_t offset, length;
	unsigned found;
	dev_t dev;
	bool built_on; /* what was found has holders */
};

static bool see_any(void *arg, dev_t dev)
{
	return true;
}

static bool see_device(void *arg, dev_t dev)
{
	struct search *s = arg;
	char id[256];
	bool stable;
	uint64_t sectors;
	if (dray_sysfs_number(dev, "size", &sectors) || !sectors || dray_identity_of_device(-1, dev, id, sizeof id, &stable))
		return false;
	uint64_t size_bytes = sectors * 512;
	if ((s->offset || s->length) && (s->offset >= size_bytes || s->length > size_bytes - s->offset ||
					       dray_identity_slice(id, sizeof id, s->offset,
						       s->length ? s->length : size_bytes - s->offset, NULL)))
		return false;
	if (strcmp(id, s->identity))
		return false;
	bool built_on = dray_sysfs_each(dev, "holders", see_any, NULL);
	if (!s->found || (s->built_on && !built_on)) {
		s->dev = dev;
		s->built_on = built_on;
		s->found = 1;
	} else if (s->built_on == built_on && strncmp(id, "file:", 5)) {
		s->found++; /* two loop devices over one file are one storage, whichever is taken */
	}
	return false;
}

int dray_identity_find(const char *identity, uint64_t offset, uint64_t length, char *path, size_t size)
{
	struct search s = { .identity = identity, .offset = offset, .length = length };
	char name[128], called[160];
	dray_sysfs_all(see_device, &s);
	if (!s.found)
		return -ENOENT;
	if (s.found > 1)
		return -ENOTUNIQ;
	int n;
	if (!dray_sysfs_text(s.dev, "dm/name", called, sizeof called)) {
		n = snprintf(path, size, "%s/mapper/%s", dray_dev_root(), called);
		if ((size_t)n < size && !access(path, F_OK))
			return 0;
	}
	if (dray_sysfs_name(s.dev, name, sizeof name))
		return -ENOENT;
	for (char *p = name; *p; p++)
		if (*p == '!')
			*p = '/';
	n = snprintf(path, size, "%s/%s", dray_dev_root(), name);
	return (size_t)n < size ? 0 : -ENAMETOOLONG;
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
