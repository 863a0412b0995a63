/* SPDX-License-Identifier: BSD-3-Clause */
#include "iod/job.h"

#include "base/list.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#define IDLE_SECONDS 10

struct job {
	struct dray_list node;
	void (*run)(void *arg);
	void *arg;
};

struct iod_jobs {
	pthread_mutex_t lock;
	pthread_cond_t work, quiet;
	struct dray_list queue;
	unsigned max, threads, idle, queued, running;
};

static void deadline_after(struct timespec *ts, uint64_t ns)
{
	clock_gettime(CLOCK_MONOTONIC, ts);
	ts->tv_sec += (time_t)(ns / 1000000000u);
	ts->tv_nsec += (long)(ns % 1000000000u);
	if (ts->tv_nsec >= 1000000000) {
		ts->tv_sec++;
		ts->tv_nsec -= 1000000000;
	}
}

int iod_jobs_new(struct iod_jobs **out, unsigned max)
{
	struct iod_jobs *jobs = calloc(1, sizeof *jobs);
	if (!jobs)
		return -ENOMEM;
	pthread_condattr_t attr;
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_mutex_init(&jobs->lock, NULL);
	pthread_cond_init(&jobs->work, &attr);
	pthread_cond_init(&jobs->quiet, &attr);
	pthread_condattr_destroy(&attr);
	dray_list_init(&jobs->queue);
	jobs->max = max;
	*out = jobs;
	return 0;
}

static void *worker(void *arg)
{
	struct iod_jobs *jobs = arg;

	pthread_mutex_lock(&jobs->lock);
	for (;;) {
		struct timespec until;
		deadline_after(&until, IDLE_SECONDS * UINT64_C(1000000000));
		while (dray_list_empty(&jobs->queue)) {
			jobs->idle++;
			int rc = pthread_cond_timedwait(&jobs->work, &jobs->lock, &until);
			jobs->idle--;
			if (rc == ETIMEDOUT && dray_list_empty(&jobs->queue)) {
				jobs->threads--;
				pthread_mutex_unlock(&jobs->lock);
				return NULL;
			}
		}
		struct job *job = dray_container(dray_list_pop(&jobs->queue), struct job, node);
		jobs->queued--;
		jobs->running++;
		pthread_mutex_unlock(&jobs->lock);
		job->run(job->arg);
		free(job);
		pthread_mutex_lock(&jobs->lock);
		jobs->running--;
		if (!jobs->running && !jobs->queued)
			pthread_cond_broadcast(&jobs->quiet);
	}
}

int iod_jobs_run(struct iod_jobs *jobs, void (*run)(void *arg), void *arg)
{
	struct job *job = malloc(sizeof *job);
	if (!job)
		return -EAGAIN;
	job->run = run;
	job->arg = arg;

	pthread_mutex_lock(&jobs->lock);
	if (jobs->running + jobs->queued >= jobs->max)
		goto refuse;
	/* A thread that was woken but has not run yet still counts as idle: compare with what is queued. */
	if (jobs->idle <= jobs->queued) {
		pthread_t thread;
		pthread_attr_t attr;
		pthread_attr_init(&attr);
		pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
		pthread_attr_setstacksize(&attr, 512 * 1024);
		int rc = pthread_create(&thread, &attr, worker, jobs);
		pthread_attr_destroy(&attr);
		if (rc)
			goto refuse;
		jobs->threads++;
	}
	dray_list_add_tail(&jobs->queue, &job->node);
	jobs->queued++;
	pthread_cond_signal(&jobs->work);
	pthread_mutex_unlock(&jobs->lock);
	return 0;
refuse:
	pthread_mutex_unlock(&jobs->lock);
	free(job);
	return -EAGAIN;
}

bool iod_jobs_drain(struct iod_jobs *jobs, uint64_t wait_ns)
{
	struct timespec until;
	deadline_after(&until, wait_ns);
	pthread_mutex_lock(&jobs->lock);
	int rc = 0;
	while ((jobs->running || jobs->queued) && rc != ETIMEDOUT)
		rc = pthread_cond_timedwait(&jobs->quiet, &jobs->lock, &until);
	bool quiet = !jobs->running && !jobs->queued;
	pthread_mutex_unlock(&jobs->lock);
	return quiet;
}
