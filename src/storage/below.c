/* SPDX-License-Identifier: BSD-3-Clause */
#include "storage/below.h"

#include "storage/sysfs.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

enum { DEEP = 16 }; /* more storeys than anybody builds; a loop device can be set up on a file of what it carries */

struct walk {
	bool (*each)(void *arg, dev_t dev);
	void *arg;
	unsigned depth;
};

static bool visit(void *arg, dev_t dev);

static bool visit_path(struct walk *w, const char *path)
{
	struct stat st;
	char folder[PATH_MAX];
	if (!stat(path, &st))
		return visit(w, S_ISBLK(st.st_mode) ? st.st_rdev : st.st_dev);
	const char *slash = strrchr(path, '/');
	if (!slash || (size_t)snprintf(folder, sizeof folder, "%.*s/", (int)(slash - path), path) >= sizeof folder)
		return false;
	return !stat(folder, &st) && visit(w, st.st_dev);
}

static bool visit(void *arg, dev_t dev)
{
	struct walk *w = arg;
	char backing[PATH_MAX];
	dev_t disk;
	if (w->depth == DEEP)
		return false;
	w->depth++;
	bool found = w->each(w->arg, dev) || dray_sysfs_each(dev, "slaves", visit, w);
	if (!found && !dray_sysfs_disk(dev, &disk))
		found = visit(w, disk);
	if (!found && !dray_sysfs_text(dev, "loop/backing_file", backing, sizeof backing))
		found = visit_path(w, backing);
	w->depth--;
	return found;
}

bool dray_storage_below(const char *resource, bool (*each)(void *arg, dev_t dev), void *arg)
{
	struct walk w = { .each = each, .arg = arg };
	const char *path = strncmp(resource, "file:", 5) ? resource : resource + 5;
	return path[0] == '/' && visit_path(&w, path);
}
