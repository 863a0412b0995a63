/* SPDX-License-Identifier: BSD-3-Clause */
#include "iod/volume.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct iod_volume *iod_volume_get(struct iod *iod, const char *name, struct dray_error *err)
{
	pthread_mutex_lock(&iod->lock);
	struct iod_volume *found = dray_table_get(&iod->by_name, name);
	if (found)
		found->refs++;
	pthread_mutex_unlock(&iod->lock);
	if (!found)
		dray_error_kind(err, -ENOENT, "not_found", "volume %.128s: there is none of this name", name);
	return found;
}

static void free_leg(struct iod_leg *leg)
{
	iod_leg_def_free(leg->def);
	free(leg);
}

static void free_volume(struct iod_volume *v)
{
	for (unsigned i = 0; i < v->n_legs; i++)
		free_leg(v->legs[i]);
	v->thread->volumes--;
	pthread_cond_destroy(&v->wait_cond);
	pthread_mutex_destroy(&v->wait_lock);
	free(v);
}

static void put_locked(struct iod_volume *v)
{
	if (--v->refs == 0)
		free_volume(v);
}

void iod_volume_put(struct iod_volume *v)
{
	struct iod *iod = v->iod;
	pthread_mutex_lock(&iod->lock);
	put_locked(v);
	pthread_cond_broadcast(&iod->changed);
	pthread_mutex_unlock(&iod->lock);
}

static void after(struct timespec *until, uint64_t ns)
{
	clock_gettime(CLOCK_MONOTONIC, until);
	until->tv_sec += (time_t)(ns / 1000000000u);
	until->tv_nsec += (long)(ns % 1000000000u);
	if (until->tv_nsec >= 1000000000) {
		until->tv_sec++;
		until->tv_nsec -= 1000000000;
	}
}

int iod_volume_take(struct iod_volume *v, uint64_t wait_ns, struct dray_error *err)
{
	struct iod *iod = v->iod;
	struct timespec until;
	after(&until, wait_ns);
	int rc = 0;
	pthread_mutex_lock(&iod->lock);
	while (v->taken && !iod->stopping && rc != ETIMEDOUT)
		rc = pthread_cond_timedwait(&iod->changed, &iod->lock, &until);
	bool mine = !v->taken && !iod->stopping;
	bool removed = v->removed;
	if (mine && !removed)
		v->taken = true;
	pthread_mutex_unlock(&iod->lock);
	if (removed)
		return dray_error_kind(err, -ENOENT, "not_found", "volume %s: it was removed", v->def.name);
	if (!mine)
		return dray_error_kind(err, -EBUSY, "busy", "volume %s: another call on it is under way", v->def.name);
	return 0;
}

void iod_volume_give(struct iod_volume *v)
{
	struct iod *iod = v->iod;
	pthread_mutex_lock(&iod->lock);
	v->taken = false;
	iod_news_changed(v);
	pthread_cond_broadcast(&iod->changed);
	pthread_mutex_unlock(&iod->lock);
}

struct iod_leg *iod_volume_leg(struct iod_volume *v, unsigned id, struct dray_error *err)
{
	struct iod_leg *found = NULL;
	pthread_mutex_lock(&v->iod->lock);
	for (unsigned i = 0; i < v->n_legs; i++)
		if (v->legs[i]->def->id == id && !v->legs[i]->forgotten)
			found = v->legs[i];
	if (found)
		found->refs++;
	pthread_mutex_unlock(&v->iod->lock);
	if (!found)
		dray_error_kind(err, -ENOENT, "not_found", "volume %s: there is no leg %u", v->def.name, id);
	return found;
}

static void leg_put_locked(struct iod_leg *leg)
{
	if (--leg->refs == 0)
		free_leg(leg);
}

void iod_leg_put(struct iod_leg *leg)
{
	pthread_mutex_t *lock = &leg->volume->iod->lock;
	pthread_mutex_lock(lock);
	leg_put_locked(leg);
	pthread_mutex_unlock(lock);
}

struct iod_volume *iod_volume_new(struct iod *iod, struct iod_volume_def *def)
{
	struct iod_volume *v = calloc(1, sizeof *v);
	if (!v)
		return NULL;
	v->iod = iod;
	v->refs = 1;
	dray_list_init(&v->node);
	dray_list_init(&v->change_node);
	v->blackout_us = v->suspended_us = -1;
	pthread_condattr_t attr;
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_mutex_init(&v->wait_lock, NULL);
	pthread_cond_init(&v->wait_cond, &attr);
	pthread_condattr_destroy(&attr);
	iod_vio_init(v);

	unsigned n = def->n_legs;
	v->def = *def;
	v->def.n_legs = 0;
	def->n_legs = 0;
	pthread_mutex_lock(&iod->lock);
	v->thread = &iod->threads[0];
	for (unsigned i = 1; i < iod->n_threads; i++)
		if (iod->threads[i].volumes < v->thread->volumes)
			v->thread = &iod->threads[i];
	v->thread->volumes++;
	pthread_mutex_unlock(&iod->lock);
	for (unsigned i = 0; i < n; i++)
		if (!iod_volume_leg_add(v, v->def.legs[i])) {
			/* Only the legs that were taken over are the volume's. */
			for (; i < n; i++)
				iod_leg_def_free(v->def.legs[i]);
			iod_volume_put(v);
			return NULL;
		}
	return v;
}

void iod_volume_register(struct iod_volume *v)
{
	pthread_mutex_lock(&v->iod->lock);
	dray_list_add_tail(&v->iod->volumes, &v->node);
	dray_table_put(&v->iod->by_name, v->def.name, v);
	iod_news_changed(v);
	pthread_mutex_unlock(&v->iod->lock);
}

void iod_volume_unregister(struct iod_volume *v)
{
	struct iod *iod = v->iod;
	pthread_mutex_lock(&iod->lock);
	v->removed = true;
	v->served = false;
	iod_news_gone(v);
	dray_list_del(&v->node);
	dray_table_put(&iod->by_name, v->def.name, NULL);
	put_locked(v);
	pthread_cond_broadcast(&iod->changed);
	pthread_mutex_unlock(&iod->lock);
}

struct iod_leg *iod_volume_leg_add(struct iod_volume *v, struct iod_leg_def *def)
{
	struct iod_leg *leg = calloc(1, sizeof *leg);
	if (!leg)
		return NULL;
	leg->volume = v;
	leg->def = def;
	leg->refs = 1;
	leg->index = DRAY_NO_LEG;
	leg->map_fd = -1;
	pthread_mutex_lock(&v->iod->lock);
	unsigned live = 0;
	for (unsigned i = 0; i < v->n_legs; i++)
		live += !v->legs[i]->forgotten;
	bool room = live < IOD_LEGS_MAX && v->n_legs < 2 * IOD_LEGS_MAX;
	if (room)
		v->legs[v->n_legs++] = leg;
	iod_news_changed(v);
	pthread_mutex_unlock(&v->iod->lock);
	if (!room) {
		free(leg);
		return NULL;
	}
	return leg;
}

void iod_volume_leg_drop(struct iod_leg *leg)
{
	struct iod_volume *v = leg->volume;
	pthread_mutex_t *lock = &v->iod->lock;
	pthread_mutex_lock(lock);
	for (unsigned i = 0; i < v->n_legs; i++)
		if (v->legs[i] == leg) {
			v->legs[i] = v->legs[--v->n_legs];
			break;
		}
	leg_put_locked(leg);
	iod_news_changed(v);
	pthread_cond_broadcast(&v->iod->changed);
	pthread_mutex_unlock(lock);
}

int iod_volume_save(struct iod_volume *v, struct dray_error *err)
{
	/* A copy of the fixed part with pointers to the legs' definitions: they change only under the verb right, which is
	 * ours, so the disk is waited for without the lock. */
	pthread_mutex_lock(&v->iod->lock);
	struct iod_volume_def def = v->def;
	def.n_legs = 0;
	for (unsigned i = 0; i < v->n_legs; i++)
		if (!v->legs[i]->forgotten)
			def.legs[def.n_legs++] = v->legs[i]->def;
	pthread_mutex_unlock(&v->iod->lock);
	return iod_state_volume_write(&v->iod->state, &def, err);
}

void iod_volume_reason(struct iod_volume *v, const char *fmt, ...)
{
	char text[sizeof v->reason];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	pthread_mutex_lock(&v->iod->lock);
	memcpy(v->reason, text, sizeof text);
	iod_news_changed(v);
	pthread_mutex_unlock(&v->iod->lock);
}

void iod_leg_error(struct iod_leg *leg, const char *fmt, ...)
{
	char text[sizeof leg->error];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	pthread_mutex_lock(&leg->volume->iod->lock);
	memcpy(leg->error, text, sizeof text);
	iod_news_changed(leg->volume);
	pthread_mutex_unlock(&leg->volume->iod->lock);
}
