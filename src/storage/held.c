/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * For a regular file the kernel itself tells: a write lease is granted only while nobody else has the file open, mapped
 * memory and the kernel's own users (loop devices) included. It is given back at once; somebody who opens the file in between
 * waits those microseconds, and the signal that the kernel sends then is one that is ignored by default.
 *
 * A device has no leases. Who has it exclusively (mounts, swap, device-mapper, md) is found out by opening it O_EXCL, which the
 * caller does; who has merely opened it, as a hypervisor does, is found in /proc, the device's partitions included.
 */
#include "storage/held.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define PARTS_MOST 256

struct what {
	bool block;
	dev_t devs[PARTS_MOST + 1]; /* of a device: its own, and its partitions' */
	size_t n;
	dev_t dev; /* of a file */
	ino_t ino;
};

static void add_partitions(struct what *w)
{
	char path[64];
	snprintf(path, sizeof path, "/sys/dev/block/%u:%u", major(w->devs[0]), minor(w->devs[0]));
	DIR *d = opendir(path);
	for (struct dirent *e; d && (e = readdir(d)) && w->n <= PARTS_MOST;) {
		char name[400];
		unsigned maj, min;
		if (e->d_name[0] == '.')
			continue;
		snprintf(name, sizeof name, "%s/%.255s/partition", path, e->d_name);
		if (access(name, F_OK))
			continue;
		snprintf(name, sizeof name, "%s/%.255s/dev", path, e->d_name);
		FILE *f = fopen(name, "re");
		if (f && fscanf(f, "%u:%u", &maj, &min) == 2)
			w->devs[w->n++] = makedev(maj, min);
		if (f)
			fclose(f);
	}
	if (d)
		closedir(d);
}

static bool is_it(const struct what *w, int dir, const char *name)
{
	struct statx sx;
	/* Follows the link to what is open, whatever its name has become; never asks a server that may be gone. */
	if (statx(dir, name, AT_STATX_DONT_SYNC, STATX_TYPE | STATX_INO, &sx))
		return false;
	if (!w->block)
		return S_ISREG(sx.stx_mode) && sx.stx_ino == w->ino && makedev(sx.stx_dev_major, sx.stx_dev_minor) == w->dev;
	if (!S_ISBLK(sx.stx_mode))
		return false;
	for (size_t i = 0; i < w->n; i++)
		if (makedev(sx.stx_rdev_major, sx.stx_rdev_minor) == w->devs[i])
			return true;
	return false;
}

static void name_of(const char *pid, char *buf, size_t size)
{
	char path[300];
	snprintf(path, sizeof path, "/proc/%s/comm", pid);
	FILE *f = fopen(path, "re");
	buf[0] = 0;
	if (f && !fgets(buf, (int)size, f))
		buf[0] = 0;
	if (f)
		fclose(f);
	buf[strcspn(buf, "\n")] = 0;
}

/* Another process that has it open. */
static bool find_process(const struct what *w, char *buf, size_t size)
{
	char self[16];
	bool found = false;
	snprintf(self, sizeof self, "%d", (int)getpid());
	DIR *proc = opendir("/proc");
	for (struct dirent *p; proc && !found && (p = readdir(proc));) {
		char path[300];
		if (!isdigit((unsigned char)p->d_name[0]) || !strcmp(p->d_name, self))
			continue;
		snprintf(path, sizeof path, "/proc/%s/fd", p->d_name);
		DIR *fds = opendir(path);
		for (struct dirent *e; fds && !found && (e = readdir(fds));)
			if (e->d_name[0] != '.' && is_it(w, dirfd(fds), e->d_name)) {
				char name[64];
				name_of(p->d_name, name, sizeof name);
				snprintf(buf, size, "process %.10s (%s) has it open", p->d_name, name);
				found = true;
			}
		if (fds)
			closedir(fds);
	}
	if (proc)
		closedir(proc);
	return found;
}

int dray_storage_held(int fd, const char *path, struct dray_error *err)
{
	struct stat st;
	char who[160];
	struct what w = { 0 };
	if (fstat(fd, &st))
		return dray_error_errno(err, -errno, "%s", path);
	w.block = S_ISBLK(st.st_mode);
	w.dev = st.st_dev;
	w.ino = st.st_ino;
	if (w.block) {
		w.devs[w.n++] = st.st_rdev;
		add_partitions(&w);
	} else {
		/* Not SIGIO, which would end the process. */
		fcntl(fd, F_SETSIG, SIGURG);
		if (!fcntl(fd, F_SETLEASE, F_WRLCK)) {
			fcntl(fd, F_SETLEASE, F_UNLCK);
			return 0;
		}
		if (errno == EAGAIN) {
			if (!find_process(&w, who, sizeof who))
				snprintf(who, sizeof who, "the kernel (a loop device, swap) or an unseen process has it open");
			return dray_error_kind(err, -EBUSY, "held", "%s: %s", path, who);
		}
		/* A file system without leases, or a file of another user: what /proc shows must do. */
	}
	if (find_process(&w, who, sizeof who))
		return dray_error_kind(err, -EBUSY, "held", "%s: %s", path, who);
	return 0;
}
