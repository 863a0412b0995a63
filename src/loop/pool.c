/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The pool of worker threads: for calls that block and, under epoll, for file I/O. A thread is started when there is more
 * waiting than threads are idle, up to a limit that is generous because a thread may be stuck in a storage that
 * does not answer, and the others' work must not wait behind it (H7). Threads stay until the loop is freed. preadv2 knows no priority: the
 * worker takes that of its operation, where it is another one than that of the one before.
 */
#include "loop/internal.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <fcntl.h>

#define MOST_THREADS 64

/* The worker's own I/O priority, for as long as its operations want it. */
static void take_prio(const struct dray_loop_op *op)
{
	static _Thread_local uint16_t now;
	uint16_t wanted = dray_loop_ioprio(op);
	if (wanted != now && syscall(SYS_ioprio_set, 1 /* IOPRIO_WHO_PROCESS */, 0, wanted) == 0)
		now = wanted;
}

static int perform(struct dray_loop_op *op)
{
	ssize_t n;
	const struct iovec *iov = (const struct iovec *)(uintptr_t)op->addr;
	take_prio(op);
	switch ((enum dray_loop_code)op->code) {
	case DRAY_LOOP_READV: n = preadv2(op->fd, iov, (int)op->len, (off_t)op->offset, (int)op->flags); break;
	case DRAY_LOOP_WRITEV: n = pwritev2(op->fd, iov, (int)op->len, (off_t)op->offset, (int)op->flags); break;
	case DRAY_LOOP_FDATASYNC: n = fdatasync(op->fd); break;
	case DRAY_LOOP_FALLOCATE: n = fallocate(op->fd, (int)op->len, (off_t)op->offset, (off_t)op->addr); break;
	case DRAY_LOOP_CONNECT:
		n = connect(op->fd, (const struct sockaddr *)(uintptr_t)op->addr, (socklen_t)op->offset);
		break;
	case DRAY_LOOP_CALL: {
		int (*call)(void *arg) = (int (*)(void *))(uintptr_t)op->addr;
		return call((void *)(uintptr_t)op->offset);
	}
	default: assert(false && "not a worker's operation"); return -EINVAL;
	}
	return n < 0 ? -errno : (int)n;
}

static void *worker(void *arg)
{
	struct dray_loop *loop = arg;
	struct dray_loop_pool *pool = &loop->pool;
	pthread_mutex_lock(&pool->lock);
	for (;;) {
		while (dray_list_empty(&pool->queue) && !pool->quit) {
			pool->idle++;
			pthread_cond_wait(&pool->work, &pool->lock);
			pool->idle--;
		}
		struct dray_list *n = dray_list_pop(&pool->queue);
		if (!n)
			break;
		pool->queued--;
		struct dray_loop_op *op = dray_container(n, struct dray_loop_op, node);
		op->state = DRAY_LOOP_OP_STARTED;
		pthread_mutex_unlock(&pool->lock);
		int res = perform(op);
		pthread_mutex_lock(&pool->lock);
		dray_loop_ioc(op)->res = res;
		bool first = dray_list_empty(&pool->done);
		dray_list_add_tail(&pool->done, &op->node);
		if (first)
			dray_loop_wake_up(loop);
	}
	pthread_mutex_unlock(&pool->lock);
	return NULL;
}

void dray_loop_pool_init(struct dray_loop_pool *pool)
{
	pthread_mutex_init(&pool->lock, NULL);
	pthread_cond_init(&pool->work, NULL);
	dray_list_init(&pool->queue);
	dray_list_init(&pool->done);
	pool->most = MOST_THREADS;
}

/* Called with the lock held. */
static void start_thread(struct dray_loop *loop)
{
	struct dray_loop_pool *pool = &loop->pool;
	if (!pool->threads)
		pool->threads = calloc(pool->most, sizeof *pool->threads);
	if (!pool->threads || pool->n == pool->most)
		return;
	/* Signals belong to the threads that wait for them. */
	sigset_t all, old;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	if (!pthread_create(&pool->threads[pool->n], NULL, worker, loop))
		pool->n++;
	pthread_sigmask(SIG_SETMASK, &old, NULL);
}

void dray_loop_pool_add(struct dray_loop *loop, struct dray_loop_op *op)
{
	struct dray_loop_pool *pool = &loop->pool;
	pthread_mutex_lock(&pool->lock);
	op->state = DRAY_LOOP_OP_WAITING;
	dray_list_add_tail(&pool->queue, &op->node);
	pool->queued++;
	if (pool->queued > pool->idle)
		start_thread(loop);
	if (!pool->n) {
		/* Not one thread could be had: better an error than an operation that never ends. */
		dray_list_del(&op->node);
		pool->queued--;
		dray_loop_op_done(loop, op, -EAGAIN);
	}
	pthread_cond_signal(&pool->work);
	pthread_mutex_unlock(&pool->lock);
}

bool dray_loop_pool_remove(struct dray_loop *loop, struct dray_loop_op *op)
{
	struct dray_loop_pool *pool = &loop->pool;
	pthread_mutex_lock(&pool->lock);
	bool waiting = op->state == DRAY_LOOP_OP_WAITING;
	if (waiting) {
		dray_list_del(&op->node);
		pool->queued--;
	}
	pthread_mutex_unlock(&pool->lock);
	return waiting;
}

void dray_loop_pool_collect(struct dray_loop *loop)
{
	struct dray_loop_pool *pool = &loop->pool;
	if (!pool->n)
		return;
	struct dray_list *n;
	pthread_mutex_lock(&pool->lock);
	while ((n = dray_list_pop(&pool->done))) {
		struct dray_loop_op *op = dray_container(n, struct dray_loop_op, node);
		dray_loop_op_done(loop, op, dray_loop_ioc(op)->res);
	}
	pthread_mutex_unlock(&pool->lock);
}

void dray_loop_pool_free(struct dray_loop_pool *pool)
{
	pthread_mutex_lock(&pool->lock);
	pool->quit = true;
	pthread_cond_broadcast(&pool->work);
	pthread_mutex_unlock(&pool->lock);
	for (unsigned i = 0; i < pool->n; i++)
		pthread_join(pool->threads[i], NULL);
	free(pool->threads);
	pthread_cond_destroy(&pool->work);
	pthread_mutex_destroy(&pool->lock);
}
