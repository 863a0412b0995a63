/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * nbd-holdback: an NBD server for tests, with the volatile cache of a disk. What is written is held in memory
 * and goes to the file at FLUSH, at FUA, or by chance; what is held is lost when the process is killed, or at
 * SIGUSR1 (power loss: drops what is held, closes all connections, goes on serving). kill -9 of a program
 * over an ordinary file loses nothing, since the page cache stays; over this server it loses all that was not
 * flushed.
 *
 *     nbd-holdback --file FILE --unix PATH [options]
 *
 *     --size BYTES          make the file this large first
 *     --writeback PERCENT   of the writes reach the file at once, as a cache writes back in any order
 * (default 10)
 *     --control FILE        read again whenever it changes; each line one of
 *                               fail read|write|flush|zero|trim ERRNO COUNT [OFFSET LENGTH]
 *                               delay read|write|flush|zero|trim MILLISECONDS [OFFSET LENGTH]
 *                               arm MICROSECONDS         one disk arm: reads and writes are done one after the other, and
 *                                                        each takes so long for every KiB of it
 *                               drop-on-flush-error      a failed flush loses what it should have written,
 * once (the file replaces what an older version of it said; an empty one: no faults)
 *     --pid-file FILE       written when clients can connect
 *     --no-multi-conn       not offered
 *     --no-zero --no-trim   not offered
 *
 * SIGTERM: flushes and ends. SIGSTOP makes a fine stalled disk. Exports one volume under any name. No
 * structured replies. One thread a connection, one lock around the pages; a delay is slept before the request
 * is done and without the lock, so that a delayed write lands late.
 */
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "base/units.h"

enum { PAGE = 4096, MAX_REQUEST = 32 << 20, MAX_CLIENTS = 64 };

enum { NBD_READ, NBD_WRITE, NBD_DISC, NBD_FLUSH, NBD_TRIM, NBD_CACHE, NBD_ZERO };

static struct {
	const char *file, *unix_path, *control, *pid_file;
	uint64_t size;
	unsigned writeback;
	bool no_multi_conn, no_zero, no_trim;
} o = {.writeback = 10};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int fd = -1;
static unsigned char **held; /* a page each, or NULL: as in the file */
static uint64_t n_pages, rng = 88172645463325252u;
static int clients[MAX_CLIENTS];
static unsigned powered; /* power losses so far: a request of before one is not performed after it */

struct fault {
	int op, error;
	uint64_t count, offset, length, delay_ms;
};
static struct fault faults[32];
static unsigned n_faults;
static bool drop_on_flush_error;
static uint64_t arm_us; /* 0: there is none */
static pthread_mutex_t arm = PTHREAD_MUTEX_INITIALIZER;
static struct stat control_was;

static void die(const char *what)
{
	fprintf(stderr, "nbd-holdback: %s: %s\n", what, strerror(errno));
	exit(1);
}

/* --- the held pages; the lock is held
 * ------------------------------------------------------------------------------ */

static unsigned char *page_get(uint64_t p)
{
	if (!held[p]) {
		held[p] = aligned_alloc(PAGE, PAGE);
		if (!held[p])
			die("memory");
		ssize_t r = pread(fd, held[p], PAGE, (off_t)(p * PAGE));
		if (r < 0)
			die(o.file);
		memset(held[p] + r, 0, (size_t)(PAGE - r));
	}
	return held[p];
}

static int page_put(uint64_t p)
{
	if (!held[p])
		return 0;
	uint64_t bytes = o.size - p * PAGE < PAGE ? o.size - p * PAGE : PAGE;
	if (pwrite(fd, held[p], bytes, (off_t)(p * PAGE)) != (ssize_t)bytes)
		return EIO;
	free(held[p]);
	held[p] = NULL;
	return 0;
}

static int put_range(uint64_t offset, uint64_t length)
{
	for (uint64_t p = offset / PAGE; length && p <= (offset + length - 1) / PAGE; p++)
		if (page_put(p) != 0)
			return EIO;
	return 0;
}

static void drop_all(void)
{
	for (uint64_t p = 0; p < n_pages; p++) {
		free(held[p]);
		held[p] = NULL;
	}
}

static void read_range(unsigned char *buf, uint64_t offset, uint64_t length)
{
	while (length > 0) {
		uint64_t p = offset / PAGE, at = offset % PAGE, n = PAGE - at < length ? PAGE - at : length;
		if (held[p])
			memcpy(buf, held[p] + at, n);
		else if (pread(fd, buf, n, (off_t)offset) != (ssize_t)n)
			die(o.file);
		buf += n;
		offset += n;
		length -= n;
	}
}

/* data NULL: zeroes */
static void write_range(const unsigned char *data, uint64_t offset, uint64_t length)
{
	while (length > 0) {
		uint64_t p = offset / PAGE, at = offset % PAGE, n = PAGE - at < length ? PAGE - at : length;
		unsigned char *page = page_get(p);
		if (data) {
			memcpy(page + at, data, n);
			data += n;
		} else
			memset(page + at, 0, n);
		offset += n;
		length -= n;
	}
}

static unsigned chance(void)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return (unsigned)(rng >> 33) % 100;
}

/* --- the control file
 * ---------------------------------------------------------------------------------------------- */

static int op_of(const char *word)
{
	static const struct {
		const char *word;
		int op;
	} ops[] = {{"read", NBD_READ}, {"write", NBD_WRITE}, {"flush", NBD_FLUSH}, {"zero", NBD_ZERO},
		{"trim", NBD_TRIM}};
	for (size_t i = 0; i < sizeof ops / sizeof *ops; i++)
		if (strcmp(word, ops[i].word) == 0)
			return ops[i].op;
	fprintf(stderr, "nbd-holdback: %s: no such operation: %s\n", o.control, word);
	exit(2);
}

static int error_of(const char *word)
{
	static const struct {
		const char *word;
		int error;
	} errors[] = {{"EIO", 5}, {"EPERM", 1}, {"ENOMEM", 12}, {"EINVAL", 22}, {"ENOSPC", 28},
		{"EOVERFLOW", 75}, {"ENOTSUP", 95}, {"ESHUTDOWN", 108}};
	for (size_t i = 0; i < sizeof errors / sizeof *errors; i++)
		if (strcmp(word, errors[i].word) == 0)
			return errors[i].error;
	fprintf(stderr, "nbd-holdback: %s: no such error in NBD: %s\n", o.control, word);
	exit(2);
}

static void read_control(void)
{
	struct stat st;
	if (!o.control || stat(o.control, &st) != 0)
		return;
	if (st.st_ino == control_was.st_ino && st.st_size == control_was.st_size &&
		st.st_mtim.tv_sec == control_was.st_mtim.tv_sec &&
		st.st_mtim.tv_nsec == control_was.st_mtim.tv_nsec)
		return;
	FILE *f = fopen(o.control, "r");
	if (!f)
		return;
	control_was = st;
	n_faults = 0;
	drop_on_flush_error = false;
	arm_us = 0;
	char line[256], op[32], err[32];
	while (fgets(line, sizeof line, f) && n_faults < sizeof faults / sizeof *faults) {
		struct fault x = {0};
		if (sscanf(line, "fail %31s %31s %" SCNu64 " %" SCNu64 " %" SCNu64, op, err, &x.count,
			    &x.offset, &x.length) >= 3) {
			x.op = op_of(op);
			x.error = error_of(err);
			faults[n_faults++] = x;
		} else if (sscanf(line, "delay %31s %" SCNu64 " %" SCNu64 " %" SCNu64, op, &x.delay_ms, &x.offset, &x.length) >= 2) {
			x.op = op_of(op);
			faults[n_faults++] = x;
		} else if (sscanf(line, "arm %" SCNu64, &arm_us) == 1) {
			/* for all of them */
		} else if (strncmp(line, "drop-on-flush-error", 19) == 0)
			drop_on_flush_error = true;
		else if (line[0] != '\n' && line[0] != '#') {
			fprintf(stderr, "nbd-holdback: %s: cannot read: %s", o.control, line);
			exit(2);
		}
	}
	fclose(f);
}

/* --- one connection
 * ------------------------------------------------------------------------------------------------ */

static bool get(int s, void *buf, size_t n)
{
	for (char *p = buf; n > 0;) {
		ssize_t r = recv(s, p, n, 0);
		if (r < 0 && errno == EINTR)
			continue;
		if (r <= 0)
			return false;
		p += r;
		n -= (size_t)r;
	}
	return true;
}

static bool put(int s, const void *buf, size_t n)
{
	for (const char *p = buf; n > 0;) {
		ssize_t r = send(s, p, n, MSG_NOSIGNAL);
		if (r < 0 && errno == EINTR)
			continue;
		if (r <= 0)
			return false;
		p += r;
		n -= (size_t)r;
	}
	return true;
}

struct __attribute__((packed)) option_head {
	uint64_t magic;
	uint32_t option, length;
};

static bool option_reply(int s, uint32_t option, uint32_t type, const void *data, uint32_t n)
{
	struct __attribute__((packed)) {
		uint64_t magic;
		uint32_t option, type, length;
	} h = {htobe64(0x3e889045565a9), htobe32(option), htobe32(type), htobe32(n)};
	return put(s, &h, sizeof h) && (n == 0 || put(s, data, n));
}

/* Fixed newstyle negotiation. true: on to transmission. */
static bool negotiate(int s)
{
	struct __attribute__((packed)) {
		uint64_t magic, version;
		uint16_t flags;
	} hello = {htobe64(0x4e42444d41474943), htobe64(0x49484156454F5054), htobe16(3)};
	uint32_t client;
	uint16_t flags = 1 | 4 | 8; /* has flags, flush, fua */
	flags |= (uint16_t)((o.no_trim ? 0 : 32) | (o.no_zero ? 0 : 64) | (o.no_multi_conn ? 0 : 256));
	struct __attribute__((packed)) {
		uint16_t type;
		uint64_t size;
		uint16_t flags;
	} info = {htobe16(0), htobe64(o.size), htobe16(flags)};

	if (!put(s, &hello, sizeof hello) || !get(s, &client, sizeof client))
		return false;
	bool no_zeroes = be32toh(client) & 2;
	for (;;) {
		struct option_head h;
		char data[4096];
		if (!get(s, &h, sizeof h) || be64toh(h.magic) != 0x49484156454F5054)
			return false;
		uint32_t option = be32toh(h.option), n = be32toh(h.length);
		if (n > sizeof data || !get(s, data, n))
			return false;
		switch (option) {
		case 1: { /* EXPORT_NAME */
			char zeroes[124] = {0};
			return put(s, &info.size, 8) && put(s, &info.flags, 2) &&
			       (no_zeroes || put(s, zeroes, sizeof zeroes));
		}
		case 2: /* ABORT */ option_reply(s, option, 1, NULL, 0); return false;
		case 3: /* LIST: one export without a name */
			if (!option_reply(s, option, 2, "\0\0\0", 4) || !option_reply(s, option, 1, NULL, 0))
				return false;
			break;
		case 6:
		case 7: /* INFO, GO */
			if (!option_reply(s, option, 3, &info, sizeof info) ||
				!option_reply(s, option, 1, NULL, 0))
				return false;
			if (option == 7)
				return true;
			break;
		default:
			if (!option_reply(s, option, 0x80000001, NULL, 0))
				return false;
		}
	}
}

struct __attribute__((packed)) request {
	uint32_t magic;
	uint16_t flags, type;
	uint64_t cookie, offset;
	uint32_t length;
};

static void sleep_us(uint64_t us)
{
	if (us)
		nanosleep(&(struct timespec){.tv_sec = (time_t)(us / 1000000), .tv_nsec = (long)(us % 1000000) * 1000}, NULL);
}

/* An error for the reply, or -1: the power went off meanwhile. */
static int perform(const struct request *r, unsigned char *buf, unsigned power)
{
	uint64_t offset = be64toh(r->offset), length = be32toh(r->length);
	int op = be16toh(r->type), rc = 0;
	uint64_t delay = 0;

	pthread_mutex_lock(&lock);
	read_control();
	for (unsigned i = 0; i < n_faults; i++) {
		struct fault *f = &faults[i];
		bool there =
			f->length == 0 || (offset < f->offset + f->length && f->offset < offset + length);
		if (f->op != op || !there)
			continue;
		if (f->delay_ms)
			delay = f->delay_ms;
		else if (f->count > 0 && rc == 0) {
			f->count--;
			rc = f->error;
		}
	}
	uint64_t moves_us = op == NBD_READ || op == NBD_WRITE ? arm_us * (length / 1024) : 0;
	if (delay || moves_us) {
		pthread_mutex_unlock(&lock);
		sleep_us(delay * 1000);
		if (moves_us) {
			pthread_mutex_lock(&arm);
			sleep_us(moves_us);
			pthread_mutex_unlock(&arm);
		}
		pthread_mutex_lock(&lock);
	}
	if (powered != power) {
		pthread_mutex_unlock(&lock);
		return -1;
	}
	if (rc != 0) {
		if (op == NBD_FLUSH && drop_on_flush_error)
			drop_all();
	} else if (op != NBD_FLUSH && (offset > o.size || length > o.size - offset))
		rc = op == NBD_WRITE || op == NBD_ZERO ? ENOSPC : EINVAL;
	else
		switch (op) {
		case NBD_READ: read_range(buf, offset, length); break;
		case NBD_WRITE:
		case NBD_ZERO:
		case NBD_TRIM:
			write_range(op == NBD_WRITE ? buf : NULL, offset, length);
			if ((be16toh(r->flags) & 1) || chance() < o.writeback)
				rc = put_range(offset, length);
			break;
		case NBD_FLUSH: rc = put_range(0, o.size); break;
		default: rc = EINVAL;
		}
	pthread_mutex_unlock(&lock);
	return rc;
}

static void *serve(void *arg)
{
	int s = clients[(intptr_t)arg];
	struct request r;
	unsigned char *buf = malloc(MAX_REQUEST);
	bool ok = buf && negotiate(s);
	unsigned power = powered;
	while (ok && get(s, &r, sizeof r) && be32toh(r.magic) == 0x25609513) {
		uint32_t length = be32toh(r.length);
		uint16_t type = be16toh(r.type);
		if (type == NBD_DISC || ((type == NBD_READ || type == NBD_WRITE) && length > MAX_REQUEST) ||
			(type == NBD_WRITE && !get(s, buf, length)))
			break;
		int rc = perform(&r, buf, power);
		if (rc < 0)
			break;
		struct __attribute__((packed)) {
			uint32_t magic, error;
			uint64_t cookie;
		} reply = {htobe32(0x67446698), htobe32((uint32_t)rc), r.cookie};
		ok = put(s, &reply, sizeof reply) && (rc != 0 || type != NBD_READ || put(s, buf, length));
	}
	free(buf);
	pthread_mutex_lock(&lock);
	clients[(intptr_t)arg] = -1;
	close(s);
	pthread_mutex_unlock(&lock);
	return NULL;
}

/* --- the process
 * --------------------------------------------------------------------------------------------------- */

static void *signals(void *arg)
{
	sigset_t *set = arg;
	for (int sig; sigwait(set, &sig) == 0;) {
		pthread_mutex_lock(&lock);
		if (sig == SIGTERM) {
			int rc = put_range(0, o.size);
			unlink(o.unix_path);
			_exit(rc != 0);
		}
		drop_all(); /* SIGUSR1: power loss */
		powered++;
		for (int i = 0; i < MAX_CLIENTS; i++)
			if (clients[i] >= 0)
				shutdown(clients[i], SHUT_RDWR);
		pthread_mutex_unlock(&lock);
	}
	return NULL;
}

static int listen_on(const char *path)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	if (strlen(path) >= sizeof a.sun_path) {
		errno = ENAMETOOLONG;
		die(path);
	}
	memcpy(a.sun_path, path, strlen(path) + 1);
	unlink(path);
	int s = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (s < 0 || bind(s, (struct sockaddr *)&a, sizeof a) != 0 || listen(s, 16) != 0)
		die(path);
	return s;
}

static int usage(void)
{
	fprintf(stderr, "usage: nbd-holdback --file FILE --unix PATH [options]  (see the top of "
			"tests/tools/nbd-holdback.c)\n");
	return 2;
}

int main(int argc, char **argv)
{
	enum { FILE_, UNIX, SIZE, WRITEBACK, CONTROL, PID, NO_MULTI, NO_ZERO, NO_TRIM };
	static const struct option options[] = {{"file", 1, 0, FILE_}, {"unix", 1, 0, UNIX},
		{"size", 1, 0, SIZE}, {"writeback", 1, 0, WRITEBACK}, {"control", 1, 0, CONTROL},
		{"pid-file", 1, 0, PID}, {"no-multi-conn", 0, 0, NO_MULTI}, {"no-zero", 0, 0, NO_ZERO},
		{"no-trim", 0, 0, NO_TRIM}, {0, 0, 0, 0}};
	for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;)
		switch (c) {
		case FILE_: o.file = optarg; break;
		case UNIX: o.unix_path = optarg; break;
		case SIZE:
			if (dray_size_parse(optarg, &o.size) != 0)
				return usage();
			break;
		case WRITEBACK: o.writeback = (unsigned)atoi(optarg); break;
		case CONTROL: o.control = optarg; break;
		case PID: o.pid_file = optarg; break;
		case NO_MULTI: o.no_multi_conn = true; break;
		case NO_ZERO: o.no_zero = true; break;
		case NO_TRIM: o.no_trim = true; break;
		default: return usage();
		}
	if (!o.file || !o.unix_path || optind != argc)
		return usage();

	fd = open(o.file, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
	struct stat st;
	if (fd < 0 || (o.size && ftruncate(fd, (off_t)o.size) != 0) || fstat(fd, &st) != 0)
		die(o.file);
	o.size = (uint64_t)st.st_size;
	n_pages = (o.size + PAGE - 1) / PAGE;
	held = calloc(n_pages + 1, sizeof *held);
	if (!held)
		die("memory");
	rng ^= (uint64_t)getpid() << 20;
	for (int i = 0; i < MAX_CLIENTS; i++)
		clients[i] = -1;

	static sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGUSR1);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	pthread_t t;
	if (pthread_create(&t, NULL, signals, &set) != 0)
		die("thread");

	int s = listen_on(o.unix_path);
	if (o.pid_file) {
		FILE *f = fopen(o.pid_file, "w");
		if (!f || fprintf(f, "%d\n", (int)getpid()) < 0 || fclose(f) != 0)
			die(o.pid_file);
	}
	for (;;) {
		int c = accept4(s, NULL, NULL, SOCK_CLOEXEC);
		if (c < 0)
			continue;
		pthread_mutex_lock(&lock);
		intptr_t i = 0;
		while (i < MAX_CLIENTS && clients[i] >= 0)
			i++;
		if (i < MAX_CLIENTS)
			clients[i] = c;
		pthread_mutex_unlock(&lock);
		if (i == MAX_CLIENTS || pthread_create(&t, NULL, serve, (void *)i) != 0)
			close(c);
		else
			pthread_detach(t);
	}
}
