/* SPDX-License-Identifier: BSD-3-Clause */
#include "agent/neighbours.h"

#include "agent/beside.h"
#include "base/table.h"
#include "storage/below.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FIND_EVERY (2 * SECOND)
#define DISKS      64 /* of a file, and of the one it is copied from; what lies below more is not looked at */

/* A storage that a volume uses. None is ever taken away: the thread may be looking at it. */
struct neighbour {
	char *volume, *resource;
	struct beside beside; /* the core's */
	bool listed;          /* the core's: it was in the last list that was looked through */
	unsigned part;        /* under the lock */
	bool on_disk;         /* the thread's: with the file that is at hand */
};

struct disks {
	dev_t dev[DISKS];
	size_t n;
};

struct neighbours {
	/* the core's */
	struct dray_table by_leg; /* "VOLUME RESOURCE" */
	struct dray_table except; /* resources; a value that is not NULL */
	uint64_t find_at;
	/* under the lock; only the core adds, so that it may look without */
	pthread_mutex_t lock;
	struct neighbour **list;
	size_t n;
	const struct neighbour *least;
	/* the thread's */
	const char *from, *to;
	struct disks disks; /* of both */
	bool disks_known;
	size_t looked;      /* so many of the list are looked at, for this file */
};

struct neighbours *neighbours_new(void)
{
	struct neighbours *all = calloc(1, sizeof *all);
	if (!all)
		abort();
	pthread_mutex_init(&all->lock, NULL);
	return all;
}

void neighbours_free(struct neighbours *all)
{
	if (!all)
		return;
	for (size_t i = 0; i < all->n; i++) {
		free(all->list[i]->volume);
		free(all->list[i]->resource);
		free(all->list[i]);
	}
	free(all->list);
	dray_table_free(&all->by_leg);
	dray_table_free(&all->except);
	pthread_mutex_destroy(&all->lock);
	free(all);
}

/* ---- the core's ---- */

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

static struct neighbour *add(struct neighbours *all, const char *volume, const json_t *v, const char *resource, uint64_t now)
{
	struct neighbour *n = calloc(1, sizeof *n);
	if (!n)
		abort();
	n->part = BESIDE_ALL;
	set_text(&n->volume, "%s", volume);
	set_text(&n->resource, "%s", resource);
	struct beside_told told = told_of(v);
	beside_begin(&n->beside, &told, now);
	pthread_mutex_lock(&all->lock);
	all->list = realloc(all->list, (all->n + 1) * sizeof *all->list);
	if (!all->list)
		abort();
	all->list[all->n++] = n;
	pthread_mutex_unlock(&all->lock);
	return n;
}

void neighbours_except(struct neighbours *all, const char *resource)
{
	dray_table_put(&all->except, resource, all);
}

static void find(struct neighbours *all, const char *volume, const json_t *v, const json_t *leg, uint64_t now)
{
	const json_t *r = json_object_get(leg, "resource");
	const char *resource = json_string_value(json_is_object(r) ? json_object_get(r, "resource") : r), *path = json_string_value(json_object_get(leg, "path"));
	if (!resource || dray_table_get(&all->except, resource) || json_is_true(json_object_get(leg, "set_aside")) || json_is_true(json_object_get(leg, "held")))
		return;
	char *name;
	if (asprintf(&name, "%s %s", volume, path ? path : resource) < 0)
		abort();
	struct neighbour *known = dray_table_get(&all->by_leg, name);
	if (!known) {
		known = add(all, volume, v, path ? path : resource, now);
		dray_table_put(&all->by_leg, name, known);
	}
	known->listed = true;
	free(name);
}

static void find_all(struct neighbours *all, const struct agent *a)
{
	json_t *v, *leg;
	const char *name;
	size_t i;
	for (i = 0; i < all->n; i++)
		all->list[i]->listed = false;
	json_object_foreach (a->volumes, name, v)
		json_array_foreach (json_object_get(v, "legs"), i, leg)
			find(all, name, v, leg, a->now);
}

void neighbours_tell(struct neighbours *all, const struct agent *a)
{
	if (a->now >= all->find_at) {
		find_all(all, a);
		all->find_at = a->now + FIND_EVERY;
	}
	pthread_mutex_lock(&all->lock);
	for (size_t i = 0; i < all->n; i++) {
		struct neighbour *one = all->list[i];
		struct beside_told told = told_of(volume_find(a, one->volume));
		unsigned part = beside_part(&one->beside, &told, a->now);
		one->part = one->listed ? part : BESIDE_ALL;
	}
	pthread_mutex_unlock(&all->lock);
}

/* ---- the thread's ---- */

void neighbours_begin(struct neighbours *all, const char *from, const char *to)
{
	all->from = from;
	all->to = to;
	all->disks_known = false;
	all->looked = 0;
}

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

/* Of those that came since. */
static void look_at_disks(struct neighbours *all)
{
	if (!all->disks_known) {
		all->disks.n = 0;
		dray_storage_below(all->to, add_disk, &all->disks);
		dray_storage_below(all->from, add_disk, &all->disks);
		all->disks_known = true;
	}
	for (;; all->looked++) {
		pthread_mutex_lock(&all->lock);
		struct neighbour *n = all->looked < all->n ? all->list[all->looked] : NULL;
		pthread_mutex_unlock(&all->lock);
		if (!n)
			return;
		n->on_disk = dray_storage_below(n->resource, has_disk, &all->disks);
	}
}

unsigned neighbours_part(struct neighbours *all)
{
	unsigned part = BESIDE_ALL;
	look_at_disks(all);
	pthread_mutex_lock(&all->lock);
	all->least = NULL;
	for (size_t i = 0; i < all->looked; i++) {
		const struct neighbour *n = all->list[i];
		if (!n->on_disk || n->part >= part)
			continue;
		part = n->part;
		all->least = n;
	}
	pthread_mutex_unlock(&all->lock);
	return part;
}

const char *neighbours_least(struct neighbours *all)
{
	pthread_mutex_lock(&all->lock);
	const char *volume = all->least ? all->least->volume : NULL;
	pthread_mutex_unlock(&all->lock);
	return volume;
}
