/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * LVM logical volumes, by LVM's own commands: its metadata is changed by nobody else.
 *
 * The volume is found by its UUIDs, which the identity carries (device-mapper's uuid: LVM-, then the group's, then the
 * volume's), never by a name or a device node. So it does not matter that an inactive volume has no node, that the group
 * was renamed, or that another volume has the name by now. Each step looks first whether it is so already; a volume that
 * is not in its group any more after `begun` was recorded was removed by us.
 *
 * Neighbours: removing an origin would take its snapshots along, and so would deactivating it; a pool holds the data of
 * others; what is private to LVM is part of something. These are refused.
 */
#include "storage/retire.h"

#include "base/spawn.h"
#include "storage/held.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define TIMEOUT_NS  UINT64_C(120000000000)
#define POLL_NS     500000000
#define NAME_MOST   110 /* of group and volume together: LVM's limit is 127, with escapes */

struct lv {
	char vg_uuid[40], lv_uuid[40];
	char vg[140], name[140], attr[24], role[240], layout[240], path[300];
};

/* lv_attr's places */
enum { PERMISSION = 1, ACTIVE = 4, OPEN = 5, SKIP = 9 };

static int run(const char *const *argv, char *out, size_t size, struct dray_error *err)
{
	static const char *const keep[] = { "LVM_SYSTEM_DIR", "DM_DISABLE_UDEV", NULL };
	struct dray_spawn s = { .argv = argv, .keep = keep, .timeout_ns = TIMEOUT_NS, .out = out, .out_size = size };
	return dray_spawn(&s, err);
}

/* 32 characters -> 6-4-4-4-4-4-6 */
static void dashed(const char *plain, char *buf)
{
	static const int groups[] = { 6, 4, 4, 4, 4, 4, 6 };
	for (size_t g = 0; g < sizeof groups / sizeof groups[0]; g++) {
		if (g)
			*buf++ = '-';
		memcpy(buf, plain, (size_t)groups[g]);
		buf += groups[g];
		plain += groups[g];
	}
	*buf = 0;
}

static char *trim(char *s)
{
	s += strspn(s, " \t");
	s[strcspn(s, "\n")] = 0;
	for (size_t n = strlen(s); n && s[n - 1] == ' '; n--)
		s[n - 1] = 0;
	return s;
}

static void read_fields(struct lv *lv, char *line)
{
	struct {
		char *into;
		size_t size;
	} fields[] = { { lv->vg, sizeof lv->vg }, { lv->name, sizeof lv->name }, { lv->attr, sizeof lv->attr },
		{ lv->role, sizeof lv->role }, { lv->layout, sizeof lv->layout }, { lv->path, sizeof lv->path } };
	for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
		char *word = line ? strsep(&line, "|") : NULL;
		snprintf(fields[i].into, fields[i].size, "%s", word ? trim(word) : "");
	}
}

/* 0; -ENOENT: the group is there and has no such volume; -ENXIO: no such group (its disks may be away). */
static int find(const char *identity, struct lv *lv, struct dray_error *err)
{
	char select[200], out[2048];
	*lv = (struct lv){ 0 };
	dashed(identity + strlen("block:dm=LVM-"), lv->vg_uuid);
	dashed(identity + strlen("block:dm=LVM-") + 32, lv->lv_uuid);
	snprintf(select, sizeof select, "vg_uuid=\"%s\" && lv_uuid=\"%s\"", lv->vg_uuid, lv->lv_uuid);
	const char *lvs[] = { "lvs", "--noheadings", "--separator", "|", "-o", "vg_name,lv_name,lv_attr,lv_role,lv_layout,lv_path",
		"--select", select, NULL };
	int rc = run(lvs, out, sizeof out, err);
	if (rc)
		return rc;
	if (*trim(out)) {
		read_fields(lv, out);
		if (!*lv->vg || !*lv->name || strlen(lv->attr) < 10)
			return dray_error_set(err, -EPROTO, "lvs: \"%.200s\" was not understood", out);
		return 0;
	}
	snprintf(select, sizeof select, "vg_uuid=\"%s\"", lv->vg_uuid);
	const char *vgs[] = { "vgs", "--noheadings", "-o", "vg_name", "--select", select, NULL };
	rc = run(vgs, out, sizeof out, err);
	if (rc)
		return rc;
	snprintf(lv->vg, sizeof lv->vg, "%s", trim(out));
	if (*lv->vg)
		return dray_error_kind(err, -ENOENT, "not_found", "volume group %s has no logical volume %s any more", lv->vg,
			lv->lv_uuid);
	return dray_error_kind(err, -ENXIO, "not_found", "there is no volume group %s: are its disks there?", lv->vg_uuid);
}

static bool has_word(const char *list, const char *word)
{
	size_t n = strlen(word);
	for (const char *p = list; (p = strstr(p, word)); p += n)
		if ((p == list || p[-1] == ',') && (!p[n] || p[n] == ','))
			return true;
	return false;
}

/* Why LVM's way to do this would do harm; NULL: it would not. */
static const char *harm(const struct lv *lv, enum dray_retire_way way)
{
	if (!has_word(lv->role, "public"))
		return "it is a part of another logical volume";
	if (strstr(lv->layout, "pool"))
		return "it is a pool that holds the data of other logical volumes";
	if (way != DRAY_RETIRE_DELETE && way != DRAY_RETIRE_OFFLINE)
		return NULL;
	if (way == DRAY_RETIRE_OFFLINE && has_word(lv->role, "thicksnapshot"))
		return "it is a snapshot, whose origin would go offline with it";
	if (has_word(lv->role, "thickorigin") || strstr(lv->role, "externalorigin"))
		return "it has snapshots, which would go with it";
	return NULL;
}

void dray_retire_lvm_look(struct dray_retire_facts *f)
{
	static const enum dray_retire_way ways[] = { DRAY_RETIRE_READ_ONLY, DRAY_RETIRE_OFFLINE, DRAY_RETIRE_DELETE,
		DRAY_RETIRE_RENAME };
	struct lv lv;
	struct dray_error err = DRAY_ERROR_INIT;
	/* Of a slice, the volume is known by what stands before. */
	int rc = f->slice ? 0 : find(f->identity, &lv, &err);
	for (size_t i = 0; !f->slice && i < sizeof ways / sizeof ways[0]; i++) {
		char *no = f->no[ways[i]];
		const char *why = rc ? err.text : harm(&lv, ways[i]);
		if (!why && ways[i] == DRAY_RETIRE_RENAME && strlen(lv.vg) + strlen(lv.name) + strlen(".retired-") + 10 > NAME_MOST)
			why = "its new name would be too long";
		if (why && !*no)
			snprintf(no, sizeof f->no[0], "%.159s", why);
	}
}

/* Device-mapper counts everybody who has it open. */
static int wait_until_free(const struct dray_retire_order *o, struct lv *lv, struct dray_error *err)
{
	for (uint64_t waited = 0; lv->attr[OPEN] == 'o'; waited += POLL_NS) {
		if (waited >= o->wait_ns) {
			int fd = open(lv->path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
			int rc = fd < 0 ? 0 : dray_storage_held(fd, lv->path, err); /* who? */
			if (fd >= 0)
				close(fd);
			return rc ? rc : dray_error_kind(err, -EBUSY, "held", "%s/%s is in use: mounted, part of something, or open",
						 lv->vg, lv->name);
		}
		if (o->stop(o->ctx))
			return -ECANCELED;
		nanosleep(&(struct timespec){ .tv_nsec = POLL_NS }, NULL);
		int rc = find(o->identity, lv, err);
		if (rc)
			return rc;
	}
	return 0;
}

/* Whether it is so already. */
static bool fulfilled(const struct dray_retire_order *o, const struct lv *lv)
{
	char end[120];
	snprintf(end, sizeof end, ".retired-%.100s", o->session);
	size_t n = strlen(lv->name), m = strlen(end);
	switch (o->way) {
	case DRAY_RETIRE_READ_ONLY: return lv->attr[PERMISSION] == 'r';
	case DRAY_RETIRE_OFFLINE: return lv->attr[ACTIVE] != 'a' && lv->attr[SKIP] == 'k';
	case DRAY_RETIRE_RENAME: return n > m && !strcmp(lv->name + n - m, end);
	default: return false;
	}
}

static int act(const struct dray_retire_order *o, struct lv *lv, struct dray_error *err)
{
	char full[300], name[300];
	snprintf(full, sizeof full, "%s/%s", lv->vg, lv->name);
	snprintf(name, sizeof name, "%s.retired-%s", lv->name, o->session);
	const char *read_only[] = { "lvchange", "--permission", "r", full, NULL };
	const char *skip[] = { "lvchange", "--setactivationskip", "y", full, NULL };
	const char *inactive[] = { "lvchange", "--activate", "n", full, NULL };
	const char *del[] = { "lvremove", "--yes", full, NULL };
	const char *rename_it[] = { "lvrename", lv->vg, lv->name, name, NULL };
	int rc = 0;
	switch (o->way) {
	case DRAY_RETIRE_READ_ONLY: return run(read_only, NULL, 0, err);
	case DRAY_RETIRE_OFFLINE:
		/* What lasts first: a crash in between leaves it active until the next start at the latest. */
		if (lv->attr[SKIP] != 'k')
			rc = run(skip, NULL, 0, err);
		o->point(o->ctx, "retire-lv-skip");
		return rc || lv->attr[ACTIVE] != 'a' ? rc : run(inactive, NULL, 0, err);
	case DRAY_RETIRE_DELETE: return run(del, NULL, 0, err);
	case DRAY_RETIRE_RENAME: return run(rename_it, NULL, 0, err);
	default: return dray_error_kind(err, -ENOTSUP, "retire", "no way to retire a logical volume");
	}
}

static void tell(const struct dray_retire_order *o, const struct lv *lv, struct dray_retire_result *result)
{
	if (o->way == DRAY_RETIRE_RENAME)
		snprintf(result->name, sizeof result->name, "/dev/%s/%s", lv->vg, lv->name);
	snprintf(result->detail, sizeof result->detail, "logical volume %.100s/%.100s: %s", lv->vg, lv->name,
		o->way == DRAY_RETIRE_READ_ONLY ? "its permission is read-only" :
		o->way == DRAY_RETIRE_OFFLINE   ? "inactive, and skipped at activation" :
		o->way == DRAY_RETIRE_DELETE    ? "removed" :
						  "that is its new name");
}

/* LVM writes its metadata past the page cache and leaves it in the disks' own: after a loss of power it would know the volume as
 * before, or not know the group any more. Only flushed it may be told as done. */
static int flush_group(const char *vg, struct dray_error *err)
{
	char out[8192];
	const char *list[] = { "vgs", "--noheadings", "-o", "pv_name", vg, NULL };
	int rc = run(list, out, sizeof out, err);
	char *rest = out;
	for (char *line; !rc && (line = strsep(&rest, "\n"));) {
		char *path = trim(line);
		if (path[0] != '/')
			continue;
		int fd = open(path, O_RDONLY | O_CLOEXEC);
		if (fd < 0 || fsync(fd))
			rc = dray_error_errno(err, -errno, "%s: flush the metadata of group %s", path, vg);
		if (fd >= 0)
			close(fd);
	}
	return rc;
}

static int retire(const struct dray_retire_order *o, struct lv *was, struct dray_retire_result *result, struct dray_error *err)
{
	struct lv lv;
	int rc = find(o->identity, &lv, err);
	*was = lv;
	if (rc == -ENOENT && o->way == DRAY_RETIRE_DELETE && *o->step) {
		snprintf(result->detail, sizeof result->detail, "logical volume %s of %s: removed", lv.lv_uuid, lv.vg);
		return 0; /* by a run that was killed */
	}
	if (!rc && fulfilled(o, &lv)) {
		tell(o, &lv, result);
		return 0;
	}
	const char *why = rc ? NULL : harm(&lv, o->way);
	if (why)
		rc = dray_error_kind(err, -ENOTSUP, "retire", "%s/%s can't be retired by \"%s\": %s", lv.vg, lv.name,
			dray_retire_word(o->way), why);
	if (!rc)
		rc = wait_until_free(o, &lv, err);
	if (!rc && !*o->step)
		rc = o->record(o->ctx, "begun", o->resource, 0);
	if (rc)
		return rc;
	o->point(o->ctx, "retire-begun");
	rc = act(o, &lv, err);
	if (rc)
		return rc;
	/* What LVM says of it now decides. */
	struct lv now;
	rc = find(o->identity, &now, err);
	if (o->way == DRAY_RETIRE_DELETE && rc == -ENOENT) {
		*err = DRAY_ERROR_INIT;
		tell(o, &lv, result);
		return 0;
	}
	if (!rc && !fulfilled(o, &now))
		rc = dray_error_set(err, -EIO, "%s/%s: the command was carried out without effect (%s)", now.vg, now.name, now.attr);
	if (!rc)
		tell(o, &now, result);
	return rc;
}

int dray_retire_lvm(const struct dray_retire_order *o, struct dray_retire_result *result, struct dray_error *err)
{
	struct lv lv = { 0 };
	int rc = retire(o, &lv, result, err);
	return rc ? rc : flush_group(lv.vg, err);
}
