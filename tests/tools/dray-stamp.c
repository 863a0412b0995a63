/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * dray-stamp: an application that trusts nobody. Writes stamped blocks to an NBD export, reads them back all
 * the time, and compares with its own record (tests/lib/stamp.h); reconnects when the server vanishes and
 * then checks every block.
 *
 *     dray-stamp run --uri URI --journal FILE [options]
 *     dray-stamp verify --journal FILE TARGET             TARGET: an NBD URI, a file or a device
 *     dray-stamp pair --uri URI --uri2 URI [options]      see tests/lib/stamp-pair.c
 *     dray-stamp pair-verify [options] TARGET TARGET
 *
 *     --volume N           volume id in the stamps (default 1)
 *     --block BYTES        block size (default 4096)
 *     --size BYTES         use only the first BYTES of the export (default: all)
 *     --blocks-max N       blocks per request, at most (default 1; chosen at random)
 *     --depth N            requests in flight (default 8)
 *     --rate N             requests a second (default: as fast as it goes)
 *     --seconds N          stop by itself (default: at SIGTERM or SIGINT)
 *     --writes N           stop after N writes
 *     --fill               first write each block once, then flush; `--fill-only` stops there
 *     --busy BYTES         after the fill, writes go to the first BYTES only (default: everywhere)
 *     --sequential         writes go from front to back, round and round (default: at random)
 *     --read-percent N     of the requests (default 30)
 *     --zero-percent N     of the writes are write-zeroes (default 0)
 *     --fua-percent N      of the writes carry FUA (default 0)
 *     --flush-every N      a flush after so many writes (default 64; 0: only at the end)
 *     --no-reconnect       a lost server is the end, status 1
 *     --reconnect-wait N   seconds to try (default 60)
 *     --status FILE        a JSON summary, replaced every 200 ms
 *     --seed N             of the random choices (default: from the clock)
 *
 * SIGTERM and SIGINT: lets requests in flight finish, flushes, prints the summary (one line of JSON on
 * stdout). Status 0: every read showed what it must and no request failed; 1: not so; 2: wrong usage. A
 * connection that breaks is no failure.
 */
#include "tests/lib/stamp.h"
#include "tests/lib/stamp-pair.h"
#include "tests/lib/target.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/units.h"

enum op { OP_READ, OP_WRITE, OP_ZERO, OP_FLUSH };

struct slot {
	enum op op;
	bool in_flight, retired, fua;
	int error;
	uint64_t first, n; /* blocks */
	uint64_t sent_ns;
	size_t acked_mark; /* flush: how much of `acked` it covers */
	void *buf;
};

struct acked {
	uint64_t block;
	uint32_t generation;
};

static struct {
	const char *uri, *journal, *status;
	uint64_t volume, block_bytes, size_bytes, blocks_max, depth, rate, busy_bytes, seconds, writes, flush_every,
		reconnect_wait, seed;
	unsigned read_percent, zero_percent, fua_percent;
	bool fill, fill_only, sequential, no_reconnect;
} o = {.volume = 1,
	.block_bytes = 4096,
	.blocks_max = 1,
	.depth = 8,
	.flush_every = 64,
	.reconnect_wait = 60,
	.read_percent = 30};

static struct nbd_handle *nbd;
static struct record rec;
static struct slot *slots;
static unsigned char *busy; /* a byte a block */
static struct acked *acked;
static size_t n_acked, cap_acked;
static unsigned in_flight;
static uint64_t seq, cursor, rng, since_flush;
static struct latency waits;
static uint64_t longest_outage_ns;
static struct {
	uint64_t writes, reads, flushes, errors, bad, reconnects, cut_off, rechecked;
	char first_bad[256];
} n;
static volatile sig_atomic_t stop;

static void on_stop(int sig)
{
	stop = 1;
}

static uint64_t now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static uint64_t pick(uint64_t below)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return (uint64_t)(((unsigned __int128)rng * below) >> 64);
}

static void bad(const char *why)
{
	if (n.bad < 10)
		fprintf(stderr, "dray-stamp: volume %" PRIu64 ": %s\n", o.volume, why);
	if (n.bad++ == 0)
		snprintf(n.first_bad, sizeof n.first_bad, "%s", why);
}

static void summary(FILE *f, bool ended)
{
	uint64_t oldest = 0, t = now();
	for (uint64_t i = 0; i < o.depth; i++)
		if (slots[i].in_flight && t - slots[i].sent_ns > oldest)
			oldest = t - slots[i].sent_ns;
	uint64_t longest = waits.longest_ns > oldest ? waits.longest_ns : oldest;
	fprintf(f,
		"{\"ended\": %s, \"writes\": %" PRIu64 ", \"reads\": %" PRIu64 ", \"flushes\": %" PRIu64
		", \"errors\": %" PRIu64 ", \"bad\": %" PRIu64 ", \"reconnects\": %" PRIu64
		", \"cut_off\": %" PRIu64 ", \"rechecked\": %" PRIu64 ", \"longest_wait_us\": %" PRIu64
		", \"longest_outage_us\": %" PRIu64 ", \"p50_us\": %" PRIu64 ", \"p99_us\": %" PRIu64
		", \"first_bad\": \"%s\"}\n",
		ended ? "true" : "false", n.writes, n.reads, n.flushes, n.errors, n.bad, n.reconnects,
		n.cut_off, n.rechecked, longest / 1000, longest_outage_ns / 1000, latency_us(&waits, 0.5),
		latency_us(&waits, 0.99), n.first_bad);
}

static void write_status(void)
{
	char tmp[4096];
	snprintf(tmp, sizeof tmp, "%s.new", o.status);
	FILE *f = fopen(tmp, "w");
	if (!f)
		return;
	summary(f, false);
	if (fclose(f) == 0)
		rename(tmp, o.status);
}

static int completed(void *arg, int *error)
{
	struct slot *s = arg;
	s->error = *error;
	s->retired = true;
	return 1;
}

/* Sends one request; false: nothing to send now (all picks busy) or the connection broke. */
static bool send_op(struct slot *s, enum op op, uint64_t first, uint64_t count)
{
	nbd_completion_callback done = {.callback = completed, .user_data = s};
	size_t bytes = count * o.block_bytes;
	uint64_t offset = first * o.block_bytes;
	int64_t rc = -1;

	*s = (struct slot){.op = op, .first = first, .n = count, .buf = s->buf, .in_flight = true};
	if (op == OP_WRITE || op == OP_ZERO) {
		s->fua = pick(100) < o.fua_percent;
		for (uint64_t i = 0; i < count; i++) {
			struct record_block *b = &rec.blocks[first + i];
			b->high = ++b->top;
			if (op == OP_ZERO)
				b->zero_gen = b->top;
			else
				stamp_fill((char *)s->buf + i * o.block_bytes, o.block_bytes,
					&(struct stamp){.volume = o.volume,
						.offset = offset + i * o.block_bytes,
						.generation = b->top,
						.seq = ++seq});
		}
	}
	memset(busy + first, 1, count);
	in_flight++;
	s->sent_ns = now();
	uint32_t fua = s->fua ? LIBNBD_CMD_FLAG_FUA : 0;
	switch (op) {
	case OP_READ: rc = nbd_aio_pread(nbd, s->buf, bytes, offset, done, 0); break;
	case OP_WRITE: rc = nbd_aio_pwrite(nbd, s->buf, bytes, offset, done, fua); break;
	case OP_ZERO: rc = nbd_aio_zero(nbd, bytes, offset, done, fua); break;
	case OP_FLUSH:
		s->acked_mark = n_acked;
		rc = nbd_aio_flush(nbd, done, 0);
		break;
	}
	if (rc < 0) { /* the connection is dead, which the caller's poll finds too */
		s->error = nbd_get_errno() ? nbd_get_errno() : EIO;
		s->retired = true;
	}
	return true;
}

static bool send_next(struct slot *s)
{
	bool writes = pick(100) >= o.read_percent;
	uint64_t below = writes && o.busy_bytes ? o.busy_bytes / o.block_bytes : rec.n_blocks;
	for (int tries = 0; tries < 16; tries++) {
		uint64_t count = o.blocks_max > 1 ? 1 + pick(o.blocks_max) : 1, first;
		if (writes && o.sequential) {
			first = cursor;
			if (count > below - first)
				count = below - first;
		} else
			first = pick(below - count + 1);
		if (memchr(busy + first, 1, count)) {
			if (writes && o.sequential)
				return false;
			continue;
		}
		if (writes && o.sequential)
			cursor = (first + count) % below;
		return send_op(s,
			!writes                      ? OP_READ
			: pick(100) < o.zero_percent ? OP_ZERO
						     : OP_WRITE,
			first, count);
	}
	return false;
}

static void note_acked(uint64_t block, uint32_t generation)
{
	if (n_acked == cap_acked) {
		cap_acked = cap_acked ? cap_acked * 2 : 4096;
		acked = realloc(acked, cap_acked * sizeof *acked);
		if (!acked)
			abort();
	}
	acked[n_acked++] = (struct acked){block, generation};
}

static void flushed(size_t mark)
{
	for (size_t i = 0; i < mark; i++) {
		struct record_block *b = &rec.blocks[acked[i].block];
		if (acked[i].generation > b->durable)
			b->durable = acked[i].generation;
	}
	memmove(acked, acked + mark, (n_acked - mark) * sizeof *acked);
	n_acked -= mark;
}

static void retire(struct slot *s, bool lost)
{
	char why[256];
	s->in_flight = s->retired = false;
	in_flight--;
	memset(busy + s->first, 0, s->n);
	if (lost || s->error == ESHUTDOWN) {
		n.cut_off++;
		return;
	}
	latency_add(&waits, now() - s->sent_ns);
	if (s->error != 0) {
		static const char *const words[] = {"read", "write", "zero", "flush"};
		fprintf(stderr, "dray-stamp: volume %" PRIu64 ": %s at %" PRIu64 ": %s\n", o.volume,
			words[s->op], s->first * o.block_bytes, strerror(s->error));
		n.errors++;
		return;
	}
	switch (s->op) {
	case OP_READ:
		n.reads++;
		for (uint64_t i = 0; i < s->n; i++)
			if (!record_check(&rec, s->first + i, (char *)s->buf + i * o.block_bytes, true, why,
				    sizeof why))
				bad(why);
		break;
	case OP_WRITE:
	case OP_ZERO:
		n.writes++;
		since_flush++;
		for (uint64_t i = s->first; i < s->first + s->n; i++) {
			rec.blocks[i].low = rec.blocks[i].high;
			if (s->fua)
				rec.blocks[i].durable = rec.blocks[i].high;
			else
				note_acked(i, rec.blocks[i].high);
		}
		break;
	case OP_FLUSH:
		n.flushes++;
		flushed(s->acked_mark);
		break;
	}
}

/* Handles what has come back. false: the connection is lost; everything in flight is of unknown outcome. */
static bool turn(int timeout_ms)
{
	bool lost = nbd_poll(nbd, timeout_ms) < 0 && nbd_get_errno() != EINTR;
	lost = lost || nbd_aio_is_dead(nbd) > 0 || nbd_aio_is_closed(nbd) > 0;
	for (uint64_t i = 0; i < o.depth; i++) {
		if (slots[i].retired && slots[i].error == ESHUTDOWN)
			lost = true; /* an orderly goodbye: reconnect like after any other */
	}
	for (uint64_t i = 0; i < o.depth; i++)
		if (slots[i].in_flight && (slots[i].retired || lost))
			retire(&slots[i], lost && (!slots[i].retired || slots[i].error != 0));
	return !lost;
}

static bool connect_nbd(void)
{
	if (nbd)
		nbd_close(nbd);
	nbd = nbd_create();
	if (!nbd)
		abort();
	nbd_set_handshake_flags(nbd, LIBNBD_HANDSHAKE_FLAG_FIXED_NEWSTYLE | LIBNBD_HANDSHAKE_FLAG_NO_ZEROES);
	return nbd_connect_uri(nbd, o.uri) == 0;
}

/* Reads all blocks that were ever written and checks them. false: the server vanished again. */
static bool check_all(void)
{
	enum { STEP = 256 };
	char why[256];
	static void *buf;
	if (!buf && !(buf = malloc(STEP * o.block_bytes)))
		abort();
	for (uint64_t i = 0; i < rec.n_blocks; i += STEP) {
		uint64_t k = rec.n_blocks - i < STEP ? rec.n_blocks - i : STEP, j = 0;
		while (j < k && rec.blocks[i + j].top == 0)
			j++;
		if (j == k)
			continue;
		if (nbd_pread(nbd, buf, k * o.block_bytes, i * o.block_bytes, 0) != 0) {
			if (nbd_aio_is_ready(nbd) <= 0)
				return false;
			fprintf(stderr, "dray-stamp: %s\n", nbd_get_error());
			n.errors++;
			continue;
		}
		for (; j < k; j++) {
			if (rec.blocks[i + j].top == 0)
				continue;
			n.rechecked++;
			if (!record_check(
				    &rec, i + j, (char *)buf + j * o.block_bytes, true, why, sizeof why))
				bad(why);
		}
	}
	return true;
}

static bool reconnect(void)
{
	uint64_t began = now();
	n_acked = since_flush = 0;
	record_crashed(&rec);
	while (!o.no_reconnect && now() - began < o.reconnect_wait * 1000000000u && !stop) {
		if (connect_nbd()) {
			uint64_t outage = now() - began;
			longest_outage_ns = outage > longest_outage_ns ? outage : longest_outage_ns;
			n.reconnects++;
			if (check_all())
				return true;
			record_crashed(&rec);
		}
		nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
	}
	if (!stop)
		fprintf(stderr, "dray-stamp: the server is gone: %s\n", nbd_get_error());
	return false;
}

static bool settle(void)
{
	while (in_flight > 0)
		if (!turn(100))
			return false;
	return true;
}

/* Writes every block once, in large requests. */
static bool fill(void)
{
	uint64_t next = 0, step = 64;
	while (next < rec.n_blocks && !stop) {
		for (uint64_t i = 0; i < o.depth && next < rec.n_blocks; i++)
			if (!slots[i].in_flight) {
				uint64_t count = rec.n_blocks - next < step ? rec.n_blocks - next : step;
				send_op(&slots[i], OP_WRITE, next, count);
				next += count;
			}
		if (!turn(100))
			return false;
	}
	if (!settle())
		return false;
	send_op(&slots[0], OP_FLUSH, 0, 0);
	return settle();
}

static bool work(void)
{
	uint64_t began = now(), due = began, status_at = 0;
	bool flushing = false;
	while (!stop) {
		uint64_t t = now();
		if ((o.seconds && t - began >= o.seconds * 1000000000u) || (o.writes && n.writes >= o.writes))
			break;
		for (uint64_t i = 0; i < o.depth && (!o.rate || due <= t); i++) {
			if (slots[i].in_flight)
				continue;
			if (o.flush_every && since_flush >= o.flush_every && !flushing) {
				since_flush = 0;
				flushing = send_op(&slots[i], OP_FLUSH, 0, 0);
				continue;
			}
			if (!send_next(&slots[i]))
				break;
			if (o.rate)
				due = (t > due + 1000000000u ? t : due) + 1000000000u / o.rate;
		}
		if (o.status && t - status_at > 200000000u) {
			write_status();
			status_at = t;
		}
		int wait_ms = o.rate && in_flight < o.depth ? 1 : 100;
		if (!turn(wait_ms) && !reconnect())
			return false;
		flushing = false;
		for (uint64_t i = 0; i < o.depth; i++)
			flushing |= slots[i].in_flight && slots[i].op == OP_FLUSH;
	}
	return true;
}

static int run(void)
{
	if (!connect_nbd()) {
		fprintf(stderr, "dray-stamp: %s: %s\n", o.uri, nbd_get_error());
		return 1;
	}
	int64_t size = nbd_get_size(nbd);
	if (o.size_bytes == 0 || o.size_bytes > (uint64_t)size)
		o.size_bytes = (uint64_t)size;
	int rc = record_open(&rec, o.journal, o.volume, o.block_bytes, o.size_bytes / o.block_bytes);
	if (rc != 0) {
		fprintf(stderr, "dray-stamp: journal %s: %s\n", o.journal, strerror(-rc));
		return 1;
	}
	if (o.busy_bytes > o.size_bytes || (o.busy_bytes && o.busy_bytes < o.blocks_max * o.block_bytes)) {
		fprintf(stderr, "dray-stamp: --busy: no request fits\n");
		return 2;
	}
	uint64_t most = o.blocks_max > 64 ? o.blocks_max : 64;
	slots = calloc(o.depth, sizeof *slots);
	busy = calloc(rec.n_blocks + 1, 1);
	for (uint64_t i = 0; slots && i < o.depth; i++)
		if (!(slots[i].buf = aligned_alloc(4096, (most * o.block_bytes + 4095) / 4096 * 4096)))
			abort();
	if (!slots || !busy)
		abort();
	rng = o.seed | 1;
	bool good = check_all();
	while (good && o.fill && !fill() && !stop)
		good = reconnect();
	memset(&waits, 0, sizeof waits);
	if (good && !o.fill_only)
		good = work();
	bool clean = good && settle();
	if (clean) {
		send_op(&slots[0], OP_FLUSH, 0, 0);
		clean = settle() && n_acked == 0;
	}
	if (!good && !stop)
		n.errors++;
	summary(stdout, true);
	if (o.status)
		write_status();
	record_close(&rec, clean);
	nbd_close(nbd);
	return n.bad || n.errors ? 1 : 0;
}

static int verify(const char *target)
{
	enum { STEP = 256 };
	char why[256];
	struct target t;
	int rc = record_load(&rec, o.journal);
	if (rc != 0) {
		fprintf(stderr, "dray-stamp: journal %s: %s\n", o.journal, strerror(-rc));
		return 1;
	}
	o.volume = rec.volume;
	if (!target_open(&t, target))
		return 1;
	uint64_t checked = 0;
	char *buf = malloc(STEP * rec.block_bytes);
	for (uint64_t i = 0; buf && i < rec.n_blocks; i += STEP) {
		uint64_t k = rec.n_blocks - i < STEP ? rec.n_blocks - i : STEP;
		if (!target_read(&t, buf, k * rec.block_bytes, i * rec.block_bytes)) {
			n.errors++;
			continue;
		}
		for (uint64_t j = 0; j < k; j++) {
			if (rec.blocks[i + j].top == 0)
				continue;
			checked++;
			if (!record_check(&rec, i + j, buf + j * rec.block_bytes, false, why, sizeof why))
				bad(why);
		}
	}
	free(buf);
	target_close(&t);
	printf("{\"blocks_checked\": %" PRIu64 ", \"bad\": %" PRIu64 ", \"errors\": %" PRIu64
	       ", \"exact\": %s, \"first_bad\": \"%s\"}\n",
		checked, n.bad, n.errors, rec.clean ? "true" : "false", n.first_bad);
	return n.bad || n.errors ? 1 : 0;
}

enum {
	O_URI = 256,
	O_URI2,
	O_JOURNAL,
	O_VOLUME,
	O_BLOCK,
	O_SIZE,
	O_BLOCKS_MAX,
	O_DEPTH,
	O_RATE,
	O_SECONDS,
	O_WRITES,
	O_FILL,
	O_FILL_ONLY,
	O_SEQUENTIAL,
	O_BUSY,
	O_READ,
	O_ZERO,
	O_FUA,
	O_FLUSH,
	O_NO_RECONNECT,
	O_WAIT,
	O_STATUS,
	O_SEED
};

static const struct option options[] = {{"uri", 1, 0, O_URI}, {"uri2", 1, 0, O_URI2},
	{"journal", 1, 0, O_JOURNAL}, {"volume", 1, 0, O_VOLUME}, {"block", 1, 0, O_BLOCK},
	{"size", 1, 0, O_SIZE}, {"blocks-max", 1, 0, O_BLOCKS_MAX}, {"depth", 1, 0, O_DEPTH},
	{"rate", 1, 0, O_RATE}, {"seconds", 1, 0, O_SECONDS}, {"writes", 1, 0, O_WRITES},
	{"fill", 0, 0, O_FILL}, {"busy", 1, 0, O_BUSY}, {"fill-only", 0, 0, O_FILL_ONLY}, {"sequential", 0, 0, O_SEQUENTIAL},
	{"read-percent", 1, 0, O_READ}, {"zero-percent", 1, 0, O_ZERO}, {"fua-percent", 1, 0, O_FUA},
	{"flush-every", 1, 0, O_FLUSH}, {"no-reconnect", 0, 0, O_NO_RECONNECT},
	{"reconnect-wait", 1, 0, O_WAIT}, {"status", 1, 0, O_STATUS}, {"seed", 1, 0, O_SEED}, {0, 0, 0, 0}};

static int usage(void)
{
	fprintf(stderr, "usage: dray-stamp run|pair --uri URI ... | verify --journal FILE TARGET | "
			"pair-verify TARGET TARGET\n"
			"(the options are described on top of tests/tools/dray-stamp.c)\n");
	return 2;
}

static bool number(const char *s, uint64_t *v)
{
	return dray_size_parse(s, v) == 0;
}

int main(int argc, char **argv)
{
	const char *uri2 = NULL;
	uint64_t v = 0;
	o.seed = now();
	for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
		bool text = c == O_URI || c == O_URI2 || c == O_JOURNAL || c == O_STATUS;
		if (c == '?' || (optarg && !text && !number(optarg, &v)))
			return usage();
		switch (c) {
		case O_URI: o.uri = optarg; break;
		case O_URI2: uri2 = optarg; break;
		case O_JOURNAL: o.journal = optarg; break;
		case O_STATUS: o.status = optarg; break;
		case O_VOLUME: o.volume = v; break;
		case O_BLOCK: o.block_bytes = v; break;
		case O_SIZE: o.size_bytes = v; break;
		case O_BLOCKS_MAX: o.blocks_max = v; break;
		case O_DEPTH: o.depth = v; break;
		case O_RATE: o.rate = v; break;
		case O_SECONDS: o.seconds = v; break;
		case O_WRITES: o.writes = v; break;
		case O_FILL: o.fill = true; break;
		case O_FILL_ONLY: o.fill = o.fill_only = true; break;
		case O_SEQUENTIAL: o.sequential = true; break;
		case O_BUSY: o.busy_bytes = v; break;
		case O_READ: o.read_percent = (unsigned)v; break;
		case O_ZERO: o.zero_percent = (unsigned)v; break;
		case O_FUA: o.fua_percent = (unsigned)v; break;
		case O_FLUSH: o.flush_every = v; break;
		case O_NO_RECONNECT: o.no_reconnect = true; break;
		case O_WAIT: o.reconnect_wait = v; break;
		case O_SEED: o.seed = v; break;
		}
	}
	if (optind >= argc || o.block_bytes < STAMP_BLOCK_MIN || o.block_bytes % 512 || !o.depth ||
		!o.blocks_max)
		return usage();
	const char *what = argv[optind];
	argv += optind + 1;
	argc -= optind + 1;

	struct sigaction sa = {.sa_handler = on_stop};
	sigaction(SIGTERM, &sa, NULL);
	sigaction(SIGINT, &sa, NULL);
	signal(SIGPIPE, SIG_IGN);

	struct pair_options p = {.uri = {o.uri, uri2},
		.block_bytes = o.block_bytes,
		.size_bytes = o.size_bytes,
		.rate = o.rate,
		.writes = o.writes,
		.seconds = o.seconds,
		.flush_every = o.flush_every,
		.reconnect_wait = o.reconnect_wait,
		.status = o.status,
		.stop = &stop};
	if (strcmp(what, "run") == 0 && argc == 0 && o.uri && o.journal)
		return run();
	if (strcmp(what, "verify") == 0 && argc == 1 && o.journal)
		return verify(argv[0]);
	if (strcmp(what, "pair") == 0 && argc == 0 && o.uri && uri2)
		return pair_run(&p);
	if (strcmp(what, "pair-verify") == 0 && argc == 2)
		return pair_verify(&p, argv[0], argv[1]);
	return usage();
}
