/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What can be done to retire a storage, here and now. Changes nothing, takes no lock: what is found may be outdated when it is
 * acted on, and everything that matters is looked at again then.
 */
#include "storage/retire.h"

#include "storage/driver.h"
#include "storage/identity.h"
#include "storage/sysfs.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

#define NBD_MAJOR 43
/* As long as the ids that are given are; for a look before there is one. */
#define USUAL_SESSION "s-00000000"

static void stands(struct dray_retire_facts *f, enum dray_retire_way way, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
static void stands(struct dray_retire_facts *f, enum dray_retire_way way, const char *fmt, ...)
{
	va_list ap;
	if (f->no[way][0])
		return;
	va_start(ap, fmt);
	vsnprintf(f->no[way], sizeof f->no[way], fmt, ap);
	va_end(ap);
}

/* ---- kinds ---- */

static bool sys_has(dev_t dev, const char *name)
{
	char path[PATH_MAX];
	snprintf(path, sizeof path, "%s/dev/block/%u:%u/%s", dray_sysfs_root(), major(dev), minor(dev), name);
	return !access(path, F_OK);
}

/* Which part of the kernel drives the disk: "scsi", "virtio", "nvme" ... 0 or -ENOENT. */
static int driven_by(dev_t dev, char *buf, size_t size)
{
	char path[PATH_MAX], to[PATH_MAX];
	snprintf(path, sizeof path, "%s/dev/block/%u:%u/device/subsystem", dray_sysfs_root(), major(dev), minor(dev));
	ssize_t n = readlink(path, to, sizeof to - 1);
	if (n <= 0)
		return -ENOENT;
	to[n] = 0;
	snprintf(buf, size, "%s", basename(to));
	return 0;
}

int dray_retire_scsi_state(uint64_t device, char *buf, size_t size)
{
	dev_t dev = (dev_t)device;
	char by[64];
	/* An NVMe namespace has a device with a state, too, which is another matter. */
	if (driven_by(dev, by, sizeof by) || strcmp(by, "scsi"))
		return -ENOENT;
	int n = snprintf(buf, size, "%s/dev/block/%u:%u/device/state", dray_sysfs_root(), major(dev), minor(dev));
	return n < 0 || (size_t)n >= size || access(buf, F_OK) ? -ENOENT : 0;
}

static bool is_lv(const char *uuid)
{
	if (strncmp(uuid, "LVM-", 4) || strlen(uuid) != 4 + 64)
		return false; /* with a word behind: a layer inside of one */
	for (const char *p = uuid + 4; *p; p++)
		if (!isalnum((unsigned char)*p))
			return false;
	return true;
}

static enum dray_retire_kind kind_of_disk(dev_t dev)
{
	char uuid[200], state[PATH_MAX], by[64];
	if (sys_has(dev, "dm")) {
		if (dray_sysfs_text(dev, "dm/uuid", uuid, sizeof uuid))
			return DRAY_RETIRE_KIND_DM;
		return is_lv(uuid)                  ? DRAY_RETIRE_KIND_LV :
			!strncmp(uuid, "mpath-", 6) ? DRAY_RETIRE_KIND_MULTIPATH :
						      DRAY_RETIRE_KIND_DM;
	}
	if (sys_has(dev, "loop/backing_file"))
		return DRAY_RETIRE_KIND_LOOP;
	if (major(dev) == NBD_MAJOR)
		return DRAY_RETIRE_KIND_KERNEL_NBD;
	if (sys_has(dev, "md"))
		return DRAY_RETIRE_KIND_MD;
	if (!dray_retire_scsi_state(dev, state, sizeof state))
		return DRAY_RETIRE_KIND_SCSI;
	/* "nvme-subsystem": one that the kernel reaches by several paths. */
	if (!driven_by(dev, by, sizeof by) && (!strcmp(by, "virtio") || !strcmp(by, "nvme") || !strcmp(by, "nvme-subsystem")))
		return DRAY_RETIRE_KIND_DISK;
	return DRAY_RETIRE_KIND_DEVICE;
}

enum dray_retire_kind dray_retire_kind_of_device(uint64_t device)
{
	dev_t disk;
	if (dray_sysfs_disk((dev_t)device, &disk))
		return kind_of_disk((dev_t)device);
	/* What is true of the whole is so of its parts: the flag of a partition of a loop device would hit whatever is attached next. */
	enum dray_retire_kind kind = kind_of_disk(disk);
	return kind == DRAY_RETIRE_KIND_SCSI || kind == DRAY_RETIRE_KIND_DISK ? DRAY_RETIRE_KIND_PARTITION : kind;
}

int dray_retire_kind_of_fd(int fd, enum dray_retire_kind *kind)
{
	struct stat st;
	if (fstat(fd, &st))
		return -errno;
	if (S_ISREG(st.st_mode))
		*kind = DRAY_RETIRE_KIND_FILE;
	else if (S_ISBLK(st.st_mode))
		*kind = dray_retire_kind_of_device(st.st_rdev);
	else
		return -EINVAL;
	return 0;
}

/* ---- what stands against it ---- */

static void look_at_writing(struct dray_retire_facts *f, bool can_write, const char *why, bool can_discard)
{
	if (!can_write) {
		stands(f, DRAY_RETIRE_ZERO, "it can't be written: %s", why);
		stands(f, DRAY_RETIRE_DISCARD, "it can't be written: %s", why);
	}
	if (!can_discard)
		stands(f, DRAY_RETIRE_DISCARD, "%s", f->kind == DRAY_RETIRE_KIND_FILE ? "its file system punches no holes" :
			f->kind == DRAY_RETIRE_KIND_NBD                                ? "its server takes no discards (trim)" :
											 "it takes no discards");
}

/* By the names in the kernel's sources: those whose rename takes no flags. Of FUSE it is the server's matter, and seen when it is done. */
bool dray_retire_may_rename(long f_type)
{
	static const unsigned long cant[] = { 0x6969 /* NFS */, 0x00c36400 /* Ceph */, 0x01021997 /* 9P */, 0x5346414f /* OpenAFS */,
		0x6b414653 /* AFS */, 0x73757245 /* Coda */, 0x20030528 /* OrangeFS */, 0x7461636f /* OCFS2 */, 0xf15f /* eCryptfs */,
		0x786f4256 /* VirtualBox */ };
	for (size_t i = 0; i < sizeof cant / sizeof cant[0]; i++)
		if ((uint32_t)f_type == cant[i])
			return false;
	return true;
}

/* Marked so that not even root can change it (chattr +i, +a). */
static bool is_fixed(const char *path)
{
	struct statx sx;
	return !statx(AT_FDCWD, path, AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS, &sx) &&
	       (sx.stx_attributes & (STATX_ATTR_IMMUTABLE | STATX_ATTR_APPEND));
}

/* Whether a name that is the file's can be changed in the directory; nothing is touched to find out. */
static void look_at_directory(struct dray_retire_facts *f, const char *dir, const struct stat *st, enum dray_retire_way way)
{
	struct statfs fs;
	struct stat up;
	if (faccessat(AT_FDCWD, dir, W_OK | X_OK, AT_EACCESS))
		stands(f, way, "no name can be changed in %.80s: %s", dir, strerror(errno));
	if (is_fixed(dir))
		stands(f, way, "no name can be changed in %.80s: it is marked immutable or append-only", dir);
	if (is_fixed(f->path))
		stands(f, way, "it is marked immutable or append-only");
	if (geteuid() != 0 && !stat(dir, &up) && (up.st_mode & S_ISVTX) && geteuid() != up.st_uid && geteuid() != st->st_uid)
		stands(f, way, "only its owner and root can change its name in %.80s (a sticky directory)", dir);
	if (!statfs(dir, &fs) && !dray_retire_may_rename((long)fs.f_type))
		stands(f, way, "its file system can't rename so that nothing is replaced (RENAME_NOREPLACE)");
}

static void look_at_file(struct dray_retire_facts *f, const struct stat *st, const char *session)
{
	char directory[PATH_MAX], name[PATH_MAX];
	snprintf(directory, sizeof directory, "%s", f->path);
	const char *dir = dirname(directory);
	if (geteuid() != 0 && geteuid() != st->st_uid) {
		stands(f, DRAY_RETIRE_READ_ONLY, "only its owner and root can change its permissions");
		stands(f, DRAY_RETIRE_OFFLINE, "only its owner and root can change its permissions");
	}
	for (int i = 0; i < 2; i++) {
		enum dray_retire_way way = i ? DRAY_RETIRE_RENAME : DRAY_RETIRE_DELETE;
		if (st->st_nlink > 1)
			stands(f, way, "it has %u names (hard links): its data would stay accessible by the others",
				(unsigned)st->st_nlink);
		look_at_directory(f, dir, st, way);
	}
	for (int i = 0; i < 2 && is_fixed(f->path); i++)
		stands(f, i ? DRAY_RETIRE_OFFLINE : DRAY_RETIRE_READ_ONLY, "it is marked immutable or append-only");
	if (dray_retire_new_name(f->path, session ? session : USUAL_SESSION, name, sizeof name))
		stands(f, DRAY_RETIRE_RENAME, "its new name would be too long");
}

static void look_at_device(struct dray_retire_facts *f)
{
	if (geteuid() != 0)
		for (int way = DRAY_RETIRE_READ_ONLY; way < DRAY_RETIRE_COUNT; way++)
			if (way != DRAY_RETIRE_ZERO && way != DRAY_RETIRE_DISCARD)
				stands(f, (enum dray_retire_way)way, "only root can");
	if (f->kind == DRAY_RETIRE_KIND_LV && geteuid() == 0)
		dray_retire_lvm_look(f);
}

static int look_at_path(const struct dray_retire_look *look, struct dray_retire_facts *f, struct dray_error *err)
{
	const char *path = dray_storage_path(look->resource);
	struct stat st;
	struct dray_storage_info info;
	struct dray_storage_options o = { .no_lock = true, .offset = look->offset, .length = look->length };
	struct dray_error read_only = DRAY_ERROR_INIT;
	bool there = realpath(path, f->path) && !stat(f->path, &st);
	if (!there && look->identity && dray_retire_is_lv(look->identity) && !f->slice) {
		/* One that is not active has no device, and is LVM's to find all the same. */
		f->kind = DRAY_RETIRE_KIND_LV;
		f->stable_identity = true;
		snprintf(f->identity, sizeof f->identity, "%s", look->identity);
		snprintf(f->path, sizeof f->path, "%s", path);
		stands(f, DRAY_RETIRE_ZERO, "it is not active");
		stands(f, DRAY_RETIRE_DISCARD, "it is not active");
		look_at_device(f);
		return 0;
	}
	if (!there)
		return dray_error_kind(err, -errno, errno == EACCES ? "not_accessible" : "not_found", "%s: %s", path, strerror(errno));
	/* Opened for writing only where that leaves no trace. */
	o.read_only = S_ISBLK(st.st_mode);
	int rc = dray_storage_probe(f->path, &o, &info, err);
	if ((rc == -EACCES || rc == -EROFS || rc == -EPERM) && !o.read_only) {
		read_only = *err;
		o.read_only = true;
		rc = dray_storage_probe(f->path, &o, &info, err);
	}
	if (rc)
		return rc;
	int fd = open(f->path, O_PATH | O_CLOEXEC);
	rc = fd < 0 ? -errno : dray_retire_kind_of_fd(fd, &f->kind);
	if (fd >= 0)
		close(fd);
	if (rc)
		return dray_error_errno(err, rc, "%s", path);
	snprintf(f->identity, sizeof f->identity, "%s", info.identity);
	f->stable_identity = info.stable_identity;
	bool block = S_ISBLK(st.st_mode);
	bool can_write = block ? !faccessat(AT_FDCWD, f->path, W_OK, AT_EACCESS) : !read_only.code;
	look_at_writing(f, can_write, strerror(block ? errno : -read_only.code), info.can_discard || (!block && !can_write));
	if (block)
		look_at_device(f);
	else
		look_at_file(f, &st, look->session);
	return 0;
}

static int look_at_other(const struct dray_retire_look *look, struct dray_retire_facts *f, struct dray_error *err)
{
	struct dray_storage_info info;
	struct dray_storage_options o = { .no_lock = true, .allow_faults = look->allow_faults, .offset = look->offset,
		.length = look->length };
	bool nbd = dray_storage_nbd.matches(look->resource);
	f->kind = nbd ? DRAY_RETIRE_KIND_NBD : DRAY_RETIRE_KIND_OTHER;
	snprintf(f->path, sizeof f->path, "%s", look->resource);
	if (nbd && look->no_connect) {
		look_at_writing(f, true, "", look->can_discard);
		return 0;
	}
	int rc = dray_storage_probe(look->resource, &o, &info, err);
	bool can_write = rc != -EROFS;
	if (!can_write) {
		o.read_only = true;
		rc = dray_storage_probe(look->resource, &o, &info, err);
	}
	if (rc)
		return rc;
	snprintf(f->identity, sizeof f->identity, "%s", info.identity);
	f->stable_identity = info.stable_identity;
	look_at_writing(f, can_write && !info.read_only, strerror(EROFS), info.can_discard);
	return 0;
}

int dray_retire_look(const struct dray_retire_look *asked, struct dray_retire_facts *facts, struct dray_error *err)
{
	char now[PATH_MAX];
	struct dray_retire_look found = *asked;
	const struct dray_retire_look *look = &found;
	if (asked->identity)
		found.resource = dray_retire_where(asked->resource, asked->identity, asked->offset, asked->length, now, sizeof now);
	*facts = (struct dray_retire_facts){ .slice = look->offset || look->length };
	if (dray_storage_fault.matches(look->resource) || dray_storage_nbd.matches(look->resource))
		return look_at_other(look, facts, err);
	if (!dray_storage_file.matches(look->resource))
		return dray_error_kind(err, -EINVAL, "bad_resource", "%s: not a storage", look->resource);
	return look_at_path(look, facts, err);
}

/* ---- for people ---- */

static const char *against(const struct dray_retire_facts *f, enum dray_retire_way way)
{
	const char *no = dray_retire_cell(f->kind, f->slice, way)->no;
	return no ? no : f->no[way][0] ? f->no[way] : NULL;
}

int dray_retire_possible(const struct dray_retire_facts *f, enum dray_retire_way way, struct dray_error *err)
{
	const char *no = against(f, way);
	if (!no)
		return 0;
	return dray_error_kind(err, -ENOTSUP, "retire", "%s (%s) can't be retired by \"%s\": %s", f->path,
		f->slice ? "a slice" : dray_retire_kind_word(f->kind), dray_retire_word(way), no);
}

char *dray_retire_legal(const struct dray_retire_facts *f, char *buf, size_t size)
{
	int left = 0;
	size_t n = 0;
	for (int way = 0; way < DRAY_RETIRE_COUNT; way++)
		left += !against(f, (enum dray_retire_way)way);
	buf[0] = 0;
	for (int way = 0; way < DRAY_RETIRE_COUNT && n < size; way++)
		if (!against(f, (enum dray_retire_way)way)) {
			left--;
			n += (size_t)snprintf(buf + n, size - n, "%s%s", dray_retire_word((enum dray_retire_way)way),
				left > 1 ? ", " : left ? " or " : "");
		}
	return buf;
}

char *dray_retire_plan(const struct dray_retire_facts *f, enum dray_retire_way way, const char *resource, const char *session,
	char *buf, size_t size)
{
	const struct dray_retire_cell *cell = dray_retire_cell(f->kind, f->slice, way);
	if (way == DRAY_RETIRE_RENAME)
		snprintf(buf, size, "source %s will be renamed to %s.retired-%s", resource, f->path, session ? session : "SESSIONID");
	else
		snprintf(buf, size, "source %s will be retired by %s: %s", resource, dray_retire_word(way),
			cell->does ? cell->does : "not possible");
	return buf;
}
