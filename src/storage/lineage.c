/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Two walks over what the kernel shows in /sys, from the device that a resource is or is on.
 *
 *   down    "slaves" (device-mapper, md, bcache), and of a loop device the device of the file system that its file is on. A partition
 *           is a part of its disk by its identity already, and a loop device is its file: neither adds anything, but the walk goes on from the
 *           disk (which may be an md) and from the file.
 *   up      "holders"; partitions, as far as they have bytes in common with the slice that is asked for, as ways to further holders; and loop
 *           devices over it. Not the files on a mounted file system, which nobody could list: from there the walk down meets this.
 *
 * Which bytes of a disk a logical volume has is not looked up: each is held against the whole of the disk or partition that it is made
 * of, since a part of a disk that belongs to LVM is nobody's to take.
 *
 * A multipath device and its paths are one storage by their identity, and neither lies on the other: what is met with the identity from which
 * the walk began adds nothing, and the walk goes on from it.
 *
 * A loop device can be set up on a file of what it carries, so the walks end after DEEP storeys. Nothing here is a lock: it is looked at once,
 * and who changes devices in that moment is kept out by the kernel (file_open.c).
 */
#include "storage/lineage.h"

#include "storage/driver.h"
#include "storage/identity.h"
#include "storage/sysfs.h"

#include <limits.h>
#include <linux/major.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

enum { DEEP = 16 };

/* ---- loop devices ---- */

struct loop {
	dev_t dev;
	struct stat behind;
};

struct dray_loops {
	struct loop *all;
	size_t n;
	bool failed;
};

static bool see_loop(void *arg, dev_t dev)
{
	struct dray_loops *loops = arg;
	char backing[PATH_MAX];
	struct loop l = { .dev = dev };
	if (major(dev) != LOOP_MAJOR || dray_sysfs_text(dev, "loop/backing_file", backing, sizeof backing) || stat(backing, &l.behind))
		return false;
	struct loop *more = realloc(loops->all, (loops->n + 1) * sizeof *more);
	if (more) {
		loops->all = more;
		more[loops->n++] = l;
	}
	loops->failed |= !more;
	return !more;
}

struct dray_loops *dray_loops_find(void)
{
	struct dray_loops *loops = calloc(1, sizeof *loops);
	if (loops)
		dray_sysfs_all(see_loop, loops);
	if (loops && loops->failed) {
		dray_loops_free(loops);
		loops = NULL;
	}
	return loops;
}

void dray_loops_free(struct dray_loops *loops)
{
	if (loops)
		free(loops->all);
	free(loops);
}

/* ---- walking ---- */

struct walk {
	struct dray_lineage *l;
	const char *self; /* the identity from which it began */
	char ***list;
	size_t *n;
	const struct dray_loops *loops;
	unsigned depth;
};

static void add(struct walk *w, dev_t dev)
{
	char identity[256], name[64];
	bool stable;
	if (dray_sysfs_name(dev, name, sizeof name) || dray_identity_of_device(-1, dev, identity, sizeof identity, &stable))
		return; /* of no device: the number of a tmpfs, a Btrfs, a network file system */
	if (!strcmp(identity, w->self))
		return;
	for (size_t i = 0; i < *w->n; i++)
		if (!strcmp((*w->list)[i], identity))
			return;
	char **more = realloc(*w->list, (*w->n + 1) * sizeof *more), *copy = strdup(identity);
	if (more)
		*w->list = more;
	if (more && copy) {
		more[(*w->n)++] = copy;
	} else {
		free(copy);
		w->l->cut = true;
	}
}

static bool enter(struct walk *w)
{
	if (w->depth == DEEP) {
		w->l->cut = true;
		return false;
	}
	w->depth++;
	return true;
}

static void down(struct walk *w, dev_t dev);

static bool see_slave(void *arg, dev_t dev)
{
	add(arg, dev);
	down(arg, dev);
	return false;
}

static void down(struct walk *w, dev_t dev)
{
	char backing[PATH_MAX];
	struct stat st;
	dev_t disk;
	if (!enter(w))
		return;
	dray_sysfs_each(dev, "slaves", see_slave, w);
	if (!dray_sysfs_disk(dev, &disk))
		down(w, disk);
	if (!dray_sysfs_text(dev, "loop/backing_file", backing, sizeof backing) && !stat(backing, &st)) {
		if (S_ISBLK(st.st_mode))
			down(w, st.st_rdev);
		else
			see_slave(w, st.st_dev);
	}
	w->depth--;
}

/* A part of a device, in bytes; length 0: all of it. */
struct part {
	struct walk *w;
	uint64_t offset, length;
};

static void up(struct walk *w, dev_t dev, uint64_t offset, uint64_t length);

static bool see_holder(void *arg, dev_t dev)
{
	add(arg, dev);
	up(arg, dev, 0, 0);
	return false;
}

static bool see_partition(void *arg, dev_t dev)
{
	const struct part *p = arg;
	uint64_t start, sectors;
	if (dray_sysfs_number(dev, "start", &start) || dray_sysfs_number(dev, "size", &sectors))
		return false;
	start *= 512;
	if (!p->length || (start < p->offset ? p->offset - start < sectors * 512 : start - p->offset < p->length))
		up(p->w, dev, 0, 0);
	return false;
}

static void up(struct walk *w, dev_t dev, uint64_t offset, uint64_t length)
{
	struct part part = { w, offset, length };
	if (!enter(w))
		return;
	dray_sysfs_each(dev, "holders", see_holder, w);
	dray_sysfs_each(dev, "", see_partition, &part);
	for (size_t i = 0; w->loops && i < w->loops->n; i++)
		if (S_ISBLK(w->loops->all[i].behind.st_mode) && w->loops->all[i].behind.st_rdev == dev)
			up(w, w->loops->all[i].dev, 0, 0);
	w->depth--;
}

static void up_from_file(struct walk *w, const struct stat *st)
{
	for (size_t i = 0; w->loops && i < w->loops->n; i++) {
		const struct stat *behind = &w->loops->all[i].behind;
		if (S_ISREG(behind->st_mode) && behind->st_ino == st->st_ino && behind->st_dev == st->st_dev)
			up(w, w->loops->all[i].dev, 0, 0);
	}
}

/* ---- of a resource ---- */

/* What a loop device shows is its file, and who uses that has it below or above. */
static void file_behind(dev_t dev, struct stat *st)
{
	char backing[PATH_MAX];
	dev_t disk = dev;
	dray_sysfs_disk(dev, &disk);
	if (dray_sysfs_text(disk, "loop/backing_file", backing, sizeof backing) || stat(backing, st))
		st->st_mode = 0;
}

void dray_lineage_find(struct dray_lineage *l, const char *resource, uint64_t offset, uint64_t length, const struct dray_loops *loops)
{
	*l = (struct dray_lineage){ 0 };
	struct walk below = { .l = l, .list = &l->below, .n = &l->n_below, .loops = loops };
	struct walk above = { .l = l, .list = &l->above, .n = &l->n_above, .loops = loops };
	const char *path = dray_storage_path(resource);
	char folder[PATH_MAX], self[256] = "";
	struct stat st, behind;
	dev_t disk;
	bool stable;
	below.self = above.self = self;
	if (path[0] != '/')
		return;
	if (stat(path, &st)) {
		const char *slash = strrchr(path, '/');
		if ((size_t)snprintf(folder, sizeof folder, "%.*s/", (int)(slash - path), path) < sizeof folder && !stat(folder, &st))
			see_slave(&below, st.st_dev);
	} else if (S_ISBLK(st.st_mode)) {
		if (dray_identity_of_device(-1, st.st_rdev, self, sizeof self, &stable))
			self[0] = 0;
		down(&below, st.st_rdev);
		up(&above, st.st_rdev, offset, length);
		if (!dray_sysfs_disk(st.st_rdev, &disk))
			dray_sysfs_each(disk, "holders", see_holder, &above);
		/* Its file may be behind other loop devices, too. */
		file_behind(st.st_rdev, &behind);
		if (S_ISREG(behind.st_mode))
			up_from_file(&above, &behind);
		else if (S_ISBLK(behind.st_mode))
			up(&above, behind.st_rdev, 0, 0);
	} else {
		see_slave(&below, st.st_dev);
		up_from_file(&above, &st);
	}
}

static void free_list(char **list, size_t n)
{
	for (size_t i = 0; i < n; i++)
		free(list[i]);
	free(list);
}

void dray_lineage_free(struct dray_lineage *l)
{
	free_list(l->below, l->n_below);
	free_list(l->above, l->n_above);
	*l = (struct dray_lineage){ 0 };
}
