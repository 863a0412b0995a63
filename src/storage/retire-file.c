/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Regular files: permissions, a new name, removal. order->path is the real path, links followed; everything is done in its
 * directory, which is held open, so that nothing above it can change what is meant.
 *
 * A hard link is another name of the same data: a file that has one is neither removed nor renamed, since it would stay as
 * accessible as before. A symbolic link that led to the file is left as it is.
 */
#include "storage/retire.h"

#include "storage/held.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define POLL_NS     50000000

struct file {
	const struct dray_retire_order *o;
	int dir, fd;               /* fd: -1 while not open */
	char directory[PATH_MAX];
	char name[NAME_MAX + 1];   /* in it */
	char to[NAME_MAX + 1];     /* the new name, or the tombstone */
};

static uint64_t clock_ns(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * UINT64_C(1000000000) + (uint64_t)ts.tv_nsec;
}

static int open_directory(struct file *f, struct dray_error *err)
{
	char copy[PATH_MAX];
	snprintf(copy, sizeof copy, "%s", f->o->path);
	snprintf(f->name, sizeof f->name, "%s", basename(copy));
	snprintf(copy, sizeof copy, "%s", f->o->path);
	snprintf(f->directory, sizeof f->directory, "%s", dirname(copy));
	f->dir = open(f->directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return f->dir < 0 ? dray_error_errno(err, -errno, "%s", f->directory) : 0;
}

/* What has this name: 1: ours; 0: nothing; -ESTALE: another's, or another error. */
static int whose(const struct file *f, const char *name, struct dray_error *err)
{
	int fd = openat(f->dir, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	struct stat st;
	char path[PATH_MAX + NAME_MAX];
	snprintf(path, sizeof path, "%s/%s", f->directory, name);
	if (fd < 0)
		return errno == ENOENT ? 0 : dray_error_errno(err, -errno, "%s", path);
	int rc = fstat(fd, &st) ? dray_error_errno(err, -errno, "%s", path) : 0;
	if (!rc && !S_ISREG(st.st_mode))
		rc = dray_error_kind(err, -ESTALE, "replaced", "%s is not the file that was migrated any more", path);
	if (!rc)
		rc = dray_retire_same(f->o, fd, path, err);
	close(fd);
	return rc ? rc : 1;
}

/* Opens the file under its old name, sees that it is ours and nobody else's, and keeps it locked. */
static int take(struct file *f, struct stat *st, struct dray_error *err)
{
	const struct dray_retire_order *o = f->o;
	int rc = whose(f, f->name, err);
	if (rc == 0)
		return dray_error_kind(err, -ENOENT, "not_found", "%s is not there any more", o->path);
	if (rc < 0)
		return rc;
	f->fd = openat(f->dir, f->name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (f->fd < 0)
		return dray_error_kind(err, -errno, "not_accessible", "%s can't be opened to see whether it is in use: %s", o->path,
			strerror(errno));
	rc = dray_retire_same(o, f->fd, o->path, err);
	for (uint64_t end = clock_ns() + o->wait_ns; !rc;) {
		rc = dray_storage_held(f->fd, o->path, err);
		if (!rc && !flock(f->fd, LOCK_EX | LOCK_NB))
			break;
		if (!rc)
			rc = errno == EWOULDBLOCK ? dray_error_kind(err, -EBUSY, "held", "%s is locked by another program", o->path)
						  : dray_error_errno(err, -errno, "%s: lock", o->path);
		if (rc != -EBUSY || clock_ns() > end)
			return rc;
		if (o->stop(o->ctx))
			return -ECANCELED;
		nanosleep(&(struct timespec){ .tv_nsec = POLL_NS }, NULL);
		rc = 0;
	}
	if (!rc && fstat(f->fd, st))
		rc = dray_error_errno(err, -errno, "%s", o->path);
	return rc;
}

static int begin(const struct file *f)
{
	const struct dray_retire_order *o = f->o;
	int rc = *o->step ? 0 : o->record(o->ctx, "begun", o->path, 0);
	if (!rc)
		o->point(o->ctx, "retire-begun");
	return rc;
}

/* ---- read-only, offline ---- */

static int set_mode(struct file *f, mode_t take_away, struct dray_retire_result *result, struct dray_error *err)
{
	const struct dray_retire_order *o = f->o;
	struct stat st;
	/* Without its permissions it can't be opened any more, but by root: then it is so already. */
	int rc = whose(f, f->name, err);
	if (rc == 1 && !fstatat(f->dir, f->name, &st, AT_SYMLINK_NOFOLLOW) && S_ISREG(st.st_mode) && !(st.st_mode & take_away)) {
		snprintf(result->detail, sizeof result->detail, "its mode is %04o", (unsigned)st.st_mode & 07777);
		return 0;
	}
	rc = rc < 0 ? rc : take(f, &st, err);
	if (!rc)
		rc = begin(f);
	if (rc)
		return rc;
	mode_t mode = st.st_mode & 07777 & ~take_away;
	if (fchmod(f->fd, mode))
		return dray_error_errno(err, -errno, "%s: change its mode", o->path);
	o->point(o->ctx, "retire-mode");
	if (fsync(f->fd))
		return dray_error_errno(err, -errno, "%s: flush", o->path);
	snprintf(result->detail, sizeof result->detail, "its mode was %04o, is %04o", (unsigned)st.st_mode & 07777, (unsigned)mode);
	return 0;
}

/* ---- rename, delete ---- */

static int sync_directory(const struct file *f, struct dray_error *err)
{
	return fsync(f->dir) ? dray_error_errno(err, -errno, "%s: flush", f->directory) : 0;
}

/* From the old name to the new one, unless that is there. */
static int rename_it(const struct file *f, struct dray_error *err)
{
	const struct dray_retire_order *o = f->o;
	if (!renameat2(f->dir, f->name, f->dir, f->to, RENAME_NOREPLACE))
		return 0;
	int e = errno;
	if (e == EINVAL || e == ENOSYS)
		return dray_error_kind(err, -ENOTSUP, "retire",
			"%s stays as it is: its file system can't rename so that nothing is replaced (RENAME_NOREPLACE); `dray retire` can do it by "
			"read-only, offline, discard or zero", o->path);
	if (e == EACCES || e == EPERM || e == EROFS)
		return dray_error_kind(err, -e, "not_accessible",
			"%s stays as it is: no name can be changed in %s: %s; once that is possible `dray retire` tries it again", o->path,
			f->directory, strerror(e));
	return dray_error_errno(err, -e, "rename %s to %s", o->path, f->to);
}

/* What has our new name turned out to be another's: it gets its old name back. Returns -ESTALE. */
static int put_back(const struct file *f, struct dray_error *err)
{
	if (renameat2(f->dir, f->to, f->dir, f->name, RENAME_NOREPLACE))
		dray_error_kind(err, -ESTALE, "replaced",
			"another file had the name %s; it is now called %s/%s, because its name was taken again: %s", f->o->path,
			f->directory, f->to, strerror(errno));
	else if (fsync(f->dir))
		dray_error_prepend(err, "%s: flush failed", f->directory);
	return -ESTALE;
}

/* From the old name to the new one, where that was not done yet. */
static int move(struct file *f, struct dray_error *err)
{
	const struct dray_retire_order *o = f->o;
	struct stat st;
	int rc = whose(f, f->to, err);
	if (rc == 1)
		return sync_directory(f, err); /* by a run that was killed */
	if (rc < 0) {
		if (rc != -ESTALE)
			return rc;
		/* Taken in a race, by a run that was killed before it could look? Then it goes back. */
		if (*o->step)
			return put_back(f, err);
		return dray_error_kind(err, -EEXIST, "exists", "%s/%s is there already", f->directory, f->to);
	}
	rc = take(f, &st, err);
	if (!rc && st.st_nlink > 1)
		rc = dray_error_kind(err, -ENOTSUP, "retire", "%s has %u names (hard links): its data would stay accessible by the others",
			o->path, (unsigned)st.st_nlink);
	if (!rc)
		rc = begin(f);
	if (rc)
		return rc;
	rc = rename_it(f, err);
	if (rc)
		return rc;
	o->point(o->ctx, "retire-renamed");
	/* The name may have become another's between the look and the rename: what was renamed decides. */
	rc = whose(f, f->to, err);
	if (rc == -ESTALE)
		return put_back(f, err);
	if (rc < 1)
		return rc ? rc : dray_error_kind(err, -ENOENT, "not_found", "%s/%s vanished", f->directory, f->to);
	return sync_directory(f, err);
}

static int file_rename(struct file *f, struct dray_retire_result *result, struct dray_error *err)
{
	const struct dray_retire_order *o = f->o;
	if (dray_retire_new_name(o->path, o->session, result->name, sizeof result->name))
		return dray_error_kind(err, -ENOTSUP, "retire", "%s: its new name would be too long", o->path);
	snprintf(f->to, sizeof f->to, "%.*s", NAME_MAX, strrchr(result->name, '/') + 1);
	int rc = move(f, err);
	if (rc)
		result->name[0] = 0;
	else
		snprintf(result->detail, sizeof result->detail, "renamed to %.200s", f->to);
	return rc;
}

static int file_delete(struct file *f, struct dray_retire_result *result, struct dray_error *err)
{
	const struct dray_retire_order *o = f->o;
	struct dray_error ignored = DRAY_ERROR_INIT;
	snprintf(f->to, sizeof f->to, ".dray-retired-%.200s-%u", o->session, o->pair);
	int rc = 0;
	bool moved = !strcmp(o->step, "moved");
	if (!moved) {
		rc = move(f, err);
		if (!rc)
			rc = o->record(o->ctx, "moved", o->path, 0);
		if (rc)
			return rc;
		o->point(o->ctx, "retire-moved");
	}
	rc = whose(f, f->to, err);
	if (rc < 0)
		return rc;
	if (rc == 0 && !moved)
		return dray_error_kind(err, -ENOENT, "not_found", "%s/%s vanished", f->directory, f->to);
	if (rc == 1 && unlinkat(f->dir, f->to, 0)) {
		rc = dray_error_errno(err, -errno, "remove %s (called %s for that)", o->path, f->to);
		put_back(f, &ignored);
		return rc;
	}
	o->point(o->ctx, "retire-unlinked");
	snprintf(result->detail, sizeof result->detail, "removed");
	return sync_directory(f, err);
}

int dray_retire_file(const struct dray_retire_order *o, struct dray_retire_result *result, struct dray_error *err)
{
	struct file f = { .o = o, .dir = -1, .fd = -1 };
	int rc = open_directory(&f, err);
	if (!rc)
		switch (o->way) {
		case DRAY_RETIRE_READ_ONLY: rc = set_mode(&f, 0222, result, err); break;
		case DRAY_RETIRE_OFFLINE: rc = set_mode(&f, 0777, result, err); break;
		case DRAY_RETIRE_RENAME: rc = file_rename(&f, result, err); break;
		case DRAY_RETIRE_DELETE: rc = file_delete(&f, result, err); break;
		default: rc = dray_error_kind(err, -ENOTSUP, "retire", "%s: no way to retire a file", dray_retire_word(o->way));
		}
	if (f.fd >= 0)
		close(f.fd);
	if (f.dir >= 0)
		close(f.dir);
	return rc;
}
