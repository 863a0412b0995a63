/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A small NBD server for the tests: the product's server over exports in memory (see tests/nbd-ram.h).
 *
 *   nbd-memory SOCKET [key=value ...]
 *
 *   size=BYTES        of each export (default 64M)
 *   tcp=PORT          listens there too, on 127.0.0.1; 0: a free port, which is printed
 *   loops=N           exports are spread over N threads; 0 (default): all on the one that negotiates
 *   file=PATH         the export `file` serves this file (O_DIRECT where possible), its reads and writes
 * through the loop timeout=DURATION connections=N requests=N payload=BYTES bytes=BYTES: the server's limits
 *   buffers=BYTES     limit of payload memory per export
 *
 * Exports: disk (also the default, ""), ro (read-only), plain (can nothing beyond reading and writing),
 * blocks (512-byte blocks, at most 64 KiB a request), errors, slow (answers after 300 ms), file.
 *
 * Prints "ready" when it listens. SIGTERM: an orderly stop; the exit status is not 0 if anything leaked.
 * SIGUSR1: ends all connections to `disk` and prints "disconnected" when they are gone.
 */
#include "base/units.h"
#include "nbd/server.h"
#include "../nbd-ram.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum { DISK, RO, PLAIN, BLOCKS, ERRORS, SLOW, N_MEMORY };

struct program {
	struct dray_loop *loop;
	struct dray_nbd_server *srv;
	struct dray_ioc signal_ioc;
	int signal_fd;
	bool stopping;
};

static void fail(const char *what)
{
	fprintf(stderr, "nbd-memory: %s\n", what);
	exit(2);
}

static void say(const char *s)
{
	printf("%s\n", s);
	fflush(stdout);
}

static void stopped(void *arg)
{
	dray_loop_stop(((struct program *)arg)->loop);
}

static void disconnected(void *arg)
{
	say("disconnected");
}

static void on_signal(struct dray_ioc *ioc, int res)
{
	struct program *p = dray_container(ioc, struct program, signal_ioc);
	struct signalfd_siginfo si;
	if (read(p->signal_fd, &si, sizeof si) == sizeof si) {
		if (si.ssi_signo == SIGUSR1) {
			if (dray_nbd_server_disconnect(p->srv, "disk", disconnected, NULL))
				fail("disconnect");
		} else {
			dray_nbd_server_stop(p->srv, stopped, p);
			return;
		}
	}
	dray_loop_poll(p->loop, &p->signal_ioc, p->signal_fd, 1 /* POLLIN */);
}

static void *run_loop(void *arg)
{
	dray_loop_run(arg);
	return NULL;
}

static uint64_t number(const char *key, const char *value)
{
	uint64_t v;
	if (dray_size_parse(value, &v))
		fail(key);
	return v;
}

static void open_file(struct ram_export *e, const char *path)
{
	ram_export_init(e, "file", RAM_BLOCK);
	e->fd = open(path, O_RDWR | O_DIRECT | O_CLOEXEC);
	if (e->fd < 0)
		e->fd = open(path, O_RDWR | O_CLOEXEC);
	struct stat st;
	if (e->fd < 0 || fstat(e->fd, &st) < 0)
		fail(path);
	e->info.size_bytes = (uint64_t)st.st_size;
	e->info.block_min = 512;
	e->info.can_trim = e->info.can_cache = e->info.can_extents = e->info.can_fast_zero = false;
}

int main(int argc, char **argv)
{
	static struct ram_export exports[N_MEMORY + 1];
	struct ram ram = {exports, N_MEMORY};
	struct dray_nbd_limits limits = {0};
	struct program p = {0};
	struct dray_error err = DRAY_ERROR_INIT;
	uint64_t size = 64 << 20, buffers = 0;
	const char *tcp = NULL, *file = NULL;
	unsigned n_loops = 0;
	struct dray_loop *loops[16];
	pthread_t threads[16];

	if (argc < 2)
		fail("usage: nbd-memory SOCKET [key=value ...]");
	for (int i = 2; i < argc; i++) {
		char *v = strchr(argv[i], '=');
		if (!v)
			fail(argv[i]);
		*v++ = '\0';
		const char *k = argv[i];
		if (!strcmp(k, "size"))
			size = number(k, v);
		else if (!strcmp(k, "tcp"))
			tcp = v;
		else if (!strcmp(k, "loops"))
			n_loops = (unsigned)number(k, v);
		else if (!strcmp(k, "file"))
			file = v;
		else if (!strcmp(k, "buffers"))
			buffers = number(k, v);
		else if (!strcmp(k, "connections"))
			limits.max_connections = (unsigned)number(k, v);
		else if (!strcmp(k, "requests"))
			limits.max_requests = (unsigned)number(k, v);
		else if (!strcmp(k, "payload"))
			limits.max_payload_bytes = (uint32_t)number(k, v);
		else if (!strcmp(k, "bytes"))
			limits.connection_bytes = number(k, v);
		else if (strcmp(k, "timeout") || dray_duration_parse(v, &limits.handshake_timeout_ns))
			fail(k);
	}
	if (n_loops > 16)
		fail("loops");

	static const char *const names[N_MEMORY] = {"disk", "ro", "plain", "blocks", "errors", "slow"};
	for (unsigned i = 0; i < N_MEMORY; i++)
		ram_export_init(&exports[i], names[i], size);
	exports[RO].info.read_only = true;
	struct dray_nbd_export_info *plain = &exports[PLAIN].info;
	plain->can_multi_conn = plain->can_fast_zero = plain->can_trim = plain->can_fua = false;
	plain->can_cache = plain->can_extents = false;
	plain->rotational = true;
	plain->description[0] = '\0';
	exports[BLOCKS].info.block_min = 512;
	exports[BLOCKS].info.block_max = 65536;
	exports[ERRORS].errors = true;
	exports[SLOW].delay_ns = 300000000;
	if (file)
		open_file(&exports[ram.n++], file);

	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGUSR1);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	if (dray_loop_new(&p.loop, DRAY_LOOP_AUTO, 256, &err))
		fail(err.text);
	for (unsigned i = 0; i < n_loops; i++)
		if (dray_loop_new(&loops[i], DRAY_LOOP_AUTO, 256, &err))
			fail(err.text);
	for (unsigned i = 0; i < ram.n; i++) {
		exports[i].ram = &ram;
		exports[i].loop = n_loops ? loops[i % n_loops] : p.loop;
		exports[i].buf_limit = buffers;
	}
	if (dray_nbd_server_new(&p.srv, p.loop, &limits, &ram_ops, &ram))
		fail("no memory");
	int fd = dray_nbd_listen_unix(argv[1], &err);
	if (fd < 0 || dray_nbd_server_listen(p.srv, fd, &err))
		fail(err.text);
	if (tcp) {
		fd = dray_nbd_listen_tcp("127.0.0.1", tcp, &err);
		if (fd < 0 || dray_nbd_server_listen(p.srv, fd, &err))
			fail(err.text);
		struct sockaddr_in sin;
		socklen_t len = sizeof sin;
		getsockname(fd, (struct sockaddr *)&sin, &len);
		printf("port %u\n", ntohs(sin.sin_port));
	}
	p.signal_fd = signalfd(-1, &set, SFD_CLOEXEC);
	p.signal_ioc.done = on_signal;
	dray_loop_poll(p.loop, &p.signal_ioc, p.signal_fd, 1 /* POLLIN */);
	for (unsigned i = 0; i < n_loops; i++)
		if (pthread_create(&threads[i], NULL, run_loop, loops[i]))
			fail("thread");
	say("ready");

	dray_loop_run(p.loop);

	for (unsigned i = 0; i < n_loops; i++) {
		dray_loop_stop(loops[i]);
		pthread_join(threads[i], NULL);
		dray_loop_free(loops[i]);
	}
	dray_nbd_server_free(p.srv);
	dray_loop_free(p.loop);
	for (unsigned i = 0; i < ram.n; i++) {
		if (exports[i].fd)
			close(exports[i].fd);
		ram_export_free(&exports[i]);
	}
	close(p.signal_fd);
	unlink(argv[1]);
	return 0;
}
