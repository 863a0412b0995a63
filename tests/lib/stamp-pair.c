/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * An application on two volumes, for the question whether images of both show one instant.
 *
 * It writes numbers 1, 2, 3 ... as stamps: number s goes to block (s - 1) mod N of volume A; when A has
 * acknowledged it, the same to volume B; when B has acknowledged it, the next number. So at any instant, with
 * nA and nB the newest number that A and B hold:
 *
 *     nA >= nB >= nA - 1,   and block i of a volume holds the greatest number s <= n with (s - 1) mod N = i
 *
 * An image that was taken of A and of B at different moments, or one from which an acknowledged write is
 * missing, breaks one of them. Numbers are in the stamps' `seq`; generation is unused (1).
 */
#include "tests/lib/stamp-pair.h"

#include "tests/lib/stamp.h"
#include "tests/lib/target.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static uint64_t now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static uint64_t number_at(uint64_t i, uint64_t newest, uint64_t n_blocks)
{
	if (newest <= i)
		return 0;
	return i + 1 + (newest - i - 1) / n_blocks * n_blocks;
}

static struct {
	uint64_t n_blocks, block_bytes;
	uint64_t errors, bad, reconnects, reads, longest_ns;
	char first_bad[256];
} p;

static void bad(const char *why)
{
	if (p.bad < 10)
		fprintf(stderr, "dray-stamp: %s\n", why);
	if (p.bad++ == 0)
		snprintf(p.first_bad, sizeof p.first_bad, "%s", why);
}

/* Judges block i of `volume`, which must hold `want`. */
static void check_block(const void *buf, uint64_t volume, uint64_t i, uint64_t want, const char *name)
{
	struct stamp s = {0};
	char why[200];
	enum stamp_kind kind = stamp_read(buf, p.block_bytes, &s);
	if (want == 0 ? kind != STAMP_GOOD
		      : kind == STAMP_GOOD && s.volume == volume && s.offset == i * p.block_bytes &&
				s.seq == want)
		return;
	snprintf(why, sizeof why,
		"%s: block %" PRIu64 " must hold number %" PRIu64 ", holds %s %" PRIu64 " of volume %" PRIu64,
		name, i, want, stamp_kind_word(kind), s.seq, s.volume);
	bad(why);
}

static struct nbd_handle *connect_to(const char *uri, const struct pair_options *o)
{
	uint64_t began = now();
	do {
		struct nbd_handle *h = nbd_create();
		if (h && nbd_connect_uri(h, uri) == 0)
			return h;
		nbd_close(h);
		nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
	} while (!*o->stop && now() - began < o->reconnect_wait * 1000000000u);
	fprintf(stderr, "dray-stamp: %s: %s\n", uri, nbd_get_error());
	return NULL;
}

static void summary(FILE *f, uint64_t newest)
{
	fprintf(f,
		"{\"newest\": %" PRIu64 ", \"reads\": %" PRIu64 ", \"errors\": %" PRIu64 ", \"bad\": %" PRIu64
		", \"reconnects\": %" PRIu64 ", \"longest_wait_us\": %" PRIu64 ", \"first_bad\": \"%s\"}\n",
		newest, p.reads, p.errors, p.bad, p.reconnects, p.longest_ns / 1000, p.first_bad);
}

int pair_run(const struct pair_options *o)
{
	struct nbd_handle *h[2] = {NULL, NULL};
	uint64_t began = now(), s = 0, status_at = 0;
	void *buf = malloc(o->block_bytes);
	p.block_bytes = o->block_bytes;
	uint64_t size = o->size_bytes;
	for (int v = 0; v < 2; v++) {
		h[v] = connect_to(o->uri[v], o);
		if (!h[v] || !buf)
			return 1;
		uint64_t has = (uint64_t)nbd_get_size(h[v]);
		size = size == 0 || has < size ? has : size;
	}
	p.n_blocks = size / o->block_bytes;
	while (!*o->stop && !(o->writes && s >= o->writes) &&
		!(o->seconds && now() - began >= o->seconds * 1000000000u)) {
		s++;
		for (int v = 0; v < 2; v++) {
			uint64_t i = (s - 1) % p.n_blocks, offset = i * o->block_bytes;
			stamp_fill(buf, o->block_bytes,
				&(struct stamp){.volume = (uint64_t)v + 1,
					.offset = offset,
					.generation = 1,
					.seq = s});
			uint64_t t = now();
			int rc = nbd_pwrite(h[v], buf, o->block_bytes, offset, 0);
			if (rc == 0 && o->flush_every && s % o->flush_every == 0)
				rc = nbd_flush(h[v], 0);
			if (rc != 0) {
				if (nbd_aio_is_ready(h[v]) > 0 && nbd_get_errno() != ESHUTDOWN) {
					fprintf(stderr, "dray-stamp: %s: %s\n", o->uri[v], nbd_get_error());
					p.errors++;
				} else {
					nbd_close(h[v]);
					p.reconnects++;
					if (!(h[v] = connect_to(o->uri[v], o))) {
						p.errors++;
						goto out;
					}
				}
				v--; /* the same number again: B must not have one that A lacks */
				if (*o->stop)
					goto out;
				continue;
			}
			p.longest_ns = now() - t > p.longest_ns ? now() - t : p.longest_ns;
		}
		if (s % 16 == 0) { /* look back at an old number */
			uint64_t i = (s * 7919) % (s < p.n_blocks ? s : p.n_blocks);
			int v = (int)(s / 16 % 2);
			if (nbd_pread(h[v], buf, o->block_bytes, i * o->block_bytes, 0) == 0) {
				p.reads++;
				check_block(buf, (uint64_t)v + 1, i, number_at(i, s, p.n_blocks), o->uri[v]);
			}
		}
		if (o->rate) {
			uint64_t due = began + s * 1000000000u / o->rate, t = now();
			if (due > t)
				nanosleep(&(struct timespec){.tv_sec = (time_t)((due - t) / 1000000000u),
						  .tv_nsec = (long)((due - t) % 1000000000u)},
					NULL);
		}
		if (o->status && now() - status_at > 200000000u) {
			char tmp[4096];
			snprintf(tmp, sizeof tmp, "%s.new", o->status);
			FILE *f = fopen(tmp, "w");
			if (f) {
				summary(f, s);
				if (fclose(f) == 0)
					rename(tmp, o->status);
			}
			status_at = now();
		}
	}
	for (int v = 0; v < 2; v++)
		if (nbd_flush(h[v], 0) != 0)
			p.errors++;
out:
	for (int v = 0; v < 2; v++)
		if (h[v])
			nbd_close(h[v]);
	free(buf);
	summary(stdout, s);
	return p.bad || p.errors ? 1 : 0;
}

/* Finds the newest number, then judges each block by it. */
static bool image(
	const struct pair_options *o, const char *name, uint64_t volume, uint64_t n_blocks, uint64_t *newest)
{
	struct target t;
	struct stamp s;
	if (!target_open(&t, name))
		return false;
	void *buf = malloc(o->block_bytes);
	bool ok = buf != NULL;
	*newest = 0;
	for (int pass = 0; ok && pass < 2; pass++)
		for (uint64_t i = 0; ok && i < n_blocks; i++) {
			ok = target_read(&t, buf, o->block_bytes, i * o->block_bytes);
			if (!ok)
				break;
			if (pass == 1)
				check_block(buf, volume, i, number_at(i, *newest, n_blocks), name);
			else if (stamp_read(buf, o->block_bytes, &s) == STAMP_GOOD && s.volume == volume &&
				 s.seq > *newest)
				*newest = s.seq;
		}
	free(buf);
	target_close(&t);
	return ok;
}

int pair_verify(const struct pair_options *o, const char *a, const char *b)
{
	const char *names[2] = {a, b};
	uint64_t size = o->size_bytes, newest[2] = {0, 0};
	for (int v = 0; v < 2; v++) {
		struct target t;
		if (!target_open(&t, names[v]))
			return 1;
		size = size == 0 || t.size_bytes < size ? t.size_bytes : size;
		target_close(&t);
	}
	p.block_bytes = o->block_bytes;
	for (int v = 0; v < 2; v++)
		if (!image(o, names[v], (uint64_t)v + 1, size / o->block_bytes, &newest[v]))
			p.errors++;
	if (newest[0] == 0)
		bad("no number was found");
	if (newest[0] < newest[1] || newest[1] + 1 < newest[0])
		bad("the two images do not show one instant");
	printf("{\"newest\": [%" PRIu64 ", %" PRIu64 "], \"bad\": %" PRIu64 ", \"errors\": %" PRIu64
	       ", \"first_bad\": \"%s\"}\n",
		newest[0], newest[1], p.bad, p.errors, p.first_bad);
	return p.bad || p.errors ? 1 : 0;
}
