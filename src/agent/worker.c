/* SPDX-License-Identifier: BSD-3-Clause */
#include "agent/worker.h"

#include "agent/queue.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#define AT_ONCE   4
#define STOP_WAIT (10 * SECOND)

bool worker_has_place(const struct dray_list *list)
{
	unsigned running = 0;
	dray_list_for_each (n, list)
		running++;
	return running < AT_ONCE;
}

void worker_init(struct worker *w, struct job *job, struct dray_list *list)
{
	*w = (struct worker){ .agent = job->agent, .session = strdup(job->s->id) };
	if (!w->session)
		abort();
	pthread_mutex_init(&w->lock, NULL);
	dray_list_add_tail(list, &w->node);
}

static void *thread(void *arg)
{
	struct worker *w = arg;
	w->run(w);
	pthread_mutex_lock(&w->lock);
	w->finished = true;
	pthread_mutex_unlock(&w->lock);
	queue_poke(w->agent->queue);
	return NULL;
}

bool worker_start(struct worker *w, void (*run)(struct worker *w))
{
	w->run = run;
	w->started = !pthread_create(&w->thread, NULL, thread, w);
	return w->started;
}

static bool flag(struct worker *w, const bool *which)
{
	pthread_mutex_lock(&w->lock);
	bool yes = *which;
	pthread_mutex_unlock(&w->lock);
	return yes;
}

bool worker_finished(struct worker *w)
{
	return flag(w, &w->finished);
}

bool worker_told_to_stop(struct worker *w)
{
	return flag(w, &w->stop);
}

void worker_tell_stop(struct worker *w)
{
	pthread_mutex_lock(&w->lock);
	w->stop = true;
	pthread_mutex_unlock(&w->lock);
}

void worker_end(struct worker *w)
{
	if (w->started)
		pthread_join(w->thread, NULL);
	dray_list_del(&w->node);
	pthread_mutex_destroy(&w->lock);
	free(w->session);
}

void workers_stop(struct agent *a, struct dray_list *list, void (*step)(struct agent *a))
{
	dray_list_for_each (n, list)
		worker_tell_stop(dray_container(n, struct worker, node));
	uint64_t end = mono_now() + STOP_WAIT;
	while (!dray_list_empty(list) && (a->now = mono_now()) < end) {
		step(a);
		nanosleep(&(struct timespec){ .tv_nsec = 5000000 }, NULL);
	}
}
