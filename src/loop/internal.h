/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the files of this room share: the loop's struct, the shape an operation has while it is under way, the table a
 * back end fills, and the pool of worker threads.
 *
 * An operation is described once, by loop.c, in the caller's `struct dray_ioc` (its `priv` is read as `struct dray_loop_op`),
 * and then handed to the back end. So nothing is ever allocated for an operation, and an operation that finds no room
 * (submission queue full, all workers busy) waits on a list through its own node.
 */
#ifndef DRAY_LOOP_INTERNAL_H
#define DRAY_LOOP_INTERNAL_H

#include "loop/loop.h"

#include <assert.h>
#include <pthread.h>

enum dray_loop_code {
	DRAY_LOOP_READV,
	DRAY_LOOP_WRITEV,
	DRAY_LOOP_FDATASYNC,
	DRAY_LOOP_FALLOCATE,
	DRAY_LOOP_CALL,
	DRAY_LOOP_ACCEPT,
	DRAY_LOOP_CONNECT,
	DRAY_LOOP_RECV,
	DRAY_LOOP_SENDMSG,
	DRAY_LOOP_POLL,
};

enum dray_loop_op_state {
	DRAY_LOOP_OP_WAITING, /* on a list of this process, through `node`; not started */
	DRAY_LOOP_OP_STARTED, /* the kernel or a worker has it */
	DRAY_LOOP_OP_POLLING, /* io_uring: waits until a non-blocking socket is ready, to be started again */
	DRAY_LOOP_OP_DONE,    /* its result is known; on the loop's list of finished operations, or called back */
};

struct dray_loop_op {
	uint8_t code, state;
	bool canceled;
	uint8_t prio;    /* READV, WRITEV */
	int32_t fd;
	uint64_t addr;   /* iovec, buffer, msghdr, sockaddr, function; FALLOCATE: the length */
	uint64_t offset; /* CONNECT: length of the address; CALL: the argument */
	uint32_t len;    /* iovecs, bytes; FALLOCATE: the mode */
	uint32_t flags;  /* rwf, poll events */
	struct dray_list node;
};
static_assert(sizeof(struct dray_loop_op) <= sizeof(((struct dray_ioc *)0)->priv), "an operation fits in a dray_ioc");

static inline struct dray_loop_op *dray_loop_op(struct dray_ioc *ioc)
{
	return (struct dray_loop_op *)(void *)ioc->priv;
}

static inline struct dray_ioc *dray_loop_ioc(struct dray_loop_op *op)
{
	return dray_container((void *)op, struct dray_ioc, priv);
}

struct dray_loop_backend {
	const char *name;
	/* Required. The loop's thread, or the one that made the loop as long as it has not run. Never calls back. */
	void (*start)(struct dray_loop *loop, struct dray_ioc *ioc);
	/* Required. Asks for an early end of a WAITING, STARTED or POLLING operation. */
	void (*cancel)(struct dray_loop *loop, struct dray_ioc *ioc);
	/* Required. Hands over what was started and waits at most `wait_ns` for something to happen. */
	void (*wait)(struct dray_loop *loop, uint64_t wait_ns);
	/* Required. Makes the callbacks of what has completed; returns their number. */
	int (*reap)(struct dray_loop *loop);
	/* Required. */
	void (*free)(struct dray_loop *loop);
};

/* Worker threads, started when needed, at most `most`. */
struct dray_loop_pool {
	pthread_mutex_t lock;
	pthread_cond_t work;
	struct dray_list queue, done; /* of dray_loop_op */
	pthread_t *threads;
	unsigned n, most, idle, queued;
	bool quit;
};

struct dray_loop {
	const struct dray_loop_backend *backend;
	void *priv; /* the back end's */
	uint64_t now_ns;
	struct dray_list timers; /* the earliest first */
	struct dray_list hooks;
	struct dray_list *hook_next; /* the hook to run next while hooks run: hook_del moves it on */
	struct dray_list finished;   /* operations with a known result, to be called back */
	bool hooks_again, inside;
	struct dray_loop_pool pool;
	uint64_t prio_counts[DRAY_LOOP_PRIOS];
	int event_fd; /* other threads wake the loop through it */

	/* any thread */
	struct dray_loop_msg *posted; /* atomic: a stack, the newest first */
	bool stop;                    /* atomic */
};

/* As the kernel writes it: IOPRIO_CLASS_BE and the level. 0: none. */
static inline uint16_t dray_loop_ioprio(const struct dray_loop_op *op)
{
	return op->prio ? (uint16_t)(2 << 13 | (op->prio - 1)) : 0;
}

/* The result is known: called back in this iteration or the next. */
void dray_loop_op_done(struct dray_loop *loop, struct dray_loop_op *op, int res);
/* Any thread. */
void dray_loop_wake_up(struct dray_loop *loop);
/* The event fd was read: makes the callbacks of the pool's results and of messages. */
int dray_loop_woken(struct dray_loop *loop);
uint64_t dray_loop_clock(void);

void dray_loop_pool_init(struct dray_loop_pool *pool);
void dray_loop_pool_add(struct dray_loop *loop, struct dray_loop_op *op);
/* Takes a waiting operation back: true, or false if a worker has it already. */
bool dray_loop_pool_remove(struct dray_loop *loop, struct dray_loop_op *op);
/* Moves what is done to loop->finished. */
void dray_loop_pool_collect(struct dray_loop *loop);
void dray_loop_pool_free(struct dray_loop_pool *pool);

/* 0 or -errno; set loop->backend and loop->priv. */
int dray_loop_uring_new(struct dray_loop *loop, unsigned entries);
int dray_loop_epoll_new(struct dray_loop *loop);

#endif
