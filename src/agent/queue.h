/* SPDX-License-Identifier: BSD-3-Clause */
/* Calls on their way from the API's threads to the core. */
#ifndef DRAY_AGENT_QUEUE_H
#define DRAY_AGENT_QUEUE_H

#include "base/list.h"

struct api_call;
struct queue;

struct queue *queue_new(void);
void queue_free(struct queue *q);
int queue_fd(const struct queue *q); /* readable while there is something in it */
/* Any thread. `ctx` is the queue. After queue_close the call is refused at once. */
void queue_put(void *ctx, struct api_call *call);
/* Any thread: wakes the core. `ctx` is the queue. */
void queue_poke(void *ctx);
/* The core: NULL: empty. */
struct api_call *queue_take(struct queue *q);
/* The core: no more. What is in it is still there. */
void queue_close(struct queue *q);

#endif
