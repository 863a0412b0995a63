/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Work that takes long, on a thread of its own: the core begins it, tells it to stop, and takes what came of it when it has finished (clones.c, retire.c).
 * It is the first part of a larger struct, which says what is to be done; those that were begun are on a list of the agent's. All is the core's but
 * what is said to be the thread's.
 */
#ifndef DRAY_AGENT_WORKER_H
#define DRAY_AGENT_WORKER_H

#include "agent/agent.h"

#include <pthread.h>

struct worker {
	struct dray_list node;
	struct agent *agent;  /* the thread uses its queue alone */
	char *session;        /* its id: the job may cease to be meanwhile */
	void (*run)(struct worker *w);
	pthread_t thread;
	bool started;
	pthread_mutex_t lock; /* for what follows, and for what else its owner shares with the thread */
	bool stop, finished;
};

/* A few at once are enough of a kind: whether one more may begin. */
bool worker_has_place(const struct dray_list *list);
/* It is on the list from here on. */
void worker_init(struct worker *w, struct job *job, struct dray_list *list);
/* `run` does the work, on the thread; when it returns the worker has finished, and the core is woken. false: there is no thread to be had. */
bool worker_start(struct worker *w, void (*run)(struct worker *w));
bool worker_finished(struct worker *w);
void worker_tell_stop(struct worker *w);
/* It has finished, or was never started: it is off its list, and nothing of it is left but the memory it is in. */
void worker_end(struct worker *w);
/* Tells all to stop, and for some seconds calls `step`, which ends those that have finished. Those that are left use what they have until the
 * process ends. */
void workers_stop(struct agent *a, struct dray_list *list, void (*step)(struct agent *a));

/* The thread's. */
bool worker_told_to_stop(struct worker *w);

#endif
