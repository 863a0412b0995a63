/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The epoll back end, for kernels that refuse io_uring (containers often do).
 *
 * Socket operations are tried at once; one that would block waits on its descriptor's list and is tried again when epoll
 * says so. What can block otherwise (file I/O, connect) goes to the worker threads. Callers see what they see with io_uring:
 * each operation ends once, later, from the loop.
 *
 * Descriptors are armed one-shot, for the union of what waits on them. The kernel forgets a descriptor when its file is closed,
 * and the number comes back for another file: so arming tries to change and, if the kernel does not know the number, adds.
 */
#include "loop/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

static_assert(POLLIN == EPOLLIN && POLLOUT == EPOLLOUT && POLLERR == EPOLLERR && POLLHUP == EPOLLHUP &&
	POLLPRI == EPOLLPRI && POLLRDHUP == EPOLLRDHUP, "poll's events are epoll's");

struct epoll {
	int fd;
	struct dray_list *waiting; /* by descriptor: operations (node) that wait for it */
	int n_fds;
	struct epoll_event events[64];
	int n_events;
};

static uint32_t wanted(const struct dray_loop_op *op)
{
	switch (op->code) {
	case DRAY_LOOP_SENDMSG: return EPOLLOUT;
	case DRAY_LOOP_POLL: return op->flags;
	default: return EPOLLIN;
	}
}

/* What a wake-up with `events` is good for; errors and hang-ups wake everybody, as with poll(2). */
static uint32_t useful(const struct dray_loop_op *op, uint32_t events)
{
	return events & (wanted(op) | EPOLLERR | EPOLLHUP);
}

static int arm(struct epoll *e, int fd)
{
	uint32_t events = 0;
	dray_list_for_each(n, &e->waiting[fd])
		events |= wanted(dray_container(n, struct dray_loop_op, node));
	struct epoll_event ev = { .events = events | EPOLLONESHOT, .data.fd = fd };
	if (!epoll_ctl(e->fd, EPOLL_CTL_MOD, fd, &ev))
		return 0;
	if (errno == ENOENT && !epoll_ctl(e->fd, EPOLL_CTL_ADD, fd, &ev))
		return 0;
	return -errno;
}

static int make_room(struct epoll *e, int fd)
{
	if (fd < e->n_fds)
		return 0;
	int n = e->n_fds;
	while (n <= fd)
		n *= 2;
	/* The heads point to themselves, so they are moved one by one. */
	struct dray_list *now = calloc((size_t)n, sizeof *now);
	if (!now)
		return -ENOMEM;
	for (int i = 0; i < n; i++) {
		dray_list_init(&now[i]);
		while (i < e->n_fds && !dray_list_empty(&e->waiting[i]))
			dray_list_add_tail(&now[i], dray_list_pop(&e->waiting[i]));
	}
	free(e->waiting);
	e->waiting = now;
	e->n_fds = n;
	return 0;
}

/* 1: done, *res is set; 0: would block. */
static int try_now(struct dray_loop_op *op, int *res)
{
	ssize_t n;
	switch (op->code) {
	case DRAY_LOOP_RECV: n = recv(op->fd, (void *)(uintptr_t)op->addr, op->len, MSG_DONTWAIT); break;
	case DRAY_LOOP_SENDMSG:
		n = sendmsg(op->fd, (const struct msghdr *)(uintptr_t)op->addr, MSG_DONTWAIT | MSG_NOSIGNAL);
		break;
	case DRAY_LOOP_ACCEPT: {
		/* Another process may take the connection between poll and accept: then accept must not block. */
		int flags = fcntl(op->fd, F_GETFL);
		if (flags >= 0 && !(flags & O_NONBLOCK))
			fcntl(op->fd, F_SETFL, flags | O_NONBLOCK);
		n = accept4(op->fd, NULL, NULL, SOCK_CLOEXEC);
		break;
	}
	default: {
		struct pollfd p = { .fd = op->fd, .events = (short)op->flags };
		n = poll(&p, 1, 0);
		if (!n)
			return 0;
		if (n > 0)
			n = p.revents & POLLNVAL ? -EBADF : p.revents;
		if (n < 0 && n != -1) {
			*res = (int)n;
			return 1;
		}
		break;
	}
	}
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	*res = n < 0 ? -errno : (int)n;
	return 1;
}

static void epoll_start(struct dray_loop *loop, struct dray_ioc *ioc)
{
	struct epoll *e = loop->priv;
	struct dray_loop_op *op = dray_loop_op(ioc);
	int res = 0;
	switch ((enum dray_loop_code)op->code) {
	case DRAY_LOOP_RECV:
	case DRAY_LOOP_SENDMSG:
	case DRAY_LOOP_ACCEPT:
	case DRAY_LOOP_POLL: break;
	default: dray_loop_pool_add(loop, op); return;
	}
	if (op->fd < 0) {
		dray_loop_op_done(loop, op, -EBADF);
		return;
	}
	res = make_room(e, op->fd);
	if (res) {
		dray_loop_op_done(loop, op, res);
		return;
	}
	/* One that comes behind others of its kind keeps its place. */
	bool behind = false;
	dray_list_for_each(n, &e->waiting[op->fd])
		behind |= dray_container(n, struct dray_loop_op, node)->code == op->code && op->code != DRAY_LOOP_POLL;
	if (!behind && try_now(op, &res)) {
		dray_loop_op_done(loop, op, res);
		return;
	}
	op->state = DRAY_LOOP_OP_WAITING;
	dray_list_add_tail(&e->waiting[op->fd], &op->node);
	res = arm(e, op->fd);
	if (res) {
		dray_list_del(&op->node);
		dray_loop_op_done(loop, op, res);
	}
}

static void epoll_cancel(struct dray_loop *loop, struct dray_ioc *ioc)
{
	struct dray_loop_op *op = dray_loop_op(ioc);
	switch ((enum dray_loop_code)op->code) {
	case DRAY_LOOP_RECV:
	case DRAY_LOOP_SENDMSG:
	case DRAY_LOOP_ACCEPT:
	case DRAY_LOOP_POLL:
		if (op->state != DRAY_LOOP_OP_WAITING)
			return;
		dray_list_del(&op->node);
		break;
	default:
		if (!dray_loop_pool_remove(loop, op))
			return;
		break;
	}
	dray_loop_op_done(loop, op, -ECANCELED);
}

static void epoll_wait_for(struct dray_loop *loop, uint64_t wait_ns)
{
	struct epoll *e = loop->priv;
	struct timespec ts = { .tv_sec = (time_t)(wait_ns / 1000000000), .tv_nsec = (long)(wait_ns % 1000000000) };
	static bool no_pwait2;
	int n = -1;
	if (!__atomic_load_n(&no_pwait2, __ATOMIC_RELAXED)) {
		n = epoll_pwait2(e->fd, e->events, 64, wait_ns == UINT64_MAX ? NULL : &ts, NULL);
		if (n < 0 && (errno == ENOSYS || errno == EPERM))
			__atomic_store_n(&no_pwait2, true, __ATOMIC_RELAXED);
	}
	if (__atomic_load_n(&no_pwait2, __ATOMIC_RELAXED)) {
		uint64_t ms = wait_ns / 1000000 + !!(wait_ns % 1000000);
		n = epoll_wait(e->fd, e->events, 64, wait_ns == UINT64_MAX ? -1 : ms > 100000 ? 100000 : (int)ms);
	}
	e->n_events = n > 0 ? n : 0;
}

static void ready(struct dray_loop *loop, int fd, uint32_t events)
{
	struct epoll *e = loop->priv;
	unsigned blocked = 0; /* kinds that would block: those behind them keep their place */
	if (fd >= e->n_fds)
		return;
	dray_list_for_each_safe(n, &e->waiting[fd])
	{
		struct dray_loop_op *op = dray_container(n, struct dray_loop_op, node);
		int res = 0;
		if (!useful(op, events) || blocked & 1U << op->code)
			continue;
		if (!try_now(op, &res)) {
			blocked |= 1U << op->code;
			continue;
		}
		dray_list_del(&op->node);
		dray_loop_op_done(loop, op, res);
	}
	if (!dray_list_empty(&e->waiting[fd]) && arm(e, fd))
		/* The descriptor was closed under them: whoever did that hears of it. */
		for (struct dray_list *n; (n = dray_list_pop(&e->waiting[fd]));)
			dray_loop_op_done(loop, dray_container(n, struct dray_loop_op, node), -EBADF);
}

static int epoll_reap(struct dray_loop *loop)
{
	struct epoll *e = loop->priv;
	bool woken = false;
	for (int i = 0; i < e->n_events; i++) {
		if (e->events[i].data.fd == loop->event_fd)
			woken = true;
		else
			ready(loop, e->events[i].data.fd, e->events[i].events);
	}
	e->n_events = 0;
	if (!woken)
		return 0;
	uint64_t count;
	ssize_t n = read(loop->event_fd, &count, sizeof count);
	(void)n; /* first the counter, then the lists: a message in between is taken now or wakes us again */
	return dray_loop_woken(loop);
}

static void epoll_free(struct dray_loop *loop)
{
	struct epoll *e = loop->priv;
	close(e->fd);
	free(e->waiting);
	free(e);
}

static const struct dray_loop_backend epoll_backend = {
	.name = "epoll",
	.start = epoll_start,
	.cancel = epoll_cancel,
	.wait = epoll_wait_for,
	.reap = epoll_reap,
	.free = epoll_free,
};

int dray_loop_epoll_new(struct dray_loop *loop)
{
	struct epoll *e = calloc(1, sizeof *e);
	if (!e)
		return -ENOMEM;
	e->n_fds = 64;
	e->waiting = calloc((size_t)e->n_fds, sizeof *e->waiting);
	e->fd = epoll_create1(EPOLL_CLOEXEC);
	struct epoll_event ev = { .events = EPOLLIN, .data.fd = loop->event_fd };
	if (!e->waiting || e->fd < 0 || epoll_ctl(e->fd, EPOLL_CTL_ADD, loop->event_fd, &ev)) {
		int rc = e->waiting ? -errno : -ENOMEM;
		if (e->fd >= 0)
			close(e->fd);
		free(e->waiting);
		free(e);
		return rc;
	}
	for (int i = 0; i < e->n_fds; i++)
		dray_list_init(&e->waiting[i]);
	loop->backend = &epoll_backend;
	loop->priv = e;
	return 0;
}
