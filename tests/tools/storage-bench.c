/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a storage driver and the loop cost by themselves: random 4 KiB operations at one depth, no volume, no network.
 *
 *	storage-bench RESOURCE read|write DEPTH SECONDS [BYTES]
 *
 * Prints: operations per second, median and 99th percentile latency, CPU per operation. Writes destroy what is there.
 */
#include "storage/storage.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#define BUCKETS 100000 /* of a microsecond */
#define MOST_DEPTH 256

static struct dray_storage *st;
static struct dray_loop *loop;
static uint64_t ops, end_ns, seed = 88172645463325252, histogram[BUCKETS];
static unsigned under_way, bytes = 4096;
static bool failed;

struct job {
	struct dray_sio sio;
	uint64_t since_ns;
	void *data;
};

static uint64_t next_random(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed;
}

static void send_job(struct job *j)
{
	j->since_ns = dray_loop_now(loop);
	j->sio.offset = next_random() % (st->info.size_bytes / bytes) * bytes;
	under_way++;
	dray_storage_submit(st, &j->sio);
}

static void done(struct dray_sio *sio, int error, bool late)
{
	struct job *j = dray_container(sio, struct job, sio);
	uint64_t us = (dray_loop_now(loop) - j->since_ns) / 1000;
	under_way--;
	failed |= error != 0;
	histogram[us < BUCKETS ? us : BUCKETS - 1]++;
	ops++;
	if (!failed && dray_loop_now(loop) < end_ns)
		send_job(j);
}

static unsigned percentile(double p)
{
	uint64_t sum = 0;
	for (unsigned i = 0; i < BUCKETS; i++)
		if ((double)(sum += histogram[i]) >= p * (double)ops)
			return i;
	return BUCKETS;
}

int main(int argc, char **argv)
{
	static struct job jobs[MOST_DEPTH];
	struct dray_error err = DRAY_ERROR_INIT;
	unsigned depth = argc > 3 ? (unsigned)atoi(argv[3]) : 0;
	if (argc < 5 || !depth || depth > MOST_DEPTH || (strcmp(argv[2], "read") && strcmp(argv[2], "write"))) {
		fprintf(stderr, "usage: storage-bench RESOURCE read|write DEPTH SECONDS [BYTES]\n");
		return 2;
	}
	bool write = !strcmp(argv[2], "write");
	if (argc > 5)
		bytes = (unsigned)atoi(argv[5]);
	if (dray_loop_new(&loop, DRAY_LOOP_AUTO, 0, &err) ||
		dray_storage_open(&st, argv[1], &(struct dray_storage_options){ .read_only = !write }, &err)) {
		fprintf(stderr, "storage-bench: %s\n", err.text);
		return 1;
	}
	dray_storage_attach(st, loop);
	dray_loop_once(loop, 0);
	end_ns = dray_loop_now(loop) + (uint64_t)atoi(argv[4]) * 1000000000;
	uint64_t start = dray_loop_now(loop);
	for (unsigned i = 0; i < depth; i++) {
		if (posix_memalign(&jobs[i].data, 4096, bytes))
			return 1;
		memset(jobs[i].data, (int)i, bytes);
		jobs[i].sio = (struct dray_sio){ .done = done, .op = write ? DRAY_OP_WRITE : DRAY_OP_READ, .length = bytes,
			.data = jobs[i].data };
		send_job(&jobs[i]);
	}
	while (under_way)
		dray_loop_once(loop, UINT64_MAX);
	double seconds = (double)(dray_loop_now(loop) - start) / 1e9;
	struct rusage u;
	getrusage(RUSAGE_SELF, &u);
	double cpu_us = (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1e6 + (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec);
	printf("%s %s %s depth %u: %.0f/s, p50 %u us, p99 %u us, cpu %.2f us each%s\n", dray_loop_backend(loop),
		st->info.direct ? "direct" : "cached", argv[2], depth, (double)ops / seconds, percentile(0.5), percentile(0.99),
		cpu_us / (double)ops, failed ? " FAILED" : "");
	dray_storage_close(st);
	return failed;
}
