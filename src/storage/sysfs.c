/* SPDX-License-Identifier: BSD-3-Clause */
#include "storage/sysfs.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

static const char *sys_root = "/sys", *dev_root = "/dev";

void dray_sysfs_set_roots(const char *sys, const char *dev)
{
	sys_root = sys ? sys : "/sys";
	dev_root = dev ? dev : "/dev";
}

const char *dray_sysfs_root(void)
{
	return sys_root;
}

const char *dray_dev_root(void)
{
	return dev_root;
}

static int read_line(const char *path, char *buf, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -ENOENT;
	ssize_t n = read(fd, buf, size - 1);
	close(fd);
	buf[n > 0 ? n : 0] = 0;
	size_t end = strcspn(buf, "\n");
	while (end && isspace((unsigned char)buf[end - 1]))
		end--;
	buf[end] = 0;
	size_t skip = strspn(buf, " \t");
	memmove(buf, buf + skip, strlen(buf + skip) + 1);
	return buf[0] ? 0 : -ENOENT;
}

static void folder_of(dev_t dev, char *path, size_t size)
{
	snprintf(path, size, "%s/dev/block/%u:%u", sys_root, major(dev), minor(dev));
}

int dray_sysfs_text(dev_t dev, const char *name, char *buf, size_t size)
{
	char folder[PATH_MAX], path[PATH_MAX + 300];
	folder_of(dev, folder, sizeof folder);
	snprintf(path, sizeof path, "%s/%.256s", folder, name);
	return read_line(path, buf, size);
}

int dray_sysfs_line(dev_t dev, const char *name, char *buf, size_t size)
{
	int rc = dray_sysfs_text(dev, name, buf, size);
	for (char *p = buf; !rc && *p; p++)
		if (!isalnum((unsigned char)*p) && !strchr("._:=-/", *p))
			*p = '_';
	return rc;
}

int dray_sysfs_number(dev_t dev, const char *name, uint64_t *value)
{
	char line[64], *end;
	if (dray_sysfs_text(dev, name, line, sizeof line))
		return -ENOENT;
	*value = strtoull(line, &end, 10);
	return *end ? -ENOENT : 0;
}

static int parse_dev(const char *text, dev_t *dev)
{
	unsigned maj, min;
	if (sscanf(text, "%u:%u", &maj, &min) != 2)
		return -ENOENT;
	*dev = makedev(maj, min);
	return 0;
}

int dray_sysfs_name(dev_t dev, char *buf, size_t size)
{
	char folder[PATH_MAX], target[PATH_MAX];
	folder_of(dev, folder, sizeof folder);
	ssize_t n = readlink(folder, target, sizeof target - 1);
	if (n <= 0)
		return -ENOENT;
	target[n] = 0;
	const char *slash = strrchr(target, '/');
	return (size_t)snprintf(buf, size, "%s", slash ? slash + 1 : target) < size ? 0 : -ENOENT;
}

int dray_sysfs_disk(dev_t dev, dev_t *disk)
{
	uint64_t number;
	char line[32];
	if (dray_sysfs_number(dev, "partition", &number) || dray_sysfs_text(dev, "../dev", line, sizeof line))
		return -ENOENT;
	return parse_dev(line, disk);
}

bool dray_sysfs_each(dev_t dev, const char *folder, bool (*each)(void *arg, dev_t dev), void *arg)
{
	char own[PATH_MAX], path[PATH_MAX + 80], file[PATH_MAX + 400], line[32];
	bool found = false;
	folder_of(dev, own, sizeof own);
	snprintf(path, sizeof path, "%s/%.64s", own, folder);
	DIR *d = opendir(path);
	for (struct dirent *e; d && !found && (e = readdir(d));) {
		dev_t other;
		snprintf(file, sizeof file, "%s/%s/%s", path, e->d_name, *folder ? "dev" : "partition");
		if (e->d_name[0] == '.' || access(file, F_OK))
			continue;
		snprintf(file, sizeof file, "%s/%s/dev", path, e->d_name);
		if (!read_line(file, line, sizeof line) && !parse_dev(line, &other))
			found = each(arg, other);
	}
	if (d)
		closedir(d);
	return found;
}

bool dray_sysfs_all(bool (*each)(void *arg, dev_t dev), void *arg)
{
	char path[PATH_MAX];
	bool found = false;
	snprintf(path, sizeof path, "%s/dev/block", sys_root);
	DIR *d = opendir(path);
	for (struct dirent *e; d && !found && (e = readdir(d));) {
		dev_t dev;
		if (e->d_name[0] != '.' && !parse_dev(e->d_name, &dev))
			found = each(arg, dev);
	}
	if (d)
		closedir(d);
	return found;
}

bool dray_udev_pending(dev_t dev)
{
	bool true_one = !strcmp(dev_root, "/dev");
	char path[PATH_MAX], name[128];
	snprintf(path, sizeof path, "%s/udev/control", true_one ? "/run" : dev_root);
	if (access(path, F_OK) || !dray_sysfs_text(dev, "dm/name", name, sizeof name))
		return false;
	snprintf(path, sizeof path, "%s/udev/data/b%u:%u", true_one ? "/run" : dev_root, major(dev), minor(dev));
	return access(path, F_OK) != 0;
}
