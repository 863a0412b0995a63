/* SPDX-License-Identifier: BSD-3-Clause */
#include "agent/queue.h"

#include "agent/api.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct queue {
	pthread_mutex_t lock;
	struct dray_list calls;
	int fd;
	bool closed;
};

struct queue *queue_new(void)
{
	struct queue *q = calloc(1, sizeof *q);
	if (!q)
		return NULL;
	q->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (q->fd < 0) {
		free(q);
		return NULL;
	}
	pthread_mutex_init(&q->lock, NULL);
	dray_list_init(&q->calls);
	return q;
}

void queue_free(struct queue *q)
{
	if (!q)
		return;
	close(q->fd);
	pthread_mutex_destroy(&q->lock);
	free(q);
}

int queue_fd(const struct queue *q)
{
	return q->fd;
}

void queue_put(void *ctx, struct api_call *call)
{
	struct queue *q = ctx;
	pthread_mutex_lock(&q->lock);
	bool closed = q->closed;
	if (!closed)
		dray_list_add_tail(&q->calls, &call->node);
	pthread_mutex_unlock(&q->lock);
	if (closed)
		api_problem(call, 503, 6, "stopping", "the agent stops");
	else
		queue_poke(q);
}

void queue_poke(void *ctx)
{
	struct queue *q = ctx;
	uint64_t one = 1;
	if (write(q->fd, &one, sizeof one) != sizeof one)
		abort(); /* an eventfd's counter does not fill up */
}

struct api_call *queue_take(struct queue *q)
{
	uint64_t n;
	pthread_mutex_lock(&q->lock);
	struct dray_list *node = dray_list_pop(&q->calls);
	if (dray_list_empty(&q->calls) && read(q->fd, &n, sizeof n) < 0) {
		/* nothing was in it */
	}
	pthread_mutex_unlock(&q->lock);
	return node ? dray_container(node, struct api_call, node) : NULL;
}

void queue_close(struct queue *q)
{
	pthread_mutex_lock(&q->lock);
	q->closed = true;
	pthread_mutex_unlock(&q->lock);
}
