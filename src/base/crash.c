/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/crash.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

struct point {
	char name[64];
	atomic_int left; /* arrivals until it strikes; 0: never */
};

static struct point crash_at, fault_at;

static void point_init(struct point *p, const char *variable)
{
	const char *s = getenv(variable);
	if (!s || !*s)
		return;
	size_t n = strcspn(s, ":");
	snprintf(p->name, sizeof p->name, "%.*s", (int)n, s);
	int count = s[n] ? atoi(s + n + 1) : 1;
	atomic_store(&p->left, count > 0 ? count : 1);
}

void dray_crash_init(void)
{
	point_init(&crash_at, "DRAY_CRASH_AT");
	point_init(&fault_at, "DRAY_FAULT_AT");
}

static bool armed(void)
{
	const char *file = getenv("DRAY_CRASH_IF");
	return !file || access(file, F_OK) == 0;
}

static bool struck(struct point *p, const char *name)
{
	return p->name[0] && strcmp(p->name, name) == 0 && armed() && atomic_fetch_sub(&p->left, 1) == 1;
}

void dray_crash_point(const char *name)
{
	if (!struck(&crash_at, name))
		return;
	const char *into = getenv("DRAY_CRASH_INTO");
	int fd = into ? open(into, O_WRONLY | O_CLOEXEC) : -1;
	/* The bare system call: under a thread sanitizer _exit() first looks for threads nobody joined, while the others run on, and
	 * ends with a status of its own. */
	if (fd < 0 || write(fd, "c", 1) != 1)
		syscall(SYS_exit_group, 137);
	for (;;)
		pause();
}

int dray_fault_point(const char *name)
{
	return struck(&fault_at, name) ? -EIO : 0;
}

static void stall_in(const char *folder, const char *name)
{
	char path[PATH_MAX];
	snprintf(path, sizeof path, "%s/%s", folder, name);
	int fd = open(path, O_WRONLY | O_APPEND | O_CLOEXEC);
	if (fd < 0)
		return;
	bool told = write(fd, "s", 1) == 1;
	close(fd);
	while (told && access(path, F_OK) == 0)
		usleep(5000);
}

void dray_stall_point(const char *name)
{
	const char *folder = getenv("DRAY_STALL_IN");
	if (folder)
		stall_in(folder, name);
	const char *s = getenv("DRAY_STALL_AT");
	size_t n = strlen(name);
	if (!s || strncmp(s, name, n) != 0 || s[n] != ':')
		return;
	while (access(s + n + 1, F_OK) == 0)
		usleep(5000);
}
