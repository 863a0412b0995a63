/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One thread of a queue at most sleeps until the first of it is due; before that one runs it, another takes its place as the sleeper (or has
 * work itself). So what is due is never kept waiting by attempts that take long, unless all threads have one of those.
 */
#include "iod/attempts.h"

#include "base/log.h"
#include "iod/iod.h"

#include <errno.h>
#include <stdlib.h>

struct worker {
	struct iod *iod;
	struct iod_attempts *queue;
};

static struct iod_attempt *first(const struct iod_attempts *q)
{
	return dray_list_empty(&q->waiting) ? NULL : dray_container(q->waiting.next, struct iod_attempt, node);
}

/* From the end: what is tried again is mostly due last. */
static void insert(struct iod_attempts *q, struct iod_attempt *at)
{
	struct dray_list *n = q->waiting.prev;
	while (n != &q->waiting && dray_container(n, struct iod_attempt, node)->due_ns > at->due_ns)
		n = n->prev;
	dray_list_add_head(n, &at->node);
}

static void work(void *arg);

/* iod->lock is held. */
static void add_worker(struct iod *iod, struct iod_attempts *q)
{
	struct worker *w = q->workers < q->most ? malloc(sizeof *w) : NULL;
	if (!w)
		return;
	*w = (struct worker){ iod, q };
	if (iod_jobs_run(iod->jobs, work, w) == 0) {
		q->workers++;
		return;
	}
	free(w);
	if (!q->workers)
		dray_log(DRAY_LOG_ERROR, "threads", "no thread to open storage: tried again with the next one");
}

/* iod->lock is held. Sleeps until the first is due. false: another thread does so already, or there is nothing, or the end. */
static bool sleep_until_due(struct iod *iod, struct iod_attempts *q)
{
	struct iod_attempt *at = first(q);
	if (!at || q->sleepers || iod->stopping)
		return false;
	struct timespec until = { .tv_sec = (time_t)(at->due_ns / 1000000000u), .tv_nsec = (long)(at->due_ns % 1000000000u) };
	q->sleepers++;
	pthread_cond_timedwait(&iod->changed, &iod->lock, &until);
	q->sleepers--;
	return true;
}

static void work(void *arg)
{
	struct worker *w = arg;
	struct iod *iod = w->iod;
	struct iod_attempts *q = w->queue;
	free(w);
	pthread_mutex_lock(&iod->lock);
	for (;;) {
		struct iod_attempt *at = first(q);
		if (!at || at->due_ns > iod_now() || iod->stopping) {
			if (sleep_until_due(iod, q))
				continue;
			break;
		}
		dray_list_del(&at->node);
		if (first(q) && !q->sleepers)
			add_worker(iod, q);
		pthread_mutex_unlock(&iod->lock);
		bool over = at->run(at);
		pthread_mutex_lock(&iod->lock);
		if (over || iod->stopping) {
			pthread_mutex_unlock(&iod->lock);
			at->over(at);
			pthread_mutex_lock(&iod->lock);
			continue;
		}
		at->due_ns = iod_now() + at->pause_ns;
		at->pause_ns = 2 * at->pause_ns < at->pause_most_ns ? 2 * at->pause_ns : at->pause_most_ns;
		insert(q, at);
	}
	q->workers--;
	pthread_mutex_unlock(&iod->lock);
}

void iod_attempt_begin(struct iod *iod, struct iod_attempts *q, struct iod_attempt *at)
{
	pthread_mutex_lock(&iod->lock);
	bool stopping = iod->stopping;
	if (!stopping) {
		at->due_ns = iod_now();
		insert(q, at);
		if (q->sleepers)
			pthread_cond_broadcast(&iod->changed);
		else
			add_worker(iod, q);
	}
	pthread_mutex_unlock(&iod->lock);
	if (stopping)
		at->over(at);
}

void iod_attempts_stop(struct iod *iod, struct iod_attempts *q)
{
	struct iod_attempt *at;
	for (;;) {
		pthread_mutex_lock(&iod->lock);
		at = first(q);
		if (at)
			dray_list_del(&at->node);
		pthread_mutex_unlock(&iod->lock);
		if (!at)
			return;
		at->over(at);
	}
}
