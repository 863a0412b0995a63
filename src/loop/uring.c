/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The io_uring back end.
 *
 * One ring, one thread. Starting an operation writes a submission entry; the loop's one system call per iteration hands
 * all of them over and waits. With DEFER_TASKRUN (Linux 6.1) the kernel does its part of the completions inside that call and
 * never interrupts us elsewhere. Older kernels get plainer flags; one without EXT_ARG (before 5.11) is refused, and the
 * loop takes epoll.
 *
 * SINGLE_ISSUER ties the ring to the thread that enables it, and loops are made by one thread and run by another. So the ring
 * is made disabled and enabled by the first iteration; until then operations gather in the submission queue, and
 * past its end in `backlog`.
 *
 * The submission queue full: it is handed over at once, which empties it. If the kernel takes nothing (no memory, its own
 * queue of completions overflown), the operation waits in `backlog`, in order, until the next iteration, after
 * completions were taken.
 *
 * io_uring answers EAGAIN for a socket that is O_NONBLOCK rather than waiting for it, as epoll does: then the operation is
 * polled for and started again.
 */
#include "loop/internal.h"

#include <errno.h>
#include <liburing.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

/* As many iterations in a row may go without a system call while there are finished operations to call back. */
#define MOST_SKIPS 16

struct uring {
	struct io_uring ring;
	struct dray_list backlog; /* operations that found no room */
	struct dray_list cancels; /* started operations whose cancel found no room */
	struct dray_ioc wake;     /* the read on the event fd */
	uint64_t wake_count;
	bool enabled, waking, woken;
	unsigned skips;
};

static void enable(struct uring *u)
{
	if (u->enabled)
		return;
	u->enabled = true;
	if (u->ring.flags & IORING_SETUP_R_DISABLED)
		/* As io_uring_enable_rings, which the shared library of liburing 2.3 forgot to export. */
		io_uring_register((unsigned)u->ring.ring_fd, IORING_REGISTER_ENABLE_RINGS, NULL, 0);
	/* Saves looking up the ring's file in each call; without it (before 5.18) everything works the same. */
	io_uring_register_ring_fd(&u->ring);
}

static struct io_uring_sqe *room(struct uring *u)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&u->ring);
	if (!sqe && u->enabled) {
		io_uring_submit(&u->ring);
		sqe = io_uring_get_sqe(&u->ring);
	}
	return sqe;
}

static void prepare(struct io_uring_sqe *sqe, struct dray_loop_op *op)
{
	const struct iovec *iov = (const struct iovec *)(uintptr_t)op->addr;
	void *p = (void *)(uintptr_t)op->addr;
	bool one = op->len == 1;
	switch ((enum dray_loop_code)op->code) {
	case DRAY_LOOP_READV:
		if (one)
			io_uring_prep_read(sqe, op->fd, iov->iov_base, (unsigned)iov->iov_len, op->offset);
		else
			io_uring_prep_readv(sqe, op->fd, iov, op->len, op->offset);
		sqe->rw_flags = (int)op->flags;
		sqe->ioprio = dray_loop_ioprio(op);
		break;
	case DRAY_LOOP_WRITEV:
		if (one)
			io_uring_prep_write(sqe, op->fd, iov->iov_base, (unsigned)iov->iov_len, op->offset);
		else
			io_uring_prep_writev(sqe, op->fd, iov, op->len, op->offset);
		sqe->rw_flags = (int)op->flags;
		sqe->ioprio = dray_loop_ioprio(op);
		break;
	case DRAY_LOOP_FDATASYNC: io_uring_prep_fsync(sqe, op->fd, IORING_FSYNC_DATASYNC); break;
	case DRAY_LOOP_FALLOCATE:
		io_uring_prep_fallocate(sqe, op->fd, (int)op->len, (off_t)op->offset, (off_t)op->addr);
		break;
	case DRAY_LOOP_ACCEPT: io_uring_prep_accept(sqe, op->fd, NULL, NULL, SOCK_CLOEXEC); break;
	case DRAY_LOOP_CONNECT: io_uring_prep_connect(sqe, op->fd, p, (socklen_t)op->offset); break;
	case DRAY_LOOP_RECV: io_uring_prep_recv(sqe, op->fd, p, op->len, 0); break;
	case DRAY_LOOP_SENDMSG: io_uring_prep_sendmsg(sqe, op->fd, p, MSG_NOSIGNAL); break;
	case DRAY_LOOP_POLL: io_uring_prep_poll_add(sqe, op->fd, op->flags); break;
	case DRAY_LOOP_CALL: assert(false && "calls are the pool's");
	}
}

static void start_op(struct uring *u, struct dray_loop_op *op)
{
	struct io_uring_sqe *sqe = dray_list_empty(&u->backlog) ? room(u) : NULL;
	if (!sqe) {
		op->state = DRAY_LOOP_OP_WAITING;
		dray_list_add_tail(&u->backlog, &op->node);
		return;
	}
	prepare(sqe, op);
	io_uring_sqe_set_data(sqe, op);
	op->state = DRAY_LOOP_OP_STARTED;
}

static void uring_start(struct dray_loop *loop, struct dray_ioc *ioc)
{
	start_op(loop->priv, dray_loop_op(ioc));
}

static void send_cancel(struct uring *u, struct dray_loop_op *op)
{
	struct io_uring_sqe *sqe = room(u);
	if (!sqe) {
		dray_list_add_tail(&u->cancels, &op->node);
		return;
	}
	/* Its own completion carries no data and is passed over. */
	io_uring_prep_cancel(sqe, op, 0);
	io_uring_sqe_set_data(sqe, NULL);
}

static void uring_cancel(struct dray_loop *loop, struct dray_ioc *ioc)
{
	struct uring *u = loop->priv;
	struct dray_loop_op *op = dray_loop_op(ioc);
	if (op->state == DRAY_LOOP_OP_WAITING) {
		dray_list_del(&op->node);
		dray_loop_op_done(loop, op, -ECANCELED);
	} else if (op->state != DRAY_LOOP_OP_DONE) {
		send_cancel(u, op);
	}
}

/* What found no room gets another chance. */
static void flush_backlog(struct uring *u)
{
	struct dray_list list, *n;
	struct io_uring_sqe *sqe;
	while (!dray_list_empty(&u->backlog) && (sqe = room(u))) {
		struct dray_loop_op *op = dray_container(u->backlog.next, struct dray_loop_op, node);
		dray_list_del(&op->node);
		prepare(sqe, op);
		io_uring_sqe_set_data(sqe, op);
		op->state = DRAY_LOOP_OP_STARTED;
	}
	if (!dray_list_empty(&u->cancels)) {
		dray_list_init(&list);
		while ((n = dray_list_pop(&u->cancels)))
			dray_list_add_tail(&list, n);
		while ((n = dray_list_pop(&list)))
			send_cancel(u, dray_container(n, struct dray_loop_op, node));
	}
}

static void uring_wait(struct dray_loop *loop, uint64_t wait_ns)
{
	struct uring *u = loop->priv;
	enable(u);
	flush_backlog(u);
	if (!u->waking) {
		struct io_uring_sqe *sqe = room(u);
		if (sqe) {
			io_uring_prep_read(sqe, loop->event_fd, &u->wake_count, sizeof u->wake_count, 0);
			io_uring_sqe_set_data(sqe, dray_loop_op(&u->wake));
			u->waking = true;
		} else {
			wait_ns = 0; /* without it nobody could wake us */
		}
	}
	if (!dray_list_empty(&u->backlog) || !dray_list_empty(&u->cancels))
		wait_ns = wait_ns < 1000000 ? wait_ns : 1000000;
	if (wait_ns) {
		struct io_uring_cqe *cqe;
		struct __kernel_timespec ts = { .tv_sec = (long long)(wait_ns / 1000000000),
			.tv_nsec = (long long)(wait_ns % 1000000000) };
		/* Errors: ETIME and EINTR are ends of the wait; EBUSY and EAGAIN say that nothing was taken, and
		 * the entries stay in the queue for the next iteration. */
		io_uring_submit_and_wait_timeout(&u->ring, &cqe, 1, wait_ns == UINT64_MAX ? NULL : &ts, NULL);
		u->skips = 0;
	} else if (!io_uring_sq_ready(&u->ring) && !dray_list_empty(&loop->finished) && u->skips < MOST_SKIPS) {
		u->skips++; /* nothing to hand over, and callbacks to make: no need to ask the kernel now */
	} else {
		io_uring_submit_and_get_events(&u->ring);
		u->skips = 0;
	}
}

/* Returns the number of callbacks made. */
static int completed(struct dray_loop *loop, struct dray_loop_op *op, int res)
{
	struct uring *u = loop->priv;
	if (!op)
		return 0;
	if (op == dray_loop_op(&u->wake)) {
		u->waking = false;
		u->woken = true;
		return 0;
	}
	bool socket = op->code == DRAY_LOOP_RECV || op->code == DRAY_LOOP_SENDMSG || op->code == DRAY_LOOP_ACCEPT;
	/* The file is ready; or a signal, or a debugger, came in between, which is nobody's business. (A connect that was goes on by itself.) */
	if (!op->canceled && ((op->state == DRAY_LOOP_OP_POLLING && res >= 0) || (res == -EINTR && op->code != DRAY_LOOP_CONNECT))) {
		start_op(u, op);
		return 0;
	}
	if (socket && res == -EAGAIN && !op->canceled) {
		struct io_uring_sqe *sqe = room(u);
		if (!sqe) { /* it is started, not polled for, again; that does no harm */
			op->state = DRAY_LOOP_OP_WAITING;
			dray_list_add_tail(&u->backlog, &op->node);
			return 0;
		}
		io_uring_prep_poll_add(sqe, op->fd, op->code == DRAY_LOOP_SENDMSG ? POLLOUT : POLLIN);
		io_uring_sqe_set_data(sqe, op);
		op->state = DRAY_LOOP_OP_POLLING;
		return 0;
	}
	if (op->state == DRAY_LOOP_OP_POLLING || res == -EAGAIN || res == -EINTR)
		res = op->canceled ? -ECANCELED : res;
	dray_list_del(&op->node); /* off `cancels` */
	op->state = DRAY_LOOP_OP_DONE;
	struct dray_ioc *ioc = dray_loop_ioc(op);
	ioc->done(ioc, res);
	return 1;
}

static int uring_reap(struct dray_loop *loop)
{
	struct uring *u = loop->priv;
	struct {
		struct dray_loop_op *op;
		int res;
	} batch[64];
	int calls = 0;
	/* Taken off the ring before the callbacks, which start new operations; only what is there now. */
	unsigned left = io_uring_cq_ready(&u->ring);
	while (left) {
		unsigned head, n = 0;
		struct io_uring_cqe *cqe;
		io_uring_for_each_cqe(&u->ring, head, cqe) {
			batch[n].op = io_uring_cqe_get_data(cqe);
			batch[n].res = cqe->res;
			if (++n == sizeof batch / sizeof batch[0] || n == left)
				break;
		}
		io_uring_cq_advance(&u->ring, n);
		left -= n;
		for (unsigned i = 0; i < n; i++)
			calls += completed(loop, batch[i].op, batch[i].res);
	}
	if (u->woken) {
		u->woken = false;
		calls += dray_loop_woken(loop);
	}
	return calls;
}

static void uring_free(struct dray_loop *loop)
{
	struct uring *u = loop->priv;
	io_uring_queue_exit(&u->ring);
	free(u);
}

static const struct dray_loop_backend uring_backend = {
	.name = "io_uring",
	.start = uring_start,
	.cancel = uring_cancel,
	.wait = uring_wait,
	.reap = uring_reap,
	.free = uring_free,
};

int dray_loop_uring_new(struct dray_loop *loop, unsigned entries)
{
	static const unsigned flags[] = {
		IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_SUBMIT_ALL |
			IORING_SETUP_R_DISABLED,
		IORING_SETUP_COOP_TASKRUN | IORING_SETUP_SUBMIT_ALL,
		0,
	};
	struct uring *u = calloc(1, sizeof *u);
	if (!u)
		return -ENOMEM;
	dray_list_init(&u->backlog);
	dray_list_init(&u->cancels);
	int rc = -EINVAL;
	for (size_t i = 0; i < sizeof flags / sizeof flags[0] && rc == -EINVAL; i++) {
		struct io_uring_params p = { .flags = flags[i] | IORING_SETUP_CLAMP | IORING_SETUP_CQSIZE,
			.cq_entries = entries * 8 };
		rc = io_uring_queue_init_params(entries, &u->ring, &p);
	}
	const unsigned needed = IORING_FEAT_EXT_ARG | IORING_FEAT_NODROP | IORING_FEAT_FAST_POLL;
	if (!rc && (u->ring.features & needed) != needed) {
		io_uring_queue_exit(&u->ring);
		rc = -ENOSYS;
	}
	if (rc) {
		free(u);
		return rc;
	}
	loop->backend = &uring_backend;
	loop->priv = u;
	return 0;
}
