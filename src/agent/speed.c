/* SPDX-License-Identifier: BSD-3-Clause */
#include "agent/speed.h"

#include "agent/clock.h"
#include "storage/nbd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MIB        UINT64_C(1048576)
#define ONE_MOST   UINT64_C(200000000)  /* ns for one source */
#define ALL_MOST   UINT64_C(3000000000) /* ... for all of them; and as long again for what they hold */
#define ANSWER_MOST UINT64_C(1000000000) /* ... for an answer of a server */
#define READS_MOST 16 /* a power of two */

struct reading {
	int fd;
	struct nbd_handle *nbd;
	uint64_t offset, length;
	uint64_t until; /* an export: answers are waited for no longer; monotonic */
	void *buf;      /* MIB; of one that did not answer it must outlive the handle */
};

static bool read_once(const struct reading *r, void *buf, uint64_t at, size_t n)
{
	if (r->nbd)
		return !dray_nbd_read(r->nbd, buf, n, at, r->until);
	return pread(r->fd, buf, n, (off_t)at) == (ssize_t)n;
}

/* Holes are read at the speed of memory: the next that is none, if there is one. */
static uint64_t data_behind(const struct reading *r, uint64_t at)
{
	off_t data = r->nbd ? -1 : lseek(r->fd, (off_t)at, SEEK_DATA);
	return data >= 0 && (uint64_t)data + MIB <= r->offset + r->length ? (uint64_t)data : at;
}

/* The middle first, then the quarters, and so on: READS_MOST places, such that the first few of them are as far apart as so few can be. */
static uint64_t place(uint64_t k)
{
	uint64_t i = 0;
	for (uint64_t low = 1, high = READS_MOST / 2; high; low *= 2, high /= 2)
		i += k & low ? high : 0;
	return i ^ READS_MOST / 2;
}

/* Spread over all of it, however few reads there is time for: the front of a disk is faster than its end, and what was read a moment ago is in
 * some cache. */
static uint64_t rate(struct reading *r)
{
	if (r->length < MIB || posix_memalign(&r->buf, 4096, MIB))
		return 0;
	uint64_t began = mono_now(), bytes = 0, n = r->length / MIB < READS_MOST ? r->length / MIB : READS_MOST;
	for (uint64_t k = 0; k < READS_MOST && mono_now() - began < ONE_MOST; k++) {
		uint64_t i = place(k);
		if (i >= n)
			continue;
		uint64_t at = data_behind(r, r->offset + (r->length - MIB) / n * i) / 4096 * 4096;
		if (!read_once(r, r->buf, at, MIB))
			return 0; /* what reading fails now and then has no speed that could be told */
		bytes += MIB;
	}
	uint64_t took = mono_now() - began;
	return bytes && took ? (uint64_t)((double)bytes / ((double)took / 1e9)) : 0;
}

/* Of a file with holes, of a thin volume's file: what a copy has to move. */
static uint64_t data_of(int fd, uint64_t offset, uint64_t length)
{
	uint64_t sum = 0, end = offset + length, at = offset;
	for (unsigned i = 0; at < end && i < 100000; i++) {
		off_t from = lseek(fd, (off_t)at, SEEK_DATA);
		if (from < 0)
			return errno == ENXIO ? sum : DRAY_UNKNOWN;
		off_t to = lseek(fd, from, SEEK_HOLE);
		if (to < 0)
			return DRAY_UNKNOWN;
		if ((uint64_t)from >= end)
			return sum;
		sum += ((uint64_t)to < end ? (uint64_t)to : end) - (uint64_t)from;
		at = (uint64_t)to;
	}
	return at >= end ? sum : DRAY_UNKNOWN;
}

/* A length of 0 is all that is behind the offset. false: nothing is. */
static bool cut(struct reading *r, int64_t size)
{
	if (size <= 0 || (uint64_t)size <= r->offset)
		return false;
	if (!r->length || r->length > (uint64_t)size - r->offset)
		r->length = (uint64_t)size - r->offset;
	return true;
}

static void of_path(const char *path, struct reading *r, bool measure, struct probe_speed *speed)
{
	r->fd = open(path, O_RDONLY | O_DIRECT | O_CLOEXEC | O_NONBLOCK);
	if (r->fd < 0 && errno == EINVAL)
		r->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (r->fd < 0)
		return;
	struct stat st;
	if (fstat(r->fd, &st) == 0 && cut(r, lseek(r->fd, 0, SEEK_END))) {
		if (S_ISREG(st.st_mode))
			speed->data_bytes = data_of(r->fd, r->offset, r->length);
		if (measure)
			speed->read_rate = rate(r);
	}
	close(r->fd);
}

static void of_export(const char *uri, struct reading *r, struct probe_speed *speed)
{
	static const bool never;
	struct dray_storage_info info = { .max_bytes = 32U << 20 };
	struct dray_error ignored;
	if (dray_nbd_connect(&r->nbd, uri, &never, &info, &ignored))
		return;
	r->until = mono_now() + ANSWER_MOST;
	if (cut(r, (int64_t)info.size_bytes))
		speed->read_rate = rate(r);
	nbd_close(r->nbd);
}

void speed_of_session(const struct dray_session *s, const json_t *volumes, struct probe_set *probes)
{
	uint64_t began = mono_now();
	for (size_t i = 0; i < s->n_pairs && i < probes->n; i++) {
		struct probe *p = &probes->pairs[i].source;
		const struct dray_resource *source = &s->pairs[i].source;
		struct reading r = { .fd = -1, .offset = source->offset, .length = source->length };
		const char *resource = source->resource;
		p->speed = (struct probe_speed){ .data_bytes = DRAY_UNKNOWN };
		uint64_t took = mono_now() - began;
		if (!p->looked || p->rc || took > 2 * ALL_MOST)
			continue;
		if (!strncmp(resource, "volume:", 7))
			resource = probe_primary(volumes, resource + 7, &r.offset, &r.length);
		if (!resource)
			continue;
		if (!strncmp(resource, "nbd", 3) && took < ALL_MOST)
			of_export(resource, &r, &p->speed);
		else if (*resource == '/' || !strncmp(resource, "file:", 5))
			of_path(*resource == '/' ? resource : resource + 5, &r, took < ALL_MOST, &p->speed);
		free(r.buf);
	}
}
