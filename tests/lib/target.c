/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/lib/target.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

bool target_open(struct target *t, const char *name)
{
	*t = (struct target){.name = name, .fd = -1};
	if (strncmp(name, "nbd", 3) == 0 && strstr(name, "://")) {
		t->nbd = nbd_create();
		if (!t->nbd || nbd_connect_uri(t->nbd, name) != 0) {
			fprintf(stderr, "%s: %s\n", name, nbd_get_error());
			target_close(t);
			return false;
		}
		t->size_bytes = (uint64_t)nbd_get_size(t->nbd);
		return true;
	}
	t->fd = open(name, O_RDONLY | O_CLOEXEC);
	off_t end = t->fd < 0 ? -1 : lseek(t->fd, 0, SEEK_END);
	if (end < 0) {
		fprintf(stderr, "%s: %s\n", name, strerror(errno));
		target_close(t);
		return false;
	}
	t->size_bytes = (uint64_t)end;
	return true;
}

bool target_read(struct target *t, void *buf, size_t bytes, uint64_t offset)
{
	if (t->nbd) {
		if (nbd_pread(t->nbd, buf, bytes, offset, 0) == 0)
			return true;
		fprintf(stderr, "%s: read at %llu: %s\n", t->name, (unsigned long long)offset,
			nbd_get_error());
		return false;
	}
	for (size_t at = 0; at < bytes;) {
		ssize_t r = pread(t->fd, (char *)buf + at, bytes - at, (off_t)(offset + at));
		if (r < 0 && errno == EINTR)
			continue;
		if (r <= 0) {
			fprintf(stderr, "%s: read at %llu: %s\n", t->name, (unsigned long long)(offset + at),
				r < 0 ? strerror(errno) : "end of file");
			return false;
		}
		at += (size_t)r;
	}
	return true;
}

void target_close(struct target *t)
{
	if (t->nbd)
		nbd_close(t->nbd);
	if (t->fd >= 0)
		close(t->fd);
}
