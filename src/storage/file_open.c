/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Opening a regular file or block device: is it ours to take, and what can it do?
 *
 * Taking it. A device is opened O_EXCL, which the kernel refuses while it is mounted, swap, or part of something; we look up
 * which, since "busy" helps nobody. Then flock(2) on the open file description: exclusive, or shared for one that
 * is only read. This lock is what hazard H6 rests on after a crash: I/O requests of a killed process keep its open
 * file description, and with it the lock, until the last of them has landed. So whoever waits for the lock
 * (lock_wait_ns) and gets it knows that no old write is still on its way.
 *
 * Slices. Several legs may be parts of one storage (N:1), in one process or in several, and no two of them may overlap. So a
 * slice takes flock shared, which keeps those out who write to the whole, and then its range by a lock of the open file
 * description (F_OFD_SETLK), which lives and dies as flock does: to write it exclusively, to read it shared. Who only
 * reads the whole takes the range of the whole. A device is claimed by O_EXCL once for all slices of it in this
 * process (claims), since two such opens exclude each other even here.
 *
 * What it can do is found by asking, never by guessing from a name: direct I/O by statx, else by trying; holes by lseek; zeroing
 * by a call that changes nothing (a hole punched behind the end of a file) or the queue's limits.
 */
#include "storage/busy.h"
#include "storage/file.h"
#include "storage/identity.h"
#include "storage/sysfs.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

#define XFS_MAGIC    0x58465342
#define LOCK_POLL_NS 20000000
#define LOOK_WAIT_NS 500000000 /* whoever opens it now may hold a lock for a moment */
/* udev looks at a device, with a shared lock, whenever a writer closed it. */
#define DEVICE_LOCK_WAIT_NS 1000000000

static uint64_t clock_ns(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * UINT64_C(1000000000) + (uint64_t)ts.tv_nsec;
}

static uint64_t queue_number(dev_t dev, const char *name)
{
	char file[64];
	uint64_t value;
	snprintf(file, sizeof file, "queue/%s", name);
	if (!dray_sysfs_number(dev, file, &value))
		return value;
	snprintf(file, sizeof file, "../queue/%s", name); /* dev is a partition */
	return dray_sysfs_number(dev, file, &value) ? 0 : value;
}

/* ---- who has it? ---- */

/* Why can't it be taken? *kind: "mounted" (also as swap) or "held". */
static void why_busy(dev_t dev, const char **kind, char *buf, size_t size)
{
	*kind = dray_busy_mounted(dev, buf, size) ? "mounted" : "held";
	if (strcmp(*kind, "mounted") && !dray_busy_device(dev, buf, size))
		snprintf(buf, size, "it, or a part of it, is in use (mounted elsewhere, part of another device, or open exclusively)");
}

static bool is_slice(const struct dray_storage_options *o)
{
	return o->offset || o->length;
}

/* 0, or -1 with errno EWOULDBLOCK or another. */
static int try_lock(int fd, const struct dray_storage_options *o)
{
	bool slice = is_slice(o);
	if (flock(fd, (o->read_only || slice ? LOCK_SH : LOCK_EX) | LOCK_NB))
		return -1;
	if (!o->read_only && !slice)
		return 0;
	struct flock range = { .l_type = o->read_only ? F_RDLCK : F_WRLCK, .l_whence = SEEK_SET, .l_start = (off_t)o->offset,
		.l_len = (off_t)o->length };
	if (!fcntl(fd, F_OFD_SETLK, &range))
		return 0;
	if (errno == EAGAIN || errno == EACCES)
		errno = EWOULDBLOCK;
	else if (!slice && errno != EINTR)
		return 0; /* a file system without such locks: nobody has a slice of it */
	return -1;
}

/* Would the lock be ours? Asked without taking one that could be in another's way for longer than the question. */
static int look_lock(int fd, const struct stat *st, const struct dray_storage_options *o, const char *path,
	struct dray_error *err)
{
	char why[256];
	uint64_t end = clock_ns() + LOOK_WAIT_NS;
	bool free_now;
	/* Shared, so that those who look at one moment don't find each other. An exclusive lock of another is found at once, a
	 * shared one by its line in /proc/locks. */
	while (!(free_now = !flock(fd, LOCK_SH | LOCK_NB)) && (errno == EINTR || errno == EWOULDBLOCK) && clock_ns() < end) {
		if (dray_busy_locker(st, why, sizeof why))
			return dray_error_kind(err, -EBUSY, "held", "%s: %s", path, why);
		nanosleep(&(struct timespec){ .tv_nsec = LOCK_POLL_NS }, NULL);
	}
	if (!free_now)
		return dray_error_kind(err, -EBUSY, "held", "%s: it is locked by another program", path);
	bool slice = is_slice(o);
	if (!o->read_only && !slice && dray_busy_locker(st, why, sizeof why))
		return dray_error_kind(err, -EBUSY, "held", "%s: %s", path, why);
	/* Ranges: those of our own slices, and what programs such as QEMU lock of an image that they have open. */
	struct flock range = { .l_type = o->read_only ? F_RDLCK : F_WRLCK, .l_whence = SEEK_SET, .l_start = (off_t)o->offset,
		.l_len = (off_t)o->length };
	if (!fcntl(fd, F_OFD_GETLK, &range) && range.l_type != F_UNLCK)
		return dray_error_kind(err, -EBUSY, "held", "%s: %s is locked by another program%s", path, slice ? "a part of it" : "it",
			slice ? ", or is another slice" : "");
	flock(fd, LOCK_UN);
	return 0;
}

static int take_lock(int fd, const struct stat *st, const struct dray_storage_options *o, const char *path,
	struct dray_error *err)
{
	uint64_t wait = o->lock_wait_ns;
	if (S_ISBLK(st->st_mode) && wait < DEVICE_LOCK_WAIT_NS)
		wait = DEVICE_LOCK_WAIT_NS;
	uint64_t end = clock_ns() + wait;
	/* H6: a killed holder's requests keep its lock until they have landed; having the lock, none of them is left. That is
	 * why the lock is on this very description, which our own requests use, and is not given up before close. */
	while (try_lock(fd, o)) {
		if (errno == EINTR)
			continue;
		if (errno != EWOULDBLOCK)
			return dray_error_errno(err, -errno, "%s: lock", path);
		if (clock_ns() >= end) {
			char why[256];
			if (!dray_busy_locker(st, why, sizeof why))
				snprintf(why, sizeof why, "it is locked by another program");
			return dray_error_kind(err, -EBUSY, "held", "%s: %s", path, why);
		}
		nanosleep(&(struct timespec){ .tv_nsec = LOCK_POLL_NS }, NULL);
	}
	return 0;
}

/* ---- devices of which slices are open here ---- */

static pthread_mutex_t claims_lock = PTHREAD_MUTEX_INITIALIZER;

static struct claim {
	struct claim *next;
	dev_t dev;
	int fd; /* opened O_EXCL, for nothing but that */
	unsigned users;
} *claims;

/* 0 or -errno (-EBUSY: it is in use elsewhere). */
static int claim_take(dev_t dev, const char *path, struct claim **out)
{
	int rc = 0;
	pthread_mutex_lock(&claims_lock);
	struct claim *c = claims;
	while (c && c->dev != dev)
		c = c->next;
	if (!c && !(c = calloc(1, sizeof *c))) {
		rc = -ENOMEM;
	} else if (!c->users) {
		c->fd = open(path, O_RDONLY | O_EXCL | O_CLOEXEC | O_NOCTTY);
		rc = c->fd < 0 ? -errno : 0;
		c->dev = dev;
		c->next = claims;
		if (rc)
			free(c);
		else
			claims = c;
	}
	if (!rc)
		c->users++;
	pthread_mutex_unlock(&claims_lock);
	*out = rc ? NULL : c;
	return rc;
}

static void claim_drop(struct claim *c)
{
	pthread_mutex_lock(&claims_lock);
	if (--c->users == 0) {
		struct claim **at = &claims;
		while (*at != c)
			at = &(*at)->next;
		*at = c->next;
		close(c->fd);
		free(c);
	}
	pthread_mutex_unlock(&claims_lock);
}

/* A device is ours by O_EXCL before it is by flock, and the killed holder of H6 keeps that, too, until its last request has
 * landed: so this waits as long as the lock does. Not for what is mounted or held by another device, which won't end by itself. */
static int open_waiting(const char *path, int flags, const struct stat *st, const struct dray_storage_options *o,
	struct claim **claim)
{
	uint64_t end = clock_ns() + o->lock_wait_ns;
	bool shared = flags & O_EXCL && (is_slice(o) || o->look);
	char why[3000];
	int fd = -1, rc;
	for (;;) {
		rc = shared && !*claim ? claim_take(st->st_rdev, path, claim) : 0;
		if (!rc && (fd = open(path, shared ? flags & ~O_EXCL : flags)) < 0)
			rc = -errno;
		errno = -rc;
		if (rc != -EBUSY || clock_ns() >= end)
			break;
		if (dray_busy_device(st->st_rdev, why, sizeof why)) {
			errno = EBUSY;
			break;
		}
		nanosleep(&(struct timespec){ .tv_nsec = LOCK_POLL_NS }, NULL);
	}
	return fd;
}

/* ---- what can it do? ---- */

static bool try_direct(int fd, uint64_t size, uint32_t align)
{
	void *buf;
	if (size < align || posix_memalign(&buf, 4096, 4096))
		return false;
	ssize_t n = pread(fd, buf, align, 0);
	free(buf);
	return n == (ssize_t)align;
}

/* Leaves O_DIRECT on if it can be used: the whole storage must be made of its blocks. */
static void find_direct(int fd, const struct stat *st, struct dray_storage_info *info)
{
	int flags = fcntl(fd, F_GETFL);
	struct statx sx;
	uint32_t mem = 0, block = 0;
	if (flags < 0 || fcntl(fd, F_SETFL, flags | O_DIRECT))
		return;
	if (!statx(fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &sx) && sx.stx_mask & STATX_DIOALIGN) {
		mem = sx.stx_dio_mem_align;
		block = sx.stx_dio_offset_align;
	} else {
		int logical = 0;
		if (S_ISBLK(st->st_mode) && !ioctl(fd, BLKSSZGET, &logical) && logical > 0)
			block = (uint32_t)logical;
		for (uint32_t b = 512; !block && b <= 4096; b *= 2)
			if (try_direct(fd, info->size_bytes, b))
				block = b;
		mem = block;
	}
	/* One that says yes and fails all the same (some FUSE and network file systems) is found out here. */
	if (!block || block > 65536 || mem > 65536 || info->size_bytes % block || !try_direct(fd, info->size_bytes, block)) {
		fcntl(fd, F_SETFL, flags);
		return;
	}
	info->direct = true;
	info->block_bytes = block;
	info->memory_align = mem ? mem : 1;
}

/* File systems that punch holes, for those who only look: the call that finds out may touch a file's times. */
static bool known_to_punch(const struct statfs *fs)
{
	switch ((unsigned)fs->f_type) {
	case EXT4_SUPER_MAGIC:
	case BTRFS_SUPER_MAGIC:
	case F2FS_SUPER_MAGIC:
	case XFS_MAGIC:
	case TMPFS_MAGIC: return true;
	default: return false;
	}
}

static void find_abilities(struct dray_file *f, const struct stat *st, const struct statfs *fs, bool only_looking,
	struct dray_storage_info *info)
{
	if (S_ISBLK(st->st_mode)) {
		int optimal = 0, logical = 512;
		info->is_block_device = true;
		ioctl(f->fd, BLKIOOPT, &optimal);
		ioctl(f->fd, BLKSSZGET, &logical);
		if (info->block_bytes < (uint32_t)logical)
			info->block_bytes = (uint32_t)logical; /* zero and discard, at least, know no less */
		if (optimal > 4096 && optimal <= 32 << 20)
			info->preferred_bytes = (uint32_t)optimal;
		/* The device file system's calls: PUNCH_HOLE zeroes by unmapping, ZERO_RANGE also by writing. */
		bool offload = queue_number(st->st_rdev, "write_zeroes_max_bytes") > 0;
		f->punch = offload;
		f->zero_range = true;
		info->can_zero = true;
		info->can_fast_zero = offload;
		info->can_discard = queue_number(st->st_rdev, "discard_max_bytes") > 0;
		info->thin = info->can_discard;
		info->rotational = queue_number(st->st_rdev, "rotational") > 0;
		return;
	}
	if (only_looking) {
		f->punch = !info->read_only && known_to_punch(fs);
	} else if (!info->read_only) {
		/* Behind the end of the file: changes nothing, and says whether the file system knows it. */
		off_t behind = (off_t)((info->size_bytes + 4095) / 4096 * 4096);
		f->punch = !fallocate(f->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, behind, 4096);
		f->zero_range = f->punch && !f->in_memory; /* where not, told at the first use */
	}
	info->can_zero = f->punch;
	info->can_fast_zero = f->punch;
	info->can_discard = f->punch;
	info->can_extents = lseek(f->fd, 0, SEEK_HOLE) >= 0;
	info->thin = (uint64_t)st->st_blocks * 512 < info->size_bytes;
	info->rotational = queue_number(st->st_dev, "rotational") > 0;
	if (st->st_blksize > 4096 && st->st_blksize <= 32 << 20)
		info->preferred_bytes = (uint32_t)st->st_blksize;
}

/* ---- opening ---- */

static int refused(int rc, dev_t dev, const char *path, bool read_only, struct dray_error *err)
{
	const char *kind;
	char why[3000];
	switch (-rc) {
	case ENOENT:
	case ENOTDIR:
	case ENXIO:
	case ENODEV: return dray_error_kind(err, -ENOENT, "not_found", "%s: %s", path, strerror(-rc));
	case EACCES:
	case EPERM: return dray_error_kind(err, -EACCES, "not_accessible", "%s: %s", path, strerror(-rc));
	case EROFS:
		return dray_error_kind(err, -EROFS, "read_only", "%s: %s", path,
			read_only ? strerror(-rc) : "it can only be read");
	case EBUSY:
		why_busy(dev, &kind, why, sizeof why);
		return dray_error_kind(err, -EBUSY, kind, "%s: %.400s", path, why);
	default: return dray_error_errno(err, rc, "%s", path);
	}
}

/* What opening for writing would say, and uses that no lock tells of. */
static int look_closer(int fd, const struct stat *st, const struct dray_storage_options *o, const char *path, struct dray_error *err)
{
	char proc[64], why[1400];
	int ro = 0;
	bool mounted;
	/* Of this very file, whatever the path names by now. */
	snprintf(proc, sizeof proc, "/proc/self/fd/%d", fd);
	if (!o->read_only && faccessat(AT_FDCWD, proc, W_OK, AT_EACCESS))
		return refused(-errno, st->st_rdev, path, false, err);
	if (!o->read_only && S_ISBLK(st->st_mode) && !ioctl(fd, BLKROGET, &ro) && ro)
		return refused(-EROFS, st->st_rdev, path, false, err);
	if (!o->no_lock && S_ISREG(st->st_mode) && dray_busy_file(st, &mounted, why, sizeof why))
		return dray_error_kind(err, -EBUSY, mounted ? "mounted" : "held", "%s: %.400s", path, why);
	return 0;
}

void dray_file_close(struct dray_file *f)
{
	close(f->fd);
	if (f->claim)
		claim_drop(f->claim);
}

int dray_file_open(struct dray_file *f, const char *path, const struct dray_storage_options *o,
	struct dray_storage_info *info, struct dray_error *err)
{
	struct stat st, now;
	struct statfs fs;
	/* Looked at before it is opened: opening a pipe would wait for its other end. */
	if (stat(path, &st))
		return refused(-errno, 0, path, o->read_only, err);
	bool block = S_ISBLK(st.st_mode);
	if (!block && !S_ISREG(st.st_mode))
		return dray_error_kind(err, -EINVAL, "bad_resource", "%s: neither a regular file nor a block device", path);
	/* O_EXCL also when only reading: what is mounted changes while it is read. */
	int flags = (o->read_only || o->look ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_NOCTTY | (block && !o->no_lock ? O_EXCL : 0) |
		(o->look ? O_NOATIME : 0);
	f->claim = NULL;
	f->fd = open_waiting(path, flags, &st, o, &f->claim);
	if (f->fd < 0 && errno == EPERM && o->look) /* not its owner */
		f->fd = open_waiting(path, flags & ~O_NOATIME, &st, o, &f->claim);
	int rc = f->fd < 0 ? -errno : 0;
	if (rc) {
		if (f->claim)
			claim_drop(f->claim);
		return refused(rc, st.st_rdev, path, o->read_only, err);
	}
	if (fstat(f->fd, &now) || fstatfs(f->fd, &fs))
		rc = dray_error_errno(err, -errno, "%s", path);
	else if (now.st_dev != st.st_dev || now.st_ino != st.st_ino)
		rc = dray_error_kind(err, -EBUSY, "held", "%s: it was replaced while it was opened", path);
	if (!rc && o->look)
		rc = look_closer(f->fd, &st, o, path, err);
	if (!rc && !o->no_lock)
		rc = o->look ? look_lock(f->fd, &st, o, path, err) : take_lock(f->fd, &st, o, path, err);
	/* Only now, with the lock, does its size stand still. */
	off_t end = rc ? 0 : lseek(f->fd, 0, SEEK_END);
	if (!rc && end < 0)
		rc = dray_error_errno(err, -errno, "%s: size", path);
	if (!rc && fstat(f->fd, &st))
		rc = dray_error_errno(err, -errno, "%s", path);
	if (!rc) {
		info->size_bytes = (uint64_t)end;
		info->device = block ? st.st_rdev : st.st_dev;
		info->read_only = o->read_only;
		rc = dray_identity_of_fd(f->fd, info->identity, sizeof info->identity, &info->stable_identity);
		if (rc)
			dray_error_errno(err, rc, "%s: identity", path);
	}
	if (rc) {
		dray_file_close(f);
		return rc;
	}
	f->in_memory = !block && ((unsigned)fs.f_type == TMPFS_MAGIC || (unsigned)fs.f_type == RAMFS_MAGIC);
	/* tmpfs takes O_DIRECT since 6.6 and copies all the same. */
	if (!f->in_memory)
		find_direct(f->fd, &st, info);
	find_abilities(f, &st, &fs, o->no_lock || o->look, info);
	info->can_fua = true;
	info->can_multi_conn = true;
	info->can_cache = !info->direct && !f->in_memory;
	return 0;
}
