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
#include "storage/file.h"
#include "storage/identity.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <dirent.h>
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
	static const char *const where[] = { "queue", "../queue" }; /* the second: dev is a partition */
	for (int i = 0; i < 2; i++) {
		char path[128];
		uint64_t value;
		snprintf(path, sizeof path, "/sys/dev/block/%u:%u/%s/%s", major(dev), minor(dev), where[i], name);
		FILE *f = fopen(path, "re");
		if (!f)
			continue;
		int n = fscanf(f, "%" SCNu64, &value);
		fclose(f);
		return n == 1 ? value : 0;
	}
	return 0;
}

/* ---- who has it? ---- */

static bool find_mount(dev_t dev, const char *file, char *buf, size_t size)
{
	char line[4096], where[2048];
	bool found = false;
	FILE *f = fopen(file, "re");
	while (f && !found && fgets(line, sizeof line, f)) {
		unsigned maj, min;
		if (sscanf(line, "%*s %*s %u:%u %*s %2047s", &maj, &min, where) == 3 && makedev(maj, min) == dev) {
			snprintf(buf, size, "it is mounted on %s", where);
			found = true;
		}
	}
	if (f)
		fclose(f);
	return found;
}

static void why_busy(dev_t dev, char *buf, size_t size)
{
	char line[4096], name[2048], path[128];
	struct stat st;
	if (find_mount(dev, "/proc/self/mountinfo", buf, size))
		return;
	FILE *f = fopen("/proc/swaps", "re");
	while (f && fgets(line, sizeof line, f))
		if (sscanf(line, "%2047s", name) == 1 && !stat(name, &st) && S_ISBLK(st.st_mode) && st.st_rdev == dev) {
			fclose(f);
			snprintf(buf, size, "it is used as swap");
			return;
		}
	if (f)
		fclose(f);
	snprintf(path, sizeof path, "/sys/dev/block/%u:%u/holders", major(dev), minor(dev));
	DIR *d = opendir(path);
	for (struct dirent *e; d && (e = readdir(d));)
		if (e->d_name[0] != '.') {
			snprintf(buf, size, "it is part of %.64s", e->d_name);
			closedir(d);
			return;
		}
	if (d)
		closedir(d);
	snprintf(buf, size, "it, or a part of it, is in use (mounted, part of another device, or open exclusively)");
}

static void why_locked(const struct stat *st, char *buf, size_t size)
{
	char line[256];
	FILE *f = fopen("/proc/locks", "re");
	snprintf(buf, size, "it is locked by another program");
	while (f && fgets(line, sizeof line, f)) {
		int pid;
		unsigned maj, min;
		unsigned long long ino;
		if (sscanf(line, "%*s FLOCK %*s %*s %d %x:%x:%llu", &pid, &maj, &min, &ino) == 4 && ino == st->st_ino &&
			maj == major(st->st_dev) && min == minor(st->st_dev)) {
			snprintf(buf, size, "it is locked by another program (process %d)", pid);
			break;
		}
	}
	if (f)
		fclose(f);
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
			why_locked(st, why, sizeof why);
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
 * landed: so this waits as long as the lock does. Not for what is mounted, which won't end by itself. */
static int open_waiting(const char *path, int flags, const struct stat *st, const struct dray_storage_options *o,
	struct claim **claim)
{
	uint64_t end = clock_ns() + o->lock_wait_ns;
	bool shared = flags & O_EXCL && is_slice(o);
	char why[3000];
	int fd = -1, rc;
	for (;;) {
		rc = shared && !*claim ? claim_take(st->st_rdev, path, claim) : 0;
		if (!rc && (fd = open(path, shared ? flags & ~O_EXCL : flags)) < 0)
			rc = -errno;
		errno = -rc;
		if (rc != -EBUSY || clock_ns() >= end)
			break;
		if (find_mount(st->st_rdev, "/proc/self/mountinfo", why, sizeof why)) {
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
		why_busy(dev, why, sizeof why);
		return dray_error_kind(err, -EBUSY, "held", "%s: %.400s", path, why);
	default: return dray_error_errno(err, rc, "%s", path);
	}
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
	int flags = (o->read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_NOCTTY | (block && !o->no_lock ? O_EXCL : 0);
	f->claim = NULL;
	f->fd = open_waiting(path, flags, &st, o, &f->claim);
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
	if (!rc && !o->no_lock)
		rc = take_lock(f->fd, &st, o, path, err);
	/* Only now, with the lock, does its size stand still. */
	off_t end = rc ? 0 : lseek(f->fd, 0, SEEK_END);
	if (!rc && end < 0)
		rc = dray_error_errno(err, -errno, "%s: size", path);
	if (!rc && fstat(f->fd, &st))
		rc = dray_error_errno(err, -errno, "%s", path);
	if (!rc) {
		info->size_bytes = (uint64_t)end;
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
	find_abilities(f, &st, &fs, o->no_lock, info);
	info->can_fua = true;
	info->can_multi_conn = true;
	info->can_cache = !info->direct && !f->in_memory;
	return 0;
}
