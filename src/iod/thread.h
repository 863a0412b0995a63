/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The I/O threads: one loop each, and memory for what passes through it. A volume lives on one of them.
 */
#ifndef DRAY_IOD_THREAD_H
#define DRAY_IOD_THREAD_H

#include "base/error.h"
#include "iod/slab.h"
#include "iod/ticks.h"
#include "loop/loop.h"

#include <pthread.h>
#include <stdatomic.h>

struct iod_thread {
	pthread_t pthread;
	struct dray_loop *loop;
	struct iod_slab payload; /* of applications' requests */
	struct iod_slab steps;   /* of copy steps: a pool of its own, so that neither can starve the other */
	unsigned volumes;        /* the registry's: how many live here */
	unsigned number;
	struct iod_ticks ticks;  /* its own */
	struct dray_list news;   /* its own: volumes whose engine was entered since they were collected (news.h) */
};

/* Starts the thread. 0 or a negative errno. */
int iod_thread_start(struct iod_thread *thread, unsigned number, struct dray_error *err);
/* Stops and joins it, frees its loop and memory. No volume lives there any more. */
void iod_thread_stop(struct iod_thread *thread);

/* Runs `fn` on the thread, between two events of its loop, and waits until it has returned. Not from a loop's own thread. */
void iod_thread_call(struct iod_thread *thread, void (*fn)(void *arg), void *arg);

#endif
