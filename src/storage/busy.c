/* SPDX-License-Identifier: BSD-3-Clause */
#include "storage/busy.h"
#include "storage/sysfs.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/loop.h>
#include <linux/major.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/sysmacros.h>
#include <unistd.h>

struct words {
	char *buf;
	size_t size;
	const char *what; /* "it", "its partition sda1" */
};

static bool find_mount(dev_t dev, const struct words *w)
{
	char line[4096], where[2048];
	bool found = false;
	FILE *f = fopen("/proc/self/mountinfo", "re");
	while (f && !found && fgets(line, sizeof line, f)) {
		unsigned maj, min;
		if (sscanf(line, "%*s %*s %u:%u %*s %2047s", &maj, &min, where) == 3 && makedev(maj, min) == dev) {
			snprintf(w->buf, w->size, "%s is mounted on %s", w->what, where);
			found = true;
		}
	}
	if (f)
		fclose(f);
	return found;
}

/* `same` says whether a file of /proc/swaps is the one. */
static bool find_swap(bool (*same)(const struct stat *swap, const void *arg), const void *arg, const struct words *w)
{
	char line[4096], name[2048];
	struct stat st;
	bool found = false;
	FILE *f = fopen("/proc/swaps", "re");
	while (f && !found && fgets(line, sizeof line, f))
		if (sscanf(line, "%2047s", name) == 1 && *name == '/' && !stat(name, &st) && same(&st, arg)) {
			snprintf(w->buf, w->size, "%s is used as swap", w->what);
			found = true;
		}
	if (f)
		fclose(f);
	return found;
}

static bool is_device(const struct stat *swap, const void *dev)
{
	return S_ISBLK(swap->st_mode) && swap->st_rdev == *(const dev_t *)dev;
}

static bool is_file(const struct stat *swap, const void *arg)
{
	const struct stat *st = arg;
	return S_ISREG(swap->st_mode) && swap->st_ino == st->st_ino && swap->st_dev == st->st_dev;
}

static bool mounted_itself(dev_t dev, const struct words *w)
{
	return find_mount(dev, w) || find_swap(is_device, &dev, w);
}

static bool see_holder(void *arg, dev_t holder)
{
	const struct words *w = arg;
	char name[64] = "another device", called[160] = "";
	dray_sysfs_name(holder, name, sizeof name);
	dray_sysfs_text(holder, "dm/name", called, sizeof called);
	snprintf(w->buf, w->size, "%s is part of %s%s%s%s", w->what, name, *called ? " (" : "", called, *called ? ")" : "");
	return true;
}

struct parts {
	const struct words *w;
	bool (*test)(dev_t dev, const struct words *w);
};

static bool see_part(void *arg, dev_t part)
{
	const struct parts *p = arg;
	char name[64] = "?", what[96];
	dray_sysfs_name(part, name, sizeof name);
	snprintf(what, sizeof what, "its partition %s", name);
	struct words w = { p->w->buf, p->w->size, what };
	return p->test(part, &w);
}

static bool itself_or_part(dev_t dev, const struct words *w, bool (*test)(dev_t dev, const struct words *w))
{
	struct parts p = { w, test };
	return test(dev, w) || dray_sysfs_each(dev, "", see_part, &p);
}

static bool used(dev_t dev, const struct words *w)
{
	return mounted_itself(dev, w) || dray_sysfs_each(dev, "holders", see_holder, (void *)w);
}

bool dray_busy_mounted(dev_t dev, char *buf, size_t size)
{
	struct words w = { buf, size, "it" };
	return itself_or_part(dev, &w, mounted_itself);
}

bool dray_busy_device(dev_t dev, char *buf, size_t size)
{
	struct words w = { buf, size, "it" };
	return itself_or_part(dev, &w, used);
}

/* ---- loop devices over a file ---- */

struct behind {
	const struct stat *st;
	char *buf;
	size_t size;
	bool *mounted;
};

static bool see_loop(void *arg, dev_t dev)
{
	struct behind *b = arg;
	char backing[PATH_MAX], name[64], node[PATH_MAX], why[1200];
	struct stat st;
	if (major(dev) != LOOP_MAJOR) /* there may be thousands of others */
		return false;
	if (dray_sysfs_text(dev, "loop/backing_file", backing, sizeof backing) || stat(backing, &st) || st.st_ino != b->st->st_ino ||
		st.st_dev != b->st->st_dev || dray_sysfs_name(dev, name, sizeof name))
		return false;
	snprintf(node, sizeof node, "%s/%s", dray_dev_root(), name);
	if (dray_busy_mounted(dev, why, sizeof why)) {
		*b->mounted = true;
	} else if (!dray_busy_device(dev, why, sizeof why)) {
		/* In use in a way that can't be named: by a mount of another namespace, or open exclusively. */
		int fd = open(node, O_RDONLY | O_EXCL | O_CLOEXEC | O_NONBLOCK);
		if (fd >= 0)
			close(fd);
		if (fd >= 0 || errno != EBUSY)
			return false;
		snprintf(why, sizeof why, "it is in use");
	}
	snprintf(b->buf, b->size, "it is the file behind %s; of that: %.1000s", node, why);
	return true;
}

bool dray_busy_file(const struct stat *st, bool *mounted, char *buf, size_t size)
{
	struct words w = { buf, size, "it" };
	struct behind b = { st, buf, size, mounted };
	*mounted = find_swap(is_file, st, &w);
	return *mounted || dray_sysfs_all(see_loop, &b);
}

/* ---- locks ---- */

bool dray_busy_locker(const struct stat *st, char *buf, size_t size)
{
	char line[256], path[64], name[64] = "";
	bool found = false;
	FILE *f = fopen("/proc/locks", "re");
	while (f && !found && fgets(line, sizeof line, f)) {
		int pid;
		unsigned maj, min;
		unsigned long long ino;
		/* "1: FLOCK ADVISORY WRITE PID MAJ:MIN:INO 0 EOF"; a line with "->" waits for one. */
		if (strstr(line, "->") || sscanf(line, "%*s FLOCK %*s %*s %d %x:%x:%llu", &pid, &maj, &min, &ino) != 4 || ino != st->st_ino ||
			maj != major(st->st_dev) || min != minor(st->st_dev) || pid == (int)getpid())
			continue;
		snprintf(path, sizeof path, "/proc/%d/comm", pid);
		FILE *c = fopen(path, "re");
		if (c && fgets(name, sizeof name, c))
			name[strcspn(name, "\n")] = 0;
		if (c)
			fclose(c);
		snprintf(buf, size, "it is locked by another program (process %d%s%s)", pid, *name ? ", " : "", name);
		found = true;
	}
	if (f)
		fclose(f);
	return found;
}
