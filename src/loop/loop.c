/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The part of the loop that does not depend on the kernel's interface.
 *
 * One iteration, in this order:
 *   1. the hooks (all callbacks of the last iteration were made): they look at what has gathered and start I/O;
 *   2. one system call hands all that was started to the kernel and waits, no longer than the nearest timer, the nearest
 *      wish of a hook and the caller allow, and not at all while finished operations wait for their callback;
 *   3. the callbacks: completions, messages, timers, finished operations.
 * Hooks come first so that what was set up outside of a callback (before the first iteration, or between two
 * dray_loop_once) is seen before the loop sleeps.
 *
 * A callback may start, cancel, arm, post, add and remove anything. What it makes due at once is run in the next iteration, not
 * in this one: an operation that always completes at once cannot keep the loop from its other work.
 */
#include "loop/internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

/* Hooks that ask for another round get this many before the loop goes on; they come again in the next iteration. */
#define MOST_HOOK_ROUNDS 4

uint64_t dray_loop_clock(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * UINT64_C(1000000000) + (uint64_t)ts.tv_nsec;
}

int dray_loop_new(struct dray_loop **out, enum dray_loop_want want, unsigned entries, struct dray_error *err)
{
	struct dray_loop *loop = calloc(1, sizeof *loop);
	if (!loop)
		return dray_error_errno(err, -ENOMEM, "event loop");
	dray_list_init(&loop->timers);
	dray_list_init(&loop->hooks);
	dray_list_init(&loop->finished);
	loop->hook_next = &loop->hooks;
	loop->now_ns = dray_loop_clock();
	loop->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (loop->event_fd < 0) {
		int rc = -errno;
		free(loop);
		return dray_error_errno(err, rc, "event loop: eventfd");
	}
	dray_loop_pool_init(&loop->pool);

	const char *env = getenv("DRAY_LOOP");
	if (want == DRAY_LOOP_AUTO && env && !strcmp(env, "epoll"))
		want = DRAY_LOOP_EPOLL;
	int rc = -ENOSYS;
	const char *what = "io_uring";
	if (want != DRAY_LOOP_EPOLL)
		rc = dray_loop_uring_new(loop, entries ? entries : 256);
	if (want == DRAY_LOOP_EPOLL || (rc && want == DRAY_LOOP_AUTO)) {
		what = "epoll";
		rc = dray_loop_epoll_new(loop);
	}
	if (rc) {
		close(loop->event_fd);
		dray_loop_pool_free(&loop->pool);
		free(loop);
		return dray_error_errno(err, rc, "event loop: %s", what);
	}
	*out = loop;
	return 0;
}

void dray_loop_free(struct dray_loop *loop)
{
	if (!loop)
		return;
	assert(!loop->inside);
	dray_loop_pool_free(&loop->pool);
	loop->backend->free(loop);
	close(loop->event_fd);
	free(loop);
}

const char *dray_loop_backend(const struct dray_loop *loop)
{
	return loop->backend->name;
}

uint64_t dray_loop_now(const struct dray_loop *loop)
{
	return loop->now_ns;
}

/* ---- hooks ---- */

void dray_loop_hook_add(struct dray_loop *loop, struct dray_loop_hook *hook)
{
	dray_list_add_tail(&loop->hooks, &hook->node);
}

void dray_loop_hook_del(struct dray_loop *loop, struct dray_loop_hook *hook)
{
	if (loop->hook_next == &hook->node)
		loop->hook_next = hook->node.next;
	dray_list_del(&hook->node);
}

void dray_loop_hooks_again(struct dray_loop *loop)
{
	loop->hooks_again = true;
}

/* Returns when the hooks want to be run again. */
static uint64_t run_hooks(struct dray_loop *loop)
{
	uint64_t at = UINT64_MAX;
	for (int round = 0; round < MOST_HOOK_ROUNDS; round++) {
		at = UINT64_MAX;
		loop->hooks_again = false;
		for (struct dray_list *n = loop->hooks.next; n != &loop->hooks; n = loop->hook_next) {
			loop->hook_next = n->next;
			struct dray_loop_hook *hook = dray_container(n, struct dray_loop_hook, node);
			uint64_t wish = hook->run(hook, loop->now_ns);
			if (wish < at)
				at = wish;
		}
		loop->hook_next = &loop->hooks;
		if (!loop->hooks_again)
			return at;
	}
	return 0;
}

/* ---- timers ---- */

void dray_loop_timer_init(struct dray_loop_timer *timer, void (*run)(struct dray_loop_timer *timer))
{
	timer->run = run;
	timer->at_ns = 0;
	dray_list_init(&timer->node);
}

void dray_loop_timer_set(struct dray_loop *loop, struct dray_loop_timer *timer, uint64_t at_ns)
{
	dray_list_del(&timer->node);
	timer->at_ns = at_ns ? at_ns : 1;
	/* From the end: a timer set now is mostly the latest. */
	struct dray_list *n = loop->timers.prev;
	while (n != &loop->timers && dray_container(n, struct dray_loop_timer, node)->at_ns > timer->at_ns)
		n = n->prev;
	dray_list_add_head(n, &timer->node);
}

void dray_loop_timer_cancel(struct dray_loop *loop, struct dray_loop_timer *timer)
{
	dray_list_del(&timer->node);
	timer->at_ns = 0;
}

static int run_timers(struct dray_loop *loop)
{
	struct dray_list due, *n;
	dray_list_init(&due);
	while (!dray_list_empty(&loop->timers)) {
		struct dray_loop_timer *timer = dray_container(loop->timers.next, struct dray_loop_timer, node);
		if (timer->at_ns > loop->now_ns)
			break;
		dray_list_del(&timer->node);
		dray_list_add_tail(&due, &timer->node);
	}
	int calls = 0;
	/* A callback may cancel or re-arm another one that is due: it is taken off `due` by its node. */
	while ((n = dray_list_pop(&due))) {
		struct dray_loop_timer *timer = dray_container(n, struct dray_loop_timer, node);
		timer->at_ns = 0;
		timer->run(timer);
		calls++;
	}
	return calls;
}

/* ---- messages from other threads ---- */

void dray_loop_wake_up(struct dray_loop *loop)
{
	uint64_t one = 1;
	ssize_t n = write(loop->event_fd, &one, sizeof one);
	(void)n; /* EAGAIN: the counter is full, so it is readable */
}

void dray_loop_post(struct dray_loop *loop, struct dray_loop_msg *msg)
{
	struct dray_loop_msg *head = __atomic_load_n(&loop->posted, __ATOMIC_RELAXED);
	do {
		msg->next = head;
	} while (!__atomic_compare_exchange_n(&loop->posted, &head, msg, true, __ATOMIC_RELEASE, __ATOMIC_RELAXED));
	/* Only the one who found it empty wakes the loop: the loop takes all that is there when it wakes. msg may be gone. */
	if (!head)
		dray_loop_wake_up(loop);
}

void dray_loop_stop(struct dray_loop *loop)
{
	__atomic_store_n(&loop->stop, true, __ATOMIC_RELEASE);
	dray_loop_wake_up(loop);
}

int dray_loop_woken(struct dray_loop *loop)
{
	dray_loop_pool_collect(loop);
	struct dray_loop_msg *msg = __atomic_exchange_n(&loop->posted, NULL, __ATOMIC_ACQUIRE);
	struct dray_loop_msg *oldest = NULL;
	while (msg) {
		struct dray_loop_msg *next = msg->next;
		msg->next = oldest;
		oldest = msg;
		msg = next;
	}
	int calls = 0;
	while (oldest) {
		msg = oldest;
		oldest = msg->next;
		msg->run(msg);
		calls++;
	}
	return calls;
}

/* ---- running ---- */

static int run_finished(struct dray_loop *loop)
{
	if (dray_list_empty(&loop->finished))
		return 0;
	/* Only those that are there now; a marker parts them from those that the callbacks add. */
	struct dray_list mark, *n;
	dray_list_add_tail(&loop->finished, &mark);
	int calls = 0;
	while ((n = dray_list_pop(&loop->finished)) != &mark) {
		struct dray_ioc *ioc = dray_loop_ioc(dray_container(n, struct dray_loop_op, node));
		ioc->done(ioc, ioc->res);
		calls++;
	}
	return calls;
}

int dray_loop_once(struct dray_loop *loop, uint64_t wait_ns)
{
	assert(!loop->inside);
	loop->inside = true;
	loop->now_ns = dray_loop_clock();
	uint64_t at = run_hooks(loop);
	if (!dray_list_empty(&loop->timers)) {
		uint64_t first = dray_container(loop->timers.next, struct dray_loop_timer, node)->at_ns;
		if (first < at)
			at = first;
	}
	if (at != UINT64_MAX) {
		uint64_t until = at > loop->now_ns ? at - loop->now_ns : 0;
		if (until < wait_ns)
			wait_ns = until;
	}
	if (!dray_list_empty(&loop->finished) || __atomic_load_n(&loop->stop, __ATOMIC_ACQUIRE))
		wait_ns = 0;
	loop->backend->wait(loop, wait_ns);
	loop->now_ns = dray_loop_clock();
	int calls = loop->backend->reap(loop);
	calls += run_timers(loop);
	calls += run_finished(loop);
	loop->inside = false;
	return calls;
}

void dray_loop_run(struct dray_loop *loop)
{
	/* A stop that came before the run is not lost: it ends the run at once. */
	while (!__atomic_load_n(&loop->stop, __ATOMIC_ACQUIRE))
		dray_loop_once(loop, UINT64_MAX);
	/* What the last callbacks left to the hooks (replies, say) is still handed to the kernel. */
	loop->inside = true;
	run_hooks(loop);
	loop->backend->wait(loop, 0);
	loop->inside = false;
	__atomic_store_n(&loop->stop, false, __ATOMIC_RELEASE);
}

/* ---- operations ---- */

void dray_loop_op_done(struct dray_loop *loop, struct dray_loop_op *op, int res)
{
	op->state = DRAY_LOOP_OP_DONE;
	dray_loop_ioc(op)->res = res;
	dray_list_add_tail(&loop->finished, &op->node);
}

void dray_loop_finish(struct dray_loop *loop, struct dray_ioc *ioc, int res)
{
	*dray_loop_op(ioc) = (struct dray_loop_op){ .code = DRAY_LOOP_READV, .fd = -1 };
	dray_loop_op_done(loop, dray_loop_op(ioc), res);
}

static void start(struct dray_loop *loop, struct dray_ioc *ioc, struct dray_loop_op op)
{
	struct dray_loop_op *o = dray_loop_op(ioc);
	*o = op;
	dray_list_init(&o->node);
	loop->backend->start(loop, ioc);
}

void dray_loop_readv(struct dray_loop *loop, struct dray_ioc *ioc, int fd, const struct iovec *iov, int n, uint64_t offset,
	unsigned prio)
{
	assert(prio < DRAY_LOOP_PRIOS);
	loop->prio_counts[prio]++;
	start(loop, ioc, (struct dray_loop_op){ .code = DRAY_LOOP_READV, .prio = (uint8_t)prio, .fd = fd, .addr = (uintptr_t)iov,
		.len = (uint32_t)n, .offset = offset });
}

void dray_loop_writev(struct dray_loop *loop, struct dray_ioc *ioc, int fd, const struct iovec *iov, int n,
	uint64_t offset, int rwf, unsigned prio)
{
	assert(prio < DRAY_LOOP_PRIOS);
	loop->prio_counts[prio]++;
	start(loop, ioc, (struct dray_loop_op){ .code = DRAY_LOOP_WRITEV, .prio = (uint8_t)prio, .fd = fd, .addr = (uintptr_t)iov,
		.len = (uint32_t)n, .offset = offset, .flags = (uint32_t)rwf });
}

void dray_loop_prio_counts(const struct dray_loop *loop, uint64_t counts[DRAY_LOOP_PRIOS])
{
	memcpy(counts, loop->prio_counts, sizeof loop->prio_counts);
}

void dray_loop_fdatasync(struct dray_loop *loop, struct dray_ioc *ioc, int fd)
{
	start(loop, ioc, (struct dray_loop_op){ .code = DRAY_LOOP_FDATASYNC, .fd = fd });
}

void dray_loop_fallocate(struct dray_loop *loop, struct dray_ioc *ioc, int fd, int mode, uint64_t offset, uint64_t length)
{
	start(loop, ioc, (struct dray_loop_op){ .code = DRAY_LOOP_FALLOCATE, .fd = fd, .addr = length,
		.len = (uint32_t)mode, .offset = offset });
}

void dray_loop_call(struct dray_loop *loop, struct dray_ioc *ioc, int (*call)(void *arg), void *arg)
{
	struct dray_loop_op *op = dray_loop_op(ioc);
	*op = (struct dray_loop_op){ .code = DRAY_LOOP_CALL, .addr = (uintptr_t)call, .offset = (uintptr_t)arg };
	dray_list_init(&op->node);
	dray_loop_pool_add(loop, op);
}

void dray_loop_accept(struct dray_loop *loop, struct dray_ioc *ioc, int fd)
{
	start(loop, ioc, (struct dray_loop_op){ .code = DRAY_LOOP_ACCEPT, .fd = fd });
}

void dray_loop_connect(struct dray_loop *loop, struct dray_ioc *ioc, int fd, const struct sockaddr *addr, unsigned len)
{
	start(loop, ioc, (struct dray_loop_op){ .code = DRAY_LOOP_CONNECT, .fd = fd, .addr = (uintptr_t)addr, .offset = len });
}

void dray_loop_recv(struct dray_loop *loop, struct dray_ioc *ioc, int fd, void *buf, size_t len)
{
	start(loop, ioc, (struct dray_loop_op){ .code = DRAY_LOOP_RECV, .fd = fd, .addr = (uintptr_t)buf,
		.len = len > (1U << 30) ? 1U << 30 : (uint32_t)len });
}

void dray_loop_sendmsg(struct dray_loop *loop, struct dray_ioc *ioc, int fd, struct msghdr *msg)
{
	start(loop, ioc, (struct dray_loop_op){ .code = DRAY_LOOP_SENDMSG, .fd = fd, .addr = (uintptr_t)msg });
}

void dray_loop_poll(struct dray_loop *loop, struct dray_ioc *ioc, int fd, short events)
{
	start(loop, ioc, (struct dray_loop_op){ .code = DRAY_LOOP_POLL, .fd = fd, .flags = (uint16_t)events });
}

void dray_loop_cancel(struct dray_loop *loop, struct dray_ioc *ioc)
{
	struct dray_loop_op *op = dray_loop_op(ioc);
	if (op->code == DRAY_LOOP_CALL) {
		if (dray_loop_pool_remove(loop, op))
			dray_loop_op_done(loop, op, -ECANCELED);
		return;
	}
	if (op->canceled)
		return;
	op->canceled = true;
	loop->backend->cancel(loop, ioc);
}
