/* SPDX-License-Identifier: BSD-3-Clause */
/* The loop does what loop.h says, the same with both back ends. */
#include "loop/loop.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#define SECOND UINT64_C(1000000000)

struct op {
	struct dray_ioc ioc;
	int res, calls;
};

static void op_done(struct dray_ioc *ioc, int res)
{
	struct op *op = dray_container(ioc, struct op, ioc);
	op->res = res;
	__atomic_fetch_add(&op->calls, 1, __ATOMIC_RELEASE); /* one test looks at it from another thread */
}

#define OP ((struct op){ .ioc.done = op_done, .res = 12345 })

/* Runs the loop until *value reaches `want`, at most a minute. */
static void until(struct dray_loop *loop, const int *value, int want)
{
	uint64_t end = dray_loop_now(loop) + 60 * SECOND;
	while (*value < want && dray_loop_now(loop) < end)
		dray_loop_once(loop, SECOND / 10);
	assert_int_equal(*value, want);
}

static int make_temp(void)
{
	char path[] = "/tmp/dray-test-loop-XXXXXX";
	int fd = mkstemp(path);
	assert_true(fd >= 0);
	unlink(path);
	return fd;
}

static int setup(void **state, enum dray_loop_want want, const char *name)
{
	struct dray_loop *loop;
	struct dray_error err = DRAY_ERROR_INIT;
	/* Few entries, so that the tests overrun the queue. */
	int rc = dray_loop_new(&loop, want, 8, &err);
	if (rc)
		fail_msg("%s", err.text);
	assert_string_equal(dray_loop_backend(loop), name);
	*state = loop;
	return 0;
}

static int uring(void **state)
{
	return setup(state, DRAY_LOOP_URING, "io_uring");
}

static int with_epoll(void **state)
{
	return setup(state, DRAY_LOOP_EPOLL, "epoll");
}

static int teardown(void **state)
{
	dray_loop_free(*state);
	return 0;
}

static void file_io(void **state)
{
	struct dray_loop *loop = *state;
	int fd = make_temp();
	char a[] = "abcd", b[] = "efgh", back[9] = "";
	struct iovec two[2] = { { a, 4 }, { b, 4 } }, one = { back, 8 }, past = { back, 8 };
	struct op op = OP;
	dray_loop_writev(loop, &op.ioc, fd, two, 2, 100, RWF_DSYNC, 0);
	assert_int_equal(op.calls, 0);
	until(loop, &op.calls, 1);
	assert_int_equal(op.res, 8);
	op = OP;
	dray_loop_readv(loop, &op.ioc, fd, &one, 1, 100, 0);
	until(loop, &op.calls, 1);
	assert_int_equal(op.res, 8);
	assert_string_equal(back, "abcdefgh");
	op = OP;
	dray_loop_readv(loop, &op.ioc, fd, &past, 1, 104, 0);
	until(loop, &op.calls, 1);
	assert_int_equal(op.res, 4); /* short at the end of the file */
	op = OP;
	dray_loop_fdatasync(loop, &op.ioc, fd);
	until(loop, &op.calls, 1);
	assert_int_equal(op.res, 0);
	op = OP;
	dray_loop_fallocate(loop, &op.ioc, fd, 0, 0, 65536);
	until(loop, &op.calls, 1);
	assert_int_equal(op.res, 0);
	assert_int_equal(lseek(fd, 0, SEEK_END), 65536);
	close(fd);
	op = OP;
	dray_loop_readv(loop, &op.ioc, -1, &one, 1, 0, 0);
	until(loop, &op.calls, 1);
	assert_int_equal(op.res, -EBADF);
}

/* Threads of this process with that I/O priority. */
static unsigned threads_with(int ioprio)
{
	unsigned n = 0;
	DIR *tasks = opendir("/proc/self/task");
	assert_non_null(tasks);
	for (struct dirent *d; (d = readdir(tasks));)
		if (d->d_name[0] != '.')
			n += syscall(SYS_ioprio_get, 1, atoi(d->d_name)) == ioprio;
	closedir(tasks);
	return n;
}

/* A priority goes along with the operation, is no error whatever it is, and with workers is taken by the one that carries it out. */
static void priorities(void **state)
{
	struct dray_loop *loop = *state;
	bool workers = !strcmp(dray_loop_backend(loop), "epoll");
	int fd = make_temp();
	char data[8] = "abcdefg", back[8] = "";
	struct iovec out = { data, 8 }, in = { back, 8 };
	uint64_t counts[DRAY_LOOP_PRIOS];
	for (unsigned prio = 0; prio < DRAY_LOOP_PRIOS; prio++) {
		struct op op = OP;
		dray_loop_writev(loop, &op.ioc, fd, &out, 1, prio * 8, 0, prio);
		until(loop, &op.calls, 1);
		assert_int_equal(op.res, 8);
		op = OP;
		dray_loop_readv(loop, &op.ioc, fd, &in, 1, prio * 8, prio);
		until(loop, &op.calls, 1);
		assert_int_equal(op.res, 8);
		assert_string_equal(back, data);
		assert_true(!workers || !prio || threads_with(2 << 13 | (int)(prio - 1)) >= 1);
	}
	/* And the next one without has none. */
	struct op op = OP;
	dray_loop_readv(loop, &op.ioc, fd, &in, 1, 0, 0);
	until(loop, &op.calls, 1);
	assert_true(!workers || threads_with(2 << 13 | 7) == 0);
	dray_loop_prio_counts(loop, counts);
	for (unsigned prio = 0; prio < DRAY_LOOP_PRIOS; prio++)
		assert_int_equal(counts[prio], prio ? 2 : 3);
	close(fd);
}

static int many_done;
static void count_done(struct dray_ioc *ioc, int res)
{
	assert_int_equal(res, 8);
	many_done++;
}

static void more_than_the_queue_holds(void **state)
{
	struct dray_loop *loop = *state;
	enum { N = 2000 };
	int fd = make_temp();
	struct dray_ioc *iocs = calloc(N, sizeof *iocs);
	struct iovec *iov = calloc(N, sizeof *iov);
	uint64_t *data = calloc(N, sizeof *data);
	many_done = 0;
	for (unsigned i = 0; i < N; i++) {
		data[i] = i * UINT64_C(0x9e3779b97f4a7c15);
		iov[i] = (struct iovec){ &data[i], 8 };
		iocs[i].done = count_done;
		dray_loop_writev(loop, &iocs[i], fd, &iov[i], 1, i * 8, 0, 0);
	}
	assert_int_equal(many_done, 0);
	until(loop, &many_done, N);
	uint64_t *back = calloc(N, sizeof *back);
	assert_int_equal(pread(fd, back, N * 8, 0), N * 8);
	assert_memory_equal(back, data, N * 8);
	free(back);
	free(data);
	free(iov);
	free(iocs);
	close(fd);
}

/* A socket that is full, and then emptied; blocking and non-blocking alike. */
static void sockets(void **state)
{
	struct dray_loop *loop = *state;
	for (int nonblock = 0; nonblock < 2; nonblock++) {
		int s[2];
		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | (nonblock ? SOCK_NONBLOCK : 0), 0, s), 0);
		char in[16] = "";
		struct op get = OP;
		dray_loop_recv(loop, &get.ioc, s[0], in, sizeof in);
		dray_loop_once(loop, 0);
		dray_loop_once(loop, SECOND / 100);
		assert_int_equal(get.calls, 0);
		char hello[] = "hello";
		struct iovec iov = { hello, 6 };
		struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
		struct op put = OP;
		dray_loop_sendmsg(loop, &put.ioc, s[1], &msg);
		assert_int_equal(put.calls, 0);
		until(loop, &put.calls, 1);
		until(loop, &get.calls, 1);
		assert_int_equal(put.res, 6);
		assert_int_equal(get.res, 6);
		assert_string_equal(in, "hello");

		static char big[4 << 20], sink[1 << 16];
		size_t sent = 0, got = 0;
		while (sent < sizeof big) {
			struct iovec part = { big + sent, sizeof big - sent };
			struct msghdr m = { .msg_iov = &part, .msg_iovlen = 1 };
			put = OP;
			dray_loop_sendmsg(loop, &put.ioc, s[1], &m);
			while (!put.calls) {
				get = OP;
				dray_loop_recv(loop, &get.ioc, s[0], sink, sizeof sink);
				until(loop, &get.calls, 1);
				assert_true(get.res > 0);
				got += (size_t)get.res;
			}
			assert_true(put.res > 0);
			sent += (size_t)put.res;
		}
		while (got < sent) {
			get = OP;
			dray_loop_recv(loop, &get.ioc, s[0], sink, sizeof sink);
			until(loop, &get.calls, 1);
			assert_true(get.res > 0);
			got += (size_t)get.res;
		}
		assert_int_equal(got, sent);
		close(s[1]);
		get = OP;
		dray_loop_recv(loop, &get.ioc, s[0], in, sizeof in);
		until(loop, &get.calls, 1);
		assert_int_equal(get.res, 0);
		put = OP;
		dray_loop_sendmsg(loop, &put.ioc, s[0], &msg); /* and no SIGPIPE */
		until(loop, &put.calls, 1);
		assert_int_equal(put.res, -EPIPE);
		close(s[0]);
	}
}

static void accept_and_connect(void **state)
{
	struct dray_loop *loop = *state;
	for (int nonblock = 0; nonblock < 2; nonblock++) {
		struct sockaddr_un a = { .sun_family = AF_UNIX };
		int l = socket(AF_UNIX, SOCK_STREAM | (nonblock ? SOCK_NONBLOCK : 0), 0);
		/* An abstract name: the kernel gives one that is free. */
		socklen_t len = sizeof a;
		assert_int_equal(bind(l, (struct sockaddr *)&a, sizeof(sa_family_t)), 0);
		assert_int_equal(getsockname(l, (struct sockaddr *)&a, &len), 0);
		assert_int_equal(listen(l, 4), 0);
		struct op accept_op = OP, connect_op = OP;
		dray_loop_accept(loop, &accept_op.ioc, l);
		dray_loop_once(loop, 0);
		int c = socket(AF_UNIX, SOCK_STREAM, 0);
		dray_loop_connect(loop, &connect_op.ioc, c, (struct sockaddr *)&a, len);
		until(loop, &connect_op.calls, 1);
		until(loop, &accept_op.calls, 1);
		assert_int_equal(connect_op.res, 0);
		assert_true(accept_op.res >= 0);
		assert_int_equal(fcntl(accept_op.res, F_GETFD), FD_CLOEXEC);
		close(accept_op.res);
		close(c);
		accept_op = OP;
		dray_loop_accept(loop, &accept_op.ioc, l);
		dray_loop_once(loop, 0);
		dray_loop_cancel(loop, &accept_op.ioc);
		until(loop, &accept_op.calls, 1);
		assert_int_equal(accept_op.res, -ECANCELED);
		close(l);
		c = socket(AF_UNIX, SOCK_STREAM, 0);
		connect_op = OP;
		dray_loop_connect(loop, &connect_op.ioc, c, (struct sockaddr *)&a, len);
		until(loop, &connect_op.calls, 1);
		assert_int_equal(connect_op.res, -ECONNREFUSED);
		close(c);
	}
}

static void polling_and_cancel(void **state)
{
	struct dray_loop *loop = *state;
	int s[2];
	char c;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, s), 0);
	struct op in = OP, out = OP;
	dray_loop_poll(loop, &in.ioc, s[0], POLLIN);
	dray_loop_poll(loop, &out.ioc, s[0], POLLOUT);
	assert_int_equal(out.calls, 0);
	until(loop, &out.calls, 1);
	assert_int_equal(out.res, POLLOUT);
	assert_int_equal(in.calls, 0);
	assert_int_equal(write(s[1], "x", 1), 1);
	until(loop, &in.calls, 1);
	assert_true(in.res & POLLIN);
	assert_int_equal(read(s[0], &c, 1), 1);

	/* Canceled after it waits, and before the kernel has seen it. */
	for (int seen = 0; seen < 2; seen++) {
		in = OP;
		dray_loop_poll(loop, &in.ioc, s[0], POLLIN);
		if (seen)
			dray_loop_once(loop, 0);
		dray_loop_cancel(loop, &in.ioc);
		dray_loop_cancel(loop, &in.ioc); /* twice is once */
		assert_int_equal(in.calls, 0);
		until(loop, &in.calls, 1);
		assert_int_equal(in.res, -ECANCELED);
		struct op get = OP;
		dray_loop_recv(loop, &get.ioc, s[0], &c, 1);
		if (seen)
			dray_loop_once(loop, 0);
		dray_loop_cancel(loop, &get.ioc);
		until(loop, &get.calls, 1);
		assert_int_equal(get.res, -ECANCELED);
	}
	/* The number of a closed descriptor comes back for another file. */
	close(s[1]);
	close(s[0]);
	int again[2];
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, again), 0);
	in = OP;
	dray_loop_poll(loop, &in.ioc, again[0], POLLIN);
	dray_loop_once(loop, 0);
	assert_int_equal(write(again[1], "x", 1), 1);
	until(loop, &in.calls, 1);
	assert_true(in.res & POLLIN);
	/* A hang-up is told though nobody asked for it. */
	assert_int_equal(read(again[0], &c, 1), 1);
	in = OP;
	dray_loop_poll(loop, &in.ioc, again[0], POLLIN);
	close(again[1]);
	until(loop, &in.calls, 1);
	assert_true(in.res & POLLHUP);
	close(again[0]);
}

static int timer_order[4], timers_run;
struct numbered_timer {
	struct dray_loop_timer t;
	int number;
	struct dray_loop *loop;
	struct dray_loop_timer *victim;
};

static void timer_run(struct dray_loop_timer *t)
{
	struct numbered_timer *n = dray_container(t, struct numbered_timer, t);
	assert_int_equal(t->at_ns, 0);
	timer_order[timers_run++] = n->number;
	if (n->victim)
		dray_loop_timer_cancel(n->loop, n->victim);
}

static void timers(void **state)
{
	struct dray_loop *loop = *state;
	struct numbered_timer t[4];
	timers_run = 0;
	uint64_t now = dray_loop_now(loop);
	for (int i = 0; i < 4; i++) {
		t[i] = (struct numbered_timer){ .number = i, .loop = loop };
		dray_loop_timer_init(&t[i].t, timer_run);
	}
	dray_loop_timer_set(loop, &t[0].t, now + 30000000);
	dray_loop_timer_set(loop, &t[1].t, now + 10000000);
	dray_loop_timer_set(loop, &t[2].t, now + 20000000);
	dray_loop_timer_set(loop, &t[3].t, now + 20000000);
	dray_loop_timer_set(loop, &t[1].t, now + 25000000); /* re-armed */
	t[2].victim = &t[3].t;                              /* due at the same moment: canceled all the same */
	until(loop, &timers_run, 3);
	assert_true(dray_loop_now(loop) >= now + 30000000);
	assert_int_equal(timer_order[0], 2);
	assert_int_equal(timer_order[1], 1);
	assert_int_equal(timer_order[2], 0);
	assert_int_equal(dray_loop_once(loop, 0), 0);
}

struct hook {
	struct dray_loop_hook h;
	int runs;
	uint64_t wish;
	struct dray_loop *loop;
	bool again;
};

static uint64_t hook_run(struct dray_loop_hook *h, uint64_t now)
{
	struct hook *hook = dray_container(h, struct hook, h);
	assert_true(now == dray_loop_now(hook->loop));
	hook->runs++;
	if (hook->again) {
		hook->again = false;
		dray_loop_hooks_again(hook->loop);
	}
	return hook->wish;
}

static void hooks(void **state)
{
	struct dray_loop *loop = *state;
	struct hook a = { .h.run = hook_run, .wish = UINT64_MAX, .loop = loop }, b = a;
	dray_loop_hook_add(loop, &a.h);
	dray_loop_hook_add(loop, &b.h);
	dray_loop_once(loop, 0);
	assert_int_equal(a.runs, 1);
	assert_int_equal(b.runs, 1);
	b.again = true; /* the later one gives work to the earlier */
	dray_loop_once(loop, 0);
	assert_int_equal(a.runs, 3);
	uint64_t now = dray_loop_now(loop);
	int runs;
	b.wish = now + 20000000; /* the wish ends the sleep */
	runs = a.runs;
	while (dray_loop_now(loop) < now + 20000000 && a.runs < runs + 5)
		dray_loop_once(loop, 60 * SECOND); /* a signal may end it early, so more than once */
	assert_true(dray_loop_now(loop) >= now + 20000000);
	assert_true(dray_loop_now(loop) < now + 30 * SECOND);
	b.wish = 1; /* one in the past: no sleep */
	now = dray_loop_now(loop);
	dray_loop_once(loop, 60 * SECOND);
	assert_true(dray_loop_now(loop) < now + 30 * SECOND);
	dray_loop_hook_del(loop, &a.h);
	runs = a.runs;
	dray_loop_once(loop, 0);
	assert_int_equal(a.runs, runs);
	dray_loop_hook_del(loop, &b.h);
}

static void finished(void **state)
{
	struct dray_loop *loop = *state;
	struct op op = OP;
	dray_loop_finish(loop, &op.ioc, 77);
	assert_int_equal(op.calls, 0);
	assert_int_equal(dray_loop_once(loop, 5 * SECOND), 1);
	assert_int_equal(op.res, 77);
}

/* Operations that finish at once, one out of the other, don't keep the others waiting. */
struct chain {
	struct dray_ioc ioc;
	struct dray_loop *loop;
	const int *stop;
	int n;
};

static void chain_done(struct dray_ioc *ioc, int res)
{
	struct chain *c = dray_container(ioc, struct chain, ioc);
	c->n++;
	if (!*c->stop && c->n < 1000000)
		dray_loop_finish(c->loop, ioc, 0);
}

static void no_starving(void **state)
{
	struct dray_loop *loop = *state;
	int s[2];
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, s), 0);
	struct op in = OP;
	struct chain c = { .ioc.done = chain_done, .loop = loop, .stop = &in.calls };
	dray_loop_poll(loop, &in.ioc, s[0], POLLIN);
	dray_loop_finish(loop, &c.ioc, 0);
	dray_loop_once(loop, 0);
	assert_int_equal(write(s[1], "x", 1), 1);
	for (int i = 0; i < 100 && !in.calls; i++)
		dray_loop_once(loop, 0);
	assert_int_equal(in.calls, 1);
	int n = 0;
	while (n < 3 && dray_loop_once(loop, 0))
		n++;
	close(s[0]);
	close(s[1]);
}

struct job {
	struct op op;
	pthread_t self;
	int value;
};

static int job_call(void *arg)
{
	struct job *j = arg;
	assert_false(pthread_equal(j->self, pthread_self()));
	return j->value;
}

static void calls(void **state)
{
	struct dray_loop *loop = *state;
	enum { N = 200 };
	static struct job j[N];
	for (int i = 0; i < N; i++) {
		j[i] = (struct job){ .op = OP, .self = pthread_self(), .value = i - 5 };
		dray_loop_call(loop, &j[i].op.ioc, job_call, &j[i]);
	}
	for (int i = 0; i < N; i++) {
		until(loop, &j[i].op.calls, 1);
		assert_int_equal(j[i].op.res, i - 5);
	}
}

struct message {
	struct dray_loop_msg m;
	int sender, number;
};
static int last_of[2], messages;

static void message_run(struct dray_loop_msg *m)
{
	struct message *msg = dray_container(m, struct message, m);
	assert_int_equal(msg->number, last_of[msg->sender] + 1);
	last_of[msg->sender] = msg->number;
	messages++;
	free(msg);
}

struct sender {
	struct dray_loop *loop;
	int number;
};

static void *sender_main(void *arg)
{
	struct sender *s = arg;
	for (int i = 1; i <= 5000; i++) {
		struct message *m = calloc(1, sizeof *m);
		*m = (struct message){ .m.run = message_run, .sender = s->number, .number = i };
		dray_loop_post(s->loop, &m->m);
	}
	return NULL;
}

static void posts(void **state)
{
	struct dray_loop *loop = *state;
	struct sender s[2] = { { loop, 0 }, { loop, 1 } };
	pthread_t t[2];
	messages = last_of[0] = last_of[1] = 0;
	for (int i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&t[i], NULL, sender_main, &s[i]), 0);
	until(loop, &messages, 10000);
	for (int i = 0; i < 2; i++)
		pthread_join(t[i], NULL);
}

static void stop_msg(struct dray_loop_msg *m)
{
	messages++;
}

static void *runner(void *arg)
{
	dray_loop_run(arg);
	return NULL;
}

/* Made here, run there, stopped from here. What was started before the run is carried out in it. */
static void another_thread(void **state)
{
	struct dray_loop *loop = *state;
	pthread_t t;
	int s[2];
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, s), 0);
	messages = 0;
	struct op in[20];
	for (int i = 0; i < 20; i++) {
		in[i] = OP;
		dray_loop_poll(loop, &in[i].ioc, s[0], POLLOUT);
	}
	struct dray_loop_msg m = { .run = stop_msg };
	assert_int_equal(pthread_create(&t, NULL, runner, loop), 0);
	dray_loop_post(loop, &m);
	for (int i = 0; i < 60000 && !__atomic_load_n(&in[19].calls, __ATOMIC_ACQUIRE); i++)
		nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
	dray_loop_stop(loop);
	pthread_join(t, NULL);
	assert_int_equal(messages, 1);
	for (int i = 0; i < 20; i++)
		assert_int_equal(in[i].calls, 1);
	close(s[0]);
	close(s[1]);
}

static void stop_first(void **state)
{
	dray_loop_stop(*state);
	dray_loop_run(*state);
}

static void environment(void **state)
{
	struct dray_loop *loop;
	setenv("DRAY_LOOP", "epoll", 1);
	assert_int_equal(dray_loop_new(&loop, DRAY_LOOP_AUTO, 0, NULL), 0);
	assert_string_equal(dray_loop_backend(loop), "epoll");
	dray_loop_free(loop);
	unsetenv("DRAY_LOOP");
}

/* Where the kernel refuses io_uring, as many containers have it, the loop goes on without. */
static void refused(void **state)
{
	struct sock_filter deny[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_io_uring_setup, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { .len = sizeof deny / sizeof deny[0], .filter = deny };
	pid_t child = fork();
	if (!child) {
		struct dray_loop *loop;
		struct dray_error err = DRAY_ERROR_INIT;
		if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program))
			_exit(77);
		if (dray_loop_new(&loop, DRAY_LOOP_URING, 0, &err) != -EPERM || !strstr(err.text, "io_uring"))
			_exit(1);
		if (dray_loop_new(&loop, DRAY_LOOP_AUTO, 0, NULL) || strcmp(dray_loop_backend(loop), "epoll"))
			_exit(2);
		_exit(0);
	}
	int status;
	assert_int_equal(waitpid(child, &status, 0), child);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 77) {
		print_message("skipped: no seccomp here\n");
		skip();
	}
	assert_int_equal(status, 0);
}

#define BOTH(f)                                                                                                \
	cmocka_unit_test_setup_teardown(f, uring, teardown), cmocka_unit_test_setup_teardown(f, with_epoll, teardown)

int main(void)
{
	const struct CMUnitTest uring_tests[] = {
		BOTH(file_io), BOTH(priorities), BOTH(more_than_the_queue_holds), BOTH(sockets), BOTH(accept_and_connect),
		BOTH(polling_and_cancel), BOTH(timers), BOTH(hooks), BOTH(finished), BOTH(no_starving), BOTH(calls),
		BOTH(posts), BOTH(another_thread), BOTH(stop_first), cmocka_unit_test(environment),
		cmocka_unit_test(refused),
	};
	return cmocka_run_group_tests(uring_tests, NULL, NULL);
}
