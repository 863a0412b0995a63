/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Which process serves an NBD export here. /proc/net lists the sockets that listen, with their inodes; /proc/PID/fd shows who has them.
 *
 * Several processes may share one (a server that forks): the least number stands for all. Several sockets may listen on one port, at different
 * addresses of the host: if they are not one process's, nothing is said, for which of them the name means is the resolver's affair.
 * A number is given to another process one day, so the time of its start stands beside it.
 *
 * The tables come in pieces, and where others come and go between two of them a socket may be passed over. So they are read until they say the
 * same twice, and what is not there is looked for once more.
 *
 * What this can't tell: one server behind two hosts' names, one storage that two servers export, two names of one export.
 */
#include "storage/nbd.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SOCKETS_MOST = 16, READINGS_MOST = 6 };

struct sockets {
	uint64_t inodes[SOCKETS_MOST];
	size_t n;
	bool more;
};

static void note(struct sockets *s, uint64_t inode)
{
	if (s->n < SOCKETS_MOST)
		s->inodes[s->n++] = inode;
	else
		s->more = true;
}

static void listening_unix(struct sockets *s, const char *path)
{
	char line[400];
	struct stat want, st;
	FILE *f = fopen("/proc/net/unix", "re");
	while (f && !stat(path, &want) && fgets(line, sizeof line, f)) {
		unsigned flags;
		uint64_t inode;
		int at = 0;
		line[strcspn(line, "\n")] = 0;
		/* __SO_ACCEPTCON: it listens */
		if (sscanf(line, "%*s %*s %*s %x %*s %*s %" SCNu64 " %n", &flags, &inode, &at) == 2 && at && flags & 0x10000 && line[at] == '/' &&
			!stat(line + at, &st) && st.st_dev == want.st_dev && st.st_ino == want.st_ino)
			note(s, inode);
	}
	if (f)
		fclose(f);
}

static void listening_tcp(struct sockets *s, const char *table, unsigned port)
{
	char line[400];
	FILE *f = fopen(table, "re");
	while (f && fgets(line, sizeof line, f)) {
		unsigned own, state;
		uint64_t inode;
		if (sscanf(line, " %*[^:]: %*[0-9A-Fa-f]:%x %*s %x %*s %*s %*s %*s %*s %" SCNu64, &own, &state, &inode) != 3)
			continue;
		if (state != 0x0a)
			break; /* those that listen come first, and going through all connections takes its time */
		if (own == port)
			note(s, inode);
	}
	if (f)
		fclose(f);
}

static bool has(unsigned long pid, uint64_t inode)
{
	char want[64], path[64], link[64];
	bool found = false;
	snprintf(want, sizeof want, "socket:[%" PRIu64 "]", inode);
	snprintf(path, sizeof path, "/proc/%lu/fd", pid);
	DIR *fds = opendir(path);
	for (struct dirent *e; fds && !found && (e = readdir(fds));) {
		ssize_t n = readlinkat(dirfd(fds), e->d_name, link, sizeof link - 1);
		link[n > 0 ? n : 0] = 0;
		found = !strcmp(link, want);
	}
	if (fds)
		closedir(fds);
	return found;
}

/* The least process that has a socket of that inode; 0: none is seen. */
static unsigned long owner(uint64_t inode)
{
	/* A document of thousands of exports names few servers. */
	static _Thread_local uint64_t last_inode;
	static _Thread_local unsigned long last_pid;
	if (last_pid && last_inode == inode && has(last_pid, inode))
		return last_pid;
	unsigned long found = 0;
	DIR *proc = opendir("/proc");
	for (struct dirent *p; proc && (p = readdir(proc));) {
		unsigned long pid = isdigit((unsigned char)p->d_name[0]) ? strtoul(p->d_name, NULL, 10) : 0;
		if (pid && (!found || pid < found) && has(pid, inode))
			found = pid;
	}
	if (proc)
		closedir(proc);
	last_inode = inode;
	last_pid = found;
	return found;
}

static int started(unsigned long pid, unsigned long long *ticks)
{
	char path[64], text[1024];
	snprintf(path, sizeof path, "/proc/%lu/stat", pid);
	FILE *f = fopen(path, "re");
	size_t n = f ? fread(text, 1, sizeof text - 1, f) : 0;
	if (f)
		fclose(f);
	text[n] = 0;
	const char *p = strrchr(text, ')'); /* the name may have any characters */
	return p && sscanf(p + 1, " %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %llu", ticks) == 1 ? 0 :
																	    -ENOENT;
}

/* port 0: the unix socket `path`. */
static void listening(struct sockets *s, const char *path, unsigned port)
{
	struct sockets before;
	*s = (struct sockets){ .n = 0 };
	for (int i = 0; i < READINGS_MOST; i++) {
		before = *s;
		*s = (struct sockets){ .n = 0 };
		if (port) {
			listening_tcp(s, "/proc/net/tcp", port);
			listening_tcp(s, "/proc/net/tcp6", port);
		} else {
			listening_unix(s, path);
		}
		if (i > (s->n ? 0 : 1) && s->n == before.n && !memcmp(s->inodes, before.inodes, s->n * sizeof s->inodes[0]))
			break;
	}
}

int dray_nbd_process(const char *uri, uint64_t size_bytes, char *buf, size_t size)
{
	struct dray_nbd_address address;
	struct sockets s;
	char id[512], alias[512];
	unsigned port = 0;
	if (!strstr(uri, "://") || strncmp(uri, "nbd", 3))
		return -ENOENT;
	dray_nbd_address(uri, &address);
	if (!address.socket[0]) {
		dray_nbd_identity(uri, size_bytes, id, sizeof id);
		const char *local = !strncmp(id, "nbd:localhost:", 14) ? id : dray_nbd_alias(id, alias, sizeof alias) ? "" : alias;
		if (sscanf(local, "nbd:localhost:%u/", &port) != 1 || !port)
			return -ENOENT;
	}
	listening(&s, address.socket, port);
	unsigned long pid = s.n ? owner(s.inodes[0]) : 0;
	for (size_t i = 1; pid && i < s.n; i++)
		if (owner(s.inodes[i]) != pid)
			pid = 0;
	unsigned long long ticks;
	if (!pid || s.more || started(pid, &ticks))
		return -ENOENT;
	int n = snprintf(buf, size, "nbd:process=%lu.%llu/%s:%" PRIu64, pid, ticks, address.export, size_bytes);
	return (size_t)n < size ? 0 : -ENOENT;
}
