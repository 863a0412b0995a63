/* SPDX-License-Identifier: BSD-3-Clause */
#include "agent/speed.h"

#include "agent/clock.h"
#include "storage/nbd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MIB        UINT64_C(1048576)
#define ONE_MOST   UINT64_C(200000000)  /* ns for one source */
#define ALL_MOST   UINT64_C(3000000000) /* ... for all of them; and as long for what they hold */
#define SEEKS_MOST 100000               /* ... and so many steps */
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

static int by_size(const void *x, const void *y)
{
	uint64_t a = *(const uint64_t *)x, b = *(const uint64_t *)y;
	return a < b ? -1 : a > b;
}

/* Spread over all of it, however few reads there is time for: the front of a disk is faster than its end, and what was read a moment ago is in
 * some cache. By the median of the reads: one of them may have waited for a processor, and a copy would have had others under way. */
static uint64_t rate(struct reading *r)
{
	if (r->length < MIB || posix_memalign(&r->buf, 4096, MIB))
		return 0;
	uint64_t took[READS_MOST], began = mono_now(), n = r->length / MIB < READS_MOST ? r->length / MIB : READS_MOST;
	size_t reads = 0;
	for (uint64_t k = 0; k < READS_MOST && mono_now() - began < ONE_MOST; k++) {
		uint64_t i = place(k);
		if (i >= n)
			continue;
		uint64_t at = data_behind(r, r->offset + (r->length - MIB) / n * i) / 4096 * 4096, from = mono_now();
		if (!read_once(r, r->buf, at, MIB))
			return 0; /* what reading fails now and then has no speed that could be told */
		took[reads++] = mono_now() - from;
	}
	qsort(took, reads, sizeof *took, by_size);
	uint64_t ns = reads ? took[(reads - 1) / 2] : 0;
	return ns ? (uint64_t)((double)MIB / ((double)ns / 1e9)) : 0;
}

/* Of a file with holes, of a thin volume's file: what a copy has to move. *seeks: how many steps may be made still. */
static uint64_t data_of(int fd, uint64_t offset, uint64_t length, unsigned *seeks)
{
	uint64_t sum = 0, end = offset + length, at = offset;
	for (; at < end && *seeks; --*seeks) {
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

static int open_path(const char *path)
{
	int fd = open(path, O_RDONLY | O_DIRECT | O_CLOEXEC | O_NONBLOCK);
	return fd < 0 && errno == EINVAL ? open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK) : fd;
}

static uint64_t rate_of_path(const char *path, struct reading *r)
{
	uint64_t found = 0;
	r->fd = open_path(path);
	if (r->fd >= 0 && cut(r, lseek(r->fd, 0, SEEK_END)))
		found = rate(r);
	if (r->fd >= 0)
		close(r->fd);
	return found;
}

/* An export that holds next to nothing is not read. */
static uint64_t look_at_export(const char *uri, struct reading *r, struct probe_speed *speed)
{
	static const bool never;
	struct dray_nbd_sum sum;
	uint64_t found = 0;
	struct dray_storage_info info = { .max_bytes = 32U << 20 };
	struct dray_error ignored;
	if (dray_nbd_connect(&r->nbd, uri, &never, &info, &ignored))
		return 0;
	r->until = mono_now() + ANSWER_MOST;
	bool any = cut(r, (int64_t)info.size_bytes);
	if (any && !dray_nbd_data(r->nbd, r->offset, r->length, r->until, &sum))
		speed->data_bytes = sum.data_bytes;
	if (any && speed->data_bytes >= MIB) /* unknown is more */
		found = rate(r);
	nbd_close(r->nbd);
	return found;
}

/* ---- the sources ---- */

/* A source as it can be opened; of a volume its primary. NULL: there is none. */
static const char *resource_of(const struct dray_session *s, size_t i, const json_t *volumes, struct reading *r)
{
	const struct dray_resource *source = &s->pairs[i].source;
	*r = (struct reading){ .fd = -1, .offset = source->offset, .length = source->length };
	return strncmp(source->resource, "volume:", 7) ? source->resource : probe_primary(volumes, source->resource + 7, &r->offset, &r->length);
}

static const char *path_of(const char *resource)
{
	return *resource == '/' ? resource : !strncmp(resource, "file:", 5) ? resource + 5 : NULL;
}

/* Where its data lies is looked at while there is time for it; then only how many blocks it has. */
static void hold(const char *path, struct reading *r, bool time_left, unsigned *seeks, struct probe_speed *speed)
{
	struct stat st;
	if (stat(path, &st) || !S_ISREG(st.st_mode) || !cut(r, st.st_size))
		return;
	int fd = time_left && *seeks ? open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK) : -1;
	if (fd >= 0) {
		speed->data_bytes = data_of(fd, r->offset, r->length, seeks);
		close(fd);
	}
	if (speed->data_bytes == DRAY_UNKNOWN && (!time_left || !*seeks)) {
		uint64_t blocks = (uint64_t)st.st_blocks * 512;
		speed->data_bytes = blocks < r->length ? blocks : r->length;
		speed->counted = true;
	}
}

static int by_place(const void *x, const void *y)
{
	const struct speed_candidate *a = x, *b = y;
	int c = strcmp(a->place, b->place);
	if (!c)
		c = a->tiny - b->tiny;
	return c ? c : a->pair < b->pair ? -1 : a->pair > b->pair;
}

/* Those of one disk, list[0] to list[n - 1], the tiny ones last: of the others the first, the last, and some between. */
static void set_turns(struct speed_candidate *list, size_t n)
{
	for (size_t i = 0; i < n; i++)
		list[i].turn = SPEED_OF_A_DISK;
	while (n && list[n - 1].tiny)
		n--;
	for (unsigned k = n < SPEED_OF_A_DISK ? (unsigned)n : SPEED_OF_A_DISK; k-- > 0;)
		list[n < SPEED_OF_A_DISK ? k : (n - 1) * k / (SPEED_OF_A_DISK - 1)].turn = k;
}

static size_t same_place(const struct speed_candidate *list, size_t n)
{
	size_t k = 1;
	while (k < n && !strcmp(list[k].place, list[0].place))
		k++;
	return k;
}

size_t speed_choose(struct speed_candidate *list, size_t n, size_t chosen[SPEED_PROBES])
{
	size_t n_chosen = 0;
	if (!n)
		return 0; /* and there may be no list, which qsort does not allow */
	qsort(list, n, sizeof *list, by_place);
	for (size_t i = 0, k; i < n; i += k)
		set_turns(list + i, k = same_place(list + i, n - i));
	for (unsigned turn = 0; turn < SPEED_OF_A_DISK; turn++)
		for (size_t i = 0; i < n && n_chosen < SPEED_PROBES; i++)
			if (list[i].turn == turn)
				chosen[n_chosen++] = i;
	return n_chosen;
}

/* What was not read itself is as fast as the median of those that were on its disk. */
static void share(const struct speed_candidate *list, size_t n, struct probe_set *probes)
{
	uint64_t rates[SPEED_OF_A_DISK];
	size_t known = 0;
	for (size_t i = 0; i < n; i++)
		if (probes->pairs[list[i].pair].source.speed.measured)
			rates[known++] = probes->pairs[list[i].pair].source.speed.read_rate;
	qsort(rates, known, sizeof *rates, by_size);
	for (size_t i = 0; known && i < n; i++)
		if (list[i].turn == SPEED_OF_A_DISK)
			probes->pairs[list[i].pair].source.speed.read_rate = rates[(known - 1) / 2];
}

static void measure(const struct dray_session *s, const json_t *volumes, const struct speed_candidate *c, struct probe_set *probes)
{
	struct probe_speed *speed = &probes->pairs[c->pair].source.speed;
	struct reading r;
	const char *resource = resource_of(s, c->pair, volumes, &r), *path = resource ? path_of(resource) : NULL;
	if (path)
		speed->read_rate = rate_of_path(path, &r);
	else if (resource && !strncmp(resource, "nbd", 3))
		speed->read_rate = look_at_export(resource, &r, speed);
	speed->measured = speed->read_rate > 0;
	free(r.buf);
}

/* Reading has a time of its own, after that for what they hold. */
static void measure_some(const struct dray_session *s, const json_t *volumes, struct probe_set *probes, struct speed_candidate *list, size_t n)
{
	uint64_t began = mono_now();
	size_t chosen[SPEED_PROBES], n_chosen = speed_choose(list, n, chosen);
	for (size_t k = 0; k < n_chosen && mono_now() - began < ALL_MOST; k++)
		measure(s, volumes, &list[chosen[k]], probes);
	for (size_t i = 0, k; i < n; i += k)
		share(list + i, k = same_place(list + i, n - i), probes);
}

void speed_of_session(const struct dray_session *s, const json_t *volumes, struct probe_set *probes)
{
	uint64_t began = mono_now();
	unsigned seeks = SEEKS_MOST;
	size_t n = 0;
	struct speed_candidate *list = calloc(s->n_pairs ? s->n_pairs : 1, sizeof *list);
	if (!list)
		abort();
	for (size_t i = 0; i < s->n_pairs && i < probes->n; i++) {
		struct probe *p = &probes->pairs[i].source;
		struct reading r;
		const char *resource = resource_of(s, i, volumes, &r), *path = resource ? path_of(resource) : NULL;
		p->speed = (struct probe_speed){ .data_bytes = DRAY_UNKNOWN };
		if (!p->looked || p->rc || !resource)
			continue;
		if (path)
			hold(path, &r, mono_now() - began < ALL_MOST, &seeks, &p->speed);
		struct speed_candidate *c = &list[n++];
		c->pair = i;
		c->tiny = p->speed.data_bytes < MIB;
		probe_place(p, c->place, sizeof c->place);
		if (!c->place[0])
			snprintf(c->place, sizeof c->place, "%s", resource);
	}
	measure_some(s, volumes, probes, list, n);
	free(list);
}
