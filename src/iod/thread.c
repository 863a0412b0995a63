/* SPDX-License-Identifier: BSD-3-Clause */
#include "iod/thread.h"

#include <errno.h>
#include <semaphore.h>
#include <stdio.h>
#include <string.h>

#define PAYLOAD_MOST (UINT64_C(512) << 20)
#define PAYLOAD_KEEP (UINT64_C(64) << 20)
#define PAYLOAD_ARENA (UINT64_C(4) << 20)
#define STEPS_ARENA (UINT64_C(8) << 20)
#define STEPS_MOST   (UINT64_C(256) << 20)
#define STEPS_KEEP   (UINT64_C(32) << 20)

static void *run(void *arg)
{
	struct iod_thread *thread = arg;
	char name[16];
	snprintf(name, sizeof name, "io-%u", thread->number);
	pthread_setname_np(pthread_self(), name);
	iod_slab_own(&thread->payload);
	iod_slab_own(&thread->steps);
	dray_loop_run(thread->loop);
	return NULL;
}

int iod_thread_start(struct iod_thread *thread, unsigned number, struct dray_error *err)
{
	memset(thread, 0, sizeof *thread);
	thread->number = number;
	dray_list_init(&thread->news);
	iod_slab_init(&thread->payload, PAYLOAD_MOST, PAYLOAD_KEEP, PAYLOAD_ARENA);
	iod_slab_init(&thread->steps, STEPS_MOST, STEPS_KEEP, STEPS_ARENA);
	int rc = dray_loop_new(&thread->loop, DRAY_LOOP_AUTO, 1024, err);
	if (rc < 0)
		return dray_error_prepend(err, "I/O thread %u", number);
	iod_ticks_init(&thread->ticks, thread->loop);
	rc = -pthread_create(&thread->pthread, NULL, run, thread);
	if (rc < 0) {
		iod_ticks_free(&thread->ticks);
		dray_loop_free(thread->loop);
		return dray_error_errno(err, rc, "start I/O thread %u", number);
	}
	return 0;
}

void iod_thread_stop(struct iod_thread *thread)
{
	dray_loop_stop(thread->loop);
	pthread_join(thread->pthread, NULL);
	iod_ticks_free(&thread->ticks);
	dray_loop_free(thread->loop);
	iod_slab_free(&thread->payload);
	iod_slab_free(&thread->steps);
}

struct call {
	struct dray_loop_msg msg;
	void (*fn)(void *arg);
	void *arg;
	sem_t done;
};

static void call_run(struct dray_loop_msg *msg)
{
	struct call *call = dray_container(msg, struct call, msg);
	call->fn(call->arg);
	sem_post(&call->done);
}

void iod_thread_call(struct iod_thread *thread, void (*fn)(void *arg), void *arg)
{
	struct call call = { .msg.run = call_run, .fn = fn, .arg = arg };
	sem_init(&call.done, 0, 0);
	dray_loop_post(thread->loop, &call.msg);
	while (sem_wait(&call.done) < 0 && errno == EINTR)
		;
	sem_destroy(&call.done);
}
