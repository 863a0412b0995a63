/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One thread's event loop: completions, timers, messages from other threads.
 *
 * Everything is a completion: a caller fills a `struct dray_ioc` (usually embedded in its own struct), starts one operation
 * with it and is called back once, on the loop's thread, never inside the start. Two back ends with the same behaviour:
 * io_uring (one ring per loop, DEFER_TASKRUN where the kernel has it, submissions batched per iteration) and, where
 * the kernel refuses io_uring, epoll with a small pool of threads for file I/O. `dray_loop_backend` names the one in use.
 *
 * Only dray_loop_post and dray_loop_stop may be called from other threads.
 */
#ifndef DRAY_LOOP_LOOP_H
#define DRAY_LOOP_LOOP_H

#include "base/error.h"
#include "base/list.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

struct dray_loop;
struct sockaddr;
struct msghdr;

enum dray_loop_want { DRAY_LOOP_AUTO, DRAY_LOOP_URING, DRAY_LOOP_EPOLL };

/* AUTO: io_uring, else epoll (DRAY_LOOP=epoll in the environment asks for epoll: for tests). -ENOMEM, -ENOSYS ... */
int dray_loop_new(struct dray_loop **loop, enum dray_loop_want want, unsigned entries, struct dray_error *err);
/* No operation may be under way. The thread that runs the loop first is its thread from then on; before that, the thread
 * that made it may start operations, set timers and add hooks. */
void dray_loop_free(struct dray_loop *loop);
const char *dray_loop_backend(const struct dray_loop *loop);

/* Runs until dray_loop_stop (a stop that came first ends it at once). The hooks run once more at the end. */
void dray_loop_run(struct dray_loop *loop);
/* Runs one iteration, waiting at most `wait_ns` (0: not at all). Returns the number of callbacks made. */
int dray_loop_once(struct dray_loop *loop, uint64_t wait_ns);
void dray_loop_stop(struct dray_loop *loop);

/* Monotonic ns, read once per iteration. */
uint64_t dray_loop_now(const struct dray_loop *loop);

/* A hook run once per iteration after all callbacks were made and before the loop submits and sleeps: where a
 * volume's engine is ticked and replies are sent in batches. Several may be registered. */
struct dray_loop_hook {
	struct dray_list node;
	/* Returns the time (monotonic ns) at which it wants to run again at the latest; UINT64_MAX: no wish. */
	uint64_t (*run)(struct dray_loop_hook *hook, uint64_t now_ns);
};
void dray_loop_hook_add(struct dray_loop *loop, struct dray_loop_hook *hook);
void dray_loop_hook_del(struct dray_loop *loop, struct dray_loop_hook *hook);
/* Called by a hook that gave work to one that may have run before it: all hooks run once more before the loop sleeps. */
void dray_loop_hooks_again(struct dray_loop *loop);

/* ---- messages ---- */
struct dray_loop_msg {
	void (*run)(struct dray_loop_msg *msg); /* called on the loop's thread; may free msg */
	struct dray_loop_msg *next;
};
/* Thread-safe, never fails, order kept per sender. */
void dray_loop_post(struct dray_loop *loop, struct dray_loop_msg *msg);

/* ---- timers ---- */
struct dray_loop_timer {
	void (*run)(struct dray_loop_timer *timer);
	uint64_t at_ns; /* 0: not armed */
	struct dray_list node;
};
void dray_loop_timer_init(struct dray_loop_timer *timer, void (*run)(struct dray_loop_timer *timer));
void dray_loop_timer_set(struct dray_loop *loop, struct dray_loop_timer *timer, uint64_t at_ns); /* re-arms */
void dray_loop_timer_cancel(struct dray_loop *loop, struct dray_loop_timer *timer);

/* ---- operations ---- */
struct dray_ioc {
	/* res: >= 0 as the system call returns, or a negative errno. */
	void (*done)(struct dray_ioc *ioc, int res);
	/* the loop's own */
	void *priv[6];
	struct msghdr *msg;
	int res;
};

/* For a result that is known without asking the kernel: `done` is called with `res` in this iteration's or the next round
 * of callbacks, never inside this call. */
void dray_loop_finish(struct dray_loop *loop, struct dray_ioc *ioc, int res);

/* The iovec and buffers stay valid until done. `rwf`: RWF_DSYNC or 0. `prio`: 0: the thread's own I/O priority; 1 to 8: level 0 (first) to 7
 * (last) of the class best effort, for this operation alone: with io_uring in its submission entry, with epoll it is the worker's meanwhile. What comes
 * of it is the disk's scheduler's to say: never an error. */
void dray_loop_readv(struct dray_loop *loop, struct dray_ioc *ioc, int fd, const struct iovec *iov, int n, uint64_t offset, unsigned prio);
void dray_loop_writev(struct dray_loop *loop, struct dray_ioc *ioc, int fd, const struct iovec *iov, int n,
	uint64_t offset, int rwf, unsigned prio);
/* How many reads and writes were given to the kernel with each. For tests. */
#define DRAY_LOOP_PRIOS 9
void dray_loop_prio_counts(const struct dray_loop *loop, uint64_t counts[DRAY_LOOP_PRIOS]);
void dray_loop_fdatasync(struct dray_loop *loop, struct dray_ioc *ioc, int fd);
void dray_loop_fallocate(struct dray_loop *loop, struct dray_ioc *ioc, int fd, int mode, uint64_t offset, uint64_t length);
/* A blocking call on a worker thread (ioctl, lseek on slow storage ...): res is what `call` returns. */
void dray_loop_call(struct dray_loop *loop, struct dray_ioc *ioc, int (*call)(void *arg), void *arg);

void dray_loop_accept(struct dray_loop *loop, struct dray_ioc *ioc, int fd);
void dray_loop_connect(struct dray_loop *loop, struct dray_ioc *ioc, int fd, const struct sockaddr *addr, unsigned len);
void dray_loop_recv(struct dray_loop *loop, struct dray_ioc *ioc, int fd, void *buf, size_t len);
/* May send less than asked. Never raises SIGPIPE. Sockets may be blocking or not. */
void dray_loop_sendmsg(struct dray_loop *loop, struct dray_ioc *ioc, int fd, struct msghdr *msg);
/* poll(2) events, once. */
void dray_loop_poll(struct dray_loop *loop, struct dray_ioc *ioc, int fd, short events);
/* Asks for an operation to end early (accept, recv, sendmsg, poll): it completes with -ECANCELED or as it would have. */
void dray_loop_cancel(struct dray_loop *loop, struct dray_ioc *ioc);

#endif
