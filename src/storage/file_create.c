/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A new file, whole or not at all.
 *
 * It gets its size while it has no name, and its name when it is durable: a process that is killed in between leaves nothing. One that left an
 * empty file would find it there the next time, and refuse it as too small. Where a file system has no files without a name (O_TMPFILE: NFS, some
 * layered ones) it has another name meanwhile, ".dray-" and random digits, which a kill leaves behind; nobody ever looks at that.
 */
#include "storage/driver.h"
#include "storage/file.h"

#include "base/crash.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

struct making {
	const char *path;
	int dir, fd;
	char name[24]; /* in the directory, meanwhile; "": none */
};

static int begin(struct making *m)
{
	unsigned long long random;
	m->fd = openat(m->dir, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (m->fd >= 0)
		return 0;
	if (errno != EOPNOTSUPP && errno != EISDIR && errno != ENOENT && errno != EINVAL)
		return -errno;
	if (getrandom(&random, sizeof random, 0) != sizeof random)
		return -EIO;
	snprintf(m->name, sizeof m->name, ".dray-%016llx", random);
	m->fd = openat(m->dir, m->name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (m->fd < 0) {
		int rc = -errno;
		m->name[0] = 0;
		return rc;
	}
	return 0;
}

static int give_size(int fd, uint64_t size_bytes, bool full)
{
	if (ftruncate(fd, (off_t)size_bytes))
		return -errno;
	/* posix_fallocate writes where the file system cannot promise: full means that a write will not fail for space. */
	int rc = full && size_bytes ? -posix_fallocate(fd, 0, (off_t)size_bytes) : 0;
	return rc ? rc : fsync(fd) ? -errno : 0;
}

/* Never over one that is there. */
static int give_name(struct making *m)
{
	char self[40];
	snprintf(self, sizeof self, "/proc/self/fd/%d", m->fd);
	if (!m->name[0])
		return linkat(AT_FDCWD, self, AT_FDCWD, m->path, AT_SYMLINK_FOLLOW) ? -errno : 0;
	if (!renameat2(m->dir, m->name, AT_FDCWD, m->path, RENAME_NOREPLACE)) {
		m->name[0] = 0;
		return 0;
	}
	if (errno != EINVAL && errno != ENOSYS)
		return -errno;
	return linkat(m->dir, m->name, AT_FDCWD, m->path, 0) ? -errno : 0;
}

static int make(struct making *m, uint64_t size_bytes, bool full, struct dray_error *err)
{
	int rc = begin(m);
	bool named = false;
	if (!rc)
		rc = give_size(m->fd, size_bytes, full);
	if (!rc) {
		dray_crash_point("target-made");
		rc = give_name(m);
		named = !rc;
	}
	if (!rc && fsync(m->dir))
		rc = -errno;
	if (m->fd >= 0)
		close(m->fd);
	if (m->name[0])
		unlinkat(m->dir, m->name, 0);
	if (rc && named)
		unlink(m->path);
	if (rc == -EEXIST)
		return dray_error_kind(err, rc, "exists", "%s: create: %s", m->path, strerror(-rc));
	if (rc == -EACCES)
		return dray_error_kind(err, rc, "not_accessible", "%s: create: %s", m->path, strerror(-rc));
	return rc ? dray_error_errno(err, rc, "%s: create with %llu bytes", m->path, (unsigned long long)size_bytes) : 0;
}

int dray_storage_create(const char *resource, uint64_t size_bytes, bool full, struct dray_error *err)
{
	if (!dray_storage_file.matches(resource))
		return dray_error_kind(err, -EINVAL, "bad_resource", "%s: only files can be created", resource);
	struct making m = { .path = dray_storage_path(resource), .fd = -1 };
	struct stat st;
	if (lstat(m.path, &st) == 0)
		return dray_error_kind(err, -EEXIST, "exists", "%s: create: %s", m.path, strerror(EEXIST));
	char *copy = strdup(m.path);
	if (!copy)
		return dray_error_errno(err, -ENOMEM, "%s", m.path);
	m.dir = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int rc = m.dir < 0 ? -errno : 0;
	free(copy);
	if (rc) {
		const char *kind = rc == -ENOENT ? "not_found" : rc == -EACCES ? "not_accessible" : "";
		return dray_error_kind(err, rc, kind, "%s: create: %s", m.path, strerror(-rc));
	}
	rc = make(&m, size_bytes, full, err);
	close(m.dir);
	return rc;
}
