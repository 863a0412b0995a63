/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Sharing blocks (FICLONE: btrfs, XFS, bcachefs ...) is asked of the file system first; if it can't, what the file has between its holes is copied,
 * by the kernel where it will (copy_file_range), in pieces that keep to the rate and let it be stopped. A piece is what the rate allows in a tenth of a second.
 * What was copied is written to the disk as it goes, one stretch after the other: else it would gather in memory, and the flush at the end would send all of
 * it at once, at no rate at all, and before the requests of applications.
 *
 * Where it is to work only a part of the time, because applications use the disk, it moves in small steps: each is on the disk before the next one begins, so that no
 * request ever waits for more than one, and after each there is a rest in proportion to what it took. A disk that is slow because it has much to
 * do gets longer ones.
 *
 * Removing (H24). Between the look at a file and its unlink somebody could put another one in its place. So it first gets a name that nobody else
 * uses, ".NAME.dray-gone", and is looked at there: what turns out to be another file goes back. A kill in between leaves it under that name, where
 * the next attempt looks, too. One that is not there was removed by somebody else, if what is looked at is the place where it was made.
 */
#include "storage/clone.h"

#include "base/crash.h"
#include "storage/identity.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define PIECE       (UINT64_C(4) << 20)
#define PIECE_LEAST (UINT64_C(64) << 10)
#define STRETCH     (UINT64_C(8) << 20) /* written to the disk before the next one is */
#define STEP        (UINT64_C(256) << 10) /* the same, where it rests: as one of dray-iod's copy */
#define PAUSE_NS    10000000

/* A descriptor, or -errno. */
static int open_directory_of(const char *path)
{
	const char *slash = strrchr(path, '/');
	char *dir = strndup(path, slash == path ? 1 : (size_t)(slash - path));
	if (!dir)
		return -ENOMEM;
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC), rc = fd < 0 ? -errno : fd;
	free(dir);
	return rc;
}

static int sync_directory_of(const char *path)
{
	int fd = open_directory_of(path), rc = fd < 0 ? fd : fsync(fd) ? -errno : 0;
	if (fd >= 0)
		close(fd);
	return rc;
}

/* 0, or -errno; a link is no file. */
static int who(const char *path, char *identity, size_t size)
{
	struct stat st;
	bool stable;
	int fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	int rc = fstat(fd, &st) ? -errno : !S_ISREG(st.st_mode) ? -ESTALE : dray_identity_of_fd(fd, identity, size, &stable);
	close(fd);
	return rc;
}

static bool is(const char *path, const char *identity)
{
	char found[512];
	return !who(path, found, sizeof found) && !strcmp(found, identity);
}

/* ---- making ---- */

/* One file system says so in one way, another in another. */
static bool cannot_share(int e)
{
	return e == EOPNOTSUPP || e == ENOTTY || e == EXDEV || e == EINVAL || e == ENOSYS || e == EPERM || e == EBADF || e == ETXTBSY;
}

static uint64_t now_ns(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

struct copying {
	const struct dray_clone_order *order;
	int from, to;
	char *buffer;
	bool by_hand; /* the kernel would not */
	uint64_t at_ns;
	double allowed; /* bytes, by now */
	bool rests;     /* after the step under way */
	uint64_t began_ns; /* ... which did then; 0: none was */
	off_t sent, waited; /* up to here it is on its way to the disk; is there */
};

static int by_hand(struct copying *c, off_t at, size_t length)
{
	if (!c->buffer && !(c->buffer = malloc(PIECE)))
		return -ENOMEM;
	ssize_t n = pread(c->from, c->buffer, length, at);
	for (ssize_t done = 0; done < n;) {
		ssize_t w = pwrite(c->to, c->buffer + done, (size_t)(n - done), at + done);
		if (w < 0)
			return -errno;
		done += w;
	}
	return n < 0 ? -errno : n == 0 ? -EIO : (int)n;
}

/* How much of it was copied, or -errno. */
static int piece(struct copying *c, off_t at, size_t length)
{
	off_t in = at, out = at;
	if (!c->by_hand) {
		ssize_t n = copy_file_range(c->from, &in, c->to, &out, length, 0);
		if (n > 0)
			return (int)n;
		if (n < 0 && !cannot_share(errno))
			return -errno;
		c->by_hand = true;
	}
	return by_hand(c, at, length);
}

/* What is left of the rest after a step from `began_ns` to `ended_ns`. */
static uint64_t rest_ns(const struct copying *c, unsigned share, uint64_t ended_ns, uint64_t now)
{
	uint64_t rest = c->began_ns ? (ended_ns - c->began_ns) * (DRAY_CLONE_ALL - share) / share : 0;
	return rest > now - ended_ns ? rest - (now - ended_ns) : 0;
}

static void tell(const struct dray_clone_order *o, enum dray_clone_bound bound)
{
	if (o->bound)
		o->bound(o->ctx, bound);
}

/* Waits until the rate and the share of the time, as they are by then, allow some bytes: how many, `left` at most. 0: it is to stop. What was not used is not
 * saved up. Of the two that one holds it back that lets it go on later. */
static size_t keep_pace(struct copying *c, uint64_t left)
{
	const struct dray_clone_order *o = c->order;
	enum dray_clone_bound bound = DRAY_CLONE_BOUND_STORAGE;
	for (uint64_t ended = now_ns();;) {
		if (o->stop(o->ctx))
			return 0;
		uint64_t rate = o->rate(o->ctx);
		unsigned share = o->share(o->ctx);
		uint64_t now = now_ns(), piece = share < DRAY_CLONE_ALL ? STEP : PIECE, rest = rest_ns(c, share, ended, now);
		if (rate / 10 < piece)
			piece = rate / 10 > PIECE_LEAST ? rate / 10 : PIECE_LEAST;
		if (piece > left)
			piece = left;
		c->allowed += rate == UINT64_MAX ? (double)piece : (double)rate * (double)(now - c->at_ns) / 1e9;
		c->at_ns = now;
		if (!rest && c->allowed >= (double)piece) {
			c->allowed = c->allowed - (double)piece > (double)piece ? (double)piece : c->allowed - (double)piece;
			c->rests = share < DRAY_CLONE_ALL;
			c->began_ns = now;
			/* Who it gave way to may have fallen asleep. */
			tell(o, bound == DRAY_CLONE_BOUND_SHARE && share == DRAY_CLONE_ALL ? DRAY_CLONE_BOUND_STORAGE : bound);
			return (size_t)piece;
		}
		double missing = (double)piece - c->allowed;
		bound = missing > 0 && missing * 1e9 > (double)rest * (double)rate ? DRAY_CLONE_BOUND_RATE : DRAY_CLONE_BOUND_SHARE;
		tell(o, bound);
		nanosleep(&(struct timespec){ .tv_nsec = rest && rest < PAUSE_NS ? (long)rest : PAUSE_NS }, NULL);
	}
}

/* Has what was copied up to `at` written, and waits for the stretch before, or for all of it where it rests. Nobody needs it in memory. An error is told
 * by the flush at the end. */
static void write_out(struct copying *c, off_t at)
{
	if (!c->rests && (uint64_t)(at - c->sent) < STRETCH)
		return;
	off_t until = c->rests ? at : c->sent;
	sync_file_range(c->to, c->sent, at - c->sent, SYNC_FILE_RANGE_WRITE);
	sync_file_range(c->to, c->waited, until - c->waited, SYNC_FILE_RANGE_WAIT_BEFORE);
	posix_fadvise(c->to, c->waited, until - c->waited, POSIX_FADV_DONTNEED);
	posix_fadvise(c->from, c->waited, until - c->waited, POSIX_FADV_DONTNEED);
	c->waited = until;
	c->sent = at;
}

static int copy_between_holes(struct copying *c, off_t size)
{
	for (off_t at = 0; at < size;) {
		off_t data = lseek(c->from, at, SEEK_DATA), hole;
		if (data < 0 && errno == ENXIO)
			return 0;
		if (data < 0 || (hole = lseek(c->from, data, SEEK_HOLE)) < 0)
			return -errno;
		for (at = data; at < hole;) {
			size_t now = keep_pace(c, (uint64_t)(hole - at));
			if (!now)
				return -ECANCELED;
			int n = piece(c, at, now);
			if (n < 0)
				return n;
			at += n;
			dray_stall_point("gen-step"); /* a disk that takes long */
			write_out(c, at);
		}
	}
	return 0;
}

static int fill(const struct dray_clone_order *o, int from, int to, off_t size, bool *shared)
{
	*shared = !ioctl(to, FICLONE, from);
	if (*shared)
		return 0;
	if (!cannot_share(errno))
		return -errno;
	struct copying c = { .order = o, .from = from, .to = to, .at_ns = now_ns() };
	int rc = ftruncate(to, size) ? -errno : copy_between_holes(&c, size);
	free(c.buffer);
	return rc;
}

static int make(const struct dray_clone_order *o, int from, int to, char *identity, size_t size, bool *shared)
{
	struct stat st;
	bool stable;
	/* What was written before the instant has to be on the disk when its clone is, and an error of that has to be told. */
	if (fsync(from) || fstat(from, &st))
		return -errno;
	int rc = fill(o, from, to, st.st_size, shared);
	dray_crash_point("gen-cloning");
	if (!rc && fsync(to))
		rc = -errno;
	if (!rc)
		rc = sync_directory_of(o->part);
	return rc ? rc : dray_identity_of_fd(to, identity, size, &stable);
}

int dray_clone_make(const struct dray_clone_order *o, char *identity, size_t size, bool *shared, struct dray_error *err)
{
	char found[512];
	bool stable;
	int rc = dray_clone_discard(o->part, err), to = -1;
	if (rc)
		return rc;
	int from = open(o->from, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	if (from < 0)
		return dray_error_errno(err, -errno, "%s", o->from);
	rc = o->expected ? dray_identity_of_fd(from, found, sizeof found, &stable) : 0;
	if (!rc && o->expected && strcmp(found, o->expected))
		rc = dray_error_set(err, -ESTALE, "%s: it is not the working image that was made: found %s, expected %s", o->from, found, o->expected);
	else if (rc)
		dray_error_errno(err, rc, "%s", o->from);
	struct stat st;
	if (!rc && fstat(from, &st))
		rc = dray_error_errno(err, -errno, "%s", o->from);
	if (!rc && (uint64_t)st.st_size < o->length)
		rc = dray_error_set(err, -ESTALE, "%s: somebody has cut it: it has %llu bytes, and its source %llu", o->from, (unsigned long long)st.st_size,
			(unsigned long long)o->length);
	if (!rc && (to = open(o->part, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600)) < 0)
		rc = dray_error_errno(err, -errno, "%s: create", o->part);
	if (to >= 0) {
		rc = make(o, from, to, identity, size, shared);
		if (rc)
			dray_error_errno(err, rc, "%s to %s", o->from, o->part);
		close(to);
	}
	close(from);
	if (rc && to >= 0)
		unlink(o->part);
	return rc;
}

/* ---- placing and removing ---- */

/* What was named, or has its name no more, stays so. */
static int names_durable(const char *path, struct dray_error *err)
{
	int rc = sync_directory_of(path);
	return rc ? dray_error_errno(err, rc, "%s: its directory", path) : 0;
}

int dray_clone_place(const char *part, const char *path, const char *identity, struct dray_error *err)
{
	if (!is(path, identity)) {
		int rc = renameat2(AT_FDCWD, part, AT_FDCWD, path, RENAME_NOREPLACE) ? -errno : 0;
		if (rc == -EINVAL || rc == -ENOSYS) /* a file system without that */
			rc = link(part, path) ? -errno : unlink(part) ? -errno : 0;
		if (rc)
			return dray_error_errno(err, rc, "%s", path);
	}
	dray_crash_point("gen-placing");
	return names_durable(path, err);
}

int dray_clone_discard(const char *part, struct dray_error *err)
{
	if (unlink(part)) {
		/* Where its directory is gone, so is it. */
		return errno == ENOENT || errno == ENOTDIR ? 0 : dray_error_errno(err, -errno, "%s: remove", part);
	}
	return names_durable(part, err);
}

/* It has to be missing where it was made: a directory that is away for a while, or whose disk is not mounted, has what was in it. */
static int is_missing(const char *path, const char *identity, struct dray_error *err)
{
	char here[512];
	bool stable;
	int fd = open_directory_of(path), rc = fd < 0 ? fd : dray_identity_of_fd(fd, here, sizeof here, &stable);
	if (fd >= 0)
		close(fd);
	if (rc)
		return dray_error_errno(err, rc, "%s: its directory", path);
	/* (The number of a device may be another one after a reboot, and says nothing.) */
	const char *end = strstr(identity, ",ino=");
	bool known = end && (!strncmp(identity, "file:fsid=", 10) || !strncmp(identity, "file:uuid=", 10));
	if (known && strncmp(here, identity, (size_t)(end + 1 - identity)))
		return dray_error_set(err, -ENODEV, "%s: its directory is on another file system than it was, which is not mounted now", path);
	return 0;
}

int dray_clone_remove(const char *path, const char *identity, struct dray_error *err)
{
	char tomb[PATH_MAX], found[512];
	const char *name = strrchr(path, '/') + 1;
	if (snprintf(tomb, sizeof tomb, "%.*s.%s.dray-gone", (int)(name - path), path, name) >= (int)sizeof tomb)
		return dray_error_errno(err, -ENAMETOOLONG, "%s", path);
	/* Of an earlier attempt. */
	if (is(tomb, identity))
		return unlink(tomb) ? dray_error_errno(err, -errno, "%s: remove", tomb) : names_durable(path, err);
	int rc = who(path, found, sizeof found);
	if (rc == -ENOENT || rc == -ENOTDIR)
		return is_missing(path, identity, err);
	if (rc && rc != -ELOOP && rc != -ESTALE)
		return dray_error_errno(err, rc, "%s", path);
	if (rc || strcmp(found, identity))
		return dray_error_set(err, -ESTALE, "%s: another file has that name now: it stays", path);
	if (renameat2(AT_FDCWD, path, AT_FDCWD, tomb, RENAME_NOREPLACE)) {
		if (errno != EINVAL && errno != ENOSYS)
			return dray_error_errno(err, -errno, "%s: remove", path);
		return unlink(path) ? dray_error_errno(err, -errno, "%s: remove", path) : names_durable(path, err);
	}
	dray_crash_point("gen-removing");
	if (!is(tomb, identity)) {
		renameat2(AT_FDCWD, tomb, AT_FDCWD, path, RENAME_NOREPLACE);
		return dray_error_set(err, -ESTALE, "%s: another file has that name now: it stays", path);
	}
	if (unlink(tomb))
		return dray_error_errno(err, -errno, "%s: remove", tomb);
	return names_durable(path, err);
}
