/* SPDX-License-Identifier: BSD-3-Clause */
/* Where the file system shares no blocks files are copied, beside applications (neighbours.h). */
#include "agent/clones.h"

#include "agent/beside.h"
#include "agent/generation.h"
#include "agent/neighbours.h"
#include "agent/worker.h"
#include "base/crash.h"
#include "base/log.h"
#include "storage/clone.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#define NICE        10
#define IOPRIO_IDLE (3 << 13)

#define ASK_EVERY   (SECOND / 2)

struct work {
	struct worker worker; /* on agent.clones; its lock is for the files' rates, too, and for what is said so */
	struct clones order;
	struct neighbours *neighbours; /* of CLONES_MAKE */
	uint64_t ask_at;      /* the core's: dray-iod, what they do */
	/* under the lock */
	size_t at;            /* which file; only the thread changes it */
	enum dray_clone_bound bound;
};

static struct work *work_at(struct dray_list *n)
{
	return dray_container(n, struct work, worker.node);
}

static char *copy(const char *s)
{
	char *c = s ? strdup(s) : NULL;
	if (s && !c)
		abort();
	return c;
}

void clones_add(struct clones *o, unsigned pair, size_t generation, const char *from, const char *expected, const char *part, const char *path,
	const char *identity)
{
	o->files = realloc(o->files, (o->n + 1) * sizeof *o->files);
	if (!o->files)
		abort();
	o->files[o->n++] = (struct clones_file){ .pair = pair, .generation = generation, .from = copy(from), .expected = copy(expected),
		.part = copy(part), .path = copy(path), .identity = copy(identity), .err = DRAY_ERROR_INIT };
}

static void clear(struct clones *o)
{
	for (size_t i = 0; i < o->n; i++) {
		struct clones_file *f = &o->files[i];
		free(f->from);
		free(f->expected);
		free(f->part);
		free(f->path);
		free(f->identity);
	}
	free(o->files);
	*o = (struct clones){ 0 };
}

/* ---- the thread's side ---- */

static bool told_to_stop(void *ctx)
{
	return worker_told_to_stop(&((struct work *)ctx)->worker);
}

static uint64_t rate_now(void *ctx)
{
	struct work *w = ctx;
	pthread_mutex_lock(&w->worker.lock);
	uint64_t rate = w->order.files[w->at].rate;
	pthread_mutex_unlock(&w->worker.lock);
	return rate;
}

static unsigned share_now(void *ctx)
{
	return neighbours_part(((struct work *)ctx)->neighbours);
}

static void note_bound(void *ctx, enum dray_clone_bound bound)
{
	struct work *w = ctx;
	pthread_mutex_lock(&w->worker.lock);
	w->bound = bound;
	pthread_mutex_unlock(&w->worker.lock);
}

/* The file at hand is another one, or none. */
static void go_to(struct work *w, size_t at)
{
	if (at < w->order.n)
		neighbours_begin(w->neighbours, w->order.files[at].from, w->order.files[at].part);
	pthread_mutex_lock(&w->worker.lock);
	w->at = at;
	w->bound = DRAY_CLONE_BOUND_NONE;
	pthread_mutex_unlock(&w->worker.lock);
}

static void make_all(struct work *w)
{
	struct clones *o = &w->order;
	_Static_assert(BESIDE_ALL == DRAY_CLONE_ALL, "parts of the time");
	for (size_t i = 0; i < o->n && !o->rc; i++) {
		struct clones_file *f = &o->files[i];
		char identity[512];
		go_to(w, i);
		struct dray_clone_order order = { .from = f->from, .expected = f->expected, .length = f->length, .part = f->part, .rate = rate_now, .share = share_now,
			.stop = told_to_stop, .bound = note_bound, .ctx = w };
		o->rc = dray_clone_make(&order, identity, sizeof identity, &f->shared, &o->err);
		if (!o->rc)
			f->identity = copy(identity);
	}
	go_to(w, o->n);
	struct dray_error ignored;
	for (size_t i = 0; i < o->n && o->rc; i++)
		dray_clone_discard(o->files[i].part, &ignored);
	if (!o->rc)
		dray_crash_point("gen-cloned");
}

static void place_all(struct work *w)
{
	struct clones *o = &w->order;
	for (size_t i = 0; i < o->n && !o->rc; i++)
		o->rc = dray_clone_place(o->files[i].part, o->files[i].path, o->files[i].identity, &o->err);
	struct dray_error ignored;
	for (size_t i = 0; i < o->n && o->rc; i++) {
		dray_clone_remove(o->files[i].path, o->files[i].identity, &ignored);
		dray_clone_discard(o->files[i].part, &ignored);
	}
	if (!o->rc)
		dray_crash_point("gen-placed");
}

static void remove_all(struct work *w)
{
	for (size_t i = 0; i < w->order.n; i++) {
		struct clones_file *f = &w->order.files[i];
		if (f->part)
			f->rc = dray_clone_discard(f->part, &f->err);
		else
			f->rc = dray_clone_remove(f->path, f->identity, &f->err);
		if (f->rc)
			w->order.rc = f->rc;
	}
	dray_crash_point("gen-removed");
}

static void run(struct worker *worker)
{
	struct work *w = dray_container(worker, struct work, worker);
	/* Nobody waits for it, and applications use the same disks. What the kernel does not honour costs nothing. */
	pid_t self = (pid_t)syscall(SYS_gettid);
	setpriority(PRIO_PROCESS, (id_t)self, NICE);
	syscall(SYS_ioprio_set, 1, self, IOPRIO_IDLE);
	if (w->order.kind == CLONES_MAKE)
		make_all(w);
	else if (w->order.kind == CLONES_PLACE)
		place_all(w);
	else
		remove_all(w);
}

/* ---- the core's ---- */

static struct work *work_of(const struct job *job)
{
	dray_list_for_each (n, &job->agent->clones) {
		if (!strcmp(work_at(n)->worker.session, job->s->id))
			return work_at(n);
	}
	return NULL;
}

static void work_free(struct work *w)
{
	worker_end(&w->worker);
	clear(&w->order);
	neighbours_free(w->neighbours);
	free(w);
}

bool clones_start(struct job *job, struct clones *order)
{
	struct agent *a = job->agent;
	struct work *w = worker_has_place(&a->clones) && !a->stopping && !work_of(job) ? calloc(1, sizeof *w) : NULL;
	if (!w) {
		clear(order);
		return false;
	}
	w->order = *order;
	w->order.err = DRAY_ERROR_INIT;
	*order = (struct clones){ 0 };
	worker_init(&w->worker, job, &a->clones);
	if (w->order.kind == CLONES_MAKE)
		w->neighbours = neighbours_new();
	for (size_t i = 0; w->neighbours && i < w->order.n; i++)
		neighbours_except(w->neighbours, w->order.files[i].from);
	clones_pace(job);
	if (worker_start(&w->worker, run))
		return true;
	work_free(w);
	return false;
}

bool clones_run(const struct job *job, enum clones_kind *kind)
{
	const struct work *w = work_of(job);
	if (w && kind)
		*kind = w->order.kind;
	return w;
}

void clones_pace(struct job *job)
{
	struct work *w = work_of(job);
	if (!w || w->order.kind != CLONES_MAKE)
		return;
	struct agent *a = job->agent;
	if (a->now >= w->ask_at) { /* also where nothing else moves */
		agent_refresh(a);
		w->ask_at = a->now + ASK_EVERY;
	}
	pthread_mutex_lock(&w->worker.lock);
	for (size_t i = 0; i < w->order.n; i++)
		w->order.files[i].rate = limits_of_clone(job, w->order.files[i].pair);
	pthread_mutex_unlock(&w->worker.lock);
	neighbours_tell(w->neighbours, a);
}

const char *clones_bound(const struct job *job, const struct dray_pair *p)
{
	struct work *w = work_of(job);
	if (!w || w->order.kind != CLONES_MAKE)
		return NULL;
	pthread_mutex_lock(&w->worker.lock);
	bool at_hand = w->at < w->order.n && w->order.files[w->at].pair == p->id;
	enum dray_clone_bound bound = at_hand ? w->bound : DRAY_CLONE_BOUND_NONE;
	pthread_mutex_unlock(&w->worker.lock);
	const char *volume = bound == DRAY_CLONE_BOUND_SHARE ? neighbours_least(w->neighbours) : NULL;
	if (volume)
		return p->iod_volume && !strcmp(volume, p->iod_volume) ? "window" : "neighbour";
	return bound == DRAY_CLONE_BOUND_RATE ? "rate" : bound == DRAY_CLONE_BOUND_STORAGE ? "storage" : NULL;
}

void clones_cancel(struct job *job)
{
	struct work *w = work_of(job);
	if (w)
		worker_tell_stop(&w->worker);
}

void clones_step(struct agent *a)
{
	bool any = false;
	dray_list_for_each_safe (n, &a->clones) {
		struct work *w = work_at(n);
		if (!worker_finished(&w->worker))
			continue;
		struct job *job = job_find(a, w->worker.session);
		/* Not recorded: once more, a little later; the thread has nothing more to say. */
		if (job && !generation_worked(job, &w->order))
			continue;
		work_free(w);
		any = true;
		if (job)
			job_wake_pairs(job);
	}
	if (!any && !a->split_hooks)
		return;
	/* A place is free; a hook may have ended. */
	dray_list_for_each (n, &a->jobs) {
		struct job *job = dray_container(n, struct job, node);
		if ((any && job_periodic(job)) || job->split_hooks)
			job_wake(job);
	}
}

/* Nothing is recorded of them: the next start does it again. */
static void let_go(struct agent *a)
{
	dray_list_for_each_safe (n, &a->clones)
		if (worker_finished(&work_at(n)->worker))
			work_free(work_at(n));
}

void clones_stop(struct agent *a)
{
	workers_stop(a, &a->clones, let_go);
	dray_list_for_each (n, &a->clones)
		dray_log(DRAY_LOG_WARN, "generation-left", "session %s: files of a generation are still being worked on; that is repeated after the next start",
			work_at(n)->worker.session);
}
