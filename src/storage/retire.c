/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Doing it (H24). The order, which each way keeps:
 *
 *   1. The storage is found by the name on record and looked at: is it still the one that was migrated, by identity, and has
 *      nobody got it? Whoever asked has made sure that it is no leg of a volume and no other session's.
 *   2. `begun` is recorded, with the real path. Nothing was touched before.
 *   3. The way's own steps. Each may have been done already by a run that was killed: what is so is not done again, and what is
 *      found under the old name by then is not ours to touch unless its identity says so.
 *   4. The answer. The caller records it; a crash in between repeats the work, which finds it done.
 *
 * A file that is deleted goes by a detour: it is renamed to a name that nobody else uses, what has that name is looked at once
 * more, `moved` is recorded, and only then it is removed. So what is removed is never found by the name that others use, and
 * a repeat knows that the file is gone because it was removed here, not because somebody moved it away.
 */
#include "storage/retire.h"

#include "storage/driver.h"
#include "storage/identity.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int dray_retire_new_name(const char *path, const char *session, char *buf, size_t size)
{
	const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
	if ((size_t)snprintf(buf, size, "%s.retired-%s", path, session) >= size ||
		strlen(name) + strlen(".retired-") + strlen(session) > NAME_MAX)
		return -ENAMETOOLONG;
	return 0;
}

int dray_retire_same(const struct dray_retire_order *o, int fd, const char *path, struct dray_error *err)
{
	char identity[256];
	bool stable;
	int rc = dray_identity_of_fd(fd, identity, sizeof identity, &stable);
	if (rc)
		return dray_error_errno(err, rc, "%s: identity", path);
	if (strcmp(identity, o->identity))
		return dray_error_kind(err, -ESTALE, "replaced", "%s is not the storage that was migrated any more (it is %s, that was %s)",
			path, identity, o->identity);
	if (!stable && !o->same_boot)
		return dray_error_kind(err, -ESTALE, "replaced",
			"%s: the host was restarted, and %s is no identity that lasts over that: it could be another storage", path,
			identity);
	return 0;
}

const char *dray_retire_where(const char *resource, const char *identity, uint64_t offset, uint64_t length, char *buf, size_t size)
{
	struct stat was, is;
	if (strncmp(identity, "block:", 6) || dray_storage_nbd.matches(resource) || dray_storage_fault.matches(resource) ||
		dray_identity_find(identity, offset, length, buf, size) || stat(buf, &is))
		return resource;
	return !stat(dray_storage_path(resource), &was) && S_ISBLK(was.st_mode) && was.st_rdev == is.st_rdev ? resource : buf;
}

bool dray_retire_is_lv(const char *identity)
{
	return !strncmp(identity, "block:dm=LVM-", 13) && strlen(identity) == 13 + 64 && !strchr(identity, '+');
}

static int by_kind(const struct dray_retire_order *o, struct dray_retire_result *result, struct dray_error *err)
{
	char real[PATH_MAX];
	const char *path = o->path && *o->path ? o->path : realpath(dray_storage_path(o->resource), real);
	enum dray_retire_kind kind = DRAY_RETIRE_KIND_FILE;
	if (!path)
		return dray_error_kind(err, -errno, "not_found", "%s: %s", o->resource, strerror(errno));
	int fd = open(path, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 && (errno != ENOENT || !*o->step))
		return dray_error_kind(err, -errno, "not_found", "%s: %s", path, strerror(errno));
	/* Gone, after we had begun: only a file goes by what we do. */
	int rc = fd < 0 ? 0 : dray_retire_kind_of_fd(fd, &kind);
	if (fd >= 0)
		close(fd);
	if (rc)
		return dray_error_kind(err, -ESTALE, "replaced", "%s is neither a regular file nor a block device any more", path);
	const char *no = dray_retire_cell(kind, o->offset || o->length, o->way)->no;
	if (no)
		return dray_error_kind(err, -ENOTSUP, "retire", "%s (%s) can't be retired by \"%s\": %s", path,
			o->offset || o->length ? "a slice" : dray_retire_kind_word(kind), dray_retire_word(o->way), no);
	struct dray_retire_order order = *o;
	order.path = path;
	return kind == DRAY_RETIRE_KIND_FILE ? dray_retire_file(&order, result, err) : dray_retire_device(&order, kind, result, err);
}

int dray_retire_do(const struct dray_retire_order *order, struct dray_retire_result *result, struct dray_error *err)
{
	char now[PATH_MAX];
	struct dray_retire_order found = *order;
	const struct dray_retire_order *o = &found;
	found.resource = dray_retire_where(order->resource, order->identity, order->offset, order->length, now, sizeof now);
	if (!strncmp(order->identity, "block:", 6))
		found.path = NULL; /* that was its name when it was begun, before a restart of the host perhaps; a device's steps need none */
	bool network = dray_storage_fault.matches(o->resource) || dray_storage_nbd.matches(o->resource);
	*result = (struct dray_retire_result){ 0 };
	*err = DRAY_ERROR_INIT;
	if (o->way == DRAY_RETIRE_NONE)
		return 0;
	if (!*o->identity)
		return dray_error_kind(err, -ESTALE, "replaced", "%s: what it was when it was migrated is not on record", o->resource);
	int rc;
	if (o->way == DRAY_RETIRE_ZERO || o->way == DRAY_RETIRE_DISCARD)
		rc = dray_retire_wipe(o, result, err);
	else if (network)
		rc = dray_error_kind(err, -ENOTSUP, "retire", "%s can't be retired by \"%s\": %s", o->resource,
			dray_retire_word(o->way), dray_retire_cell(DRAY_RETIRE_KIND_NBD, false, o->way)->no);
	else if (dray_retire_is_lv(o->identity) && !o->offset && !o->length)
		rc = dray_retire_lvm(o, result, err);
	else
		rc = by_kind(o, result, err);
	if (!rc)
		o->point(o->ctx, "retire-acted");
	return rc;
}
