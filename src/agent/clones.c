/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Files are copied beside applications, where the file system shares no blocks. Whose: of the volumes that dray-iod has when the copying begins those that have their
 * primary, or a target that is being written to, on a disk that the file is on, or the one that it is copied from. The disks are looked at by the thread, since that
 * may block, and only where something is copied; what the applications do is told to it by the core, several times a second (beside.h). The least that
 * one of them allows counts.
 */
#include "agent/clones.h"

#include "agent/beside.h"
#include "agent/generation.h"
#include "agent/worker.h"
#include "base/crash.h"
#include "base/log.h"
#include "storage/below.h"
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
#define DISKS       64 /* of a file, and of the one it is copied from; what lies below more is not looked at */

/* A storage that a volume uses. */
struct neighbour {
	char *volume, *resource;
	struct beside beside; /* the core's */
	unsigned part;        /* under the lock */
	bool on_disk;         /* the thread's: with the file that is at hand */
};

struct work {
	struct worker worker; /* on agent.clones; its lock is for the files' rates, too, and for what is said so */
	struct clones order;
	struct neighbour *neighbours;
	size_t n_neighbours;
	uint64_t ask_at;      /* the core's: dray-iod, what they do */
	bool looked;          /* the thread's: at their disks, for this file */
	/* under the lock */
	size_t at;            /* which file; only the thread changes it */
	const struct neighbour *gives_way_to;
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

struct disks {
	dev_t dev[DISKS];
	size_t n;
};

static bool has_disk(void *arg, dev_t dev)
{
	const struct disks *d = arg;
	for (size_t i = 0; i < d->n; i++)
		if (d->dev[i] == dev)
			return true;
	return false;
}

static bool add_disk(void *arg, dev_t dev)
{
	struct disks *d = arg;
	if (d->n < DISKS && !has_disk(d, dev))
		d->dev[d->n++] = dev;
	return false;
}

static void look_at_disks(struct work *w)
{
	const struct clones_file *f = &w->order.files[w->at];
	struct disks disks = { .n = 0 };
	dray_storage_below(f->part, add_disk, &disks);
	dray_storage_below(f->from, add_disk, &disks);
	for (size_t i = 0; i < w->n_neighbours; i++)
		w->neighbours[i].on_disk = dray_storage_below(w->neighbours[i].resource, has_disk, &disks);
}

static unsigned share_now(void *ctx)
{
	struct work *w = ctx;
	unsigned part = BESIDE_ALL;
	if (!w->looked)
		look_at_disks(w);
	w->looked = true;
	pthread_mutex_lock(&w->worker.lock);
	w->gives_way_to = NULL;
	for (size_t i = 0; i < w->n_neighbours; i++) {
		const struct neighbour *n = &w->neighbours[i];
		if (!n->on_disk || n->part >= part)
			continue;
		part = n->part;
		w->gives_way_to = n;
	}
	pthread_mutex_unlock(&w->worker.lock);
	return part;
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
	w->looked = false;
	pthread_mutex_lock(&w->worker.lock);
	w->at = at;
	w->gives_way_to = NULL;
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
	for (size_t i = 0; i < w->n_neighbours; i++) {
		free(w->neighbours[i].volume);
		free(w->neighbours[i].resource);
	}
	free(w->neighbours);
	free(w);
}

static uint64_t number(const json_t *o, const char *object, const char *key)
{
	json_int_t n = json_integer_value(json_object_get(json_object_get(o, object), key));
	return n > 0 ? (uint64_t)n : 0;
}

/* Of a volume that is gone nobody asks anything. */
static struct beside_told told_of(const json_t *v)
{
	static const char *const counted[] = { "reads", "writes", "flushes" };
	struct beside_told t = { .app_us = number(v, "copy_window", "app_us"), .goal_us = number(v, "limits", "app_latency_us") };
	if (!json_object_get(v, "counters"))
		t.asked = UINT64_MAX;
	for (size_t i = 0; i < sizeof counted / sizeof counted[0] && t.asked != UINT64_MAX; i++)
		t.asked += number(v, "counters", counted[i]);
	return t;
}

/* Working images that are being copied are not used by their volumes. */
static bool is_copied(const struct clones *o, const char *resource)
{
	for (size_t i = 0; i < o->n; i++)
		if (!strcmp(o->files[i].from, resource))
			return true;
	return false;
}

static void add_neighbour(struct work *w, const char *volume, const json_t *v, const json_t *leg)
{
	const json_t *r = json_object_get(leg, "resource");
	const char *resource = json_string_value(json_is_object(r) ? json_object_get(r, "resource") : r), *path = json_string_value(json_object_get(leg, "path"));
	if (!resource || is_copied(&w->order, resource) || json_is_true(json_object_get(leg, "set_aside")) || json_is_true(json_object_get(leg, "held")))
		return;
	w->neighbours = realloc(w->neighbours, (w->n_neighbours + 1) * sizeof *w->neighbours);
	if (!w->neighbours)
		abort();
	struct neighbour *n = &w->neighbours[w->n_neighbours++];
	*n = (struct neighbour){ .volume = copy(volume), .resource = copy(path ? path : resource) };
	struct beside_told told = told_of(v);
	beside_begin(&n->beside, &told, w->worker.agent->now);
}

static void find_neighbours(struct work *w)
{
	json_t *v, *leg;
	const char *name;
	size_t i;
	json_object_foreach (w->worker.agent->volumes, name, v)
		json_array_foreach (json_object_get(v, "legs"), i, leg)
			add_neighbour(w, name, v, leg);
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
		find_neighbours(w);
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
	for (size_t i = 0; i < w->n_neighbours; i++) {
		struct neighbour *n = &w->neighbours[i];
		struct beside_told told = told_of(volume_find(a, n->volume));
		n->part = beside_part(&n->beside, &told, a->now);
	}
	pthread_mutex_unlock(&w->worker.lock);
}

const char *clones_bound(const struct job *job, const struct dray_pair *p)
{
	struct work *w = work_of(job);
	const char *word = NULL;
	if (!w)
		return NULL;
	pthread_mutex_lock(&w->worker.lock);
	bool at_hand = w->at < w->order.n && w->order.files[w->at].pair == p->id;
	if (at_hand && w->bound == DRAY_CLONE_BOUND_RATE)
		word = "rate";
	else if (at_hand && w->bound == DRAY_CLONE_BOUND_SHARE && w->gives_way_to)
		word = p->iod_volume && !strcmp(w->gives_way_to->volume, p->iod_volume) ? "window" : "neighbour";
	else if (at_hand && w->bound == DRAY_CLONE_BOUND_STORAGE)
		word = "storage";
	pthread_mutex_unlock(&w->worker.lock);
	return word;
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
