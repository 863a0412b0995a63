/* SPDX-License-Identifier: BSD-3-Clause */
/* The NBD driver against a real server, nbdkit: data, extents, a server that is killed and comes back, one that comes back as
 * something else, one that stops answering; and a poll that says there is something to read where there is nothing. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <cmocka.h>
#include "storage-help.h"

#define MIB (UINT64_C(1) << 20)

static char dir[128], sock[160], image[160], uri[256];
static pid_t server;
static int false_alarms;

static bool answers(void)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	snprintf(a.sun_path, sizeof a.sun_path, "%.100s", sock);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	bool yes = !connect(fd, (struct sockaddr *)&a, sizeof a);
	close(fd);
	return yes;
}

/* nbdkit on the image file, so that its contents outlive it. */
static void start_server(const char *filter, const char *option)
{
	unlink(sock);
	server = fork();
	if (!server) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		char file[200];
		snprintf(file, sizeof file, "file=%s", image);
		if (filter)
			execlp("nbdkit", "nbdkit", "-f", "-U", sock, filter, "file", file, option, (char *)NULL);
		else
			execlp("nbdkit", "nbdkit", "-f", "-U", sock, "file", file, (char *)NULL);
		_exit(127);
	}
	for (int i = 0; i < 6000 && !answers(); i++) {
		int status;
		if (waitpid(server, &status, WNOHANG) == server)
			fail_msg("nbdkit did not start (is it installed? scripts/packages.sh does that)");
		nanosleep(&(struct timespec){ .tv_nsec = 10000000 }, NULL);
	}
	assert_true(answers());
}

static void kill_server(void)
{
	if (server > 0) {
		kill(server, SIGKILL);
		waitpid(server, NULL, 0);
	}
	server = 0;
}

static int setup_with(enum dray_loop_want want)
{
	strcpy(dir, help_folder("/tmp"));
	snprintf(sock, sizeof sock, "%s/s", dir);
	snprintf(image, sizeof image, "%s/a.img", dir);
	snprintf(uri, sizeof uri, "nbd+unix:///?socket=%s", sock);
	help_loop(want);
	return dray_storage_create(image, 8 * MIB, false, NULL);
}

static int uring(void **state)
{
	return setup_with(DRAY_LOOP_AUTO);
}

static int with_epoll(void **state)
{
	return setup_with(DRAY_LOOP_EPOLL);
}

static int teardown(void **state)
{
	kill_server();
	dray_loop_free(loop);
	unlink(image);
	unlink(sock);
	rmdir(dir);
	return 0;
}

static void data(void **state)
{
	start_server(NULL, NULL);
	struct dray_storage *st = help_open(uri, NULL);
	assert_int_equal(st->info.size_bytes, 8 * MIB);
	assert_true(st->info.late_writes);
	assert_true(st->info.can_multi_conn);
	unsigned char *w = help_buffer(4 * MIB, 3), *r = help_buffer(4 * MIB, 0);
	assert_int_equal(help_do(st, DRAY_OP_WRITE, 0, MIB, 4 * MIB, w), 0);
	assert_int_equal(help_do(st, DRAY_OP_WRITE, DRAY_F_FUA, 0, 4096, w), 0);
	assert_int_equal(help_do(st, DRAY_OP_READ, 0, MIB, 4 * MIB, r), 0);
	assert_memory_equal(r, w, 4 * MIB);
	assert_int_equal(help_do(st, DRAY_OP_FLUSH, 0, 0, 0, NULL), 0);
	assert_int_equal(help_do(st, DRAY_OP_ZERO, DRAY_F_MAY_UNMAP, 2 * MIB, MIB, NULL), 0);
	assert_int_equal(help_do(st, DRAY_OP_DISCARD, 0, 3 * MIB, MIB, NULL), 0);
	assert_int_equal(help_do(st, DRAY_OP_READ, 0, MIB, 4 * MIB, r), 0);
	assert_memory_equal(r, w, MIB);
	assert_true(help_zero(r + MIB, MIB));
	assert_int_equal(help_do(st, DRAY_OP_READ, 0, 8 * MIB, 4096, r), -EINVAL);
	struct dray_extent e[8];
	unsigned n;
	assert_true(st->info.can_extents);
	assert_int_equal(help_extents(st, 0, 8 * MIB, e, 8, &n), 0);
	assert_true(n >= 3);
	assert_int_equal(e[0].flags, 0);
	assert_int_equal(e[0].length, 4096);
	assert_int_equal(e[1].flags, DRAY_EXTENT_HOLE | DRAY_EXTENT_ZERO);
	assert_int_equal(e[1].length, MIB - 4096);
	help_close(st);
	free(w);
	free(r);
}

static void many_at_once(void **state)
{
	enum { N = 256 };
	start_server(NULL, NULL);
	struct dray_storage *st = help_open(uri, NULL);
	unsigned char *w = help_buffer(N * 4096, 9), *r = help_buffer(N * 4096, 0);
	static struct help_op op[N];
	for (int round = 0; round < 2; round++) {
		for (unsigned i = 0; i < N; i++)
			help_start(st, &op[i], round ? DRAY_OP_READ : DRAY_OP_WRITE, 0, i * 4096, 4096,
				(round ? r : w) + i * 4096);
		for (unsigned i = 0; i < N; i++) {
			help_wait(&op[i]);
			assert_int_equal(op[i].error, 0);
		}
	}
	assert_memory_equal(r, w, N * 4096);
	help_close(st);
	free(w);
	free(r);
}

static void slices(void **state)
{
	start_server(NULL, NULL);
	struct dray_storage *st = help_open(uri, &(struct dray_storage_options){ .offset = MIB, .length = MIB });
	unsigned char *w = help_buffer(4096, 3), *r = help_buffer(4096, 0);
	assert_int_equal(help_do(st, DRAY_OP_WRITE, 0, 8192, 4096, w), 0);
	help_close(st);
	int fd = open(image, O_RDONLY);
	assert_int_equal(pread(fd, r, 4096, MIB + 8192), 4096);
	assert_memory_equal(r, w, 4096);
	close(fd);
	free(w);
	free(r);
}

/* Tries until the driver has reconnected. */
static int read_again(struct dray_storage *st, void *buf)
{
	uint64_t end = dray_loop_now(loop) + UINT64_C(60000000000);
	int rc;
	do {
		rc = help_do(st, DRAY_OP_READ, 0, 0, 4096, buf);
		dray_loop_once(loop, 20000000);
	} while (rc == -ENOTCONN && dray_loop_now(loop) < end);
	return rc;
}

static void killed(void **state)
{
	start_server("--filter=delay", "wdelay=60");
	struct dray_storage *st = help_open(uri, NULL);
	unsigned char *b = help_buffer(4096, 3);
	struct help_op w, r;
	help_start(st, &w, DRAY_OP_WRITE, 0, 0, 4096, b);
	for (int i = 0; i < 10; i++)
		dray_loop_once(loop, 10000000);
	assert_int_equal(w.calls, 0);
	kill_server();
	help_wait(&w);
	assert_int_equal(w.error, -ENOTCONN);
	assert_true(w.late);
	help_start(st, &r, DRAY_OP_READ, 0, 0, 4096, b);
	help_wait(&r);
	assert_int_equal(r.error, -ENOTCONN);
	assert_false(r.late);
	start_server(NULL, NULL);
	assert_int_equal(read_again(st, b), 0);
	help_close(st);
	free(b);
}

/* What the dead server had acknowledged and not made durable may be lost: one flush says so. */
static void killed_before_flush(void **state)
{
	start_server(NULL, NULL);
	struct dray_storage *st = help_open(uri, NULL);
	unsigned char *b = help_buffer(4096, 3);
	assert_int_equal(help_do(st, DRAY_OP_WRITE, 0, 0, 4096, b), 0);
	kill_server();
	start_server(NULL, NULL);
	assert_int_equal(read_again(st, b), 0);
	assert_int_equal(help_do(st, DRAY_OP_FLUSH, 0, 0, 0, NULL), -EIO);
	assert_int_equal(help_do(st, DRAY_OP_FLUSH, 0, 0, 0, NULL), 0);
	help_close(st);
	free(b);
}

static void killed_with_retry(void **state)
{
	start_server("--filter=delay", "wdelay=60");
	struct dray_storage *st = help_open(uri, &(struct dray_storage_options){ .retry_primary = true });
	unsigned char *b = help_buffer(4096, 3), *back = help_buffer(4096, 0);
	struct help_op w, r;
	help_start(st, &w, DRAY_OP_WRITE, 0, 0, 4096, b);
	for (int i = 0; i < 10; i++)
		dray_loop_once(loop, 10000000);
	kill_server();
	for (int i = 0; i < 10; i++)
		dray_loop_once(loop, 10000000);
	help_start(st, &r, DRAY_OP_READ, 0, 4096, 4096, back);
	for (int i = 0; i < 10; i++)
		dray_loop_once(loop, 10000000);
	assert_int_equal(w.calls, 0);
	assert_int_equal(r.calls, 0);
	start_server(NULL, NULL);
	help_wait(&w);
	help_wait(&r);
	assert_int_equal(w.error, 0);
	assert_int_equal(r.error, 0);
	assert_int_equal(help_do(st, DRAY_OP_READ, 0, 0, 4096, back), 0);
	assert_memory_equal(back, b, 4096);
	help_close(st);
	free(b);
	free(back);
}

static void retry_ends(void **state)
{
	start_server(NULL, NULL);
	struct dray_storage *st = help_open(uri, &(struct dray_storage_options){ .retry_primary = true,
		.retry_ns = 300000000 });
	unsigned char *b = help_buffer(4096, 3);
	kill_server();
	uint64_t since = dray_loop_now(loop);
	assert_int_equal(help_do(st, DRAY_OP_READ, 0, 0, 4096, b), -ENOTCONN);
	assert_true(dray_loop_now(loop) - since >= 250000000);
	help_close(st);
	free(b);
}

static void another_size(void **state)
{
	start_server(NULL, NULL);
	struct dray_storage *st = help_open(uri, NULL);
	unsigned char *b = help_buffer(4096, 3);
	kill_server();
	assert_int_equal(truncate(image, 4 * MIB), 0);
	start_server(NULL, NULL);
	assert_int_equal(read_again(st, b), -ESTALE);
	assert_int_equal(help_do(st, DRAY_OP_WRITE, 0, 0, 4096, b), -ESTALE);
	/* The right one again. */
	kill_server();
	assert_int_equal(truncate(image, 8 * MIB), 0);
	start_server(NULL, NULL);
	uint64_t end = dray_loop_now(loop) + UINT64_C(60000000000);
	int rc;
	do {
		rc = read_again(st, b);
	} while (rc == -ESTALE && dray_loop_now(loop) < end);
	assert_int_equal(rc, 0);
	help_close(st);
	free(b);
}

static void stopped(void **state)
{
	start_server(NULL, NULL);
	struct dray_storage *st = help_open(uri, NULL);
	unsigned char *b = help_buffer(4096, 3);
	struct help_op w;
	int status;
	kill(server, SIGSTOP);
	assert_int_equal(waitpid(server, &status, WUNTRACED), server); /* all of its threads have stopped */
	assert_true(WIFSTOPPED(status));
	help_start(st, &w, DRAY_OP_WRITE, 0, 0, 4096, b);
	for (int i = 0; i < 20; i++)
		dray_loop_once(loop, 10000000);
	assert_int_equal(w.calls, 0);
	kill(server, SIGCONT);
	help_wait(&w);
	assert_int_equal(w.error, 0);
	help_close(st);
	free(b);
}

/* Stands before the loop's own (tests/meson.build): a poll for input may be answered by a waker that comes late. */
void __real_dray_loop_poll(struct dray_loop *l, struct dray_ioc *ioc, int fd, short events);
void __wrap_dray_loop_poll(struct dray_loop *l, struct dray_ioc *ioc, int fd, short events);

void __wrap_dray_loop_poll(struct dray_loop *l, struct dray_ioc *ioc, int fd, short events)
{
	if (false_alarms && events == POLLIN) {
		false_alarms--;
		dray_loop_finish(l, ioc, POLLIN);
	} else {
		__real_dray_loop_poll(l, ioc, fd, events);
	}
}

static void false_alarm(void **state)
{
	start_server(NULL, NULL);
	unsigned char *b = help_buffer(4096, 3), *back = help_buffer(4096, 4);
	false_alarms = 2;
	struct dray_storage *st = help_open(uri, &(struct dray_storage_options){ .connections = 1 });
	while (false_alarms)
		dray_loop_once(loop, 10000000);
	for (int i = 0; i < 3; i++)
		dray_loop_once(loop, 10000000);
	assert_int_equal(help_do(st, DRAY_OP_WRITE, 0, 0, 4096, b), 0);
	false_alarms = 1; /* of the poll that follows the answer */
	assert_int_equal(help_do(st, DRAY_OP_READ, 0, 0, 4096, back), 0);
	assert_memory_equal(back, b, 4096);
	assert_int_equal(help_do(st, DRAY_OP_FLUSH, 0, 0, 0, NULL), 0);
	assert_int_equal(false_alarms, 0);
	help_close(st);
	free(b);
	free(back);
}

/* A server's last answer and its end are heard in one breath, the end first: another request finds it out by being sent. What was answered may be lost
 * like what was answered before: one flush says so. */
struct next {
	struct dray_ioc ioc;
	struct dray_storage *st;
	struct help_op op;
	void *data;
};

static void send_next(struct dray_ioc *ioc, int res)
{
	struct next *n = dray_container(ioc, struct next, ioc);
	help_start(n->st, &n->op, DRAY_OP_WRITE, 0, 4096, 4096, n->data);
}

/* There is something to be read from a server. */
static bool answered(void)
{
	for (int fd = 3; fd < 1024; fd++) {
		struct stat st;
		int n = 0;
		if (!fstat(fd, &st) && S_ISSOCK(st.st_mode) && !ioctl(fd, FIONREAD, &n) && n)
			return true;
	}
	return false;
}

static void answered_and_ended(void **state)
{
	start_server(NULL, NULL);
	false_alarms = 1; /* no alarm, and not false: the answer is read before `next` is called */
	struct dray_storage *st = help_open(uri, &(struct dray_storage_options){ .connections = 1 });
	unsigned char *b = help_buffer(4096, 3);
	struct help_op w;
	help_start(st, &w, DRAY_OP_WRITE, 0, 0, 4096, b);
	for (int i = 0; i < 2000 && !answered(); i++)
		nanosleep(&(struct timespec){ .tv_nsec = 10000000 }, NULL);
	assert_true(answered());
	kill_server();
	struct next next = { .ioc.done = send_next, .st = st, .data = b };
	dray_loop_finish(loop, &next.ioc, 0);
	help_wait(&w);
	assert_int_equal(w.error, 0);
	help_wait(&next.op);
	assert_int_equal(next.op.error, -ENOTCONN);
	start_server(NULL, NULL);
	assert_int_equal(read_again(st, b), 0);
	assert_int_equal(help_do(st, DRAY_OP_FLUSH, 0, 0, 0, NULL), -EIO);
	assert_int_equal(help_do(st, DRAY_OP_FLUSH, 0, 0, 0, NULL), 0);
	help_close(st);
	free(b);
}

static void nobody(void **state)
{
	struct dray_storage *st;
	struct dray_error err = DRAY_ERROR_INIT;
	assert_int_equal(dray_storage_open(&st, uri, NULL, &err), -ECONNREFUSED);
	assert_string_equal(err.kind, "unreachable");
	start_server("-r", NULL);
	assert_int_equal(dray_storage_open(&st, uri, NULL, &err), -EROFS);
	assert_string_equal(err.kind, "read_only");
	struct dray_storage_info info;
	struct dray_storage_options read_only = { .read_only = true };
	assert_int_equal(dray_storage_probe(uri, &read_only, &info, NULL), 0);
	assert_true(info.read_only);
	char id[256];
	snprintf(id, sizeof id, "nbd:%s/:8388608", sock);
	assert_string_equal(info.identity, id);
}

#define BOTH(f)                                                                                                \
	cmocka_unit_test_setup_teardown(f, uring, teardown), cmocka_unit_test_setup_teardown(f, with_epoll, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		BOTH(data), BOTH(many_at_once), BOTH(slices), BOTH(killed), BOTH(killed_before_flush),
		BOTH(killed_with_retry), BOTH(retry_ends), BOTH(another_size), BOTH(stopped), BOTH(false_alarm),
		BOTH(answered_and_ended),
		cmocka_unit_test_setup_teardown(nobody, uring, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
